import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { ConnectionClosedError } from '../errors.js';
import { loads, tuple } from '../pickle/index.js';
import type { Pickled } from '../wire/index.js';
import { inBatches, ReplyEncoder } from './reply-encoder.js';

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);

const LIMIT = 1_000_000_000;

const toTuple = (number: number) => tuple(number);

const STALL_TIMEOUT = 50;

/** A client that takes its reply when it is told to. */
class SlowClient {
  take: () => void = () => undefined;
  isGone = false;

  constructor(readonly remoteAddress = '10.0.0.1') {}

  destroy(): void {
    this.isGone = true;
    this.take();
  }

  replied(): Promise<void> {
    return new Promise((resolve) => {
      this.take = resolve;
    });
  }
}

/** A client that never takes its reply: that is no matter, where there is room. */
const client = new SlowClient();

/** Waits until nothing goes on by itself any more. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
}

function valueOf({ body }: Pickled): unknown {
  return Array.isArray(body) ? loads(Buffer.concat(body)) : body;
}

describe('a long list', () => {
  test('is pickled as it is, in any protocol, however it comes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0, 1, 2),
        fc.array(fc.array(fc.string(), { maxLength: 20 }), { maxLength: 5 }),
        async (protocol, batches) => {
          const pickled = await new ReplyEncoder(protocol, LIMIT, STALL_TIMEOUT).encodeList(
            () => batches,
            (text) => [text, 1],
            client,
          );
          expect(valueOf(pickled)).toEqual(batches.flat().map((text) => [text, 1]));
        },
      ),
      { numRuns: 50 },
    );
  });

  test.each([0, 1, 999, 1000, 1001, 10_000])('of %d items is whole', async (count) => {
    const pickled = await new ReplyEncoder(2, LIMIT, STALL_TIMEOUT).encodeList(
      () => inBatches(numbers(count)),
      toTuple,
      client,
    );
    expect(valueOf(pickled)).toEqual(numbers(count).map((number) => tuple(number)));
  });

  test('lets others run after each thousand items, of however many lists', async () => {
    const lists = new ReplyEncoder(2, LIMIT, STALL_TIMEOUT);
    const perTurn = [0];
    const isDone = new AbortController();
    const nextTurn = () => {
      perTurn.push(0);
      if (!isDone.signal.aborted) setImmediate(nextTurn);
    };
    setImmediate(nextTurn);
    const count = (): number => {
      perTurn.push((perTurn.pop() ?? 0) + 1);
      return 0;
    };
    await Promise.all(numbers(10).map(() => lists.encodeList(() => inBatches(numbers(5000)), count, client)));
    isDone.abort();
    const [first, ...others] = perTurn.filter((written) => written > 0);
    // The first thousand of each list come at once, all others one after the other.
    expect(first).toBe(10_000);
    expect(others).toEqual(numbers(40).map(() => 1000));
  });
});

describe('long lists together', () => {
  const count = 3000;
  let lists: ReplyEncoder;
  let clients: SlowClient[];
  let made: Set<SlowClient>;
  let failed: unknown[];

  const ask = (items: number, address?: string): SlowClient => {
    const client = new SlowClient(address);
    lists
      .encodeList(() => inBatches(numbers(items)), toTuple, client)
      .then(
        () => made.add(client),
        (error: unknown) => failed.push(error),
      );
    return client;
  };

  beforeEach(async () => {
    // Any one of them is longer than that.
    lists = new ReplyEncoder(2, 1, 1_000_000);
    made = new Set();
    failed = [];
    clients = numbers(4).map(() => ask(count));
    await settled();
  });

  test('are made one after the other where there is no room for two, as clients take them', async () => {
    for (const [index, client] of clients.entries()) {
      expect([...made]).toEqual(clients.slice(0, index + 1));
      client.take();
      await settled();
    }
    expect(failed).toEqual([]);
  });

  test('are not made for clients that are gone', async () => {
    clients[1]?.take();
    await settled();
    expect(failed).toEqual([expect.any(ConnectionClosedError)]);
    clients[0]?.take();
    await settled();
    expect([...made]).toEqual([clients[0], clients[2]]);
  });

  test('keep short ones waiting never', async () => {
    const short = ask(1000);
    await settled();
    expect(made).toContain(short);
  });

  test('are made for hosts in turn', async () => {
    const others = ['10.0.0.2', '10.0.0.3', '10.0.0.2'].map((address) => ask(count, address));
    const order = [clients[0], others[0], others[1], clients[1], others[2], clients[2]];
    for (const [index, client] of order.entries()) {
      await settled();
      expect([...made]).toEqual(order.slice(0, index + 1));
      client?.take();
    }
  });

  test('late ones pass none that wait, though there is room at the moment', async () => {
    lists = new ReplyEncoder(2, 50_000, 1_000_000);
    made.clear();
    const first = ask(20_000);
    while (made.size === 0) await settled();
    const waiting = [ask(count), ask(count), ask(count)];
    await settled();
    expect([...made]).toEqual([first]);
    first.take();
    const late = ask(1001);
    while (made.size < 5) await settled();
    expect([...made]).toEqual([first, ...waiting, late]);
  });

  describe('and the stall timeout', () => {
    const TIMEOUT = 1000;

    beforeEach(async () => {
      jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
      lists = new ReplyEncoder(2, 1, TIMEOUT);
      made.clear();
      clients = numbers(5).map(() => ask(count));
      await settled();
    });

    afterEach(() => {
      jest.useRealTimers();
    });

    const gone = () => clients.map(({ isGone }) => isGone);

    test('close one after the other that takes nothing, while others wait; never one that waits, nor the last', async () => {
      for (let closed = 0; closed < 4; closed++) {
        expect(made.size).toBe(closed + 1);
        expect(gone()).toEqual(numbers(5).map((index) => index < closed));
        jest.advanceTimersByTime(TIMEOUT - 1);
        await settled();
        expect(gone()).toEqual(numbers(5).map((index) => index < closed));
        // What it holds gives it a moment more.
        jest.advanceTimersByTime(20);
        await settled();
        expect(gone()).toEqual(numbers(5).map((index) => index <= closed));
      }
      jest.advanceTimersByTime(100 * TIMEOUT);
      await settled();
      expect(gone()).toEqual([true, true, true, true, false]);
      expect(failed).toEqual([]);
    });

    test('does not close one that took its list in time', async () => {
      jest.advanceTimersByTime(TIMEOUT - 1);
      clients[0]?.take();
      await settled();
      jest.advanceTimersByTime(TIMEOUT - 1);
      await settled();
      expect(gone()).toEqual([false, false, false, false, false]);
      expect(made.size).toBe(2);
    });
  });

  test('take no room for clients that leave while theirs is made', async () => {
    lists = new ReplyEncoder(2, 100_000, 1_000_000);
    for (let left = 0; left < 100; left++) {
      const leaving = new SlowClient();
      const batches = (function* () {
        yield* inBatches(numbers(2000));
        leaving.destroy();
        yield* inBatches(numbers(2000));
      })();
      await expect(lists.encodeList(() => batches, toTuple, leaving)).rejects.toBeInstanceOf(ConnectionClosedError);
    }
    const both = [ask(count), ask(count)];
    await settled();
    expect(both.filter((asked) => made.has(asked))).toEqual(both);
  });

  test('leave room where one fails', async () => {
    const failing = function* () {
      yield* inBatches(numbers(count));
      throw new Error('lost');
    };
    lists = new ReplyEncoder(2, 1, 1_000_000);
    await expect(lists.encodeList(failing, toTuple, new SlowClient())).rejects.toThrow('lost');
    const next = ask(count);
    await settled();
    expect(made).toContain(next);
  });
});

describe('large values', () => {
  const SIZE = 100_000;
  const text = 'x'.repeat(SIZE);
  let replies: ReplyEncoder;
  let reads: number;
  let made: SlowClient[];

  const ask = (value = text): SlowClient => {
    const asking = new SlowClient();
    const read = () => {
      reads += 1;
      return Promise.resolve(value);
    };
    replies.encodeValue(read, asking).then(
      () => made.push(asking),
      () => undefined,
    );
    return asking;
  };

  beforeEach(() => {
    replies = new ReplyEncoder(2, 2 * SIZE, 1_000_000);
    reads = 0;
    made = [];
  });

  test('come as they are', async () => {
    expect(valueOf(await replies.encodeValue(() => Promise.resolve([text, 1]), client))).toEqual([text, 1]);
  });

  test('wait where there is no room, hold nothing meanwhile, and are read again', async () => {
    const clients = numbers(5).map(() => ask());
    await settled();
    expect(made).toEqual(clients.slice(0, 2));
    expect(reads).toBe(5);
    clients[0]?.take();
    await settled();
    expect(made).toEqual(clients.slice(0, 3));
    expect(reads).toBe(6);
  });

  test('keep short ones waiting never', async () => {
    for (let count = 0; count < 5; count += 1) ask();
    const short = ask('short');
    await settled();
    expect(made).toContain(short);
  });

  test('share their room with long lists, and with short lists of long names', async () => {
    const clients = [ask(), ask()];
    await settled();
    const listing = replies.encodeList(() => [[text]], toTextTuple, new SlowClient());
    const outcome = listing.then(() => 'made');
    await settled();
    expect(await Promise.race([outcome, Promise.resolve('waits')])).toBe('waits');
    for (const asking of clients) asking.take();
    expect(await outcome).toBe('made');
  });
});

const toTextTuple = (value: string) => tuple(value);

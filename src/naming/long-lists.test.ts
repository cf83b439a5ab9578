import { beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { setTimeout as delay } from 'node:timers/promises';
import { ConnectionClosedError } from '../errors.js';
import { loads, tuple } from '../pickle/index.js';
import type { Pickled } from '../wire/index.js';
import { inBatches, LongLists } from './long-lists.js';

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
          const pickled = await new LongLists(protocol, LIMIT, STALL_TIMEOUT).pickle(
            batches,
            (text) => [text, 1],
            client,
          );
          expect(valueOf(pickled)).toEqual(batches.flat().map((text) => [text, 1]));
        },
      ),
      { numRuns: 50 },
    );
  });

  test.each([0, 1, 999, 1000, 1001, 100_000])('of %d items is whole', async (count) => {
    const pickled = await new LongLists(2, LIMIT, STALL_TIMEOUT).pickle(inBatches(numbers(count)), toTuple, client);
    expect(valueOf(pickled)).toEqual(numbers(count).map((number) => tuple(number)));
  });

  test('lets others run after each thousand items, of however many lists', async () => {
    const lists = new LongLists(2, LIMIT, STALL_TIMEOUT);
    let written = 0;
    let most = 0;
    let isDone = false;
    const watch = () => {
      most = Math.max(most, written);
      written = 0;
      if (!isDone) setImmediate(watch);
    };
    setImmediate(watch);
    const count = () => (written += 1);
    await Promise.all(numbers(10).map(() => lists.pickle(inBatches(numbers(20_000)), count, client)));
    isDone = true;
    // The first thousand of each list come at once.
    expect(most).toBeLessThanOrEqual(10_000);
  });
});

describe('long lists together', () => {
  const count = 3000;
  let lists: LongLists;
  let clients: SlowClient[];
  let made: Set<SlowClient>;
  let failed: unknown[];

  const ask = (items: number, address?: string): SlowClient => {
    const client = new SlowClient(address);
    lists.pickle(inBatches(numbers(items)), toTuple, client).then(
      () => made.add(client),
      (error: unknown) => failed.push(error),
    );
    return client;
  };

  beforeEach(async () => {
    // Any one of them is longer than that.
    lists = new LongLists(2, 1, 1_000_000);
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

  test('are not waited for longer than the stall timeout, by those who would like to have theirs', async () => {
    lists = new LongLists(2, 1, STALL_TIMEOUT);
    made.clear();
    clients = numbers(3).map(() => ask(count));
    while (made.size < 3) await settled();
    await delay(STALL_TIMEOUT * 2);
    expect(clients.map(({ isGone }) => isGone)).toEqual([true, true, false]);
  });

  test('take no room for clients that leave while theirs is made', async () => {
    lists = new LongLists(2, 100_000, 1_000_000);
    for (let left = 0; left < 100; left++) {
      const leaving = new SlowClient();
      const batches = (function* () {
        yield* inBatches(numbers(2000));
        leaving.destroy();
        yield* inBatches(numbers(2000));
      })();
      await expect(lists.pickle(batches, toTuple, leaving)).rejects.toBeInstanceOf(ConnectionClosedError);
    }
    const both = [ask(count), ask(count)];
    await settled();
    expect(both.filter((asked) => made.has(asked))).toEqual(both);
  });

  test('leave room where one fails', async () => {
    const failing = (function* () {
      yield* inBatches(numbers(count));
      throw new Error('lost');
    })();
    lists = new LongLists(2, 1, 1_000_000);
    await expect(lists.pickle(failing, toTuple, new SlowClient())).rejects.toThrow('lost');
    const next = ask(count);
    await settled();
    expect(made).toContain(next);
  });
});

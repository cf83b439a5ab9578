import { beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ConnectionClosedError } from '../errors.js';
import { loads, tuple } from '../pickle/index.js';
import type { Pickled } from '../wire/index.js';
import { inBatches, LongLists } from './long-lists.js';

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);

const LIMIT = 1_000_000_000;

const toTuple = (number: number) => tuple(number);

/** A client that never takes its reply: that is no matter, where there is room. */
const client = { replied: () => new Promise<void>(() => undefined) };

/** A client that takes its reply when it is told to. */
class SlowClient {
  take: () => void = () => undefined;

  replied(): Promise<void> {
    return new Promise((resolve) => {
      this.take = resolve;
    });
  }
}

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
          const pickled = await new LongLists(protocol, LIMIT).pickle(batches, (text) => [text, 1], client);
          expect(valueOf(pickled)).toEqual(batches.flat().map((text) => [text, 1]));
        },
      ),
      { numRuns: 50 },
    );
  });

  test.each([0, 1, 999, 1000, 1001, 100_000])('of %d items is whole', async (count) => {
    const pickled = await new LongLists(2, LIMIT).pickle(inBatches(numbers(count)), toTuple, client);
    expect(valueOf(pickled)).toEqual(numbers(count).map((number) => tuple(number)));
  });

  test('lets others run after each thousand items, of however many lists', async () => {
    const lists = new LongLists(2, LIMIT);
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

  const ask = (items: number): SlowClient => {
    const client = new SlowClient();
    lists.pickle(inBatches(numbers(items)), toTuple, client).then(
      () => made.add(client),
      (error: unknown) => failed.push(error),
    );
    return client;
  };

  beforeEach(async () => {
    // Any one of them is longer than that.
    lists = new LongLists(2, 1);
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

  test('leave room where one fails', async () => {
    const failing = (function* () {
      yield* inBatches(numbers(count));
      throw new Error('lost');
    })();
    lists = new LongLists(2, 1);
    await expect(lists.pickle(failing, toTuple, new SlowClient())).rejects.toThrow('lost');
    const next = ask(count);
    await settled();
    expect(made).toContain(next);
  });
});

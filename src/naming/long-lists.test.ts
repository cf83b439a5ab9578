import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { loads, tuple } from '../pickle/index.js';
import type { Pickled } from '../wire/index.js';
import { inBatches, LongLists } from './long-lists.js';

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);

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
          const pickled = await new LongLists(protocol).pickle(batches, (text) => [text, 1]);
          expect(valueOf(pickled)).toEqual(batches.flat().map((text) => [text, 1]));
        },
      ),
      { numRuns: 50 },
    );
  });

  test.each([0, 1, 999, 1000, 1001, 100_000])('of %d items is whole', async (count) => {
    const pickled = await new LongLists(2).pickle(inBatches(numbers(count)), (number) => tuple(number));
    expect(valueOf(pickled)).toEqual(numbers(count).map((number) => tuple(number)));
  });

  test('lets others run after each thousand items, of however many lists', async () => {
    const lists = new LongLists(2);
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
    await Promise.all(numbers(10).map(() => lists.pickle(inBatches(numbers(20_000)), count)));
    isDone = true;
    // The first thousand of each list come at once.
    expect(most).toBeLessThanOrEqual(10_000);
  });
});

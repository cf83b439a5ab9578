import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { ReadCache } from './cache.js';

interface Version {
  readonly number: number;
}

describe('what is being read while a change is told', () => {
  const step = fc.record({
    kind: fc.constantFrom('ask', 'ask', 'change', 'change', 'move away'),
    key: fc.constantFrom('a', 'b'),
  });

  test('is given to nobody who asks later, whatever the order of events', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(step, { maxLength: 12 }), async (scheduler, steps) => {
        const cache = new ReadCache<Version>(10);
        const disk = new Map<string, number>();
        /** Up to which version of a key the cache was told of changes. */
        const told = new Map<string, number>();
        let validity = { valid: true, ttlMs: 60_000 };
        const wrong: string[] = [];
        const current = (key: string) => disk.get(key) ?? 0;
        const change = (key: string) => disk.set(key, current(key) + 1);
        const read = async (key: string) => {
          // The validity is looked for before it is read, and what was read is told afterwards, as another thread does it.
          const restsOn = validity;
          await scheduler.schedule(Promise.resolve(), `begin to read ${key}`);
          const value = { number: current(key) };
          await scheduler.schedule(Promise.resolve(), `end to read ${key}`);
          return { value, validity: restsOn };
        };
        const results = steps.map(async ({ kind, key }, index) => {
          await scheduler.schedule(Promise.resolve(), `step ${index}: ${kind} ${key}`);
          if (kind === 'ask') {
            const known = told.get(key) ?? 0;
            const got = cache.get(key);
            if (got !== undefined && got.number < known)
              wrong.push(`${key} is remembered as ${got.number} after ${known}`);
            const { number } = await cache.getOrLoad(key, () => read(key));
            if (number < known) wrong.push(`${key} is read as ${number} after ${known}`);
          } else if (kind === 'change') {
            change(key);
            await scheduler.schedule(Promise.resolve(), `tell of ${key}`);
            told.set(key, current(key));
            cache.invalidate(key);
          } else {
            for (const each of ['a', 'b']) change(each);
            await scheduler.schedule(Promise.resolve(), 'tell that the directory was moved away');
            validity.valid = false;
            validity = { valid: true, ttlMs: 60_000 };
            cache.abandonLoads();
            for (const each of ['a', 'b']) told.set(each, current(each));
          }
        });
        await scheduler.waitFor(Promise.all(results));
        expect(wrong).toEqual([]);
      }),
    );
  });

  const VALID = { valid: true, ttlMs: 1000 };

  /** A read that ends by hand. */
  function reading(number: number, validity: { valid: boolean; ttlMs: number } | undefined = VALID) {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const read = jest.fn(() => ended.then(() => ({ value: { number }, validity })));
    return { read, end };
  }

  test('is read once for all who ask at the same time', async () => {
    const cache = new ReadCache<Version>(10);
    const [first, second] = [reading(1), reading(2)];
    const answers = [cache.getOrLoad('a', first.read), cache.getOrLoad('a', second.read)];
    first.end();
    expect(await Promise.all(answers)).toEqual([{ number: 1 }, { number: 1 }]);
    expect(second.read).not.toHaveBeenCalled();
    expect(await cache.getOrLoad('a', second.read)).toEqual({ number: 1 });
    expect([cache.hits, cache.misses, cache.size]).toEqual([1, 1, 1]);
  });

  test.each([
    [
      'its change',
      (cache: ReadCache<Version>) => {
        cache.invalidate('a');
      },
    ],
    [
      'abandonLoads()',
      (cache: ReadCache<Version>) => {
        cache.abandonLoads();
      },
    ],
  ])('is given to who asked before, and not kept: %s is told', async (_, tell) => {
    const cache = new ReadCache<Version>(10);
    const [first, second, third] = [reading(1), reading(2), reading(3)];
    const before = cache.getOrLoad('a', first.read);
    tell(cache);
    const after = cache.getOrLoad('a', second.read);
    first.end();
    expect(await before).toEqual({ number: 1 });
    expect(cache.get('a')).toBeUndefined();
    // The end of the first read is not the end of the second, which others may still join.
    const joined = cache.getOrLoad('a', third.read);
    second.end();
    expect(await Promise.all([after, joined])).toEqual([{ number: 2 }, { number: 2 }]);
    expect(third.read).not.toHaveBeenCalled();
    expect(cache.get('a')).toEqual({ number: 2 });
  });

  test('is dropped with its key only', async () => {
    const cache = new ReadCache<Version>(10);
    for (const [number, key] of ['a', 'b'].entries()) {
      const { read, end } = reading(number);
      end();
      await cache.getOrLoad(key, read);
    }
    cache.invalidate('a');
    expect([cache.get('a'), cache.get('b'), cache.peek('b'), cache.peek('a')]).toEqual([
      undefined,
      { number: 1 },
      { number: 1 },
      undefined,
    ]);
    expect([cache.hits, cache.misses]).toEqual([1, 2]);
  });

  test.each([
    ['without a validity', undefined],
    ['with a validity that is no longer valid', { valid: false, ttlMs: 1000 }],
  ])('is not cached %s', async (_, validity) => {
    const cache = new ReadCache<Version>(10);
    const read = jest.fn(() => Promise.resolve({ value: { number: 1 }, validity }));
    expect(await cache.getOrLoad('a', read)).toEqual({ number: 1 });
    expect([cache.get('a'), cache.size]).toEqual([undefined, 0]);
    await cache.getOrLoad('a', read);
    expect(read).toHaveBeenCalledTimes(2);
  });

  test('is asked for again after it failed', async () => {
    const cache = new ReadCache<Version>(10);
    const failing = () => Promise.reject(new Error('EIO'));
    await expect(cache.getOrLoad('a', failing)).rejects.toEqual(new Error('EIO'));
    const { read, end } = reading(1);
    end();
    expect(await cache.getOrLoad('a', read)).toEqual({ number: 1 });
  });

  test.each([
    ['as long as its validity says', 1000, 0, 1000],
    ['longer, where it took longer to be read', 1000, 3000, 3000],
    ['as long as its validity says, where it was read faster', 1000, 500, 1000],
  ])('has a TTL %s, from the start of the read', async (_, ttlMs, minTtlMs, untilMs) => {
    const clock = jest.spyOn(performance, 'now').mockReturnValue(5000.5);
    try {
      const cache = new ReadCache<Version>(10);
      await cache.getOrLoad('a', () => {
        clock.mockReturnValue(5100);
        return Promise.resolve({ value: { number: 1 }, validity: { valid: true, ttlMs }, minTtlMs });
      });
      clock.mockReturnValue(5000 + untilMs - 0.1);
      expect([cache.get('a'), cache.peek('a')]).toEqual([{ number: 1 }, { number: 1 }]);
      clock.mockReturnValue(5000 + untilMs);
      expect([cache.get('a'), cache.peek('a')]).toEqual([undefined, undefined]);
    } finally {
      clock.mockRestore();
    }
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { RWLock, KeyedMutex } from './index.js';

/** A promise that is settled by hand. */
function byHand<Value>() {
  let resolve: (value: Value) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<Value>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

/** Lets all that can go on without an event from outside go on. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

const failure = (index: number) => new Error(`action ${index} fails`);

/** What the action with this number is to come to. */
const outcomeOf = (index: number, fails: boolean) =>
  fails ? { status: 'rejected', reason: failure(index) } : { status: 'fulfilled', value: index };

describe('a keyed mutex', () => {
  const call = fc.record({ key: fc.constantFrom('a', 'b', 'c'), fails: fc.boolean() });

  test('runs actions of one key one after the other, in the order in which they came, whatever they come to', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(call, { maxLength: 10 }), async (scheduler, calls) => {
        const mutex = new KeyedMutex();
        const came = new Map<string, string[]>();
        const happened = new Map<string, string[]>();
        const tell = (key: string, what: string) => happened.set(key, [...(happened.get(key) ?? []), what]);
        const results = calls.map(async ({ key, fails }, index) => {
          await scheduler.schedule(Promise.resolve(), `call ${index} for ${key}`);
          came.set(key, [...(came.get(key) ?? []), `begin ${index}`, `end ${index}`]);
          return mutex.run(key, async () => {
            tell(key, `begin ${index}`);
            await scheduler.schedule(Promise.resolve(), `action ${index} for ${key}`);
            tell(key, `end ${index}`);
            if (fails) throw failure(index);
            return index;
          });
        });
        const outcomes = await scheduler.waitFor(Promise.allSettled(results));
        expect(outcomes).toEqual(calls.map(({ fails }, index) => outcomeOf(index, fails)));
        expect(happened).toEqual(came);
        expect(['a', 'b', 'c'].filter((key) => mutex.isLocked(key))).toEqual([]);
      }),
    );
  });

  test('lets an action begin at once where none is under way for its key', () => {
    const mutex = new KeyedMutex();
    const begun: string[] = [];
    for (const key of ['a', 'b', 'a']) {
      void mutex.run(key, () => {
        begun.push(key);
        return new Promise(() => undefined);
      });
    }
    expect(begun).toEqual(['a', 'b']);
    expect([mutex.isLocked('a'), mutex.isLocked('b'), mutex.isLocked('c')]).toEqual([true, true, false]);
  });

  test('is taken until the last of a key is done', async () => {
    const mutex = new KeyedMutex();
    const [first, second] = [byHand<string>(), byHand<string>()];
    const results = [mutex.run('a', () => first.promise), mutex.run('a', () => second.promise)];
    first.resolve('first');
    expect(await results[0]).toBe('first');
    expect(mutex.isLocked('a')).toBe(true);
    // Who comes now still waits for the second.
    const third = mutex.run('a', () => Promise.resolve('third'));
    second.reject(failure(2));
    await expect(results[1]).rejects.toEqual(failure(2));
    expect(await third).toBe('third');
    expect(mutex.isLocked('a')).toBe(false);
  });
});

describe('a read-write lock', () => {
  const call = fc.record({ alone: fc.boolean(), fails: fc.boolean() });

  test('runs one action alone, after those under way, and before those that come later', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(call, { maxLength: 10 }), async (scheduler, calls) => {
        const lock = new RWLock();
        const inside = new Set<number>();
        const waiting = new Set<number>();
        const begun: number[] = [];
        const wrong: string[] = [];
        const isAlone = (index: number) => calls[index]?.alone === true;
        const look = (index: number) => {
          const others = [...inside].filter((other) => other !== index);
          const bad = others.filter((other) => isAlone(index) || isAlone(other));
          if (bad.length > 0) wrong.push(`${index} is inside with ${bad.join()}`);
        };
        const results = calls.map(async ({ alone, fails }, index) => {
          await scheduler.schedule(Promise.resolve(), `call ${index}`);
          const before = [...inside, ...waiting].filter(isAlone);
          const earlier = [...waiting].filter(isAlone);
          waiting.add(index);
          const action = async () => {
            waiting.delete(index);
            inside.add(index);
            begun.push(index);
            const overtaken = earlier.filter((other) => waiting.has(other));
            if (overtaken.length > 0) wrong.push(`${index} overtook ${overtaken.join()}`);
            look(index);
            await scheduler.schedule(Promise.resolve(), `action ${index}`);
            look(index);
            inside.delete(index);
            if (fails) throw failure(index);
            return index;
          };
          const result = alone ? lock.exclusive(action) : lock.shared(action);
          if (!alone && before.length === 0 && !inside.has(index)) wrong.push(`${index} waits for nothing`);
          return result;
        });
        const outcomes = await scheduler.waitFor(Promise.allSettled(results));
        expect(outcomes).toEqual(calls.map(({ fails }, index) => outcomeOf(index, fails)));
        expect(wrong).toEqual([]);
        expect(begun).toHaveLength(calls.length);
      }),
    );
  });

  test('lets one alone wait for all that are inside, also for one that fails', async () => {
    const lock = new RWLock();
    const [first, second] = [byHand<undefined>(), byHand<undefined>()];
    const passes = [lock.shared(() => first.promise), lock.shared(() => second.promise)];
    const events: string[] = [];
    const alone = lock.exclusive(() => {
      events.push('alone');
      return Promise.resolve('done');
    });
    first.resolve(undefined);
    await passes[0];
    await settled();
    expect(events).toEqual([]);
    second.reject(failure(2));
    await expect(passes[1]).rejects.toEqual(failure(2));
    expect(await alone).toBe('done');
    expect(events).toEqual(['alone']);
  });

  test('lets all who wait for one alone in together, though it failed', async () => {
    const lock = new RWLock();
    const work = byHand<undefined>();
    const alone = lock.exclusive(() => work.promise);
    const begun: string[] = [];
    const pass = (name: string) =>
      void lock.shared(() => {
        begun.push(name);
        return new Promise(() => undefined);
      });
    pass('first');
    pass('second');
    await settled();
    expect(begun).toEqual([]);
    work.reject(failure(1));
    await expect(alone).rejects.toEqual(failure(1));
    await settled();
    expect(begun).toEqual(['first', 'second']);
  });

  test('begins one alone where nobody is inside', async () => {
    const lock = new RWLock();
    expect(await lock.exclusive(() => Promise.resolve(1))).toBe(1);
    expect(await lock.shared(() => Promise.resolve(2))).toBe(2);
    expect(await lock.exclusive(() => Promise.resolve(3))).toBe(3);
  });
});

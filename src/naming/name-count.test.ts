import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { NamingError } from '../errors.js';
import { MemoryNamespace, type NamespaceSize } from '../namespace/index.js';
import { NameCount } from './name-count.js';

let namespace: MemoryNamespace;
let count: NameCount;
/** How long a count takes, and how it ends. */
let takes: number;
let failure: Error | undefined;
let times: number;

beforeEach(() => {
  jest.useFakeTimers();
  [takes, failure, times] = [100, undefined, 0];
  namespace = new MemoryNamespace();
  namespace.count = (): Promise<NamespaceSize> =>
    new Promise((resolve, reject) => {
      times += 1;
      const size = { groups: times, objects: 0 };
      setTimeout(() => {
        if (failure) reject(failure);
        else resolve(size);
      }, takes);
    });
  count = new NameCount(namespace);
});

afterEach(() => {
  jest.useRealTimers();
});

const sizeOf = (groups: number): NamespaceSize => ({ groups, objects: 0 });

/** Asks, and lets so much time pass. */
async function getAfter(milliseconds: number): Promise<NamespaceSize | undefined> {
  const answer = count.get();
  await jest.advanceTimersByTimeAsync(milliseconds);
  return answer;
}

test('those who ask while names are counted share one count', async () => {
  const first = count.get();
  await jest.advanceTimersByTimeAsync(50);
  const second = count.get();
  await jest.advanceTimersByTimeAsync(50);
  expect(await Promise.all([first, second])).toEqual([sizeOf(1), sizeOf(1)]);
  expect(times).toBe(1);
});

test('a count is taken for true for 20 times as long as it took, and no longer', async () => {
  expect(await getAfter(100)).toEqual(sizeOf(1));
  await jest.advanceTimersByTimeAsync(1999);
  expect(await getAfter(0)).toEqual(sizeOf(1));
  expect(times).toBe(1);
  await jest.advanceTimersByTimeAsync(1);
  expect(await getAfter(100)).toEqual(sizeOf(2));
  expect(times).toBe(2);
});

test('nobody waits for a count longer than 2 s; it goes on, and is there for the next who asks', async () => {
  takes = 5000;
  let answered = false;
  const first = count.get();
  void first.then(() => {
    answered = true;
  });
  await jest.advanceTimersByTimeAsync(1999);
  expect(answered).toBe(false);
  await jest.advanceTimersByTimeAsync(1);
  expect(await first).toBeUndefined();
  await jest.advanceTimersByTimeAsync(3000);
  expect(await getAfter(0)).toEqual(sizeOf(1));
  // 20 times 5 s later the old count is told, until there is a new one.
  await jest.advanceTimersByTimeAsync(100_000);
  expect(await getAfter(2000)).toEqual(sizeOf(1));
  await jest.advanceTimersByTimeAsync(3000);
  expect(await getAfter(0)).toEqual(sizeOf(2));
  expect(times).toBe(2);
});

test('who got a count leaves no timer behind', async () => {
  await getAfter(100);
  expect(jest.getTimerCount()).toBe(0);
});

test('where the store can not count, nothing is known, not the last count either; the next who asks has it counted', async () => {
  expect(await getAfter(100)).toEqual(sizeOf(1));
  await jest.advanceTimersByTimeAsync(2000);
  failure = new NamingError('etcd is away');
  expect(await getAfter(100)).toBeUndefined();
  failure = undefined;
  expect(await getAfter(100)).toEqual(sizeOf(3));
});

test('any other error is passed on', async () => {
  failure = new TypeError('a mistake');
  const answers = Promise.allSettled([count.get()]);
  await jest.advanceTimersByTimeAsync(100);
  expect(await answers).toEqual([{ status: 'rejected', reason: failure }]);
  expect(jest.getTimerCount()).toBe(0);
});

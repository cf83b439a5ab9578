import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { FailureDelay } from './failure-delay.js';

const MAX_MS = 2000;

let now: number;
let delays: FailureDelay;

/** So many failures of a key, and the delay after each. */
const fail = (key: string, count: number): number[] =>
  Array.from({ length: count }, () => {
    delays.fail(key);
    return delays.delayOf(key, MAX_MS);
  });

beforeEach(() => {
  now = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  delays = new FailureDelay();
});

afterEach(() => {
  jest.restoreAllMocks();
});

test('grows with each failure but the first three, up to the longest', () => {
  expect(delays.delayOf('a', MAX_MS)).toBe(0);
  expect(fail('a', 10)).toEqual([0, 0, 0, 100, 200, 400, 800, 1600, 2000, 2000]);
});

test("is each key's own", () => {
  fail('a', 10);
  expect(delays.delayOf('b', MAX_MS)).toBe(0);
});

test('is none where none may be', () => {
  fail('a', 10);
  expect(delays.delayOf('a', 0)).toBe(0);
});

test('shrinks with time, however many failures there were', () => {
  fail('a', 1000);
  now += 30_000;
  expect(delays.delayOf('a', 1e6)).toBe(100 * 2 ** 5);
  now += 60_000;
  expect(delays.delayOf('a', MAX_MS)).toBe(0);
  expect(fail('a', 1)).toEqual([100]);
});

test('of a key that failed long ago is forgotten when there are very many', () => {
  fail('old', 10);
  for (let index = 1; index < 1000; index++) fail(`key ${index}`, 1);
  expect(delays.delayOf('old', MAX_MS)).toBe(MAX_MS);
  fail('one more', 1);
  expect(delays.delayOf('old', MAX_MS)).toBe(0);
});

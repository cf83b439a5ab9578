import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { StallTimeout } from './stall-timeout.js';

const STALL_TIMEOUT = 1000;
const MIB = 2 ** 20;
const LONGEST_TIMER = 2 ** 31 - 1;

let stallTimeout: StallTimeout;
let ended: string[];

beforeEach(() => {
  jest.useFakeTimers();
  stallTimeout = new StallTimeout(STALL_TIMEOUT);
  ended = [];
});

afterEach(() => {
  jest.useRealTimers();
});

/** A connection that is ended once at most, as it says so itself. */
function holder(name: string) {
  return {
    destroy: () => {
      ended.push(name);
    },
  };
}

/** How long it takes until a connection that holds so many bytes is closed, to the millisecond. */
function timeFor(size: number, timeoutMs: number): number {
  const start = Date.now();
  stallTimeout = new StallTimeout(timeoutMs);
  stallTimeout.setContended(true);
  stallTimeout.add({ destroy: () => ended.push(String(Date.now() - start)) }, size);
  jest.advanceTimersToNextTimer();
  return Number(ended.at(-1));
}

describe('who holds memory', () => {
  test('is never closed while nobody waits', () => {
    stallTimeout.add(holder('a'), 1);
    jest.advanceTimersByTime(LONGEST_TIMER);
    expect(jest.getTimerCount()).toBe(0);
    expect(ended).toEqual([]);
  });

  test.each([
    ['nothing', 0, STALL_TIMEOUT, STALL_TIMEOUT],
    ['4 MiB', 4 * MIB, STALL_TIMEOUT, 1.5 * STALL_TIMEOUT],
    ['8 MiB', 8 * MIB, STALL_TIMEOUT, 2 * STALL_TIMEOUT],
    ['24 MiB', 24 * MIB, STALL_TIMEOUT, 4 * STALL_TIMEOUT],
    ['more than the longest timer allows', 8 * MIB, LONGEST_TIMER - 1, LONGEST_TIMER],
  ])('has one stall timeout, and one for each 8 MiB: %s', (_what, size, stallTimeout, time) => {
    expect(timeFor(size, stallTimeout)).toBe(time);
  });

  test('is closed after the stall timeout exactly, and once', () => {
    stallTimeout.add(holder('a'), 0);
    stallTimeout.setContended(true);
    jest.advanceTimersByTime(STALL_TIMEOUT - 1);
    expect(ended).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(ended).toEqual(['a']);
    jest.advanceTimersByTime(10 * STALL_TIMEOUT);
    expect(ended).toEqual(['a']);
  });

  test('has the time from when somebody begins to wait, or from when it begins to hold', () => {
    stallTimeout.add(holder('early'), 0);
    jest.advanceTimersByTime(STALL_TIMEOUT / 2);
    stallTimeout.setContended(true);
    jest.advanceTimersByTime(STALL_TIMEOUT / 2);
    stallTimeout.add(holder('late'), 0);
    expect(ended).toEqual([]);
    jest.advanceTimersByTime(STALL_TIMEOUT / 2);
    expect(ended).toEqual(['early']);
    jest.advanceTimersByTime(STALL_TIMEOUT / 2);
    expect(ended).toEqual(['early', 'late']);
  });

  test('has no new time because one more begins to wait', () => {
    stallTimeout.add(holder('a'), 0);
    stallTimeout.setContended(true);
    jest.advanceTimersByTime(STALL_TIMEOUT / 2);
    stallTimeout.setContended(true);
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(STALL_TIMEOUT / 2);
    expect(ended).toEqual(['a']);
  });

  test('has all of its time again when nobody waited in between', () => {
    stallTimeout.add(holder('a'), 0);
    stallTimeout.setContended(true);
    jest.advanceTimersByTime(STALL_TIMEOUT - 1);
    stallTimeout.setContended(false);
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(STALL_TIMEOUT);
    stallTimeout.setContended(true);
    jest.advanceTimersByTime(STALL_TIMEOUT - 1);
    expect(ended).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(ended).toEqual(['a']);
  });

  test('is left alone when it is done, then and later', () => {
    const done = holder('done');
    stallTimeout.add(done, 0);
    stallTimeout.add(holder('other'), 0);
    stallTimeout.setContended(true);
    stallTimeout.remove(done);
    expect(jest.getTimerCount()).toBe(1);
    stallTimeout.setContended(false);
    stallTimeout.setContended(true);
    jest.advanceTimersByTime(10 * STALL_TIMEOUT);
    expect(ended).toEqual(['other']);
  });

  test('may be forgotten when it was never known', () => {
    stallTimeout.setContended(true);
    stallTimeout.remove(holder('unknown'));
    jest.advanceTimersByTime(10 * STALL_TIMEOUT);
    expect(ended).toEqual([]);
  });

  test('does not keep the process alive', () => {
    const timers = jest.spyOn(globalThis, 'setTimeout');
    stallTimeout.add(holder('a'), 0);
    stallTimeout.setContended(true);
    const timer: unknown = timers.mock.results[0]?.value;
    expect(timer).toMatchObject({ refed: false });
    timers.mockRestore();
  });
});

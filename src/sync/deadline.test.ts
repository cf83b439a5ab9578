import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Deadline } from './deadline.js';

beforeEach(() => {
  jest.useFakeTimers();
});

afterEach(() => {
  jest.useRealTimers();
});

test('a deadline has time left until it has passed', () => {
  const deadline = Deadline.in(100);
  expect([deadline.remainingMs, deadline.passed]).toEqual([100, false]);
  jest.advanceTimersByTime(99);
  expect([deadline.remainingMs, deadline.passed]).toEqual([1, false]);
  jest.advanceTimersByTime(1);
  expect([deadline.remainingMs, deadline.passed]).toEqual([0, true]);
  jest.advanceTimersByTime(1);
  expect([deadline.remainingMs, deadline.passed]).toEqual([0, true]);
});

test('a deadline does not depend on the wall clock', () => {
  const deadline = Deadline.in(100);
  jest.setSystemTime(Date.now() + 1_000_000);
  expect(deadline.remainingMs).toBe(100);
});

import { expect, jest, test } from '@jest/globals';
import { getEventListeners } from 'node:events';
import { onAbort } from './abort.js';

const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;

test('all who wait for a signal are told its reason, once', () => {
  const controller = new AbortController();
  const callbacks = [jest.fn(), jest.fn(), jest.fn()];
  for (const callback of callbacks) onAbort(controller.signal, callback);
  controller.abort('the reason');
  expect(callbacks.map(({ mock }) => mock.calls)).toEqual([[['the reason']], [['the reason']], [['the reason']]]);
});

test('who takes it back is not told, and the others are', () => {
  const controller = new AbortController();
  const [kept, gone] = [jest.fn(), jest.fn()];
  onAbort(controller.signal, kept);
  const unsubscribe = onAbort(controller.signal, gone);
  unsubscribe();
  controller.abort('the reason');
  expect([kept.mock.calls, gone.mock.calls]).toEqual([[['the reason']], []]);
});

test('a signal has one listener, from the first who waits to the last, and again', () => {
  const controller = new AbortController();
  const { signal } = controller;
  const first = onAbort(signal, jest.fn());
  const second = onAbort(signal, jest.fn());
  expect(listeners(signal)).toBe(1);
  first();
  expect(listeners(signal)).toBe(1);
  second();
  expect(listeners(signal)).toBe(0);

  const callback = jest.fn();
  onAbort(signal, callback);
  expect(listeners(signal)).toBe(1);
  // Taking back what is taken back already changes nothing for those who came later.
  first();
  second();
  expect(listeners(signal)).toBe(1);
  controller.abort('the reason');
  expect(callback.mock.calls).toEqual([['the reason']]);
});

test('signals are told apart', () => {
  const [one, other] = [new AbortController(), new AbortController()];
  const callback = jest.fn();
  onAbort(one.signal, callback);
  onAbort(other.signal, jest.fn());
  other.abort('the other');
  expect(callback).not.toHaveBeenCalled();
  one.abort('the one');
  expect(callback.mock.calls).toEqual([['the one']]);
});

test('without a signal there is nothing to wait for, or to take back', () => {
  const callback = jest.fn();
  onAbort(undefined, callback)();
  expect(callback).not.toHaveBeenCalled();
});

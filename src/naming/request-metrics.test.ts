import { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Answer } from '../rpc/index.js';
import { ServerConnection, type CallRequest } from '../wire/index.js';
import { RequestMetrics, DURATION_BOUNDS, type MethodMetrics } from './request-metrics.js';

const call: CallRequest = { objectID: 'id', method: 'm', flags: 0, args: [], keywords: new Map() };
// Handed on, and never looked at.
const caller = new ServerConnection(new Socket());

let now: number;
/** How long each call takes, in milliseconds. */
let takes: number;

beforeEach(() => {
  [now, takes] = [5000, 0];
  jest.spyOn(performance, 'now').mockImplementation(() => now);
});

afterEach(() => {
  jest.restoreAllMocks();
});

const counted = (answer: () => Answer | Promise<Answer>): RequestMetrics =>
  new RequestMetrics({
    GUID: () => 'id',
    setGUID: () => undefined,
    hasMethod: () => true,
    invoke: () => {
      now += takes;
      return answer();
    },
  });

const countsOf = (calls: RequestMetrics): MethodMetrics | undefined => calls.methods.get('m');

/** How many calls are in each class: its upper bound and the number, where there are any. */
const classesOf = (calls: RequestMetrics): [bound: number, count: number][] =>
  (countsOf(calls)?.durations ?? [])
    .map((count, index): [number, number] => [DURATION_BOUNDS[index] ?? Infinity, count])
    .filter(([, count]) => count > 0);

describe('a call that has to wait', () => {
  test.each<[milliseconds: number, bound: number]>([
    [0, 0.000_01],
    [1000, 1],
    [1001, 5],
    [5000, 5],
    [5001, Infinity],
  ])('for %d ms is in the class up to %d s', async (milliseconds, bound) => {
    takes = milliseconds;
    const calls = counted(() => Promise.resolve(null));
    await calls.invoke(call, caller);
    expect(classesOf(calls)).toEqual([[bound, 1]]);
    expect(countsOf(calls)).toMatchObject({ answered: 1, failed: 0, seconds: milliseconds / 1000 });
  });

  test('and fails is counted as failed, with its time', async () => {
    takes = 40;
    const calls = counted(() => Promise.reject(new Error('no')));
    await expect(calls.invoke(call, caller)).rejects.toThrow('no');
    expect(classesOf(calls)).toEqual([[0.05, 1]]);
    expect(countsOf(calls)).toMatchObject({ answered: 0, failed: 1, seconds: 0.04 });
  });
});

describe('of calls that are answered at once', () => {
  test('one in 32 has its time taken, which stands for those after it', () => {
    const calls = counted(() => null);
    takes = 40;
    void calls.invoke(call, caller);
    takes = 400;
    for (let index = 1; index < 32; index += 1) void calls.invoke(call, caller);
    expect(classesOf(calls)).toEqual([[0.05, 32]]);
    void calls.invoke(call, caller);
    expect(classesOf(calls)).toEqual([
      [0.05, 32],
      [0.5, 1],
    ]);
    expect(countsOf(calls)?.answered).toBe(33);
    expect(countsOf(calls)?.seconds).toBeCloseTo(32 * 0.04 + 0.4);
  });

  test('those that fail are counted as failed, with their time', () => {
    takes = 40;
    const calls = counted(() => {
      throw new Error('no');
    });
    expect(() => calls.invoke(call, caller)).toThrow('no');
    expect(classesOf(calls)).toEqual([[0.05, 1]]);
    expect(countsOf(calls)).toMatchObject({ answered: 0, failed: 1 });
  });
});

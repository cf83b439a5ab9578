import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { TTLValue } from './ttl-value.js';

/** An answer that is due, to be given by hand. */
interface Due {
  readonly resolve: (value: string) => void;
  readonly reject: (error: Error) => void;
}

let due: Due[];
let value: TTLValue<string>;

beforeEach(() => {
  jest.useFakeTimers();
  due = [];
  value = new TTLValue(
    () =>
      new Promise((resolve, reject) => {
        due.push({ resolve, reject });
      }),
    { ttlMs: 900, costFactor: 10 },
  );
});

afterEach(() => {
  jest.useRealTimers();
});

const answer = (index: number, value: string): void => due[index]?.resolve(value);

describe('a value', () => {
  test('is shared by all who ask while it is on its way', async () => {
    const all = Promise.all([value.get(), value.get()]);
    answer(0, 'one');
    expect(await all).toEqual(['one', 'one']);
    expect(due).toHaveLength(1);
  });

  test.each([
    ['its time to live', 0, 900],
    ['its time to live, where it came fast', 90, 900],
    ['ten times as long as it took', 91, 910],
    ['ten times as long as it took, of a slow server', 5000, 50_000],
  ])('lives for %s: %i ms, %i ms', async (_what, takes, good) => {
    const first = value.get();
    jest.advanceTimersByTime(takes);
    answer(0, 'one');
    expect(await first).toBe('one');
    jest.advanceTimersByTime(good - 1);
    expect(await value.get()).toBe('one');
    expect(due).toHaveLength(1);
    jest.advanceTimersByTime(1);
    const second = value.get();
    expect(due).toHaveLength(2);
    answer(1, 'two');
    expect(await second).toBe('two');
  });

  test('is asked for again, however new it is', async () => {
    const first = value.get();
    answer(0, 'one');
    await first;
    const second = value.reload();
    answer(1, 'two');
    expect([await second, await value.get()]).toEqual(['two', 'two']);
    expect(due).toHaveLength(2);
  });

  test.each([
    ['first', [0, 1]],
    ['last', [1, 0]],
  ])('of the older of two questions is not kept, where it comes %s', async (_when, order) => {
    const both = [value.get(), value.reload()];
    for (const index of order) answer(index, index === 0 ? 'old' : 'new');
    expect(await Promise.all(both)).toEqual(['old', 'new']);
    expect(await value.get()).toBe('new');
    expect(due).toHaveLength(2);
  });

  test('that was forgotten is asked for again, and what was under way is not kept', async () => {
    const first = value.get();
    value.invalidate();
    const second = value.get();
    answer(1, 'new');
    await second;
    answer(0, 'old');
    expect([await first, await second, await value.get()]).toEqual(['old', 'new', 'new']);
    value.invalidate();
    void value.get();
    expect(due).toHaveLength(3);
  });

  test('that could not be had is asked for again', async () => {
    const first = value.get();
    due[0]?.reject(new Error('connection lost'));
    await expect(first).rejects.toThrow('connection lost');
    const second = value.get();
    answer(1, 'one');
    expect(await second).toBe('one');
  });
});

describe('who can not wait long', () => {
  const load = (): Promise<string> => new Promise((resolve, reject) => due.push({ resolve, reject }));

  beforeEach(() => {
    value = new TTLValue(load, { costFactor: 0 });
  });

  test('gets the last value after that time, however old, and the new one when it is there', async () => {
    const first = value.get();
    answer(0, 'one');
    await first;
    const waiting = value.getWithin(50);
    jest.advanceTimersByTime(50);
    expect(await waiting).toBe('one');
    const next = value.getWithin(50);
    answer(1, 'two');
    expect(await next).toBe('two');
    expect(jest.getTimerCount()).toBe(0);
    expect(due).toHaveLength(2);
  });

  test('gets undefined where there is no value yet', async () => {
    const answered = jest.fn();
    const waiting = value.getWithin(50).then(answered);
    await jest.advanceTimersByTimeAsync(49);
    expect(answered).not.toHaveBeenCalled();
    jest.advanceTimersByTime(1);
    await waiting;
    expect(answered.mock.calls).toEqual([[undefined]]);
  });

  test('gets the failure of a load', async () => {
    const waiting = value.getWithin(50);
    due[0]?.reject(new Error('connection lost'));
    await expect(waiting).rejects.toThrow('connection lost');
    expect(jest.getTimerCount()).toBe(0);
  });
});

test('without a least time, a value lives as many times as long as loading took', async () => {
  value = new TTLValue(() => new Promise((resolve, reject) => due.push({ resolve, reject })), { costFactor: 3 });
  const first = value.get();
  jest.advanceTimersByTime(10);
  answer(0, 'one');
  await first;
  jest.advanceTimersByTime(29);
  expect(await value.get()).toBe('one');
  jest.advanceTimersByTime(1);
  void value.get();
  expect(due).toHaveLength(2);
});

import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { TTLValue } from './ttl-value.js';

/** An answer that is due, to be given by hand. */
interface Due {
  readonly resolve: (value: string) => void;
  readonly reject: (error: Error) => void;
}

let due: Due[];
let recent: TTLValue<string>;

beforeEach(() => {
  jest.useFakeTimers();
  due = [];
  recent = new TTLValue(
    () =>
      new Promise((resolve, reject) => {
        due.push({ resolve, reject });
      }),
    900,
  );
});

afterEach(() => {
  jest.useRealTimers();
});

const answer = (index: number, value: string): void => due[index]?.resolve(value);

describe('a value', () => {
  test('is shared by all who ask while it is on its way', async () => {
    const all = Promise.all([recent.get(), recent.get()]);
    answer(0, 'one');
    expect(await all).toEqual(['one', 'one']);
    expect(due).toHaveLength(1);
  });

  test.each([
    ['its lifetime', 0, 900],
    ['its lifetime, where it came fast', 90, 900],
    ['ten times as long as it took', 91, 910],
    ['ten times as long as it took, of a slow server', 5000, 50_000],
  ])('is good for %s: %i ms, %i ms', async (_what, takes, good) => {
    const first = recent.get();
    jest.advanceTimersByTime(takes);
    answer(0, 'one');
    expect(await first).toBe('one');
    jest.advanceTimersByTime(good - 1);
    expect(await recent.get()).toBe('one');
    expect(due).toHaveLength(1);
    jest.advanceTimersByTime(1);
    const second = recent.get();
    expect(due).toHaveLength(2);
    answer(1, 'two');
    expect(await second).toBe('two');
  });

  test('is asked for again, however new it is', async () => {
    const first = recent.get();
    answer(0, 'one');
    await first;
    const second = recent.reload();
    answer(1, 'two');
    expect([await second, await recent.get()]).toEqual(['two', 'two']);
    expect(due).toHaveLength(2);
  });

  test.each([
    ['first', [0, 1]],
    ['last', [1, 0]],
  ])('of the older of two questions is not kept, where it comes %s', async (_when, order) => {
    const both = [recent.get(), recent.reload()];
    for (const index of order) answer(index, index === 0 ? 'old' : 'new');
    expect(await Promise.all(both)).toEqual(['old', 'new']);
    expect(await recent.get()).toBe('new');
    expect(due).toHaveLength(2);
  });

  test('that was forgotten is asked for again, and what was under way is not kept', async () => {
    const first = recent.get();
    recent.invalidate();
    const second = recent.get();
    answer(1, 'new');
    await second;
    answer(0, 'old');
    expect([await first, await second, await recent.get()]).toEqual(['old', 'new', 'new']);
    recent.invalidate();
    void recent.get();
    expect(due).toHaveLength(3);
  });

  test('that could not be had is asked for again', async () => {
    const first = recent.get();
    due[0]?.reject(new Error('connection lost'));
    await expect(first).rejects.toThrow('connection lost');
    const second = recent.get();
    answer(1, 'one');
    expect(await second).toBe('one');
  });
});

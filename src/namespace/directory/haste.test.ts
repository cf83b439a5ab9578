import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Haste, WARY_OF_CHANGES, WARY_OF_READING } from './haste.js';

describe('small things are done with files', () => {
  let now: number;

  beforeEach(() => {
    now = 1000;
    jest.useFakeTimers({ doNotFake: ['performance'] });
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });
  afterEach(() => {
    jest.restoreAllMocks();
    jest.useRealTimers();
  });

  const endTurn = () => {
    jest.runOnlyPendingTimers();
  };

  /** Does something that takes so long, and says in which way it was done. */
  const run = (haste: Haste, tookMs = 0) =>
    haste.run(
      () => {
        now += tookMs;
        return 'at once';
      },
      () => Promise.resolve('later'),
    );

  test('at once for 2 ms in each turn of the event loop', async () => {
    const haste = new Haste(true, { slowMs: 5, waryMs: 200 });
    expect(await run(haste, 1.5)).toBe('at once');
    expect(await run(haste, 0.4)).toBe('at once');
    expect(await run(haste, 0.1)).toBe('at once');
    expect(await run(haste)).toBe('later');
    endTurn();
    expect(await run(haste, 2)).toBe('at once');
    expect(await run(haste)).toBe('later');
    endTurn();
    expect(await run(haste)).toBe('at once');
  });

  test('later for a while after the disk was slow, and not for what is just fast enough', async () => {
    const haste = new Haste(true, { slowMs: 5, waryMs: 200 });
    expect(await run(haste, 5)).toBe('at once');
    endTurn();
    expect(await run(haste, 5.5)).toBe('at once');
    endTurn();
    now += 199;
    expect(await run(haste)).toBe('later');
    now += 1;
    expect(await run(haste)).toBe('at once');
  });

  test('never at once where anything may take long', async () => {
    expect(await run(new Haste(false, WARY_OF_READING))).toBe('later');
  });

  test('at once with an error as a rejection, whose time counts', async () => {
    const haste = new Haste(true, WARY_OF_CHANGES);
    const failing = haste.run(
      () => {
        now += 6;
        throw new Error('EIO');
      },
      () => Promise.resolve('later'),
    );
    await expect(failing).rejects.toEqual(new Error('EIO'));
    endTurn();
    expect(await run(haste)).toBe('later');
  });

  test('with limits that the figures of the documentation rest on', () => {
    expect([WARY_OF_CHANGES, WARY_OF_READING]).toEqual([
      { slowMs: 5, waryMs: 200 },
      { slowMs: 0.06, waryMs: 2 },
    ]);
  });
});

import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { InlineIOPolicy, WRITE_BACKOFF, READ_BACKOFF } from './inline-io-policy.js';

describe('small file operations run', () => {
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
  const run = (inlineIO: InlineIOPolicy, tookMs = 0) =>
    inlineIO.run(
      () => {
        now += tookMs;
        return 'inline';
      },
      () => Promise.resolve('offload'),
    );

  test('inline for 2 ms in each turn of the event loop', async () => {
    const inlineIO = new InlineIOPolicy(true, { slowMs: 5, backoffMs: 200 });
    expect(await run(inlineIO, 1.5)).toBe('inline');
    expect(await run(inlineIO, 0.4)).toBe('inline');
    expect(await run(inlineIO, 0.1)).toBe('inline');
    expect(await run(inlineIO)).toBe('offload');
    endTurn();
    expect(await run(inlineIO, 2)).toBe('inline');
    expect(await run(inlineIO)).toBe('offload');
    endTurn();
    expect(await run(inlineIO)).toBe('inline');
  });

  test('offloaded for a while after the disk was slow, and not for what is just fast enough', async () => {
    const inlineIO = new InlineIOPolicy(true, { slowMs: 5, backoffMs: 200 });
    expect(await run(inlineIO, 5)).toBe('inline');
    endTurn();
    expect(await run(inlineIO, 5.5)).toBe('inline');
    endTurn();
    now += 199;
    expect(await run(inlineIO)).toBe('offload');
    now += 1;
    expect(await run(inlineIO)).toBe('inline');
  });

  test('never inline where anything may take long', async () => {
    expect(await run(new InlineIOPolicy(false, READ_BACKOFF))).toBe('offload');
  });

  test('inline with an error as a rejection, whose time counts', async () => {
    const inlineIO = new InlineIOPolicy(true, WRITE_BACKOFF);
    const failing = inlineIO.run(
      () => {
        now += 6;
        throw new Error('EIO');
      },
      () => Promise.resolve('offload'),
    );
    await expect(failing).rejects.toEqual(new Error('EIO'));
    endTurn();
    expect(await run(inlineIO)).toBe('offload');
  });

  test('with limits that the figures of the documentation rest on', () => {
    expect([WRITE_BACKOFF, READ_BACKOFF]).toEqual([
      { slowMs: 5, backoffMs: 200 },
      { slowMs: 0.06, backoffMs: 2 },
    ]);
  });
});

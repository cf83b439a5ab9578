import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import * as files from './files.js';

const syncDirectory = jest.fn<typeof files.syncDirectory>();
jest.unstable_mockModule('./files.js', () => ({ ...files, syncDirectory }));
const { DirectorySync } = await import('./directory-sync.js');

/** An fsync of a directory failed, which would have made durable what is in it up to a certain change. */
class SyncError extends Error {
  constructor(
    readonly directory: string,
    readonly seen: number,
  ) {
    super('EIO');
  }
}

describe('a shared sync of directories', () => {
  beforeEach(() => {
    syncDirectory.mockReset();
  });

  const change = fc.record({ directory: fc.constantFrom('/a', '/b'), syncFails: fc.boolean() });

  test('makes durable what was changed before it was asked for, whatever the order of events', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(change, { maxLength: 12 }), async (scheduler, changes) => {
        const changed = new Map<string, number>();
        const durable = new Map<string, number>();
        const running = new Set<string>();
        const wrong: string[] = [];
        let calls = 0;
        syncDirectory.mockImplementation(async (directory) => {
          const call = calls;
          calls += 1;
          if (running.has(directory)) wrong.push(`two syncs of ${directory} at once`);
          running.add(directory);
          // An fsync is certain of what was there when it began, and of no more.
          const seen = changed.get(directory) ?? 0;
          await scheduler.schedule(Promise.resolve(), `fsync ${call} of ${directory}`);
          running.delete(directory);
          if (changes[call]?.syncFails === true) throw new SyncError(directory, seen);
          durable.set(directory, seen);
        });
        const shared = new DirectorySync(true);
        const results = changes.map(async ({ directory }, index) => {
          await scheduler.schedule(Promise.resolve(), `change ${index} in ${directory}`);
          const mine = (changed.get(directory) ?? 0) + 1;
          changed.set(directory, mine);
          try {
            await shared.sync(directory);
            const done = durable.get(directory) ?? 0;
            if (done < mine) wrong.push(`change ${mine} in ${directory} is told to be durable: ${done} is`);
          } catch (error) {
            // The error has to be that of an fsync that began after the change.
            const seen = error instanceof SyncError && error.directory === directory ? error.seen : -1;
            if (seen < mine) wrong.push(`change ${mine} in ${directory} fails with the sync of ${seen}`);
          }
        });
        await scheduler.waitFor(Promise.all(results));
        expect(wrong).toEqual([]);
        expect(shared.count).toBe(calls);
      }),
    );
  });

  test('costs one fsync more for all who come while one is under way, which waits until that is done', async () => {
    const ends: (() => void)[] = [];
    syncDirectory.mockImplementation(() => new Promise((resolve) => ends.push(resolve)));
    const shared = new DirectorySync(true);
    const first = shared.sync('/a');
    const others = Array.from({ length: 100 }, () => shared.sync('/a'));
    const elsewhere = shared.sync('/b');
    expect(syncDirectory.mock.calls).toEqual([['/a'], ['/b']]);
    ends[0]?.();
    await first;
    await new Promise((resolve) => setImmediate(resolve));
    expect(syncDirectory.mock.calls).toEqual([['/a'], ['/b'], ['/a']]);
    // Who comes while the second is under way isn't content with that one, either.
    const last = shared.sync('/a');
    ends[2]?.();
    await Promise.all(others);
    await new Promise((resolve) => setImmediate(resolve));
    expect(syncDirectory).toHaveBeenCalledTimes(4);
    for (const end of ends) end();
    await Promise.all([elsewhere, last]);
    // Nothing is left over: the next begins at once.
    void shared.sync('/a');
    expect(syncDirectory).toHaveBeenCalledTimes(5);
    expect(shared.count).toBe(5);
  });

  test('shares the next fsync also with who comes in the moment between two', async () => {
    const ends: (() => void)[] = [];
    syncDirectory.mockImplementation(() => new Promise((resolve) => ends.push(resolve)));
    const shared = new DirectorySync(true);
    // Who waited for the first changes the directory again at once, before the second has begun.
    const again = shared.sync('/a').then(() => shared.sync('/a'));
    const second = shared.sync('/a');
    ends[0]?.();
    await new Promise((resolve) => setImmediate(resolve));
    expect(syncDirectory).toHaveBeenCalledTimes(2);
    ends[1]?.();
    await Promise.all([again, second]);
    expect(syncDirectory).toHaveBeenCalledTimes(2);
  });

  test('waits for nothing where it is not wanted', async () => {
    const shared = new DirectorySync(false);
    await shared.sync('/a');
    expect(shared.enabled).toBe(false);
    expect(shared.count).toBe(0);
    expect(syncDirectory).not.toHaveBeenCalled();
  });
});

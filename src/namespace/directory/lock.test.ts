import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs';
import { symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { silentLog } from '../../config/index.js';
import { OWN_DIRECTORY } from './layout.js';
import { DatabaseInUseError, DatabaseLock, LOCK_STALE_MS } from './lock.js';

describe('DatabaseLock', () => {
  let directory: string;
  let root: string;
  const taken: DatabaseLock[] = [];

  beforeEach(() => {
    directory = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-lock-`));
    root = `${directory}/db`;
    mkdirSync(root);
  });
  afterEach(async () => {
    await Promise.all(taken.splice(0).map((lock) => lock.release()));
    rmSync(directory, { recursive: true });
  });

  async function take(path = root): Promise<DatabaseLock> {
    const lock = await DatabaseLock.acquire(path, silentLog);
    taken.push(lock);
    return lock;
  }

  const own = (file: string) => `${root}/${OWN_DIRECTORY}/${file}`;
  const readRecord = (): unknown => JSON.parse(readFileSync(own('holder.ns_meta'), 'utf8'));

  /** The lock is there, and its record names this process as the holder of this very lock. */
  function expectOurs(): void {
    const { ino } = statSync(own('lock.ns_meta'));
    expect(readRecord()).toMatchObject({ host: hostname(), pid: process.pid, lock: ino });
  }

  /** Leaves what a holder leaves that dies. */
  async function leaveLock(changes: object, ageMs = 0): Promise<void> {
    const lock = await DatabaseLock.acquire(root, silentLog);
    const record = readRecord();
    await lock.release();
    mkdirSync(own('lock.ns_meta'), { recursive: true });
    const { ino } = statSync(own('lock.ns_meta'));
    writeFileSync(own('holder.ns_meta'), JSON.stringify(Object.assign({}, record, { lock: ino }, changes)));
    const time = (Date.now() - ageMs) / 1000;
    utimesSync(own('lock.ns_meta'), time, time);
  }

  it('is had by one at a time, and says who that is', async () => {
    const start = new Date();
    const lock = await take();
    const error = await take().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DatabaseInUseError);
    expect(error).toMatchObject({ path: root, holder: { host: hostname(), pid: process.pid } });
    expect(String(error)).toMatch(`the database ${root} is in use by process ${process.pid} on ${hostname()}, since `);
    expect(readRecord()).toMatchObject({ host: hostname(), pid: process.pid });
    const since = error instanceof DatabaseInUseError ? (error.holder?.since ?? '') : '';
    expect(Date.parse(since)).toBeGreaterThanOrEqual(start.getTime() - 1);
    await lock.release();
    await take();
  });

  it('leaves nothing in the database when it is let go', async () => {
    await (await take()).release();
    expect(readdirSync(root)).toEqual([]);
  });

  it('is the same by whatever path', async () => {
    symlinkSync(root, `${directory}/link`);
    await take(`${directory}/link`);
    await expect(take()).rejects.toBeInstanceOf(DatabaseInUseError);
  });

  it('is had by one of many who want it at once', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => take()));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('is taken over at once from a process that has died here', async () => {
    const child = spawn('true');
    await once(child, 'exit');
    await leaveLock({ pid: child.pid });
    await take();
    expectOurs();
  });

  it('is taken over at once when the number of a dead process was given to another', async () => {
    await leaveLock({ pid: process.ppid, started: '1' });
    await take();
    expectOurs();
  });

  it('is not taken over from a live process here that shows no sign of life', async () => {
    await leaveLock({}, 10 * LOCK_STALE_MS);
    await expect(take()).rejects.toBeInstanceOf(DatabaseInUseError);
  });

  it('is taken over from another machine only after a while without a sign of life', async () => {
    const elsewhere = { host: 'elsewhere', machine: 'another', pid: 1 };
    await leaveLock(elsewhere, LOCK_STALE_MS / 2);
    await expect(take()).rejects.toThrow(`${root} is in use by process 1 on elsewhere, since `);
    rmSync(own('lock.ns_meta'), { recursive: true });
    await leaveLock(elsewhere, LOCK_STALE_MS * 2);
    await take();
    expectOurs();
  });

  it.each([
    ['no holder', undefined],
    ['garbage', 'garbage'],
    ['another thing', '{"pid": "1"}'],
  ])('is taken over where its taking was cut short: %s', async (_, content) => {
    mkdirSync(own('lock.ns_meta'), { recursive: true });
    if (content !== undefined) writeFileSync(own('holder.ns_meta'), content);
    await take();
    expectOurs();
  });

  it('of a database does not hold its copy', async () => {
    await take();
    cpSync(root, `${directory}/copy`, { recursive: true, preserveTimestamps: true });
    await take(`${directory}/copy`);
    expect(existsSync(own('lock.ns_meta'))).toBe(true);
  });

  it('of a database does not hold a copy of its file system, where the lock has the same inode', async () => {
    const { dev } = statSync(root);
    await leaveLock({ device: dev });
    await expect(take()).rejects.toBeInstanceOf(DatabaseInUseError);
    rmSync(own('lock.ns_meta'), { recursive: true });
    await leaveLock({ device: dev + 1, machine: 'another' });
    await expect(take()).rejects.toBeInstanceOf(DatabaseInUseError);
    rmSync(own('lock.ns_meta'), { recursive: true });
    await leaveLock({ device: dev + 1 });
    await take();
  });

  it('is let go where its holder can not be written down', async () => {
    mkdirSync(own('holder.ns_meta'), { recursive: true });
    await expect(take()).rejects.toMatchObject({ code: 'EISDIR' });
    expect(existsSync(own('lock.ns_meta'))).toBe(false);
    rmSync(own('holder.ns_meta'), { recursive: true });
    await take();
  });

  describe('that was removed, with the directory it was in', () => {
    // The lock is looked at every five seconds, which pass when a test says so; the file system is the real one.
    const turn = () => new Promise((resolve) => setImmediate(resolve));

    beforeEach(() => {
      jest.useFakeTimers({ doNotFake: ['Date', 'performance', 'setImmediate', 'nextTick', 'queueMicrotask'] });
    });
    afterEach(() => {
      jest.useRealTimers();
    });

    it('is taken again', async () => {
      const lock = await take();
      rmSync(root, { recursive: true });
      mkdirSync(root);
      jest.advanceTimersByTime(5000);
      while (!existsSync(own('holder.ns_meta'))) await turn();
      // The guard stays until all is done.
      while (existsSync(own('guard.ns_meta'))) await turn();
      lock.requireHeld();
      expectOurs();
    });

    it('forbids changes once another has taken it', async () => {
      const lock = await take();
      rmSync(`${root}/${OWN_DIRECTORY}`, { recursive: true });
      await take();
      lock.requireHeld();
      jest.advanceTimersByTime(5000);
      while (lock.problem === undefined) await turn();
      expect(() => {
        lock.requireHeld();
      }).toThrow('the database is in use by another server');
    });
  });
});

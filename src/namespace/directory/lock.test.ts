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
import { symlinkSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { silentLog } from '../../config/index.js';
import { OWN_DIRECTORY } from './layout.js';
import { DatabaseInUseError, DatabaseLock } from './lock.js';

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
  const recordPath = () => {
    const record = readdirSync(own('lock.ns_meta')).find((name) => name.startsWith('holder-'));
    return own(`lock.ns_meta/${record}`);
  };
  const readRecord = (): unknown => JSON.parse(readFileSync(recordPath(), 'utf8'));

  /** The lock is there, and its record names this process as the holder of this very lock. */
  function expectOurs(): void {
    const { ino } = statSync(own('lock.ns_meta'));
    expect(readRecord()).toMatchObject({ host: hostname(), pid: process.pid, lock: ino });
  }

  /** Leaves what a holder leaves that dies. */
  async function leaveLock(changes: object): Promise<void> {
    const lock = await DatabaseLock.acquire(root, silentLog);
    const record = readRecord();
    await lock.release();
    mkdirSync(own('lock.ns_meta/heartbeat-00000000-0000-4000-8000-000000000001'), { recursive: true });
    const { ino } = statSync(own('lock.ns_meta'));
    const content = JSON.stringify(Object.assign({}, record, { lock: ino, id: 'another' }, changes));
    writeFileSync(own('lock.ns_meta/holder-00000000-0000-4000-8000-000000000001-7'), content);
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

  it('is not taken over from a live process here', async () => {
    await leaveLock({});
    await expect(take()).rejects.toBeInstanceOf(DatabaseInUseError);
  });

  it('leaves nothing else in the database while it is held', async () => {
    await take();
    expect(readdirSync(root)).toEqual([OWN_DIRECTORY]);
    expect(readdirSync(`${root}/${OWN_DIRECTORY}`)).toEqual(['lock.ns_meta']);
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
    await leaveLock({ device: dev + 1 });
    await take();
    expectOurs();
  });

  describe('that was removed, with the directory it was in', () => {
    // The lock is looked at every two seconds, which pass when a test says so; the file system is the real one.
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
      jest.advanceTimersByTime(2000);
      while (!existsSync(own('lock.ns_meta'))) await turn();
      await lock.confirm();
      expectOurs();
    });

    it('forbids changes once another has taken it', async () => {
      const lock = await take();
      rmSync(`${root}/${OWN_DIRECTORY}`, { recursive: true });
      await take();
      jest.advanceTimersByTime(2000);
      while (lock.problem === undefined) await turn();
      await expect(lock.confirm()).rejects.toThrow('the database is in use by another server');
    });
  });
});

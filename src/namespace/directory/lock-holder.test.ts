import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import type { LockOptions } from 'proper-lockfile';
import { silentLog } from '../../config/index.js';
import { OWN_DIRECTORY } from './layout.js';
import type { DatabaseLock as Lock, DatabaseLockOptions } from './lock.js';

// The machine as /proc tells of it, the heartbeat and the clocks, by hand: no process has to live or die for a test, and no time
// has to pass.

/** What is read below /proc: no entry where it isn't there. */
const proc = new Map<string, string>();
const notFound = () => Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
const fromProc = async (path: string) => {
  const text = proc.get(path);
  if (text === undefined) throw notFound();
  return Promise.resolve(text);
};
const readFile = (path: string, encoding: BufferEncoding) =>
  path.startsWith('/proc/') ? fromProc(path) : promises.readFile(path, encoding);
const readlink = (path: string) => (path.startsWith('/proc/') ? fromProc(path) : promises.readlink(path));
let failRename: Error | undefined;
const rename = (from: string, to: string) => (failRename ? Promise.reject(failRename) : promises.rename(from, to));
jest.unstable_mockModule('node:fs/promises', () => ({ ...promises, readFile, readlink, rename }));

/** The heartbeats that were started, and not stopped. */
let heartbeats: { readonly path: string; readonly options: LockOptions }[] = [];
let failHeartbeat: Error | undefined;
const startHeartbeat = (path: string, options: LockOptions) => {
  if (failHeartbeat) return Promise.reject(failHeartbeat);
  fs.mkdirSync(path);
  const heartbeat = { path, options };
  heartbeats.push(heartbeat);
  return Promise.resolve(() => {
    heartbeats = heartbeats.filter((other) => other !== heartbeat);
    fs.rmSync(path, { recursive: true, force: true });
    return Promise.resolve();
  });
};
jest.unstable_mockModule('proper-lockfile', () => ({ lock: startHeartbeat }));

let watchMode: 'native' | 'polling' = 'native';
const watch = await import('./watcher.js');
jest.unstable_mockModule('./watcher.js', () => ({ ...watch, suitableWatchMode: () => Promise.resolve(watchMode) }));
const { DatabaseInUseError, DatabaseLock, LOCK_FILES, LOCK_STALE_MS } = await import('./lock.js');

const HOLDER_PID = 4242;
/** The line of a process in /proc: its name may hold anything. */
const statOf = (pid: number, state: string, started: string, name = 'node') =>
  `${pid} (${name}) ${state} ${Array.from({ length: 18 }, (_, index) => index).join(' ')} ${started} 7 8 9\n`;

const HERE = 'boot-1 pid:[1]';

const ANOTHER_ID = '00000000-0000-4000-8000-000000000001';
const ELSEWHERE = 'boot-2 pid:[1]';

describe('the lock of a database', () => {
  let root: string;
  let platform: PropertyDescriptor | undefined;
  const own = (file: string) => `${root}/${OWN_DIRECTORY}/${file}`;
  const inLock = () => fs.readdirSync(own('lock.ns_meta')).sort();
  const taken: Lock[] = [];

  beforeEach(() => {
    root = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-holder-`));
    platform = Object.getOwnPropertyDescriptor(process, 'platform');
    heartbeats = [];
    watchMode = 'native';
    proc.clear();
    proc.set('/proc/sys/kernel/random/boot_id', 'boot-1\n');
    proc.set('/proc/self', String(process.pid));
    proc.set('/proc/self/ns/pid', 'pid:[1]');
    proc.set(`/proc/${process.pid}/stat`, statOf(process.pid, 'R', '100'));
    proc.set(`/proc/${HOLDER_PID}/stat`, statOf(HOLDER_PID, 'S', '77'));
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
  });
  afterEach(async () => {
    for (const lock of taken.splice(0)) await lock.release();
    expect(heartbeats).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
    jest.restoreAllMocks();
    if (platform !== undefined) Object.defineProperty(process, 'platform', platform);
    fs.rmSync(root, { recursive: true });
  });

  async function take(log = silentLog, options: DatabaseLockOptions = {}): Promise<Lock> {
    const lock = await DatabaseLock.acquire(root, log, options);
    taken.push(lock);
    return lock;
  }

  /** The record in the lock: there is one. */
  function readRecord(): unknown {
    const records = inLock().filter((name) => name.startsWith('holder-'));
    expect(records).toHaveLength(1);
    return JSON.parse(fs.readFileSync(own(`lock.ns_meta/${records[0]}`), 'utf8'));
  }

  const lockStats = () => fs.statSync(own('lock.ns_meta'));

  /** Leaves a lock, as if another process held it. */
  function leave(changes: object = {}, id = ANOTHER_ID): void {
    fs.mkdirSync(own(`lock.ns_meta/heartbeat-${id}`), { recursive: true });
    const { ino, dev } = lockStats();
    const record = {
      host: hostname(),
      pid: HOLDER_PID,
      since: '2002-01-16T16:45:02.000Z',
      id,
      machine: HERE,
      started: '77',
      lock: ino,
      device: dev,
    };
    leaveRecord(JSON.stringify({ ...record, ...changes }), id);
  }

  function leaveRecord(content: string, id = ANOTHER_ID): void {
    fs.writeFileSync(own(`lock.ns_meta/holder-${id}-1`), content);
  }

  /** The holder shows that it is alive. */
  let beats = 0;
  function beat(id = ANOTHER_ID): void {
    beats += 1;
    fs.utimesSync(own(`lock.ns_meta/heartbeat-${id}`), beats, beats);
  }

  /** An attempt to take the lock, which may wait. */
  function begin(log = silentLog) {
    const controller = new AbortController();
    const texts: string[] = [];
    let isOver = false;
    const outcome = take(log, { signal: controller.signal, onWait: (text) => texts.push(text) })
      .then(
        () => 'taken',
        (error: unknown) => (error instanceof DatabaseInUseError ? 'in use' : error),
      )
      .finally(() => {
        isOver = true;
      });
    return {
      outcome,
      texts,
      /** Lets it go on until it waits, or is over. */
      async settle(): Promise<void> {
        while (!isOver && jest.getTimerCount() === 0) await turn();
      },
      get isOver(): boolean {
        return isOver;
      },
      abort(reason: Error): void {
        controller.abort(reason);
      },
    };
  }

  /** What an attempt to take the lock comes to before any time has passed. */
  async function attempt(): Promise<unknown> {
    const attempted = begin();
    await attempted.settle();
    if (attempted.isOver) return attempted.outcome;
    const reason = new Error('enough');
    attempted.abort(reason);
    expect(await attempted.outcome).toBe(reason);
    return 'waits';
  }

  const turn = () => new Promise((resolve) => setImmediate(resolve));

  /** Lets time pass for an attempt, in the steps in which it looks. */
  async function pass(attempted: ReturnType<typeof begin>, milliseconds: number, stepMs = 500): Promise<void> {
    for (let passedMs = 0; passedMs < milliseconds && !attempted.isOver; passedMs += stepMs) {
      jest.advanceTimersByTime(stepMs);
      await attempted.settle();
    }
  }

  it('says who holds it, and what tells this process from others', async () => {
    await take();
    const { ino, dev } = lockStats();
    expect(readRecord()).toEqual({
      host: hostname(),
      pid: process.pid,
      since: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/),
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      machine: HERE,
      started: '100',
      lock: ino,
      device: dev,
    });
  });

  it.each([
    ['nothing is known of the machine', () => undefined],
    ['/proc is that of other processes', () => proc.set('/proc/self', '1')],
  ])('says so where %s', async (_, change) => {
    if (change() === undefined) proc.clear();
    await take();
    expect(readRecord()).toMatchObject({ machine: null, started: null });
  });

  it('consists of the files that are known as its own, with a heartbeat that decides nothing by the wall clock', async () => {
    await take();
    expect(fs.readdirSync(`${root}/${OWN_DIRECTORY}`)).toEqual([...LOCK_FILES]);
    expect(inLock()).toEqual([
      expect.stringMatching(/^heartbeat-[0-9a-f-]{36}$/),
      expect.stringMatching(/^holder-[0-9a-f-]{36}-\d+$/),
    ]);
    const path = own(`lock.ns_meta/${inLock()[0]}`);
    const options = { realpath: false, lockfilePath: path, stale: Infinity, update: 2000 };
    expect(heartbeats).toEqual([{ path, options: { ...options, onCompromised: expect.any(Function) } }]);
  });

  it.each([
    ['runs', statOf(HOLDER_PID, 'R', '77'), 'in use'],
    ['sleeps', statOf(HOLDER_PID, 'S', '77'), 'in use'],
    ['waits for a disk', statOf(HOLDER_PID, 'D', '77'), 'in use'],
    ['is stopped', statOf(HOLDER_PID, 'T', '77'), 'in use'],
    ['is a zombie', statOf(HOLDER_PID, 'Z', '77'), 'taken'],
    ['is dead', statOf(HOLDER_PID, 'X', '77'), 'taken'],
    ['has another start time, so is another process', statOf(HOLDER_PID, 'S', '78'), 'taken'],
    ['has a name with parentheses', statOf(HOLDER_PID, 'S', '77', 'a) Z 1 (b) X'), 'in use'],
    ['is a zombie with such a name', statOf(HOLDER_PID, 'Z', '77', 'a) S 1'), 'taken'],
  ])('is judged by its holder: one that %s', async (_, stat, outcome) => {
    leave();
    proc.set(`/proc/${HOLDER_PID}/stat`, stat);
    expect(await attempt()).toBe(outcome);
  });

  it('believes a living process that did not say when it started', async () => {
    leave({ started: null });
    expect(await attempt()).toBe('in use');
  });

  /** What the system says of a process. */
  function answerKill(code: string | undefined) {
    return jest.spyOn(process, 'kill').mockImplementation(() => {
      if (code !== undefined) throw Object.assign(new Error(code), { code });
      return true;
    });
  }

  it.each([
    ['is there', undefined, 'in use'],
    ['is somebody else’s', 'EPERM', 'in use'],
    ['is not there', 'ESRCH', 'taken'],
  ])('asks the system where /proc does not show a process: it %s', async (_, code, outcome) => {
    proc.delete(`/proc/${HOLDER_PID}/stat`);
    leave();
    const kill = answerKill(code);
    expect(await attempt()).toBe(outcome);
    expect(kill.mock.calls).toEqual([[HOLDER_PID, 0]]);
  });

  it.each([
    ['another machine', { machine: ELSEWHERE }],
    ['another container', { machine: 'boot-1 pid:[2]' }],
    ['a host that does not say which machine it is', { machine: null }],
  ])('of %s is left to its signs of life, even if the process id is dead here', async (_, changes) => {
    proc.set(`/proc/${HOLDER_PID}/stat`, statOf(HOLDER_PID, 'Z', '77'));
    answerKill('ESRCH');
    leave(changes);
    expect(await attempt()).toBe('waits');
  });

  it('is left to its signs of life where /proc is that of other processes', async () => {
    leave();
    proc.set('/proc/self', '1');
    answerKill('ESRCH');
    expect(await attempt()).toBe('waits');
  });

  it.each([
    ['is not there', 'ESRCH', {}, 'taken'],
    // Perhaps it is another process, to which its id was given.
    ['is there', undefined, {}, 'waits'],
    ['is on a host of another name', 'ESRCH', { host: 'elsewhere' }, 'waits'],
  ])('is judged by its process where there is no /proc: one that %s', async (_, code, changes, outcome) => {
    proc.clear();
    Object.defineProperty(process, 'platform', { value: 'darwin' });
    answerKill(code);
    leave({ machine: null, started: null, ...changes });
    expect(await attempt()).toBe(outcome);
  });

  it('that came with a copy of the database, in another inode, holds nothing', async () => {
    leave();
    leave({ lock: lockStats().ino + 1 });
    expect(await attempt()).toBe('taken');
  });

  it('is not taken for a copy by its inode on a network file system, where each machine may count its own', async () => {
    watchMode = 'polling';
    leave({ machine: ELSEWHERE });
    leave({ machine: ELSEWHERE, lock: lockStats().ino + 1 });
    expect(await attempt()).toBe('waits');
  });

  it.each([
    ['of a local file system is on another device', 'native', {}, 'taken'],
    ['is on a network file system', 'polling', {}, 'in use'],
    ['was written by another machine', 'native', { machine: ELSEWHERE }, 'waits'],
    ['was written by an unknown machine', 'native', { machine: null }, 'waits'],
  ] as const)(
    'with the same inode holds nothing only where it came with a copy: it %s',
    async (_, mode, changes, outcome) => {
      fs.mkdirSync(own('lock.ns_meta'), { recursive: true });
      watchMode = mode;
      leave({ device: lockStats().dev + 1, ...changes });
      expect(await attempt()).toBe(outcome);
    },
  );

  it('that is of an unknown machine is not taken for a copy where this machine is unknown, too', async () => {
    proc.delete('/proc/self/ns/pid');
    fs.mkdirSync(own('lock.ns_meta'), { recursive: true });
    leave({ device: lockStats().dev + 1, machine: null });
    expect(await attempt()).toBe('waits');
  });

  it.each([
    ['no host', { host: undefined }],
    ['a host that is no text', { host: 1 }],
    ['no process', { pid: undefined }],
    ['a process that is no number', { pid: '4242' }],
    ['a broken process id', { pid: 1.5 }],
    ['process 0', { pid: 0 }],
    ['no time', { since: undefined }],
    ['a time that is no text', { since: 1 }],
    ['no id', { id: undefined }],
    ['an id that is no text', { id: 1 }],
    ['no machine', { machine: undefined }],
    ['a machine that is no text', { machine: 1 }],
    ['no start', { started: undefined }],
    ['a start that is no text', { started: 1 }],
    ['no inode', { lock: undefined }],
    ['an inode that is no number', { lock: '1' }],
    ['no device', { device: undefined }],
    ['a device that is no number', { device: '1' }],
  ])('whose record makes no sense is left to its signs of life: %s', async (_, changes) => {
    leave();
    expect(await attempt()).toBe('in use');
    leave(changes);
    expect(await attempt()).toBe('waits');
  });

  it.each(['', 'null', '1', '"text"', '[]', '{'])(
    'whose record is no object is left to its signs of life: %s',
    async (content) => {
      leave();
      leaveRecord(content);
      expect(await attempt()).toBe('waits');
    },
  );

  it('believes process 1', async () => {
    proc.set('/proc/1/stat', statOf(1, 'S', '77'));
    leave({ pid: 1 });
    await expect(take()).rejects.toMatchObject({
      message: `the database ${root} is in use by process 1 on ${hostname()}, since 2002-01-16T16:45:02.000Z`,
      path: root,
      holder: { pid: 1 },
    });
  });

  it('does not name a holder that is not written down', () => {
    expect(new DatabaseInUseError('/db', undefined).message).toBe('the database /db is in use by another server');
  });

  it('has several holders where a copy was put over it, and each must be dead', async () => {
    leave({}, ANOTHER_ID);
    leave({ pid: HOLDER_PID + 1 }, '00000000-0000-4000-8000-000000000002');
    answerKill('ESRCH');
    expect(await attempt()).toBe('in use');
    proc.set(`/proc/${HOLDER_PID}/stat`, statOf(HOLDER_PID, 'Z', '77'));
    expect(await attempt()).toBe('taken');
    expect(inLock()).toHaveLength(2);
  });

  it('is free where there is no record in it', async () => {
    fs.mkdirSync(own(`lock.ns_meta/heartbeat-${ANOTHER_ID}`), { recursive: true });
    fs.writeFileSync(own('lock.ns_meta/.nfs0001'), '');
    fs.rmSync(own('lock.ns_meta/.nfs0001'));
    expect(await attempt()).toBe('taken');
  });

  it('is not made free by removing what no server made', async () => {
    fs.mkdirSync(own('lock.ns_meta/notes'), { recursive: true });
    const attempted = begin();
    await attempted.settle();
    expect(attempted.texts).toEqual([expect.stringContaining('of which nothing is known')]);
    await pass(attempted, LOCK_STALE_MS);
    expect(String(await attempted.outcome)).toMatch(
      `${own('lock.ns_meta/notes')} is not used, because it is in the lock of the database, and no server made it`,
    );
    expect(inLock()).toEqual(['notes']);
  });

  it('can not be taken where its directory can not be made', async () => {
    fs.writeFileSync(`${root}/${OWN_DIRECTORY}`, '');
    await expect(take()).rejects.toBeInstanceOf(Error);
    fs.rmSync(`${root}/${OWN_DIRECTORY}`);
    await take();
    await expect(DatabaseLock.acquire(`${root}/missing`, silentLog)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('is let go where its heartbeat can not be started', async () => {
    failHeartbeat = new Error('no space');
    await expect(take()).rejects.toBe(failHeartbeat);
    failHeartbeat = undefined;
    expect(fs.readdirSync(root)).toEqual([]);
    await take();
  });

  it('leaves nothing, and holds nothing open, once it is released', async () => {
    const before = fs.readdirSync('/proc/self/fd').length;
    const lock = await take();
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before + 1);
    await lock.release();
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before);
    expect(fs.readdirSync(root)).toEqual([]);
    await expect(lock.confirm()).rejects.toThrow('the database is closed');
  });

  describe('whose holder is not known to be alive or dead', () => {
    it('is taken after 30 s in which nothing of it has changed, whatever the clocks of the others say', async () => {
      leave({ machine: ELSEWHERE });
      // A board whose clock came back behind: all that is there is from the future.
      const future = Date.now() / 1000 + 3000;
      for (const path of ['', ...inLock()]) fs.utimesSync(own(`lock.ns_meta/${path}`), future, future);
      const logged: unknown[] = [];
      const attempted = begin({ ...silentLog, warn: (...parts) => void logged.push(parts) });
      await attempted.settle();
      const text =
        `waiting up to 30 s for a sign of life of the server that has ${root}: ` +
        `process 4242 on ${hostname()}, since 2002-01-16T16:45:02.000Z`;
      expect(attempted.texts).toEqual([text]);
      expect(logged).toEqual([['DirectoryNamespace', text]]);
      jest.setSystemTime(Date.now() + 7_200_000);
      await pass(attempted, LOCK_STALE_MS - 500);
      expect(attempted.isOver).toBe(false);
      jest.setSystemTime(Date.now() - 14_400_000);
      await pass(attempted, 500);
      expect(await attempted.outcome).toBe('taken');
      expect(attempted.texts).toHaveLength(1);
      expect(readRecord()).toMatchObject({ pid: process.pid });
    });

    it.each([
      ['touches its heartbeat', beat],
      [
        'confirms its record',
        () => {
          fs.renameSync(own(`lock.ns_meta/holder-${ANOTHER_ID}-1`), own(`lock.ns_meta/holder-${ANOTHER_ID}-2`));
        },
      ],
    ])('is left to it when it %s, even with a clock behind', async (_, live) => {
      leave({ machine: ELSEWHERE });
      const attempted = begin();
      await attempted.settle();
      await pass(attempted, LOCK_STALE_MS - 1000);
      live();
      await pass(attempted, 500);
      expect(await attempted.outcome).toBe('in use');
      expect(fs.readdirSync(`${root}/${OWN_DIRECTORY}`)).toEqual(['lock.ns_meta']);
    });

    it.each([
      [
        'lets go of it',
        () => {
          fs.rmSync(own(''), { recursive: true });
        },
      ],
      [
        'turns out to be dead',
        () => {
          proc.set(`/proc/${HOLDER_PID}/stat`, statOf(HOLDER_PID, 'Z', '77'));
          leave();
        },
      ],
    ])('is taken at once when that one %s', async (_, end) => {
      leave({ machine: ELSEWHERE });
      const attempted = begin();
      await attempted.settle();
      end();
      await pass(attempted, 500);
      expect(await attempted.outcome).toBe('taken');
    });

    it('is not taken by who did not watch, but stood still', async () => {
      leave({ machine: ELSEWHERE });
      const attempted = begin();
      await attempted.settle();
      // Both were stopped, and the holder has not come to show a sign of life yet.
      await pass(attempted, LOCK_STALE_MS * 2, LOCK_STALE_MS * 2);
      expect(attempted.isOver).toBe(false);
      beat();
      await pass(attempted, 500);
      expect(await attempted.outcome).toBe('in use');
    });

    it('is waited for no longer than the signal lets', async () => {
      leave({ machine: ELSEWHERE });
      const attempted = begin();
      await attempted.settle();
      const reason = new Error('shut down');
      attempted.abort(reason);
      expect(await attempted.outcome).toBe(reason);
      await expect(take(silentLog, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    });

    it('is taken by one of several who wait', async () => {
      leave({ machine: ELSEWHERE });
      const attempts = [begin(), begin(), begin()];
      while (jest.getTimerCount() < attempts.length) await turn();
      for (let count = 0; count < 61 && attempts.some(({ isOver }) => !isOver); count += 1) {
        jest.advanceTimersByTime(500);
        const waiting = () => attempts.filter(({ isOver }) => !isOver).length;
        while (jest.getTimerCount() < waiting()) await turn();
      }
      const outcomes = await Promise.all(attempts.map(({ outcome }) => outcome));
      expect(outcomes.sort()).toEqual(['in use', 'in use', 'taken']);
    });
  });

  describe('when it is held', () => {
    it('is confirmed before a change where that was not done within the last second, by either clock', async () => {
      const lock = await take();
      const [, record] = inLock();
      expect(lock.confirm()).toBeUndefined();
      jest.advanceTimersByTime(999);
      expect(lock.confirm()).toBeUndefined();
      expect(inLock()[1]).toBe(record);
      jest.advanceTimersByTime(1);
      const confirming = lock.confirm();
      expect(confirming).toBeInstanceOf(Promise);
      // Whoever comes meanwhile waits for the same.
      expect(lock.confirm()).toBe(confirming);
      await confirming;
      expect(inLock()[1]).not.toBe(record);
      expect(lock.confirm()).toBeUndefined();
      // The machine slept: its monotonic clock did not go on.
      jest.setSystemTime(Date.now() + 3_600_000);
      await expect(lock.confirm()).resolves.toBeUndefined();
      jest.setSystemTime(Date.now() - 7_200_000);
      await expect(lock.confirm()).resolves.toBeUndefined();
      expect(lock.confirm()).toBeUndefined();
    });

    it('is not confirmed by a request that began before another took it', async () => {
      const lock = await take();
      jest.advanceTimersByTime(1000);
      fs.rmSync(own('lock.ns_meta'), { recursive: true });
      leave();
      await expect(lock.confirm()).rejects.toThrow('the database is in use by another server');
      expect(readRecord()).toMatchObject({ pid: HOLDER_PID });
    });

    it('does not count as confirmed where that can not be told', async () => {
      const lock = await take();
      jest.advanceTimersByTime(1000);
      const error = Object.assign(new Error('EIO'), { code: 'EIO' });
      failRename = error;
      await expect(lock.confirm()).rejects.toBe(error);
      failRename = undefined;
      expect(lock.problem).toBeUndefined();
      await expect(lock.confirm()).resolves.toBeUndefined();
    });
  });

  describe('when it is lost', () => {
    const logged: unknown[][] = [];
    const log = {
      ...silentLog,
      warn: (...parts: unknown[]) => void logged.push(['warn', ...parts]),
      error: (...parts: unknown[]) => void logged.push(['error', ...parts]),
    };
    const reason = new Error('touched by another');
    const onRetaken = jest.fn();
    const lose = () => {
      heartbeats.at(-1)?.options.onCompromised?.(reason);
    };
    /** Waits until it has been tried in vain to take it again. */
    async function retried(): Promise<void> {
      while (jest.getTimerCount() === 0) await turn();
    }
    const LOST = () => ['warn', 'DirectoryNamespace', `the lock of ${root} was lost, and is taken again:`, reason];

    beforeEach(() => {
      logged.length = 0;
      onRetaken.mockClear();
    });

    it('is taken again at once where nobody else has it, and told', async () => {
      const lock = await take(log, { onRetaken });
      const before = fs.readdirSync('/proc/self/fd').length;
      const [heartbeat] = inLock();
      lose();
      await expect(lock.confirm()).resolves.toBeUndefined();
      expect(lock.problem).toBeUndefined();
      expect(inLock()[0]).toBe(heartbeat);
      expect(logged).toEqual([LOST()]);
      expect(onRetaken).toHaveBeenCalledTimes(1);
      expect(jest.getTimerCount()).toBe(0);
      expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before);
      expect(await attempt()).toBe('in use');
    });

    it.each([
      ['is alive', HERE],
      ['may be alive', ELSEWHERE],
    ])(
      'forbids changes while another has it that %s, tells that once, and tries again until it has it',
      async (_, machine) => {
        const lock = await take(log, { onRetaken });
        fs.rmSync(own('lock.ns_meta'), { recursive: true });
        leave({ machine });
        lose();
        await retried();
        const text = 'the database is in use by another server';
        expect(lock.problem).toBe(text);
        await expect(lock.confirm()).rejects.toThrow(text);
        const held = `the database ${root} is in use by process 4242 on ${hostname()}, since 2002-01-16T16:45:02.000Z`;
        const told = [LOST(), ['error', 'DirectoryNamespace', 'no more changes are made:', held]];
        expect(logged).toEqual(told);
        jest.advanceTimersByTime(500);
        await retried();
        expect(logged).toEqual(told);
        expect(lock.problem).toBeDefined();
        expect(onRetaken).not.toHaveBeenCalled();
        fs.rmSync(own('lock.ns_meta'), { recursive: true });
        jest.advanceTimersByTime(500);
        while (lock.problem !== undefined) await turn();
        expect(lock.confirm()).toBeUndefined();
        expect(readRecord()).toMatchObject({ pid: process.pid });
        expect(onRetaken).toHaveBeenCalledTimes(1);
        expect(logged.slice(2)).toEqual([
          ['warn', 'DirectoryNamespace', `changes are made again: the lock of ${root} is held`],
        ]);
        expect(jest.getTimerCount()).toBe(0);
      },
    );

    it('is tried again after an error of the system, which each change is told', async () => {
      const lock = await take(log);
      fs.rmSync(root, { recursive: true });
      lose();
      await retried();
      expect(lock.problem).toBeUndefined();
      await expect(lock.confirm()).rejects.toMatchObject({ code: 'ENOENT' });
      fs.mkdirSync(root);
      await expect(lock.confirm()).resolves.toBeUndefined();
      expect(readRecord()).toMatchObject({ pid: process.pid });
      jest.advanceTimersByTime(500);
      await turn();
    });

    it('is another’s: release() leaves that alone, and it is not tried for again', async () => {
      const lock = await take(log);
      fs.rmSync(own('lock.ns_meta'), { recursive: true });
      leave();
      // Not told yet.
      await lock.release();
      expect(readRecord()).toMatchObject({ pid: HOLDER_PID });
      const other = await DatabaseLock.acquire(root, log).catch(() => undefined);
      expect(other).toBeUndefined();
      expect(inLock()).toHaveLength(2);
    });

    it('is not tried for after release()', async () => {
      const lock = await take(log);
      fs.rmSync(own('lock.ns_meta'), { recursive: true });
      leave();
      lose();
      await lock.release();
      expect(jest.getTimerCount()).toBe(0);
      expect(readRecord()).toMatchObject({ pid: HOLDER_PID });
    });
  });
});

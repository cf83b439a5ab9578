import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import type { LockOptions } from 'proper-lockfile';
import { silentLog } from '../../config/index.js';
import { OWN_DIRECTORY } from './layout.js';
import type { DatabaseLock as Lock } from './lock.js';

// The machine as /proc tells of it, and the locks of the file system, by hand: no process has to live or die for a test, and
// no time has to pass.

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
jest.unstable_mockModule('node:fs/promises', () => ({ ...promises, readFile, readlink }));

interface Locking {
  readonly file: string;
  readonly options: LockOptions;
}
let lockings: Locking[] = [];
let events: string[] = [];
const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1);
const lockFile = (file: string, options: LockOptions) => {
  events.push(`lock ${nameOf(file)}`);
  try {
    fs.mkdirSync(file);
  } catch {
    return Promise.reject(Object.assign(new Error('locked'), { code: 'ELOCKED' }));
  }
  lockings.push({ file, options });
  return Promise.resolve(() => {
    events.push(`unlock ${nameOf(file)}`);
    fs.rmdirSync(file);
    return Promise.resolve();
  });
};
jest.unstable_mockModule('proper-lockfile', () => ({ lock: lockFile }));

let watchMode: 'native' | 'polling' = 'native';
const watch = await import('./watcher.js');
jest.unstable_mockModule('./watcher.js', () => ({ ...watch, suitableWatchMode: () => Promise.resolve(watchMode) }));
const { DatabaseInUseError, DatabaseLock, LOCK_FILES } = await import('./lock.js');

const HOLDER_PID = 4242;
/** The line of a process in /proc: its name may hold anything. */
const statOf = (pid: number, state: string, started: string, name = 'node') =>
  `${pid} (${name}) ${state} ${Array.from({ length: 18 }, (_, index) => index).join(' ')} ${started} 7 8 9\n`;

const HERE = 'boot-1 pid:[1]';

describe('the lock of a database', () => {
  let root: string;
  const own = (file: string) => `${root}/${OWN_DIRECTORY}/${file}`;
  const taken: Lock[] = [];

  beforeEach(() => {
    root = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-holder-`));
    lockings = [];
    events = [];
    watchMode = 'native';
    proc.clear();
    proc.set('/proc/sys/kernel/random/boot_id', 'boot-1\n');
    proc.set('/proc/self/ns/pid', 'pid:[1]');
    proc.set(`/proc/${process.pid}/stat`, statOf(process.pid, 'R', '100'));
    proc.set(`/proc/${HOLDER_PID}/stat`, statOf(HOLDER_PID, 'S', '77'));
  });
  afterEach(async () => {
    for (const lock of taken.splice(0)) await lock.release();
    jest.useRealTimers();
    jest.restoreAllMocks();
    fs.rmSync(root, { recursive: true });
  });

  async function take(log = silentLog): Promise<Lock> {
    const lock = await DatabaseLock.acquire(root, log);
    taken.push(lock);
    return lock;
  }

  const readRecord = (): unknown => JSON.parse(fs.readFileSync(own('holder.ns_meta'), 'utf8'));

  const writtenID = () => /"id": "(.+)"/.exec(fs.readFileSync(own('holder.ns_meta'), 'utf8'))?.[1];

  const lockStats = () => fs.statSync(own('lock.ns_meta'));

  /** Leaves a lock, as if another process held it. */
  function leave(changes: object = {}): void {
    fs.mkdirSync(own('lock.ns_meta'), { recursive: true });
    const { ino, dev } = lockStats();
    const record = {
      host: hostname(),
      pid: HOLDER_PID,
      since: '2002-01-16T16:45:02.000Z',
      id: 'another',
      machine: HERE,
      started: '77',
      lock: ino,
      device: dev,
    };
    fs.writeFileSync(own('holder.ns_meta'), JSON.stringify({ ...record, ...changes }));
  }

  /** What an attempt to take the lock comes to. */
  const attempt = () =>
    take().then(
      () => 'taken',
      (error: unknown) => (error instanceof DatabaseInUseError ? 'in use' : error),
    );

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

  it('says so where nothing is known of the machine and its processes', async () => {
    proc.clear();
    await take();
    expect(readRecord()).toMatchObject({ machine: null, started: null });
  });

  it('consists of the files that are known as its own', async () => {
    await take();
    const files = [...fs.readdirSync(`${root}/${OWN_DIRECTORY}`), 'guard.ns_meta'];
    expect([...LOCK_FILES].sort()).toEqual(files.sort());
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

  it.each([
    ['is there', undefined, 'in use'],
    ['is somebody else’s', 'EPERM', 'in use'],
    ['is not there', 'ESRCH', 'taken'],
  ])('asks the system where there is no /proc: the process %s', async (_, code, outcome) => {
    proc.delete(`/proc/${HOLDER_PID}/stat`);
    leave();
    const kill = jest.spyOn(process, 'kill').mockImplementation(() => {
      if (code !== undefined) throw Object.assign(new Error(code), { code });
      return true;
    });
    expect(await attempt()).toBe(outcome);
    expect(kill.mock.calls).toEqual([[HOLDER_PID, 0]]);
  });

  it.each([
    ['another machine', { machine: 'boot-2 pid:[1]' }],
    ['another container', { machine: 'boot-1 pid:[2]' }],
    ['a host of another name that does not say which machine it is', { machine: null, host: 'elsewhere' }],
  ])('of %s is left to its signs of life, even if the process id is dead here', async (_, changes) => {
    leave(changes);
    proc.set(`/proc/${HOLDER_PID}/stat`, statOf(HOLDER_PID, 'Z', '77'));
    expect(await attempt()).toBe('in use');
    expect(events).toEqual(['lock guard.ns_meta', 'lock lock.ns_meta', 'unlock guard.ns_meta']);
  });

  it.each([
    ['of the same name', {}, 'taken'],
    ['of another name, but the same machine', { host: 'renamed', machine: HERE }, 'taken'],
  ])('of a host %s is judged by its processes', async (_, changes, outcome) => {
    proc.set(`/proc/${HOLDER_PID}/stat`, statOf(HOLDER_PID, 'Z', '77'));
    leave({ machine: null, ...changes });
    expect(await attempt()).toBe(outcome);
  });

  it('that came with a copy of the database, in another inode, holds nothing', async () => {
    leave();
    leave({ lock: lockStats().ino + 1 });
    expect(await attempt()).toBe('taken');
  });

  it.each([
    ['of a local file system is on another device', 'native', {}, 'taken'],
    ['is on a network file system', 'polling', {}, 'in use'],
    ['was written by another machine', 'native', { machine: 'boot-2 pid:[1]' }, 'in use'],
    ['was written by an unknown machine', 'native', { machine: null }, 'in use'],
    ['does not say its device', 'native', { device: undefined }, 'in use'],
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
    expect(await attempt()).toBe('in use');
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
    ['a device that is no number', { device: '1' }],
  ])('whose record makes no sense is taken over: %s', async (_, changes) => {
    leave(changes);
    expect(await attempt()).toBe('taken');
  });

  it('whose record has a device that is no number is taken over on a network file system, too', async () => {
    watchMode = 'polling';
    leave({ device: '1' });
    expect(await attempt()).toBe('taken');
  });

  it.each(['null', '1', '"text"', '[]'])('whose record is no object is taken over: %s', async (content) => {
    leave({});
    fs.writeFileSync(own('holder.ns_meta'), content);
    expect(await attempt()).toBe('taken');
  });

  it('believes process 1, and a record without a device', async () => {
    proc.set('/proc/1/stat', statOf(1, 'S', '77'));
    leave({ pid: 1, device: undefined });
    await expect(take()).rejects.toMatchObject({
      message: `the database ${root} is in use by process 1 on ${hostname()}, since 2002-01-16T16:45:02.000Z`,
      path: root,
      holder: { pid: 1 },
    });
  });

  it('does not name a holder that is not written down', () => {
    expect(new DatabaseInUseError('/db', undefined).message).toBe('the database /db is in use by another server');
  });

  it('is taken and looked at behind a guard, which is let go in any case', async () => {
    await take();
    expect(events).toEqual(['lock guard.ns_meta', 'lock lock.ns_meta', 'unlock guard.ns_meta']);
    const [guard, lock] = lockings;
    expect(guard).toEqual({
      file: own('guard.ns_meta'),
      options: {
        realpath: false,
        lockfilePath: own('guard.ns_meta'),
        stale: 2000,
        retries: { retries: 40, factor: 1, minTimeout: 100 },
        onCompromised: expect.any(Function),
      },
    });
    // Whoever loses the guard has taken too long, and goes on: an error thrown here would end the process.
    guard?.options.onCompromised?.(new Error('lost'));
    expect(lock).toEqual({
      file: own('lock.ns_meta'),
      options: {
        realpath: false,
        lockfilePath: own('lock.ns_meta'),
        stale: 30_000,
        update: 5000,
        onCompromised: expect.any(Function),
      },
    });
    events = [];
    expect(await attempt()).toBe('in use');
    expect(events).toEqual(['lock guard.ns_meta', 'unlock guard.ns_meta']);
  });

  it('is not taken while another takes it, and nothing of that one is touched', async () => {
    leave({ machine: 'boot-2 pid:[1]' });
    fs.mkdirSync(own('guard.ns_meta'));
    await expect(take()).rejects.toMatchObject({ code: 'ELOCKED' });
    expect(events).toEqual(['lock guard.ns_meta']);
    expect(fs.readdirSync(`${root}/${OWN_DIRECTORY}`).sort()).toEqual([
      'guard.ns_meta',
      'holder.ns_meta',
      'lock.ns_meta',
    ]);
  });

  it('is let go where its holder can not be written down', async () => {
    fs.mkdirSync(own('holder.ns_meta'), { recursive: true });
    await expect(take()).rejects.toMatchObject({ code: 'EISDIR' });
    expect(events).toEqual(['lock guard.ns_meta', 'lock lock.ns_meta', 'unlock lock.ns_meta', 'unlock guard.ns_meta']);
  });

  it('can not be taken where its directory can not be made', async () => {
    fs.writeFileSync(`${root}/${OWN_DIRECTORY}`, '');
    // What the system says of it comes from the lock that is sought there.
    await expect(take()).rejects.toBeInstanceOf(Error);
    fs.rmSync(`${root}/${OWN_DIRECTORY}`);
    const lock = DatabaseLock.acquire(root, silentLog);
    await expect(lock).resolves.toBeInstanceOf(DatabaseLock);
    taken.push(await lock);
    await expect(DatabaseLock.acquire(`${root}/missing`, silentLog)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('leaves nothing, and holds nothing open, once it is released', async () => {
    const before = fs.readdirSync('/proc/self/fd').length;
    const lock = await take();
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before + 1);
    await lock.release();
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before);
    expect(fs.readdirSync(root)).toEqual([]);
    expect(events.slice(3)).toEqual(['unlock lock.ns_meta']);
    taken.length = 0;
  });

  describe('when it is lost', () => {
    const logged: unknown[][] = [];
    const log = {
      ...silentLog,
      warn: (...parts: unknown[]) => void logged.push(['warn', ...parts]),
      error: (...parts: unknown[]) => void logged.push(['error', ...parts]),
    };
    const reason = new Error('touched by another');
    const lose = () => {
      lockings.findLast(({ file }) => file === own('lock.ns_meta'))?.options.onCompromised?.(reason);
    };
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    /** Waits until the guard has been let go as often as this. */
    async function attempted(times: number): Promise<void> {
      while (events.filter((event) => event === 'unlock guard.ns_meta').length < times) await turn();
      for (let count = 0; count < 20; count += 1) await turn();
    }

    beforeEach(() => {
      logged.length = 0;
      jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
    });

    it('is taken again at once where nobody else has it, and told', async () => {
      const lock = await take(log);
      const before = fs.readdirSync('/proc/self/fd').length;
      const id = writtenID();
      lose();
      await attempted(2);
      expect(lock.problem).toBeUndefined();
      lock.requireHeld();
      expect(writtenID()).toBe(id);
      expect(logged).toEqual([
        ['warn', 'DirectoryNamespace', `the lock of ${root} was lost, and is taken again:`, reason],
      ]);
      expect(jest.getTimerCount()).toBe(0);
      expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before);
      expect(await attempt()).toBe('in use');
    });

    it('forbids changes while another has it, tells that once, and tries again until it has it', async () => {
      const lock = await take(log);
      leave();
      lose();
      await attempted(2);
      expect(lock.problem).toBe('the database is in use by another server');
      expect(() => {
        lock.requireHeld();
      }).toThrow('the database is in use by another server');
      const held = `the database ${root} is in use by process 4242 on ${hostname()}, since 2002-01-16T16:45:02.000Z`;
      const told = [
        ['warn', 'DirectoryNamespace', `the lock of ${root} was lost, and is taken again:`, reason],
        ['error', 'DirectoryNamespace', 'no more changes are made:', held],
      ];
      expect(logged).toEqual(told);
      jest.advanceTimersByTime(4999);
      await turn();
      expect(events.filter((event) => event === 'lock guard.ns_meta')).toHaveLength(2);
      jest.advanceTimersByTime(1);
      await attempted(3);
      expect(logged).toEqual(told);
      expect(lock.problem).toBeDefined();
      proc.delete(`/proc/${HOLDER_PID}/stat`);
      leave({ pid: 2 ** 30 });
      jest.advanceTimersByTime(5000);
      await attempted(4);
      expect(lock.problem).toBeUndefined();
      lock.requireHeld();
      expect(readRecord()).toMatchObject({ pid: process.pid });
      expect(jest.getTimerCount()).toBe(0);
    });

    it('is tried again after an error of the system, during which changes are not forbidden', async () => {
      const lock = await take(log);
      fs.rmSync(root, { recursive: true });
      lose();
      // It has failed when it waits for its next attempt.
      while (jest.getTimerCount() === 0) await turn();
      expect(lock.problem).toBeUndefined();
      fs.mkdirSync(root);
      jest.advanceTimersByTime(5000);
      await attempted(2);
      expect(readRecord()).toMatchObject({ pid: process.pid });
    });

    it('is another’s where it could not be taken again before: release() leaves that alone', async () => {
      const lock = await take(log);
      fs.rmSync(own('lock.ns_meta'), { recursive: true });
      fs.rmSync(own('holder.ns_meta'));
      fs.mkdirSync(own('holder.ns_meta'));
      lose();
      // It was taken, and let go again, as its holder could not be written down.
      await attempted(2);
      expect(events.slice(-4)).toEqual([
        'lock guard.ns_meta',
        'lock lock.ns_meta',
        'unlock lock.ns_meta',
        'unlock guard.ns_meta',
      ]);
      fs.rmdirSync(own('holder.ns_meta'));
      leave();
      await lock.release();
      expect(fs.readdirSync(`${root}/${OWN_DIRECTORY}`).sort()).toEqual(['holder.ns_meta', 'lock.ns_meta']);
      expect(readRecord()).toMatchObject({ pid: HOLDER_PID });
      taken.length = 0;
    });

    it('is not touched by release() where another has it, and not tried for again', async () => {
      const lock = await take(log);
      leave();
      lose();
      await lock.release();
      expect(jest.getTimerCount()).toBe(0);
      expect(fs.readdirSync(`${root}/${OWN_DIRECTORY}`).sort()).toEqual(['holder.ns_meta', 'lock.ns_meta']);
      expect(readRecord()).toMatchObject({ pid: HOLDER_PID });
      taken.length = 0;
    });
  });
});

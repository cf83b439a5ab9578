import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { EventEmitter } from 'node:events';
import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { silentLog } from '../../config/index.js';
import { Name } from '../../names/index.js';
import * as files from './files.js';
import { OWN_DIRECTORY } from './layout.js';
import type { WatchedGroup, Watcher as WatcherType, WatcherOptions } from './watcher.js';

// The kernel's events are reported by hand: so that each comes when a test says so, and none by luck.

class FakeWatcher extends EventEmitter {
  isClosed = false;

  close(): void {
    this.isClosed = true;
  }
}

const watchers = new Map<string, FakeWatcher>();
const watch = jest.fn<(path: string, options: object) => FakeWatcher>((path) => {
  const watcher = new FakeWatcher();
  watchers.set(path, watcher);
  return watcher;
});
/** How many events the kernel keeps, as it says; undefined where it doesn't. */
let queuedEvents: string | undefined;
const readFileSync = (path: string, encoding: BufferEncoding) => {
  if (path !== '/proc/sys/fs/inotify/max_queued_events') return fs.readFileSync(path, encoding);
  if (queuedEvents === undefined) throw new Error('ENOENT');
  return queuedEvents;
};
jest.unstable_mockModule('node:fs', () => ({ ...fs, watch, readFileSync }));

const statfs = jest.fn<(path: string) => Promise<{ type: number }>>();
jest.unstable_mockModule('node:fs/promises', () => ({ ...promises, statfs }));

const inspect = jest.fn<typeof files.inspect>();
jest.unstable_mockModule('./files.js', () => ({ ...files, inspect }));
const { suitableWatchMode, Watcher } = await import('./watcher.js');

const named = (text: string) => Name.parse(text);

describe('watched directories', () => {
  let root: string;
  let watcher: WatcherType;
  let reported: unknown[];
  let fullInvalidations: number;

  const startWatcher = (options: Partial<WatcherOptions> = {}) => {
    const listener = {
      changed: (group: Name, fileName: string, membershipChanged: boolean) =>
        void reported.push([group.toString(), fileName, membershipChanged]),
      invalidatedAll: () => {
        fullInvalidations += 1;
      },
    };
    return new Watcher(root, { mode: 'native', ignoresCase: false, listener, log: silentLog, ...options });
  };

  beforeEach(() => {
    root = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-watch-`));
    for (const group of [OWN_DIRECTORY, 'G/inner', 'H']) fs.mkdirSync(`${root}/${group}`, { recursive: true });
    watchers.clear();
    watch.mockClear();
    inspect.mockReset();
    inspect.mockImplementation((path) => files.inspect(path));
    queuedEvents = '64\n';
    reported = [];
    fullInvalidations = 0;
    watcher = startWatcher();
  });
  afterEach(() => {
    watcher.close();
    jest.restoreAllMocks();
    fs.rmSync(root, { recursive: true });
  });

  /** The kernel tells something of a directory. */
  const emitEvent = (path: string, event: string, file: string | Buffer | null) =>
    watchers.get(`${root}${path}`)?.emit('change', event, file);

  const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

  /** Watches all there is, and says which directories are validGroups at any later time. */
  async function watchAll() {
    const groups = [':', ':G', ':G.inner', ':H'];
    const watched = await Promise.all(groups.map((group) => watcher.get(named(group))));
    return () => groups.filter((_, index) => watched[index]?.valid === true);
  }

  test('are watched each once, with those above', async () => {
    const validGroups = await watchAll();
    expect(validGroups()).toEqual([':', ':G', ':G.inner', ':H']);
    await watchAll();
    expect(watch.mock.calls.map(([path]) => path).sort()).toEqual(
      ['', '/G', '/G/inner', '/H'].map((path) => root + path),
    );
    expect(watch).toHaveBeenCalledWith(root, { persistent: false });
    expect(watcher.unwatchedValidity).toBeUndefined();
  });

  test.each([
    ['change', false],
    ['rename', true],
  ])('tell what may have changed in them: %s', async (event, membershipChanged) => {
    const validGroups = await watchAll();
    emitEvent('/G', event, 'x');
    expect(reported).toEqual([[':G', 'x', membershipChanged]]);
    expect(validGroups()).toHaveLength(4);
    expect(fullInvalidations).toBe(0);
  });

  test('are invalidated, with all below, when they are moved away, and are watched anew', async () => {
    const validGroups = await watchAll();
    emitEvent('', 'rename', 'G');
    expect(validGroups()).toEqual([':', ':H']);
    expect(reported).toEqual([[':', 'G', true]]);
    expect(fullInvalidations).toBe(1);
    // Not before this nextTurn is over, as more events of them may tell that some were lost.
    expect(watchers.get(`${root}/G`)?.isClosed).toBe(false);
    const old = ['/G', '/G/inner'].map((path) => watchers.get(root + path));
    await nextTurn();
    expect(old.map((watcher) => watcher?.isClosed)).toEqual([true, true]);
    // What a directory tells that is not validGroups any more counts for nothing.
    old[0]?.emit('change', 'rename', 'x');
    expect(reported).toHaveLength(1);
    expect(await watcher.get(named(':G.inner'))).toMatchObject({ valid: true, path: `${root}/G/inner` });
  });

  test.each([
    ['an event of itself', 'G'],
    ['an event without a name', null],
    ['an event with a name that is no text', Buffer.from('x')],
    ['an event of the server’s own directory', OWN_DIRECTORY],
  ])('are invalidated on what is unclear: %s', async (_, file) => {
    const validGroups = await watchAll();
    emitEvent('/G', 'rename', file);
    expect(validGroups()).toEqual([':', ':H']);
    expect(reported).toEqual([]);
    expect(fullInvalidations).toBe(1);
  });

  test('are invalidated at any event where the file system takes two names for one', async () => {
    watcher.close();
    watcher = startWatcher({ ignoresCase: true });
    const validGroups = await watchAll();
    emitEvent('/G', 'change', 'x');
    expect(validGroups()).toEqual([':', ':H']);
  });

  test('are invalidated when their watch fails', async () => {
    const validGroups = await watchAll();
    watchers.get(`${root}/G/inner`)?.emit('error', new Error('ENOSPC'));
    expect(validGroups()).toEqual([':', ':G', ':H']);
  });

  test.each([
    ['a quarter of what the kernel keeps', '64\n', 16],
    ['a quarter of its default, where it does not say', undefined, 4096],
  ])(
    'are invalidated, all of them, at so many events in one nextTurn that some may be lost: %s',
    async (_, kept, limit) => {
      queuedEvents = kept;
      watcher.close();
      watcher = startWatcher();
      const validGroups = await watchAll();
      for (let count = 1; count < limit; count += 1) emitEvent(count % 2 === 0 ? '/G' : '', 'change', 'x');
      await nextTurn();
      for (let count = 1; count < limit; count += 1) emitEvent('/G', 'change', 'x');
      expect(validGroups()).toHaveLength(4);
      expect(reported).toHaveLength(2 * (limit - 1));
      emitEvent('/G', 'change', 'x');
      expect(validGroups()).toEqual([]);
      expect(reported).toHaveLength(2 * (limit - 1));
    },
  );

  test('are invalidated with drop(), and with close()', async () => {
    const validGroups = await watchAll();
    watcher.invalidate(named(':G'));
    expect(validGroups()).toEqual([':', ':H']);
    expect(fullInvalidations).toBe(1);
    // Nothing is watched there now; what is being read is in doubt all the same.
    watcher.invalidate(named(':G'));
    expect(fullInvalidations).toBe(2);
    watcher.close();
    expect(validGroups()).toEqual([]);
  });

  /** What is at a path from now on is another directory, or none. */
  const replace = (path: string, change: (stats: fs.Stats) => fs.Stats | undefined) => {
    const stats = change(fs.statSync(root + path));
    inspect.mockImplementation((each) => (each === root + path ? Promise.resolve(stats) : files.inspect(each)));
  };
  const REPLACED: [string, (stats: fs.Stats) => fs.Stats | undefined][] = [
    ['nothing', () => undefined],
    ['a file', () => fs.statSync('/proc/version')],
    ['another directory', (stats) => Object.assign(stats, { ino: stats.ino + 1 })],
    ['a directory of another file system', (stats) => Object.assign(stats, { dev: stats.dev + 1 })],
  ];

  test.each(REPLACED)(
    'are looked at again after a minute: %s in place of one takes the trust of all',
    async (_, change) => {
      // A whole number, so that sums and differences are exact.
      const now = Math.ceil(performance.now());
      const clock = jest.spyOn(performance, 'now').mockReturnValue(now);
      const validGroups = await watchAll();
      clock.mockReturnValue(now + 60_000);
      await watcher.get(named(':G.inner'));
      expect(validGroups()).toHaveLength(4);
      replace('/G/inner', change);
      // A minute after it was looked at last.
      clock.mockReturnValue(now + 119_999);
      expect(await watcher.get(named(':G.inner'))).toBeDefined();
      expect(validGroups()).toHaveLength(4);
      clock.mockReturnValue(now + 120_000);
      expect(await watcher.get(named(':G.inner'))).toBeUndefined();
      expect(validGroups()).toEqual([]);
    },
  );

  test('are valid until they are verified again', async () => {
    expect(await watcher.get(named(':G'))).toMatchObject({ ttlMs: 60_000, valid: true, fileName: 'G' });
  });

  describe('are verified each second, as the database may be moved with its parents', () => {
    const second = async (ms = 1000) => {
      jest.advanceTimersByTime(ms);
      for (let count = 0; count < 10; count += 1) await nextTurn();
    };

    beforeEach(() => {
      watcher.close();
      jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
      watcher = startWatcher();
    });
    afterEach(() => {
      watcher.close();
      expect(jest.getTimerCount()).toBe(0);
      jest.useRealTimers();
    });

    test.each(REPLACED)('%s in place of the root takes the trust of all', async (_, change) => {
      const validGroups = await watchAll();
      await second();
      expect(validGroups()).toHaveLength(4);
      replace('', change);
      await second(999);
      expect(validGroups()).toHaveLength(4);
      await second(1);
      expect(validGroups()).toEqual([]);
    });

    test('an error of the system invalidates them, too', async () => {
      const validGroups = await watchAll();
      inspect.mockRejectedValue(new Error('EIO'));
      await second();
      expect(validGroups()).toEqual([]);
    });

    test('where nothing is watched, nothing is looked at', async () => {
      await second();
      expect([inspect.mock.calls, fullInvalidations]).toEqual([[], 0]);
    });
  });

  test('are none without the server’s own directory, whose removal shows that of the root', async () => {
    fs.rmdirSync(`${root}/${OWN_DIRECTORY}`);
    expect(await watcher.get(Name.root)).toBeUndefined();
    expect(await watcher.get(named(':G'))).toBeUndefined();
    fs.mkdirSync(`${root}/${OWN_DIRECTORY}`);
    expect(await watcher.get(named(':G'))).toMatchObject({ valid: true });
  });

  test('know which groups in them are watched', async () => {
    await watchAll();
    const [top, group] = [await watcher.get(Name.root), await watcher.get(named(':G'))];
    const members = () => [[...(top?.members.keys() ?? [])].sort(), [...(group?.members.keys() ?? [])]];
    expect(members()).toEqual([['G', 'H'], ['inner']]);
    watcher.invalidate(named(':G.inner'));
    expect(members()).toEqual([['G', 'H'], []]);
    watcher.invalidate(named(':G'));
    expect(members()).toEqual([['H'], []]);
  });

  test('are at most 4,096: the least used one is let go, and never one above another', async () => {
    const stats = fs.statSync(root);
    inspect.mockResolvedValue(stats);
    const all: (WatchedGroup | undefined)[] = [];
    for (let index = 0; index < 4094; index += 1) all.push(await watcher.get(named(`:G.n${index}`)));
    const ended = () => all.flatMap((group, index) => (group?.valid === true ? [] : [index]));
    expect(ended()).toEqual([]);
    await watcher.get(named(':G.n0'));
    expect(fullInvalidations).toBe(0);
    await watcher.get(named(':G.n4094'));
    expect(ended()).toEqual([1]);
    await watcher.get(named(':G.n4095'));
    expect(ended()).toEqual([1, 2]);
    expect(fullInvalidations).toBe(2);
    expect((await watcher.get(named(':G')))?.members.size).toBe(4094);
    expect(watch).toHaveBeenCalledTimes(4098);
  });

  test('are none where a link, a file or nothing is', async () => {
    fs.symlinkSync(`${root}/G`, `${root}/L`);
    fs.writeFileSync(`${root}/F`, '');
    for (const group of [':L', ':F', ':missing']) expect(await watcher.get(named(group))).toBeUndefined();
  });

  test('are none, for ten seconds, after one could not be watched, which is logged', async () => {
    const warn = jest.fn();
    watcher.close();
    watcher = startWatcher({ log: { ...silentLog, warn } });
    const error = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    watch.mockImplementationOnce(() => {
      throw error;
    });
    const now = performance.now();
    const clock = jest.spyOn(performance, 'now').mockReturnValue(now);
    expect(await watcher.get(Name.root)).toBeUndefined();
    const advice = 'Names are read from the disk each time. Raise fs.inotify.max_user_watches or max_user_instances.';
    expect(warn.mock.calls).toEqual([['DirectoryNamespace', 'no more directories can be watched:', error, advice]]);
    clock.mockReturnValue(now + 9999);
    expect(await watcher.get(Name.root)).toBeUndefined();
    expect(watch).toHaveBeenCalledTimes(1);
    clock.mockReturnValue(now + 10_000);
    expect(await watcher.get(Name.root)).toBeDefined();
  });

  test.each(['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP'])(
    'are not given up because one is not to be had: %s',
    async (code) => {
      const warn = jest.fn();
      watcher.close();
      watcher = startWatcher({ log: { ...silentLog, warn } });
      watch.mockImplementationOnce(() => {
        throw Object.assign(new Error(code), { code });
      });
      expect(await watcher.get(Name.root)).toBeUndefined();
      expect(warn).not.toHaveBeenCalled();
      expect(await watcher.get(Name.root)).toBeDefined();
    },
  );

  test('are none by polling: all has a TTL of 50 ms, until something is invalidated', async () => {
    watcher.close();
    watcher = startWatcher({ mode: 'polling' });
    expect(await watcher.get(Name.root)).toBeUndefined();
    expect(watch).not.toHaveBeenCalled();
    const validity = watcher.unwatchedValidity;
    expect(validity).toEqual({ valid: true, ttlMs: 50 });
    watcher.invalidate(named(':G'));
    expect(fullInvalidations).toBe(1);
    expect(validity).toEqual({ valid: false, ttlMs: 50 });
    expect(watcher.unwatchedValidity).toEqual({ valid: true, ttlMs: 50 });
  });
});

describe('the watch mode', () => {
  const { platform } = process;
  const on = (value: string) => Object.defineProperty(process, 'platform', { value });
  afterEach(() => {
    on(platform);
  });

  test.each([
    ['NFS', 0x6969, 'polling'],
    ['SMB', 0x517b, 'polling'],
    ['CIFS', 0xff534d42, 'polling'],
    ['SMB2', 0xfe534d42, 'polling'],
    ['FUSE', 0x65735546, 'polling'],
    ['9p', 0x01021997, 'polling'],
    ['AFS', 0x5346414f, 'polling'],
    ['Ceph', 0x00c36400, 'polling'],
    ['GFS2', 0x01161970, 'polling'],
    ['OCFS2', 0x7461636f, 'polling'],
    ['Lustre', 0x0bd00bd0, 'polling'],
    ['GPFS', 0x47504653, 'polling'],
    ['VirtualBox', 0x786f4256, 'polling'],
    ['VMware', 0xbacbacbc, 'polling'],
    ['ext4', 0xef53, 'native'],
    ['XFS', 0x58465342, 'native'],
    ['Btrfs', 0x9123683e, 'native'],
    ['tmpfs', 0x01021994, 'native'],
    ['overlay', 0x794c7630, 'native'],
  ])('suits the file system: %s', async (_, type, mode) => {
    on('linux');
    statfs.mockResolvedValue({ type });
    expect(await suitableWatchMode('/db')).toBe(mode);
    expect(statfs).toHaveBeenLastCalledWith('/db');
  });

  test('is the system’s own where that is not Linux, whose numbers these are', async () => {
    on('freebsd');
    statfs.mockResolvedValue({ type: 0x6969 });
    expect(await suitableWatchMode('/db')).toBe('native');
  });

  test('is an error for a directory that can not be reached', async () => {
    on('linux');
    statfs.mockRejectedValue(new Error('EIO'));
    await expect(suitableWatchMode('/db')).rejects.toEqual(new Error('EIO'));
  });
});

import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { EventEmitter } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { silentLog } from '../../config/index.js';
import { Name } from '../../names/index.js';
import { OWN_DIRECTORY } from './layout.js';
import type { Watches as WatchesType, WatchOptions } from './watch.js';

// The kernel's events are told by hand: so that each comes when a test says so, and none by luck.

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
jest.unstable_mockModule('node:fs', () => ({ ...fs, watch }));
const { Watches } = await import('./watch.js');

const named = (text: string) => Name.parse(text);

describe('watched directories', () => {
  let root: string;
  let watches: WatchesType;
  let told: unknown[];
  let doubts: number;

  const begin = (options: Partial<WatchOptions> = {}) => {
    const listener = {
      changed: (group: { name: Name }, fileName: string, cameOrWent: boolean) =>
        void told.push([group.name.toString(), fileName, cameOrWent]),
      doubted: () => {
        doubts += 1;
      },
    };
    return new Watches(root, { mode: 'native', ignoresCase: false, listener, log: silentLog, ...options });
  };

  beforeEach(() => {
    root = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-watch-`));
    for (const group of [OWN_DIRECTORY, 'G/inner', 'H']) fs.mkdirSync(`${root}/${group}`, { recursive: true });
    watchers.clear();
    watch.mockClear();
    told = [];
    doubts = 0;
    watches = begin();
  });
  afterEach(() => {
    watches.close();
    jest.restoreAllMocks();
    fs.rmSync(root, { recursive: true });
  });

  /** The kernel tells something of a directory. */
  const tell = (path: string, event: string, file: string | Buffer | null) =>
    watchers.get(`${root}${path}`)?.emit('change', event, file);

  const turn = () => new Promise((resolve) => setImmediate(resolve));

  /** Watches all there is, and says which directories are trusted at any later time. */
  async function watchAll() {
    const groups = [':', ':G', ':G.inner', ':H'];
    const grounds = await Promise.all(groups.map((group) => watches.get(named(group))));
    return () => groups.filter((_, index) => grounds[index]?.trusted === true);
  }

  test('are watched each once, with those above', async () => {
    const trusted = await watchAll();
    expect(trusted()).toEqual([':', ':G', ':G.inner', ':H']);
    await watchAll();
    expect(watch.mock.calls.map(([path]) => path).sort()).toEqual(
      ['', '/G', '/G/inner', '/H'].map((path) => root + path),
    );
    expect(watch).toHaveBeenCalledWith(root, { persistent: false });
    expect(watches.unwatched).toBeUndefined();
  });

  test.each([
    ['change', false],
    ['rename', true],
  ])('tell what may have changed in them: %s', async (event, cameOrWent) => {
    const trusted = await watchAll();
    tell('/G', event, 'x');
    expect(told).toEqual([[':G', 'x', cameOrWent]]);
    expect(trusted()).toHaveLength(4);
    expect(doubts).toBe(0);
  });

  test('lose their trust, with all below, when they are moved away, and are watched anew', async () => {
    const trusted = await watchAll();
    tell('', 'rename', 'G');
    expect(trusted()).toEqual([':', ':H']);
    expect(told).toEqual([[':', 'G', true]]);
    expect(doubts).toBe(1);
    // Not before this turn is over, as more events of them may tell that some were lost.
    expect(watchers.get(`${root}/G`)?.isClosed).toBe(false);
    const old = ['/G', '/G/inner'].map((path) => watchers.get(root + path));
    await turn();
    expect(old.map((watcher) => watcher?.isClosed)).toEqual([true, true]);
    // What a directory tells that is not trusted any more counts for nothing.
    old[0]?.emit('change', 'rename', 'x');
    expect(told).toHaveLength(1);
    expect(await watches.get(named(':G.inner'))).toMatchObject({ trusted: true, path: `${root}/G/inner` });
  });

  test.each([
    ['an event of itself', 'G'],
    ['an event without a name', null],
    ['an event with a name that is no text', Buffer.from('x')],
    ['an event of the server’s own directory', OWN_DIRECTORY],
  ])('lose their trust on what is unclear: %s', async (_, file) => {
    const trusted = await watchAll();
    tell('/G', 'rename', file);
    expect(trusted()).toEqual([':', ':H']);
    expect(told).toEqual([]);
    expect(doubts).toBe(1);
  });

  test('lose their trust at any event where the file system takes two names for one', async () => {
    watches.close();
    watches = begin({ ignoresCase: true });
    const trusted = await watchAll();
    tell('/G', 'change', 'x');
    expect(trusted()).toEqual([':', ':H']);
  });

  test('lose their trust when their watch fails', async () => {
    const trusted = await watchAll();
    watchers.get(`${root}/G/inner`)?.emit('error', new Error('ENOSPC'));
    expect(trusted()).toEqual([':', ':G', ':H']);
  });

  test('lose their trust, all of them, at so many events in one turn that some may be lost', async () => {
    const trusted = await watchAll();
    const suspect = Number(fs.readFileSync('/proc/sys/fs/inotify/max_queued_events', 'latin1')) / 4;
    for (let count = 1; count < suspect; count += 1) tell('/G', 'change', 'x');
    await turn();
    for (let count = 1; count < suspect; count += 1) tell('/G', 'change', 'x');
    expect(trusted()).toHaveLength(4);
    tell('/G', 'change', 'x');
    expect(trusted()).toEqual([]);
  });

  test('lose their trust with drop(), and with close()', async () => {
    const trusted = await watchAll();
    watches.drop(named(':G'));
    expect(trusted()).toEqual([':', ':H']);
    expect(doubts).toBe(1);
    // Nothing is watched there now; what is being read is in doubt all the same.
    watches.drop(named(':G'));
    expect(doubts).toBe(2);
    watches.close();
    expect(trusted()).toEqual([]);
  });

  test('are looked at again after a minute: what hides one takes the trust of all', async () => {
    const trusted = await watchAll();
    fs.renameSync(`${root}/G/inner`, `${root}/G/old`);
    fs.mkdirSync(`${root}/G/inner`);
    const now = performance.now();
    const clock = jest.spyOn(performance, 'now').mockReturnValue(now + 59_000);
    await watches.get(named(':G.inner'));
    expect(trusted()).toHaveLength(4);
    clock.mockReturnValue(now + 61_000);
    await watches.get(named(':G.inner'));
    expect(trusted()).toEqual([]);
  });

  test('are none where a link, a file or nothing is', async () => {
    fs.symlinkSync(`${root}/G`, `${root}/L`);
    fs.writeFileSync(`${root}/F`, '');
    for (const group of [':L', ':F', ':missing']) expect(await watches.get(named(group))).toBeUndefined();
  });

  test('are none, for ten seconds, after one could not be watched, which is told', async () => {
    const warn = jest.fn();
    watches.close();
    watches = begin({ log: { ...silentLog, warn } });
    const error = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    watch.mockImplementationOnce(() => {
      throw error;
    });
    const now = performance.now();
    const clock = jest.spyOn(performance, 'now').mockReturnValue(now);
    expect(await watches.get(Name.root)).toBeUndefined();
    const advice = 'Names are read from the disk each time. Raise fs.inotify.max_user_watches or max_user_instances.';
    expect(warn.mock.calls).toEqual([['DirectoryNamespace', 'no more directories can be watched:', error, advice]]);
    clock.mockReturnValue(now + 9999);
    expect(await watches.get(Name.root)).toBeUndefined();
    expect(watch).toHaveBeenCalledTimes(1);
    clock.mockReturnValue(now + 10_000);
    expect(await watches.get(Name.root)).toBeDefined();
  });

  test.each(['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP'])(
    'are not given up because one is not to be had: %s',
    async (code) => {
      const warn = jest.fn();
      watches.close();
      watches = begin({ log: { ...silentLog, warn } });
      watch.mockImplementationOnce(() => {
        throw Object.assign(new Error(code), { code });
      });
      expect(await watches.get(Name.root)).toBeUndefined();
      expect(warn).not.toHaveBeenCalled();
      expect(await watches.get(Name.root)).toBeDefined();
    },
  );

  test('are none by polling: all is believed for 50 ms, until something is dropped', async () => {
    watches.close();
    watches = begin({ mode: 'polling' });
    expect(await watches.get(Name.root)).toBeUndefined();
    expect(watch).not.toHaveBeenCalled();
    const ground = watches.unwatched;
    expect(ground).toEqual({ trusted: true, believedMs: 50 });
    watches.drop(named(':G'));
    expect(ground).toEqual({ trusted: false, believedMs: 50 });
    expect(watches.unwatched).toEqual({ trusted: true, believedMs: 50 });
  });
});

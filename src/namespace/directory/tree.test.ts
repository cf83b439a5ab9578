import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import * as promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { silentLog } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { Name } from '../../names/index.js';
import { Cache } from './cache.js';
import { codeOf } from './files.js';
import { InlineIOPolicy, READ_BACKOFF } from './inline-io-policy.js';
import { fileNameOf, OWN_DIRECTORY } from './layout.js';
import { Reader } from './reader.js';
import type { Tree as TreeType } from './tree.js';
import { WatchedGroup, Watcher } from './watcher.js';

const realpath = jest.fn<(path: string) => Promise<string>>();
jest.unstable_mockModule('node:fs/promises', () => ({ ...promises, realpath }));
const { Tree } = await import('./tree.js');

const named = (text: string) => Name.parse(text);

/** The validity of what is cached of a directory: by its watch, by a short TTL, or none, as it can't be watched. */
const VALIDITIES = ['watch', 'time', 'nothing'] as const;

describe.each(VALIDITIES)('a tree cached with validity by %s', (validityBy) => {
  let root: string;
  let watches: Watcher;
  let tree: TreeType;

  beforeEach(() => {
    root = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-tree-`));
    // Without the server's own directory, neither the root nor what is below it can be watched.
    if (validityBy === 'watch') mkdirSync(`${root}/${OWN_DIRECTORY}`);
    realpath.mockReset();
    realpath.mockImplementation((path) => promises.realpath(path));
    begin();
  });
  afterEach(() => {
    watches.close();
    jest.restoreAllMocks();
    rmSync(root, { recursive: true, force: true });
  });

  /** Starts with an empty cache. */
  function begin(): void {
    const cache = new Cache(100);
    const mode = validityBy === 'time' ? 'polling' : 'native';
    watches = new Watcher(root, { mode, ignoresCase: false, listener: cache, log: silentLog });
    tree = new Tree(root, new Reader(new InlineIOPolicy(false, READ_BACKOFF)), watches, cache);
  }

  /** Puts something there: a directory where the path ends with a slash. */
  function put(...paths: string[]): void {
    for (const path of paths) {
      if (path.endsWith('/')) mkdirSync(`${root}/${path}`, { recursive: true });
      else writeFileSync(`${root}/${path}`, path);
    }
  }

  /** Where a name is found, below the root, and what it is. */
  async function whereIs(text: string): Promise<unknown> {
    const found = await tree.find(named(text));
    if (found === undefined) return undefined;
    expect(found.stats.isDirectory()).toBe(found.type === 0);
    return [found.path.slice(root.length), found.type];
  }

  async function readContent(text: string, limit = 100): Promise<unknown> {
    const read = await tree.read(named(text), limit);
    if (read === undefined) return undefined;
    return read.reading.kind === 'file' ? read.reading.content.toString() : read.reading.kind;
  }

  async function membersOf(path: string): Promise<string[]> {
    const all: string[] = [];
    for await (const members of tree.members(root + path)) {
      for (const member of members) all.push(`${member.part} ${member.type} ${member.path.slice(root.length)}`);
    }
    return all.sort();
  }

  test('finds groups and objects', async () => {
    put('G/inner/', 'G/inner/x', 'y');
    expect(await whereIs(':')).toEqual(['', 0]);
    expect(await whereIs(':G')).toEqual(['/G', 0]);
    expect(await whereIs(':G.inner')).toEqual(['/G/inner', 0]);
    expect(await whereIs(':G.inner.x')).toEqual(['/G/inner/x', 1]);
    expect(await whereIs(':y')).toEqual(['/y', 1]);
    expect(await readContent(':G.inner.x')).toBe('G/inner/x');
    expect(await readContent(':G')).toBe('directory');
    expect(await readContent(':')).toBe('directory');
    expect(await readContent(':y', 0)).toBe('too large');
  });

  test.each([':missing', ':G.missing', ':missing.x', ':y.x', ':y.x.z', ':missing.x.z'])(
    'finds nothing where nothing is: %s',
    async (text) => {
      put('G/', 'y');
      expect(await whereIs(text)).toBeUndefined();
      expect(await readContent(text)).toBeUndefined();
      expect(await tree.directoryOf(named(text))).toBeUndefined();
    },
  );

  test('finds no links, and nothing behind them', async () => {
    put('G/inner/', 'G/x');
    symlinkSync('G', `${root}/L`);
    symlinkSync('G/x', `${root}/l`);
    symlinkSync('loop', `${root}/loop`);
    for (const text of [':L', ':l', ':loop', ':L.x', ':L.inner', ':L.inner.x', ':loop.x', ':loop.x.z', ':loop.x.z.w']) {
      expect([text, await whereIs(text), await tree.directoryOf(named(text))]).toEqual([text, undefined, undefined]);
    }
    for (const text of [':L.x', ':loop.x', ':loop.x.z.w']) expect(await readContent(text)).toBeUndefined();
    expect(await readContent(':l')).toBe('other');
    expect(await membersOf('')).toEqual(['G 0 /G']);
  });

  test('finds no other things that lie in it', async () => {
    execFileSync('mkfifo', [`${root}/fifo`]);
    put('x.ns_meta', '.hidden');
    expect(await whereIs(':fifo')).toBeUndefined();
    expect(await readContent(':fifo')).toBe('other');
    expect(await membersOf('')).toEqual([]);
  });

  test('finds names in other spellings than its own', async () => {
    put('\\47/\\78/', '\\47/\\78/\\7a', '\\47/\\78/w');
    expect(await whereIs(':G')).toEqual(['/\\47', 0]);
    expect(await whereIs(':G.x')).toEqual(['/\\47/\\78', 0]);
    expect(await whereIs(':G.x.z')).toEqual(['/\\47/\\78/\\7a', 1]);
    expect(await whereIs(':G.x.w')).toEqual(['/\\47/\\78/w', 1]);
    expect(await readContent(':G.x.z')).toBe('\\47/\\78/\\7a');
    expect(await readContent(':G.x.w')).toBe('\\47/\\78/w');
    expect(await tree.directoryOf(named(':G.x'))).toEqual({
      path: `${root}/\\47/\\78`,
      validity: watches.unwatchedValidity,
    });
  });

  test('prefers its own spelling, also where that is a link, and so no name', async () => {
    put('x', '\\78', 'a\\2fb', 'a\\2Fb', '\\7a');
    symlinkSync('x', `${root}/z`);
    expect(await whereIs(':x')).toEqual(['/x', 1]);
    expect(await readContent(':x')).toBe('x');
    expect(await whereIs(':a/b')).toEqual(['/a\\2fb', 1]);
    expect(await whereIs(':z')).toBeUndefined();
    expect(await membersOf('')).toEqual(['a/b 1 /a\\2fb', 'x 1 /x']);
  });

  test('lists exactly what it finds', async () => {
    const kind = fc.constantFrom('file', 'directory', 'link');
    const spellings = ['a', '\\61', 'b', '\\62', 'c\\2fd', 'c\\2Fd', '.x', 'a.ns_meta'];
    const entries = fc.uniqueArray(fc.record({ fileName: fc.constantFrom(...spellings), kind }), {
      selector: ({ fileName }) => fileName,
    });
    let times = 0;
    await fc.assert(
      fc.asyncProperty(entries, async (all) => {
        times += 1;
        const group = named(`:T${times}`);
        put(`T${times}/`);
        for (const entry of all) {
          const path = `T${times}/${entry.fileName}`;
          if (entry.kind === 'link') symlinkSync('/', `${root}/${path}`);
          else put(entry.kind === 'file' ? path : `${path}/`);
        }
        const found: string[] = [];
        for (const part of ['a', 'b', 'c/d']) {
          const { path, type } = (await tree.find(group.child(part))) ?? {};
          if (path !== undefined) found.push(`${part} ${type} ${path.slice(root.length)}`);
        }
        // Of two unusual spellings of one name, either may count.
        const names = (lines: readonly string[]) => lines.map((line) => line.split(' ', 1)[0]);
        const listed = await membersOf(`/T${times}`);
        expect(names(listed)).toEqual(names(found));
        const usual = (line: string) => ['a', 'b', 'c/d'].some((part) => line.endsWith(`/${fileNameOf(part)}`));
        expect(listed.filter(usual)).toEqual(found.filter(usual));
      }),
      { numRuns: 25 },
    );
  });

  test('says what a validityBy of a directory may rest on', async () => {
    put('G/', 'G/x');
    const directory = await tree.directoryOf(named(':G'));
    const { validity } = directory ?? {};
    expect(directory).toEqual({ path: `${root}/G`, validity });
    expect(validity instanceof WatchedGroup).toBe(validityBy === 'watch');
    expect(validity?.ttlMs).toBe({ watch: 60_000, time: 50, nothing: undefined }[validityBy]);
    expect((await tree.read(named(':G.x'), 100))?.validity).toBe(validity);
    expect((await tree.read(named(':'), 100))?.validity).toBeUndefined();
    expect(await tree.directoryOf(Name.root)).toMatchObject({ path: root });
  });

  test('does not take a missing database for an empty one', async () => {
    const missing = { code: 'ENOENT' };
    put('G/');
    await whereIs(':missing');
    // The cached scan stays valid as long as no time passes.
    jest.spyOn(performance, 'now').mockReturnValue(performance.now());
    await whereIs(':missing');
    renameSync(root, `${root}-moved`);
    try {
      await expect(tree.find(Name.root)).rejects.toMatchObject(missing);
      watches.close();
      await expect(tree.directoryOf(Name.root)).rejects.toMatchObject(missing);
      await expect(tree.find(named(':x'))).rejects.toMatchObject(missing);
      await expect(tree.parentOf(named(':x'))).rejects.toMatchObject(missing);
      await expect(tree.parentOf(named(':missing.x'))).rejects.toMatchObject(missing);
    } finally {
      renameSync(`${root}-moved`, root);
    }
  });

  test('throws the error of the system where a name can not be looked up', async () => {
    put('G/', 'G/x');
    realpath.mockRejectedValue(Object.assign(new Error('EIO'), { code: 'EIO' }));
    const outcome = await whereIs(':G.x').catch(codeOf);
    // Of a directory that is watched, it is known that no link leads there.
    expect(outcome).toEqual(validityBy === 'watch' ? ['/G/x', 1] : 'EIO');
  });

  test.each([
    [':G.new', '/G'],
    [':new', ''],
    [':x.new', 'parent is no group'],
    [':G.x.new', 'parent is no group'],
    [':G.x.a.new', 'parent is no group'],
    [':missing.new', '(parent)group not found'],
    [':G.missing.a.new', '(parent)group not found'],
    [':link.new', '(parent)group not found'],
  ])('says which directory a new name goes into, or why there is none: %s', async (text, expected) => {
    put('G/', 'G/x', 'x');
    symlinkSync('G', `${root}/link`);
    const outcome = await tree.parentOf(named(text)).then(
      ({ path }) => path.slice(root.length),
      (error: unknown) => (error instanceof NamingError ? error.args : error),
    );
    expect(outcome).toEqual(expected.includes('group') ? [expected, text] : expected);
  });

  test('says that there is no group where it came only after it was looked for', async () => {
    put('G/');
    jest.spyOn(tree, 'directoryOf').mockResolvedValueOnce(undefined);
    await expect(tree.parentOf(named(':G.x'))).rejects.toThrow('(parent)group not found');
  });

  describe('without reading a directory for each name', () => {
    const directoryOf = async (text: string) => {
      const directory = await tree.directoryOf(named(text));
      if (directory === undefined) throw new Error(`there is no ${text}`);
      return directory;
    };
    const spyOnEntries = () => jest.spyOn(Reader.prototype, 'entries');
    let reading: ReturnType<typeof spyOnEntries>;
    const isCached = validityBy !== 'nothing';

    beforeEach(() => {
      // In the order of their names, two at a time.
      reading = spyOnEntries().mockImplementation(async function* (path) {
        const all = readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
        await Promise.resolve();
        for (let index = 0; index < all.length; index += 2) yield all.slice(index, index + 2);
      });
      jest.spyOn(performance, 'now').mockReturnValue(performance.now());
    });

    test('knows whether a name is there in another spelling, where scans are cached', async () => {
      put('G/', 'G/\\78', 'G/\\79', 'G/z');
      const directory = await directoryOf(':G');
      const ask = (part: string) => tree.isSpelledUnusually(directory, named(`:G.${part}`));
      expect([await ask('x'), await ask('y'), await ask('z'), await ask('w')]).toEqual(
        isCached ? [true, true, false, false] : [false, false, false, false],
      );
      // The scan is cached, but it is checked that the file still exists.
      rmSync(`${root}/G/\\78`);
      expect(await ask('x')).toBe(false);
      expect(reading).toHaveBeenCalledTimes(isCached ? 1 : 0);
    });

    test('knows that nothing in a group has metadata, where scans are cached', async () => {
      put('A/', 'A/a', 'A/b.ns_meta', 'A/c', 'A/d', 'A/e', 'B/', 'B/a', 'B/.ns_meta', 'B/b');
      const ask = async (text: string) => tree.mayHoldMetadata(await directoryOf(text), named(text));
      expect([await ask(':A'), await ask(':B'), await ask(':B')]).toEqual([true, !isCached, !isCached]);
      expect(reading).toHaveBeenCalledTimes(isCached ? 2 : 0);
    });
  });
});

test('a scan of a directory has a TTL of twenty times its duration', async () => {
  const root = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-tree-`));
  realpath.mockImplementation((path) => promises.realpath(path));
  const cache = new Cache(100);
  const watches = new Watcher(root, { mode: 'polling', ignoresCase: false, listener: cache, log: silentLog });
  const reader = new Reader(new InlineIOPolicy(false, READ_BACKOFF));
  let now = 1000;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  const reading = jest.spyOn(reader, 'entries').mockImplementation(async function* () {
    now += 100;
    await Promise.resolve();
    yield [];
  });
  try {
    const tree = new Tree(root, reader, watches, cache);
    await tree.find(named(':x'));
    now = 1000 + 1999;
    await tree.find(named(':y'));
    expect(reading).toHaveBeenCalledTimes(1);
    now = 1000 + 2000;
    await tree.find(named(':z'));
    expect(reading).toHaveBeenCalledTimes(2);
  } finally {
    jest.restoreAllMocks();
    watches.close();
    rmSync(root, { recursive: true });
  }
});

test('a missing database is an error, even before its watch reports the removal', async () => {
  const root = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-tree-`));
  mkdirSync(`${root}/${OWN_DIRECTORY}`);
  const cache = new Cache(100);
  const watches = new Watcher(root, { mode: 'native', ignoresCase: false, listener: cache, log: silentLog });
  try {
    const tree = new Tree(root, new Reader(new InlineIOPolicy(false, READ_BACKOFF)), watches, cache);
    const watched = await watches.get(Name.root);
    watches.close();
    // From here on, the kernel is silent.
    if (watched !== undefined) watched.valid = true;
    jest.spyOn(watches, 'get').mockImplementation((group) => Promise.resolve(group.isRoot ? watched : undefined));
    expect(await tree.find(named(':missing'))).toBeUndefined();
    rmSync(root, { recursive: true });
    await expect(tree.parentOf(named(':missing.x'))).rejects.toMatchObject({ code: 'ENOENT' });
  } finally {
    jest.restoreAllMocks();
    rmSync(root, { recursive: true, force: true });
  }
});

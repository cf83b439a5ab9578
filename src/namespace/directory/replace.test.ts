/** How a whole tree is written, and takes the place of another: what is on the disk at each moment of it is in power-cut.test.ts. */
import { afterAll, afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { fileTree } from '../../../test/support/file-tree.js';
import { RecordedDisk } from '../../../test/support/recorded-disk.js';
import { Name, PyroURI } from '../../names/index.js';
import type { NamespaceEntry } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import { metaFileContent } from './metadata.js';
import type { TreeReplacement as ReplacementType } from './replace.js';
import type { Staging as StagingType } from './staging.js';

const disk = new RecordedDisk();
jest.unstable_mockModule('node:fs', () => disk.fs);
jest.unstable_mockModule('node:fs/promises', () => disk.promises);
const { silentLog } = await import('../../config/index.js');
const { NamingError } = await import('../../errors.js');
const { DirectorySync } = await import('./directory-sync.js');
const { FsErrors } = await import('./fs-errors.js');
const { InlineIOPolicy, WRITE_BACKOFF: WARY_OF_CHANGES } = await import('./inline-io-policy.js');
const { backupPathOf, TreeReplacement } = await import('./replace.js');
const { Staging } = await import('./staging.js');

const top = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-replacement-`));
const root = `${top}/db`;
const own = `${root}/.own`;
const backup = `${top}/db.replaced`;
const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1');
const URI_FILE = `${uri.toString()}\n`;

let staging: StagingType;
let replacement: ReplacementType;
let logged: unknown[][];
let reported: unknown[][];

function open(): void {
  const fsErrors = new FsErrors({ ...silentLog, error: (...words) => reported.push(words) }, root);
  staging = new Staging(own, true, new InlineIOPolicy(false, WARY_OF_CHANGES), fsErrors);
  const log = {
    ...silentLog,
    msg: (...words: unknown[]) => logged.push(['msg', ...words]),
    warn: (...words: unknown[]) => logged.push(['warn', ...words]),
  };
  replacement = new TreeReplacement(root, staging, new DirectorySync(true), log);
}

beforeEach(() => {
  [logged, reported] = [[], []];
  fs.mkdirSync(own, { recursive: true });
  open();
  disk.record(top);
});
afterEach(async () => {
  disk.fault = () => undefined;
  disk.stop();
  await staging.close();
  for (const path of [root, backup]) fs.rmSync(path, { recursive: true, force: true });
});
afterAll(() => {
  fs.rmSync(top, { recursive: true });
});

type Entry = Omit<NamespaceEntry, 'name'>;
const ENTRY: Entry = { uri: undefined, systemMeta: undefined, userMeta: null };
const group = (text: string, rest: Partial<Entry> = {}): NamespaceEntry => ({
  ...ENTRY,
  ...rest,
  name: Name.parse(text),
});
const object = (text: string, rest: Partial<Entry> = {}): NamespaceEntry => group(text, { uri, ...rest });

async function* entriesOf(entries: readonly NamespaceEntry[]): AsyncGenerator<NamespaceEntry> {
  await Promise.resolve();
  yield* entries;
}
const build = (...entries: readonly NamespaceEntry[]) => replacement.build(entriesOf(entries));

describe('a new tree', () => {
  const owned = { type: OBJECT, timestamp: 1_000_000_000.5, owner: 'somebody' } as const;
  const old = { type: GROUP, timestamp: 1_000_000_000.5, owner: null } as const;
  const told = { type: OBJECT, timestamp: 1_000_000_000.5, owner: null } as const;
  const metaOf = (...words: Parameters<typeof metaFileContent>) => metaFileContent(...words).toString('latin1');

  it('has files of metadata where something is to be told that a file or directory does not tell', async () => {
    jest.spyOn(Date, 'now').mockReturnValue(1_700_000_000_250);
    const tree = await build(
      group(':', { userMeta: 'of the root' }),
      group(':G', { systemMeta: old }),
      group(':G.H', { userMeta: 'of H' }),
      group(':G.I'),
      object(':G.a'),
      object(':G.b', { systemMeta: told }),
      object(':G.c', { systemMeta: owned }),
      object(':G.d', { userMeta: 'of d' }),
      object(':G.e', { systemMeta: told, userMeta: 'of e' }),
      object(':f', { systemMeta: { ...told, timestamp: -1 } }),
      object(':g', { systemMeta: { ...told, timestamp: 1.000_000_04 } }),
      object(':h', { systemMeta: { ...told, timestamp: 0 } }),
    );
    jest.restoreAllMocks();
    const now = 1_700_000_000.25;
    expect(fileTree(tree)).toEqual({
      '.ns_meta': metaOf({ type: GROUP, timestamp: now, owner: null }, 'of the root'),
      G: null,
      'G.ns_meta': metaOf(old, null),
      'G/H': null,
      'G/H.ns_meta': metaOf({ type: GROUP, timestamp: now, owner: null }, 'of H'),
      'G/I': null,
      'G/a': URI_FILE,
      'G/b': URI_FILE,
      'G/c': URI_FILE,
      'G/c.ns_meta': metaOf(owned, null),
      'G/d': URI_FILE,
      'G/d.ns_meta': metaOf({ type: OBJECT, timestamp: now, owner: null }, 'of d'),
      'G/e': URI_FILE,
      'G/e.ns_meta': metaOf(told, 'of e'),
      f: URI_FILE,
      'f.ns_meta': metaOf({ ...told, timestamp: -1 }, null),
      g: URI_FILE,
      'g.ns_meta': metaOf({ ...told, timestamp: 1.000_000_04 }, null),
      h: URI_FILE,
    });
    expect([fs.statSync(`${tree}/G/b`).mtimeMs, fs.statSync(`${tree}/h`).mtimeMs]).toEqual([1_000_000_000_500, 0]);
  });

  it('is on the disk when it is whole: each file, and then each directory', async () => {
    const tree = await build(group(':'), group(':G'), object(':G.x', { userMeta: 'metadata' }), group(':G.H'));
    const shown = tree
      .replace(top, '')
      .replace(/[0-9a-f]{8}-\d+/, 'staged')
      .slice(1);
    const syncs = disk.calls.filter((call) => call.startsWith('fsync'));
    expect(syncs.slice(0, 2)).toEqual([`fsync ${shown}/G/x`, `fsync ${shown}/G/x.ns_meta`]);
    expect(new Set(syncs.slice(2))).toEqual(new Set([`fsync ${shown}`, `fsync ${shown}/G`, `fsync ${shown}/G/H`]));
    expect(disk.calls.slice(-3)).toEqual(syncs.slice(-3));
  });

  it.each([63, 64, 65, 129])('has all of %i objects and as many groups', async (count) => {
    const numbers = Array.from({ length: count }, (_, index) => index);
    const tree = await build(
      ...numbers.map((number) => group(`:g${number}`)),
      ...numbers.map((number) => object(`:o${number}`)),
    );
    const names = numbers.flatMap((number) => [`g${number}`, `o${number}`]).sort();
    expect(fs.readdirSync(tree).sort()).toEqual(names);
    expect(disk.calls.slice(-count - 1).every((call) => call.startsWith('fsync'))).toBe(true);
    expect(disk.calls.filter((call) => call.startsWith('fsync'))).toHaveLength(2 * count + 1);
  });

  /** As many as are written at a time: they are there before what comes next. */
  const BATCH = Array.from({ length: 64 }, (_, index) => object(`:x${index}`));
  const refusal = (text: string, name: string) => new NamingError(text, name);

  it.each([
    ['a group comes twice', [group(':G'), group(':G')], refusal('group already exists', ':G')],
    ['an object comes twice', [object(':x'), object(':x')], refusal('name already exists', ':x')],
    ['the group of an object is not there', [object(':G.x')], refusal('(parent)group not found', ':G.x')],
    ['the group of a group is not there', [group(':G.H')], refusal('(parent)group not found', ':G.H')],
    ['the group of an object is an object', [...BATCH, object(':x0.y')], refusal('parent is no group', ':x0.y')],
    ['the group of a group is an object', [...BATCH, group(':x0.H')], refusal('parent is no group', ':x0.H')],
  ])('is refused where %s, and nothing is left of it', async (_, entries, expected) => {
    await expect(build(...entries)).rejects.toEqual(expected);
    await staging.close();
    expect(fileTree(own)).toEqual({});
    expect(reported).toEqual([]);
  });

  it.each(['mkdir', 'open', 'fsync'])('fails where %s does, and nothing is left of it', async (failing) => {
    disk.fault = (call, path) => (call === failing && path.endsWith('/G') ? 'EIO' : undefined);
    await expect(build(group(':G'), object(':x'))).rejects.toMatchObject({ code: 'EIO' });
    disk.fault = () => undefined;
    await staging.close();
    expect(fileTree(own)).toEqual({});
  });

  it('fails where an object can not be written, when all others have settled', async () => {
    disk.fault = (call, path) => (call === 'write' && path.endsWith('/a') ? 'EIO' : undefined);
    await expect(build(object(':a'), object(':b'), object(':c'))).rejects.toMatchObject({ code: 'EIO' });
    await staging.close();
    expect([fileTree(own), reported]).toEqual([{}, []]);
  });

  it('fails as what gives its entries does', async () => {
    async function* failing() {
      yield* entriesOf([group(':G')]);
      throw new Error('no more');
    }
    await expect(replacement.build(failing())).rejects.toThrow('no more');
    await staging.close();
    expect(fileTree(own)).toEqual({});
  });
});

describe('the place of the old tree', () => {
  const OLD = { G: null, 'G/x': 'old', o: 'old', '.git': null };
  const NEW = { H: null, 'H/y': URI_FILE, '.git': null };
  const KEPT = { G: null, 'G/x': 'old', o: 'old' };

  /** Makes the old tree, and builds the new one. */
  async function prepare(): Promise<string> {
    for (const path of [root, backup]) fs.rmSync(path, { recursive: true, force: true });
    for (const path of ['.own', 'G', '.git']) fs.mkdirSync(`${root}/${path}`, { recursive: true });
    for (const path of ['G/x', 'o']) fs.writeFileSync(`${root}/${path}`, 'old');
    open();
    const tree = await build(group(':H'), object(':H.y'));
    disk.record(top);
    return tree;
  }

  /** The database, once what was removed has vanished; nothing is left in the server's own directory. */
  async function database(): Promise<Record<string, string | null>> {
    await staging.close();
    const { '.own': ownDirectory, ...rest } = fileTree(root);
    expect(ownDirectory).toBeNull();
    return rest;
  }

  it('is taken by the new one, step by step, each on the disk before the next', async () => {
    await replacement.swap(await prepare());
    const steps = [
      ['fsync db', 'fsync db/.own'],
      ['rename db/.own/staged db/.own/decided'],
      ['fsync db/.own'],
      ['make db/.own/leaving'],
      ['fsync db/.own'],
      ['rename db/G db/.own/leaving/G', 'rename db/o db/.own/leaving/o'],
      ['fsync db', 'fsync db/.own/leaving'],
      ['rename db/.own/decided db/.own/arriving'],
      ['fsync db/.own'],
      ['rename db/.own/arriving/H db/H'],
      ['fsync db', 'fsync db/.own/arriving'],
      ['remove db/.own/arriving'],
      ['rename db/.own/leaving db.replaced'],
    ];
    const calls = disk.calls.map((call) => call.replace('staged.ns_meta', 'staged'));
    // The calls of one step come in any order.
    const made = steps.map((step) => calls.splice(0, step.length).sort());
    expect([made, calls]).toEqual([steps, []]);
    expect([await database(), fileTree(backup)]).toEqual([NEW, KEPT]);
    expect(backupPathOf(root)).toBe(backup);
    const what = 'the database was replaced; what it was before is in';
    expect(logged).toEqual([['msg', 'DirectoryNamespace', what, backup]]);
  });

  const OLD_COMES_BACK = [
    ['rename db/.own/leaving/G db/G', 'rename db/.own/leaving/o db/o'],
    ['fsync db', 'fsync db/.own/leaving'],
    ['remove db/.own/leaving'],
    ['rename db/.own/decided db/.own/staged'],
    ['fsync db/.own'],
  ];
  it.each<[string, string, string[][]]>([
    ['has moved out', 'rename to', OLD_COMES_BACK],
    [
      'was replaced by the new one',
      'rmdir',
      [
        ['rename db/H db/.own/arriving/H'],
        ['fsync db', 'fsync db/.own/arriving'],
        ['rename db/.own/arriving db/.own/decided'],
        ['fsync db/.own'],
        ...OLD_COMES_BACK,
      ],
    ],
  ])(
    'is given back where a call fails when the old one %s, each step on the disk before the next',
    async (_, failing, steps) => {
      const tree = await prepare();
      let before = 0;
      disk.fault = (call, path) => {
        if (call !== failing || path !== `${own}/arriving`) return undefined;
        before = disk.calls.length;
        return 'EIO';
      };
      await expect(replacement.swap(tree)).rejects.toMatchObject({ code: 'EIO' });
      const calls = disk.calls.slice(before).map((call) => call.replace('staged.ns_meta', 'staged'));
      const made = steps.map((step) => calls.splice(0, step.length).sort());
      expect(made).toEqual(steps);
      disk.fault = () => undefined;
      expect([await database(), fileTree(backup)]).toEqual([OLD, {}]);
    },
  );

  it('is given up in favour of the next: only the last tree is kept', async () => {
    const tree = await prepare();
    fs.mkdirSync(`${backup}/older`, { recursive: true });
    await replacement.swap(tree);
    expect([await database(), fileTree(backup)]).toEqual([NEW, KEPT]);
    expect(logged).toHaveLength(1);
  });

  it('is taken though no backup can be kept, which the log is told', async () => {
    const tree = await prepare();
    disk.fault = (call, path) => (call === 'rename to' && path === backup ? 'EXDEV' : undefined);
    await replacement.swap(tree);
    expect([await database(), fileTree(backup)]).toEqual([NEW, {}]);
    const what = 'the database was replaced, and no backup could be kept in';
    expect(logged).toEqual([['warn', 'DirectoryNamespace', what, backup, expect.objectContaining({ code: 'EXDEV' })]]);
    expect(reported).toEqual([]);
  });

  it('stays the old one, for good, whatever call fails on the way', async () => {
    const failures: string[] = [];
    for (let failed: string | undefined = ''; failed !== 'none';) {
      const tree = await prepare();
      const failing = failures.length;
      let count = 0;
      failed = 'none';
      disk.fault = (call, path) => {
        if (call === 'rename to' || call === 'unlink' || (path === `${own}/leaving` && call === 'rename'))
          return undefined;
        count += 1;
        if (count - 1 !== failing) return undefined;
        failed = `${call} ${path.slice(top.length + 1)}`;
        return 'EIO';
      };
      const outcome = await replacement.swap(tree).then(
        () => 'replaced',
        (error: unknown) => String(error),
      );
      disk.fault = () => undefined;
      if (failed !== 'none') failures.push(failed);
      const left = await database();
      // A start finds nothing to go on with.
      await replacement.finish();
      expect({ failed, left, after: await database(), backup: fileTree(backup) }).toEqual(
        failed === 'none'
          ? { failed, left: NEW, after: NEW, backup: KEPT }
          : { failed, left: OLD, after: OLD, backup: {} },
      );
      expect(outcome.startsWith('Error: EIO')).toBe(failed !== 'none');
      expect(reported).toEqual([]);
    }
    // The moves, the directory that is made and the one that is removed, and the syncs: to open and to sync.
    expect(failures.filter((call) => !/^(open|fsync) /.test(call)).map((call) => call.split(' ', 1).join())).toEqual([
      'rename',
      'mkdir',
      'rename',
      'rename',
      'rename',
      'rename',
      'rmdir',
    ]);
    expect(failures).toHaveLength(7 + 9 * 2);
  });
});

/** What a change does to the disk, call by call: what is on the disk at each moment of it is in power-cut.test.ts. */
import { afterAll, afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { fileTree } from '../../../test/support/file-tree.js';
import { RecordedDisk } from '../../../test/support/recorded-disk.js';
import type { TreeWriter as ChangesType } from './tree-writer.js';
import type { Staging as StagingType } from './staging.js';

const disk = new RecordedDisk();
jest.unstable_mockModule('node:fs', () => disk.fs);
jest.unstable_mockModule('node:fs/promises', () => disk.promises);
const { silentLog } = await import('../../config/index.js');
const { TreeWriter } = await import('./tree-writer.js');
const { DirectorySync } = await import('./directory-sync.js');
const { FsErrors } = await import('./fs-errors.js');
const { InlineIOPolicy, WRITE_BACKOFF: WARY_OF_CHANGES } = await import('./inline-io-policy.js');
const { Reader } = await import('./reader.js');
const { Staging } = await import('./staging.js');

const top = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-changes-`));
const root = `${top}/db`;
const own = `${root}/own`;
const path = `${root}/G/x`;
const metaPath = `${path}.ns_meta`;
const bytes = (text: string) => new TextEncoder().encode(text);

let staging: StagingType;
let changes: ChangesType;
const reported: unknown[][] = [];

/** Makes a database of files, in place of the one before. */
function makeDatabase(files: readonly string[]): void {
  rmSync(root, { recursive: true, force: true });
  mkdirSync(own, { recursive: true });
  mkdirSync(`${root}/G`);
  for (const file of files) {
    if (file.endsWith('/')) mkdirSync(`${root}/${file}`);
    else writeFileSync(`${root}/${file}`, `old ${file}`);
  }
  const fsErrors = new FsErrors({ ...silentLog, error: (...words) => reported.push(words) }, root);
  const inlineIO = new InlineIOPolicy(false, WARY_OF_CHANGES);
  staging = new Staging(own, true, inlineIO, fsErrors);
  changes = new TreeWriter(new Reader(inlineIO), staging, new DirectorySync(true), fsErrors);
  disk.record(top);
}

beforeEach(() => {
  reported.length = 0;
});
afterEach(() => {
  disk.fault = () => undefined;
  disk.stop();
});
afterAll(() => {
  rmSync(top, { recursive: true });
});

interface Change {
  readonly before: readonly string[];
  readonly run: () => Promise<void>;
  /** The calls that count, in their order; what has lost its name is removed at any time after. */
  readonly calls: readonly string[];
  readonly after: Readonly<Record<string, string | null>>;
  /** Metadata that was left by another. */
  readonly orphan?: string;
}

const NEW_FILE = ['make db/own/staged', 'write', 'fsync db/own/staged'];
const CHANGES: readonly [string, Change][] = [
  [
    'a new file',
    {
      before: [],
      run: () => changes.addFile(path, bytes('new'), metaPath),
      calls: [...NEW_FILE, 'link db/own/staged db/G/x', 'fsync db/G'],
      after: { 'G/x': 'new' },
    },
  ],
  [
    'a new file where metadata was left: the name comes when that has gone for good',
    {
      before: ['G/x.ns_meta'],
      orphan: 'G/x.ns_meta',
      run: () => changes.addFile(path, bytes('new'), metaPath),
      calls: [
        ...NEW_FILE,
        'rename db/G/x.ns_meta db/own/staged',
        'fsync db/G',
        'link db/own/staged db/G/x',
        'fsync db/G',
      ],
      after: { 'G/x': 'new' },
    },
  ],
  [
    'a new file where no metadata is looked for',
    {
      before: ['G/x.ns_meta'],
      run: () => changes.addFile(path, bytes('new'), undefined),
      calls: [...NEW_FILE, 'link db/own/staged db/G/x', 'fsync db/G'],
      after: { 'G/x': 'new', 'G/x.ns_meta': 'old G/x.ns_meta' },
    },
  ],
  [
    'a new directory',
    {
      before: [],
      run: () => changes.addDirectory(path, metaPath),
      calls: ['make db/G/x', 'fsync db/G'],
      after: { 'G/x': null },
    },
  ],
  [
    'a new directory where metadata was left: the name comes when that has gone for good',
    {
      before: ['G/x.ns_meta'],
      orphan: 'G/x.ns_meta',
      run: () => changes.addDirectory(path, metaPath),
      calls: ['rename db/G/x.ns_meta db/own/staged', 'fsync db/G', 'make db/G/x', 'fsync db/G'],
      after: { 'G/x': null },
    },
  ],
  [
    'the removal of a file',
    {
      before: ['G/x', 'G/y'],
      run: () => changes.remove(path, metaPath),
      calls: ['rename db/G/x db/own/staged', 'fsync db/G'],
      after: { 'G/y': 'old G/y' },
    },
  ],
  [
    'the removal of a directory and its metadata: that goes when the name has gone for good',
    {
      before: ['G/x/', 'G/x/member', 'G/x.ns_meta'],
      run: () => changes.remove(path, metaPath),
      calls: ['rename db/G/x db/own/staged', 'fsync db/G', 'rename db/G/x.ns_meta db/own/staged', 'fsync db/G'],
      after: {},
    },
  ],
  [
    'other content',
    {
      before: ['G/x'],
      run: () => changes.writeFile(path, bytes('new'), bytes('old G/x')),
      calls: [...NEW_FILE, 'rename db/own/staged db/G/x', 'fsync db/G'],
      after: { 'G/x': 'new' },
    },
  ],
  [
    'first content',
    {
      before: [],
      run: () => changes.writeFile(path, bytes('new'), undefined),
      calls: [...NEW_FILE, 'rename db/own/staged db/G/x', 'fsync db/G'],
      after: { 'G/x': 'new' },
    },
  ],
];

/** The members of the database. Nothing may be left in the server's own directory, once what was removed has vanished. */
async function membersLeft(): Promise<Record<string, string | null>> {
  await staging.close();
  expect(fileTree(own)).toEqual({});
  const { own: ownDirectory, G: group, ...members } = fileTree(root);
  expect([ownDirectory, group]).toEqual([null, null]);
  return members;
}

describe('a change', () => {
  it.each(CHANGES)('%s', async (_, { before, run, calls, after }) => {
    makeDatabase(before);
    await run();
    const made = disk.calls.filter((call) => !call.startsWith('remove'));
    expect(made.map((call) => call.replace('staged.ns_meta', 'staged'))).toEqual(calls);
    expect(await membersLeft()).toEqual(after);
    expect(reported).toEqual([]);
  });

  it.each(CHANGES)(
    '%s: is undone, and leaves nothing, whatever call fails',
    async (_, { before, run, calls, after, orphan = '' }) => {
      let failed: string | undefined;
      const failures: string[] = [];
      for (let failing = 0; failed !== 'none'; failing += 1) {
        makeDatabase(before);
        const tree = await membersLeft();
        let count = 0;
        failed = 'none';
        disk.fault = (call, at) => {
          // What is removed in the background is another matter, as is the second half of a rename.
          if (call === 'unlink' || call === 'rename to') return undefined;
          count += 1;
          if (count - 1 !== failing) return undefined;
          failed = `${call} ${at.slice(top.length + 1).replace(/[0-9a-f]{8}-\d+/, 'staged')}`;
          return 'EIO';
        };
        const outcome = await run().then(
          () => 'done',
          (error: unknown) => String(error),
        );
        disk.fault = () => undefined;
        failures.push(failed);
        expect({ failed, outcome: outcome.replace(/ failed$/, '') }).toEqual({
          failed,
          outcome: failed === 'none' ? 'done' : `Error: EIO: ${failed.split(' ', 1).join()}`,
        });
        const left = await membersLeft();
        // Metadata that was left by another is nobody's: it may stay or go.
        const rest = Object.fromEntries(Object.entries(tree).filter(([file]) => file !== orphan));
        const allowed = failed === 'none' ? [after] : [tree, rest];
        expect({ failed, left, isAllowed: allowed.some((one) => isDeepStrictEqual(one, left)) }).toEqual({
          failed,
          left,
          isAllowed: true,
        });
        expect(reported).toEqual([]);
      }
      // Each of its calls failed once; of a directory, what opens it to sync it, too.
      const syncs = calls.filter((call) => call.startsWith('fsync db/G'));
      const opened = failures.filter((call) => call === 'open db/G');
      expect(opened).toHaveLength(syncs.length);
      expect(failures).toHaveLength(calls.length + opened.length + 1);
    },
  );

  it.each(['ENOENT', 'ENOTDIR'])('counts as made where its directory has gone meanwhile (%s)', async (code) => {
    makeDatabase(['G/x', 'G/x.ns_meta']);
    disk.fault = (call, at) => (call === 'open' && at === `${root}/G` ? code : undefined);
    await changes.remove(path, metaPath);
    disk.fault = () => undefined;
    expect(await membersLeft()).toEqual({});
  });

  it('that can not be undone is told to the log, and fails as it did', async () => {
    makeDatabase(['G/x']);
    disk.fault = (call, at) => {
      if (call === 'fsync') return 'EIO';
      return call === 'rename' && at.startsWith(own) ? 'EROFS' : undefined;
    };
    await expect(changes.remove(path, metaPath)).rejects.toMatchObject({ code: 'EIO' });
    expect(reported).toEqual([
      [
        'DirectoryNamespace',
        'a change could not be undone:',
        'Error: EROFS: rename failed',
        'Look at the database directory.',
      ],
    ]);
    await staging.close();
  });

  it.each<[string, () => Promise<void>]>([
    ['a file', () => changes.addFile(path, bytes('new'), metaPath)],
    ['a directory', () => changes.addDirectory(path, metaPath)],
  ])('that makes %s leaves alone what is there, and its metadata', async (_, run) => {
    makeDatabase(['G/x', 'G/x.ns_meta']);
    await expect(run()).rejects.toMatchObject({ code: 'EEXIST' });
    expect(await membersLeft()).toEqual({ 'G/x': 'old G/x', 'G/x.ns_meta': 'old G/x.ns_meta' });
  });
});

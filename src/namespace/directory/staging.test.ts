import { afterAll, afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { fileTree } from '../../../test/support/file-tree.js';
import { RecordedDisk } from '../../../test/support/recorded-disk.js';
import type { Staging as StagingType } from './staging.js';

const disk = new RecordedDisk();
/** What is mounted in the database, as Linux tells it. */
let mounted: string | undefined;
/** What is on another file system without being mounted, as far as can be told. */
let foreign: string | undefined;
jest.unstable_mockModule('node:fs', () => ({
  ...disk.fs,
  readFileSync: (path: string, encoding: BufferEncoding) =>
    path === '/proc/self/mountinfo' ? `1 1 0:1 / ${mounted ?? '/'} rw - ext4` : fs.readFileSync(path, encoding),
  lstat: (path: string, done: (error: NodeJS.ErrnoException | null, stats?: fs.Stats) => void) => {
    fs.lstat(path, (error, stats) => {
      if (error === null && foreign !== undefined && path.endsWith(foreign)) stats.dev += 1;
      done(error, stats);
    });
  },
}));
jest.unstable_mockModule('node:fs/promises', () => disk.promises);
const { silentLog } = await import('../../config/index.js');
const { NamingError } = await import('../../errors.js');
const { FsErrors } = await import('./fs-errors.js');
const { InlineIOPolicy } = await import('./inline-io-policy.js');
const { OWN_DIRECTORY } = await import('./layout.js');
const { Staging } = await import('./staging.js');

const top = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-staging-`));
const root = `${top}/db`;
const own = `${root}/${OWN_DIRECTORY}`;
const bytes = (text: string) => new TextEncoder().encode(text);
const files = (directory: string) => (fs.existsSync(directory) ? fs.readdirSync(directory).sort() : []);

const IN_ANOTHER_THREAD = new InlineIOPolicy(false, { slowMs: 0, backoffMs: 0 });
const AT_ONCE = new InlineIOPolicy(true, { slowMs: Infinity, backoffMs: 0 });

let reported: unknown[][];
const stagingWith = (sync = true, inlineIO = IN_ANOTHER_THREAD) =>
  new Staging(own, sync, inlineIO, new FsErrors({ ...silentLog, error: (...words) => reported.push(words) }, root));
let staging: StagingType;

beforeEach(() => {
  fs.mkdirSync(own, { recursive: true });
  reported = [];
  staging = stagingWith();
  disk.record(top);
});
afterEach(async () => {
  disk.fault = () => undefined;
  disk.stop();
  mounted = undefined;
  foreign = undefined;
  await staging.close();
  fs.rmSync(root, { recursive: true });
});
afterAll(() => {
  fs.rmSync(top, { recursive: true });
});

describe('a staged file', () => {
  it('is whole and on the disk, at a path of its own that Pyro 3 passes over', async () => {
    const paths = await Promise.all(['a', 'b'].map((text) => staging.write(bytes(text))));
    expect(paths.map((path) => fs.readFileSync(path, 'latin1'))).toEqual(['a', 'b']);
    expect(new Set(paths).size).toBe(2);
    for (const path of paths) expect(path).toMatch(/\.pyro-ns\.ns_meta\/[0-9a-f]{8}-\d+\.ns_meta$/);
    expect(disk.calls.filter((call) => call.startsWith('fsync'))).toHaveLength(2);
  });

  it('is not waited for where speed is wanted over safety', async () => {
    await stagingWith(false).write(bytes('a'));
    expect(disk.calls.filter((call) => call.startsWith('fsync'))).toEqual([]);
  });

  it('is never in the way of those of another server', async () => {
    const [mine, other] = await Promise.all([staging.write(bytes('a')), stagingWith().write(bytes('b'))]);
    expect(mine).not.toBe(other);
  });

  it('is one of at most 64 that are written at the same time', async () => {
    let [open, most] = [0, 0];
    const write = jest.spyOn(staging, 'writeAt').mockImplementation(async () => {
      open += 1;
      most = Math.max(most, open);
      await new Promise(setImmediate);
      open -= 1;
    });
    await Promise.all(Array.from({ length: 200 }, () => staging.write(bytes('a'))));
    expect([most, write.mock.calls.length]).toEqual([64, 200]);
  });

  it('may seem to have been made at another time', async () => {
    await staging.writeAt(`${root}/x`, bytes('a'), 1_000_000_000);
    expect(fs.statSync(`${root}/x`).mtimeMs).toBe(1_000_000_000_000);
  });
});

describe.each([
  ['in another thread', IN_ANOTHER_THREAD],
  ['at once', AT_ONCE],
])('what is staged gets its name %s', (_, inlineIO) => {
  beforeEach(() => {
    staging = stagingWith(true, inlineIO);
  });

  const withoutLinks = (code: string) => (call: string) => (call === 'link' ? code : undefined);

  it('by a link, and has no other then', async () => {
    await staging.publish(await staging.write(bytes('new')), `${root}/x`);
    await staging.close();
    expect(fileTree(root)).toEqual({ [OWN_DIRECTORY]: null, x: 'new' });
    expect(disk.calls.filter((call) => call.startsWith('link'))).toHaveLength(1);
    expect(reported).toEqual([]);
  });

  it.each(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])(
    'without a link where the file system has none (%s)',
    async (code) => {
      disk.fault = withoutLinks(code);
      await staging.publish(await staging.write(bytes('new')), `${root}/x`);
      expect(fileTree(root)).toEqual({ [OWN_DIRECTORY]: null, x: 'new' });
    },
  );

  it.each([undefined, 'EPERM'])('unless the name is taken (a link fails with %s)', async (code) => {
    if (code !== undefined) disk.fault = withoutLinks(code);
    fs.writeFileSync(`${root}/x`, 'theirs');
    const staged = await staging.write(bytes('new'));
    await expect(staging.publish(staged, `${root}/x`)).rejects.toMatchObject({ code: 'EEXIST' });
    expect(fs.readFileSync(`${root}/x`, 'latin1')).toBe('theirs');
    expect(fs.existsSync(staged)).toBe(true);
  });

  it('or fails as the link does', async () => {
    disk.fault = withoutLinks('EIO');
    await expect(staging.publish(await staging.write(bytes('new')), `${root}/x`)).rejects.toMatchObject({
      code: 'EIO',
    });
    expect(fs.existsSync(`${root}/x`)).toBe(false);
  });

  it.each<[string, () => void, string | undefined]>([
    ['leaves no empty file', () => undefined, undefined],
    [
      'leaves alone what somebody has put there',
      () => {
        fs.writeFileSync(`${root}/x`, 'theirs');
      },
      'theirs',
    ],
    [
      'needs nothing to be there',
      () => {
        fs.unlinkSync(`${root}/x`);
      },
      undefined,
    ],
  ])('and %s where that fails without links', async (_what, meanwhile, left) => {
    const staged = await staging.write(bytes('new'));
    disk.fault = (call) => {
      if (call === 'link') return 'EPERM';
      if (call !== 'rename') return undefined;
      meanwhile();
      return 'EIO';
    };
    await expect(staging.publish(staged, `${root}/x`)).rejects.toMatchObject({ code: 'EIO' });
    expect(fileTree(root)['x']).toBe(left);
    expect(fs.existsSync(staged)).toBe(true);
  });
});

describe('what loses its name', () => {
  it('has none at once, and is whole until it is discarded', async () => {
    fs.mkdirSync(`${root}/G/H`, { recursive: true });
    fs.writeFileSync(`${root}/G/H/x`, 'content');
    const taken = await staging.detach(`${root}/G`);
    expect(fs.existsSync(`${root}/G`)).toBe(false);
    expect(fileTree(taken)).toEqual({ H: null, 'H/x': 'content' });
    staging.deleteLater(taken);
    await staging.close();
    expect(files(own)).toEqual([]);
    expect(reported).toEqual([]);
  });

  it.each([AT_ONCE, IN_ANOTHER_THREAD])(
    'vanishes: a file, a link, but not what it leads to, and a group',
    async (inlineIO) => {
      staging = stagingWith(true, inlineIO);
      fs.mkdirSync(`${root}/G`);
      fs.writeFileSync(`${root}/G/x`, '');
      fs.writeFileSync(`${own}/file`, '');
      fs.symlinkSync('../G', `${own}/link`);
      fs.mkdirSync(`${own}/group/sub`, { recursive: true });
      fs.symlinkSync('../../G', `${own}/group/link`);
      for (const file of ['file', 'link', 'group']) staging.deleteLater(`${own}/${file}`);
      await staging.close();
      expect(fileTree(root)).toEqual({ [OWN_DIRECTORY]: null, G: null, 'G/x': '' });
      expect(reported).toEqual([]);
    },
  );

  it('vanishes where the system says EPERM of a directory', async () => {
    fs.mkdirSync(`${own}/group`);
    disk.fault = (call, path) => (call === 'unlink' && path === `${own}/group` ? 'EPERM' : undefined);
    staging.deleteLater(`${own}/group`);
    await staging.close();
    expect([files(own), reported]).toEqual([[], []]);
  });

  it('vanishes though some of it has gone already', async () => {
    fs.mkdirSync(`${own}/group/a`, { recursive: true });
    fs.writeFileSync(`${own}/group/x`, '');
    disk.fault = (call, path) => {
      if (call === 'unlink' && path.endsWith('/x')) fs.rmSync(`${own}/group/a`, { recursive: true });
      return call === 'unlink' && path.endsWith('/x') ? 'ENOENT' : undefined;
    };
    staging.deleteLater(`${own}/group`);
    await staging.close();
    expect([files(own), reported]).toEqual([[], []]);
  });

  it('vanishes however deep it is', async () => {
    // A path of some 5000 characters, made from its end: no call may name all of it.
    const part = 'd'.repeat(250);
    fs.mkdirSync(`${root}/deep`);
    for (let depth = 0; depth < 20; depth += 1) {
      fs.mkdirSync(`${root}/next`);
      fs.renameSync(`${root}/deep`, `${root}/next/${part}`);
      fs.renameSync(`${root}/next`, `${root}/deep`);
    }
    staging.deleteLater(await staging.detach(`${root}/deep`));
    await staging.close();
    expect([files(own), reported]).toEqual([[], []]);
  });

  it('is taken apart no more than it must be', async () => {
    fs.mkdirSync(`${own}/group/${'d'.repeat(250)}/${'e'.repeat(250)}`, { recursive: true });
    const renamed: string[] = [];
    disk.fault = (call, path) => {
      if (call === 'rename') renamed.push(path);
      return undefined;
    };
    staging.deleteLater(`${own}/group`);
    await staging.close();
    expect([files(own), renamed]).toEqual([[], []]);
  });

  it.each<[string, () => void, string]>([
    [
      'something is mounted in it',
      () => {
        mounted = `${own}/group/sub`;
      },
      `another file system is mounted on ${own}/group/sub`,
    ],
    [
      'some of it is on another file system',
      () => {
        foreign = '/group/sub';
      },
      `another file system is mounted on ${own}/group/sub`,
    ],
    [
      'a file can not be removed',
      () => {
        disk.fault = (call, path) => (call === 'unlink' && path.endsWith('/sub/x') ? 'EIO' : undefined);
      },
      'EIO: unlink failed',
    ],
    [
      'it can not be looked at',
      () => {
        disk.fault = (call, path) => (call === 'unlink' && path.endsWith('/group') ? 'EROFS' : undefined);
      },
      'EROFS: unlink failed',
    ],
  ])('stays where %s, and the log is told', async (_, prepare, message) => {
    fs.mkdirSync(`${own}/group/sub`, { recursive: true });
    fs.writeFileSync(`${own}/group/sub/x`, 'content');
    prepare();
    staging.deleteLater(`${own}/group`);
    await staging.close();
    expect(fileTree(own)).toMatchObject({ 'group/sub/x': 'content' });
    expect(reported).toEqual([
      [
        'DirectoryNamespace',
        `what was removed from the database is still in ${own}:`,
        `Error: ${message}`,
        'It is tried again at the next start.',
      ],
    ]);
  });
});

describe('the directory of the server', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['a file', () => staging.write(bytes('a'))],
    ['a directory', () => staging.makeDirectory()],
    ['what loses its name', () => staging.detach(`${root}/x`)],
    ['the start', () => staging.open(new Set())],
  ])('is made where it is missing, for %s', async (_, run) => {
    fs.writeFileSync(`${root}/x`, '');
    fs.rmdirSync(own);
    await run();
    expect(fs.statSync(own).isDirectory()).toBe(true);
  });

  it('is made once for those who miss it at the same time', async () => {
    fs.rmdirSync(own);
    await Promise.all(['a', 'b', 'c'].map((text) => staging.write(bytes(text))));
    expect(files(own)).toHaveLength(3);
  });

  it('is not made without the database', async () => {
    fs.rmSync(root, { recursive: true });
    await expect(staging.write(bytes('a'))).rejects.toMatchObject({ code: 'ENOENT', path: own });
    fs.mkdirSync(root);
  });

  it('loses what is staged at the start, but nothing else', async () => {
    for (const file of ['kept', '1a2b-7.ns_meta']) fs.writeFileSync(`${own}/${file}`, '');
    fs.mkdirSync(`${own}/1-2.ns_meta/done`, { recursive: true });
    await staging.open(new Set(['kept', 'none']));
    await staging.close();
    expect([files(own), reported]).toEqual([['kept'], []]);
  });

  it('keeps what no server made, and the log is told, of ten at most by name', async () => {
    const foreign = Array.from({ length: 11 }, (_, index) => `foreign${String(index).padStart(2, '0')}`);
    for (const file of foreign) fs.writeFileSync(`${own}/${file}`, '');
    await staging.open(new Set());
    await staging.close();
    expect(files(own)).toEqual(foreign);
    const shown = `${foreign.slice(0, 10).join(', ')}, ...`;
    expect(reported).toEqual([
      ['DirectoryNamespace', `left alone in ${own}, as no server made it:`, shown, 'Move it elsewhere.'],
    ]);
  });

  it('holds a new directory that holds nothing', async () => {
    const path = await staging.makeDirectory();
    expect([files(own), files(path)]).toEqual([[path.slice(own.length + 1)], []]);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['a file', () => staging.write(bytes('a'))],
    ['what loses its name', () => staging.detach(`${root}/x`)],
  ])('has to be one, else no change can be made, and the log is told: %s', async (_, run) => {
    fs.writeFileSync(`${root}/x`, '');
    fs.rmdirSync(own);
    fs.writeFileSync(own, '');
    const refusal = new NamingError(`the database is damaged: ${OWN_DIRECTORY} is no directory`);
    await expect(run()).rejects.toEqual(refusal);
    expect(reported).toEqual([['DirectoryNamespace', 'no changes can be made:', refusal, `Remove ${own}`]]);
  });

  it('is not at fault where something else is no directory', async () => {
    fs.writeFileSync(`${root}/x`, '');
    await expect(staging.detach(`${root}/x/y`)).rejects.toMatchObject({ code: 'ENOTDIR' });
    fs.rmSync(root, { recursive: true });
    fs.writeFileSync(root, '');
    await expect(staging.detach(`${root}/x`)).rejects.toMatchObject({ code: 'ENOTDIR' });
    expect(reported).toEqual([]);
  });

  it('is asked for nothing else where a change fails', async () => {
    disk.fault = (call) => (call === 'rename' ? 'EIO' : undefined);
    await expect(staging.detach(`${root}/x`)).rejects.toMatchObject({ code: 'EIO' });
    expect([disk.calls, reported]).toEqual([[], []]);
  });
});

describe('the end', () => {
  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
    for (let group = 0; group < 50; group += 1) {
      fs.mkdirSync(`${own}/1-1.ns_meta/${group}`, { recursive: true });
      fs.writeFileSync(`${own}/1-1.ns_meta/${group}/x`, '');
    }
    staging.deleteLater(`${own}/1-1.ns_meta`);
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  it('waits until what was removed has vanished, and leaves no timer', async () => {
    const closed = staging.close();
    jest.advanceTimersByTime(4_999);
    await closed;
    expect(files(own)).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('waits no longer than five seconds: the next start goes on', async () => {
    const closed = staging.close();
    jest.advanceTimersByTime(5_000);
    await closed;
    expect(files(own)).toEqual(['1-1.ns_meta']);
    expect(reported).toEqual([]);
    await stagingWith().open(new Set());
    while (files(own).length > 0) await new Promise(setImmediate);
  });
});

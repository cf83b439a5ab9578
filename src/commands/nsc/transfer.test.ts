import nodeFS, { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import fs, { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Name, PyroURI } from '../../names/index.js';
import { MemoryNamespace, type NamespaceEntry } from '../../namespace/index.js';
import type { ExportSource } from '../../naming/index.js';
import { Output } from './output.js';

/** Done once it was looked what lies in the way of an export. */
let afterLook = (): void => undefined;

jest.unstable_mockModule('node:fs/promises', () => ({
  ...fs,
  lstat: async (path: string) => {
    try {
      return await fs.lstat(path);
    } finally {
      afterLook();
    }
  },
}));
const { exportTo, importFrom } = await import('./transfer.js');

const uri = new PyroURI('PYRO', '127.0.0.1', 7766, 'abc');

let directory: string;
let file: string;
let stdout: PassThrough;
let output: Output;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'transfer-'));
  file = join(directory, 'names');
  stdout = new PassThrough();
  output = new Output(stdout, new PassThrough(), false);
});

afterEach(async () => {
  afterLook = () => undefined;
  jest.restoreAllMocks();
  await rm(directory, { recursive: true });
});

const entryOf = (text: string): NamespaceEntry => ({
  name: Name.parse(text),
  uri,
  systemMeta: undefined,
  userMeta: null,
});

/** A source of so many entries; `between` is called before each, and before the end. */
function sourceOf(count: number, between: () => void = () => undefined): ExportSource {
  return {
    async *export() {
      for (let index = 0; index < count; index++) {
        between();
        // Written to the file, as far as it goes, before the next is made.
        await new Promise(setImmediate);
        yield entryOf(`:a${index}`);
      }
      between();
    },
  };
}

/** Puts a link in the way of an export. */
const symlinkTo =
  (placeOf: (target: string) => string) =>
  (partial: string, target: string): void => {
    symlinkSync(placeOf(target), partial);
  };

const contentsOf = (): string | undefined => (existsSync(file) ? readFileSync(file, 'utf8') : undefined);

describe('an export to a file', () => {
  test('has all entries, a line each, and leaves nothing else', async () => {
    await exportTo(file, sourceOf(3), output);
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    const names = lines.map((line) => {
      const parsed: unknown = JSON.parse(line);
      return parsed;
    });
    expect(names).toEqual([0, 1, 2].map((index) => expect.objectContaining({ name: `:a${index}` })));
    expect(await readdir(directory)).toEqual(['names']);
    expect(String(stdout.read())).toBe('exported 3 entries\n');
  });

  test.each([
    ['is not there', undefined],
    ['is as it was', 'an older export\n'],
  ])('%s until all are in it', async (_what, before) => {
    if (before !== undefined) writeFileSync(file, before);
    const seen: (string | undefined)[] = [];
    await exportTo(
      file,
      sourceOf(3000, () => seen.push(contentsOf())),
      output,
    );
    expect(new Set(seen)).toEqual(new Set([before]));
    expect(seen).toHaveLength(3001);
    expect(contentsOf()?.split('\n')).toHaveLength(3001);
  });

  test('is on the disk before it takes its name', async () => {
    writeFileSync(file, 'old');
    const synced: (string | undefined)[][] = [];
    const sync = jest.spyOn(nodeFS, 'fsync').mockImplementation((_descriptor, done) => {
      synced.push([contentsOf(), readFileSync(`${file}.partial`, 'utf8')]);
      done(null);
    });
    await exportTo(file, sourceOf(1), output);
    expect(sync).toHaveBeenCalledTimes(1);
    expect(synced).toEqual([['old', contentsOf()]]);
  });

  test('that fails leaves the file as it was', async () => {
    writeFileSync(file, 'old');
    let entries = 0;
    const failing = sourceOf(10, () => {
      entries += 1;
      if (entries === 5) throw new Error('connection lost');
    });
    await expect(exportTo(file, failing, output)).rejects.toThrow('connection lost');
    expect(contentsOf()).toBe('old');
    expect(stdout.read()).toBeNull();
  });

  test('says what is wrong with the file in plain words', async () => {
    const nowhere = join(directory, 'none', 'names');
    await expect(exportTo(nowhere, sourceOf(1), output)).rejects.toMatchObject({
      name: 'NamingError',
      message: `${nowhere} can't be used: ENOENT`,
    });
  });

  test('takes the place of what an export that failed has left', async () => {
    writeFileSync(`${file}.partial`, 'left over, and longer than what is written now: '.repeat(100));
    await exportTo(file, sourceOf(1), output);
    expect(contentsOf()?.split('\n')).toHaveLength(2);
    expect(await readdir(directory)).toEqual(['names']);
  });

  test.each<[string, (partial: string, target: string) => void]>([
    ['a link', symlinkTo((target) => target)],
    ['a link to nothing', symlinkTo((target) => `${target}.none`)],
    [
      'a directory',
      (partial) => {
        mkdirSync(partial);
      },
    ],
  ])('writes nothing where %s lies in its way', async (_what, put) => {
    const target = join(directory, 'of-others');
    writeFileSync(target, 'precious');
    put(`${file}.partial`, target);
    await expect(exportTo(file, sourceOf(1), output)).rejects.toMatchObject({
      name: 'NamingError',
      message: `${file}.partial is in the way: it is no regular file`,
    });
    expect(readFileSync(target, 'utf8')).toBe('precious');
    expect((await readdir(directory)).sort()).toEqual(['names.partial', 'of-others']);
  });

  test('follows no link that is put there at the last moment', async () => {
    const target = join(directory, 'of-others');
    writeFileSync(target, 'precious');
    afterLook = () => {
      symlinkSync(target, `${file}.partial`);
    };
    await expect(exportTo(file, sourceOf(1), output)).rejects.toThrow(`${file} can't be used: EEXIST`);
    expect(readFileSync(target, 'utf8')).toBe('precious');
  });
});

describe('an import of a file', () => {
  const line = (name: string): string => JSON.stringify({ name, uri: uri.toString() });

  test.each([
    ['', true, { imported: 1, unchanged: 0, skipped: 1, failed: 0 }],
    ['\n', false, { imported: 2, unchanged: 0, skipped: 0, failed: 0 }],
  ])(
    'reads the last line, ended by %j, and leaves the own entry where it is kept: %p',
    async (end, keepsOwnEntry, report) => {
      writeFileSync(file, `${line(':Pyro.NameServer')}\n${line(':e')}${end}`);
      const namespace = new MemoryNamespace();
      await namespace.createGroup(Name.parse(':Pyro'));
      output = new Output(stdout, new PassThrough(), true);
      await importFrom(file, namespace, output, { existing: 'fail', keepsOwnEntry });
      output.end();
      expect(JSON.parse(String(stdout.read()))).toEqual([report]);
      expect((await namespace.resolve(Name.parse(':e'))).equals(uri)).toBe(true);
    },
  );

  test('says what is wrong with the file in plain words', async () => {
    const options = { existing: 'fail', keepsOwnEntry: true } as const;
    await expect(importFrom(file, new MemoryNamespace(), output, options)).rejects.toMatchObject({
      name: 'NamingError',
      message: `${file} can't be used: ENOENT`,
    });
  });
});

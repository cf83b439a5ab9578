import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import * as files from './files.js';
import { InlineIOPolicy } from './inline-io-policy.js';

/** What was opened, and how: the directories are the real ones unless a test says otherwise. */
const opendir = jest.fn<(path: string, options: fs.OpenDirOptions) => Promise<unknown>>();
jest.unstable_mockModule('node:fs/promises', () => ({ ...promises, opendir }));

let calls: unknown[] = [];
const inline =
  (name: string) =>
  (...parts: unknown[]) => {
    calls.push([name, ...parts]);
    return name;
  };
const offload =
  (name: string) =>
  (...parts: unknown[]) =>
    Promise.resolve(inline(name)(...parts));
jest.unstable_mockModule('./files.js', () => ({
  ...files,
  inspect: offload('inspect'),
  inspectNow: inline('inspectNow'),
  readFileAt: offload('readFileAt'),
  readFileNow: inline('readFileNow'),
}));
const { Reader } = await import('./reader.js');

const NO_BACKOFF = { slowMs: Infinity, backoffMs: 0 };
const inliner = () => new Reader(new InlineIOPolicy(true, NO_BACKOFF));
const offloader = () => new Reader(new InlineIOPolicy(false, NO_BACKOFF));

beforeEach(() => {
  calls = [];
  opendir.mockReset();
  opendir.mockImplementation((path, options) => promises.opendir(path, options));
});

describe('a file', () => {
  test('is inspected at once where that is allowed, and else by another thread', async () => {
    expect(await inliner().inspect('/x')).toBe('inspectNow');
    expect(await offloader().inspect('/x')).toBe('inspect');
    expect(calls).toEqual([
      ['inspectNow', '/x'],
      ['inspect', '/x'],
    ]);
  });

  test('is read at once only if it is known to be small', async () => {
    expect(await inliner().read('/x', 65_536)).toBe('readFileNow');
    expect(await inliner().read('/x', 65_537)).toBe('readFileAt');
    expect(await offloader().read('/x', 65_536)).toBe('readFileAt');
    expect(calls).toEqual([
      ['readFileNow', '/x', 65_536],
      ['readFileAt', '/x', 65_537],
      ['readFileAt', '/x', 65_536],
    ]);
  });
});

describe('the entries of a directory', () => {
  /** A directory with so many entries: the system keeps as many as it was told to at hand, and counts how it is used. */
  function directoryOf(count: number) {
    let next = 0;
    const used = { waits: 0, isClosed: false };
    const read = () => (next < count ? next++ : null);
    opendir.mockResolvedValue({
      read: () => {
        used.waits += 1;
        return Promise.resolve(read());
      },
      readSync: read,
      close: () => {
        used.isClosed = true;
        return Promise.resolve();
      },
    });
    return used;
  }

  test.each([
    [0, []],
    [1, [1]],
    [999, [999]],
    [1000, [1000]],
    [1001, [1000, 1]],
    [2500, [1000, 1000, 500]],
  ])('come all, in their order, a thousand at a time: %i', async (count, batches) => {
    const used = directoryOf(count);
    const all: unknown[] = [];
    const sizes: number[] = [];
    for await (const entries of inliner().entries('/d')) {
      sizes.push(entries.length);
      all.push(...entries);
    }
    expect(sizes).toEqual(batches);
    expect(all).toEqual(Array.from({ length: count }, (_, index) => index));
    // It is waited for once for each batch, and for the end.
    expect(used).toEqual({ waits: batches.length + 1, isClosed: true });
    expect(opendir.mock.calls).toEqual([['/d', { bufferSize: 1000 }]]);
  });

  test('leave nothing open when they are not read to the end', async () => {
    const used = directoryOf(5000);
    for await (const entries of inliner().entries('/d')) {
      expect(entries).toHaveLength(1000);
      break;
    }
    expect(used).toEqual({ waits: 1, isClosed: true });
  });

  test('leave nothing open after an error', async () => {
    const close = jest.fn(() => Promise.resolve());
    opendir.mockResolvedValue({ read: () => Promise.reject(new Error('EIO')), close });
    await expect(inliner().entries('/d').next()).rejects.toEqual(new Error('EIO'));
    expect(close).toHaveBeenCalledTimes(1);
  });

  describe('of the file system', () => {
    let directory: string;

    beforeEach(() => {
      directory = fs.mkdtempSync(`${tmpdir()}/pyro-ns-reader-`);
    });
    afterEach(() => {
      fs.rmSync(directory, { recursive: true });
    });

    test('say what they are', async () => {
      fs.writeFileSync(`${directory}/file`, '');
      fs.mkdirSync(`${directory}/group`);
      fs.symlinkSync('file', `${directory}/link`);
      const kinds: unknown[] = [];
      for await (const entries of offloader().entries(directory)) {
        for (const entry of entries) kinds.push([entry.name, entry.isFile(), entry.isDirectory()]);
      }
      expect(kinds.sort()).toEqual([
        ['file', true, false],
        ['group', false, true],
        ['link', false, false],
      ]);
    });

    test('are not to be had of a directory that is missing', async () => {
      await expect(inliner().entries(`${directory}/missing`).next()).rejects.toMatchObject({ code: 'ENOENT' });
    });
  });
});

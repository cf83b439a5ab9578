import { afterEach, beforeEach, expect, it, jest } from '@jest/globals';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { RecordedDisk } from '../../test/support/recorded-disk.js';

const disk = new RecordedDisk();
jest.unstable_mockModule('node:fs', () => disk.fs);
jest.unstable_mockModule('node:fs/promises', () => disk.promises);
const { silentLog } = await import('../config/index.js');
const { DirectoryNamespace } = await import('./directory/directory-namespace.js');
const { makeDirectory } = await import('./make-directory.js');

let top: string;
/** The directories that were opened, as it is done to sync them. */
let opened: string[];
beforeEach(() => {
  top = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-make-`));
  opened = [];
  disk.record(top);
  disk.fault = (call, path) => {
    if (call === 'open' && !path.startsWith(`${top}/database`)) opened.push(path.slice(top.length));
    return undefined;
  };
});
afterEach(() => {
  disk.stop();
  fs.rmSync(top, { recursive: true });
});

it('makes a directory and those above it, each on the disk', async () => {
  await makeDirectory(`${top}/a/b/c`, true);
  expect(fs.statSync(`${top}/a/b/c`).isDirectory()).toBe(true);
  expect(opened).toEqual(['/a/b', '/a', '']);
});

it('waits for no disk where speed is wanted over safety, or nothing is made', async () => {
  await makeDirectory(`${top}/a/b`, false);
  await makeDirectory(`${top}/a/b`, true);
  expect(opened).toEqual([]);
});

it.each([
  [true, ['']],
  [false, []],
])('a new database is on the disk before it is served: sync %s', async (sync, expected) => {
  const namespace = await DirectoryNamespace.open(`${top}/database`, { log: silentLog, sync });
  expect(opened).toEqual(expected);
  await namespace.close();
});

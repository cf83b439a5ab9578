import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { foreignFileIn, refuseForeignDirectory } from './foreign-files.js';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pyro-ns-foreign-'));
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

/** Writes a file with the directories above it; a path that ends with a slash is a directory. */
function write(path: string, content = ''): void {
  mkdirSync(join(root, path.endsWith('/') ? path : dirname(path)), { recursive: true });
  if (!path.endsWith('/')) writeFileSync(join(root, path), content);
}

const URI = 'PYRO://127.0.0.1:1/x';

describe('a directory is taken for a database', () => {
  test.each<[string, Record<string, string>]>([
    ['where it is empty', {}],
    ['where it is a fresh file system', { 'lost+found/': '' }],
    ['where there are groups only', { 'G/inner/': '' }],
    ['where only what is no name is in it', { '.git/HEAD': 'ref' }],
    ['where the group Pyro is in it', { 'Pyro/x': '', hosts: '' }],
    ['where the server has been', { '.pyro-ns.ns_meta/x': '', hosts: '' }],
    ['where metadata is in it', { 'G/x.ns_meta': '' }],
    ['where a URI is at its top', { name: URI }],
    ['where a URI is in a group', { 'G/inner/name': URI }],
  ])('%s', async (_what, files) => {
    for (const [path, content] of Object.entries(files)) write(path, content);
    await expect(refuseForeignDirectory(root)).resolves.toBeUndefined();
  });

  test.each<[string, string, string]>([
    ['other files are in it', 'hosts', '127.0.0.1 localhost'],
    ['a server has left its URI beside other files', 'Pyro_NS_URI', URI],
    ['other directories are in it', 'Documents/old/letter', 'Dear'],
  ])('but not where %s', async (_what, path, content) => {
    write('notes', 'to be kept');
    write(path, content);
    await expect(refuseForeignDirectory(root)).rejects.toThrow(
      `${root} is no database of a name server: it holds other things, and no group 'Pyro'. ` +
        `To make it one all the same: mkdir '${root}/Pyro'`,
    );
    write('Pyro/');
    await expect(refuseForeignDirectory(root)).resolves.toBeUndefined();
  });

  test('but not where a URI is only behind a link', async () => {
    write('.hidden.files/uri', URI);
    symlinkSync('.hidden.files/uri', join(root, 'name'));
    await expect(refuseForeignDirectory(root)).rejects.toThrow('is no database');
  });
});

describe('what is no name in a group', () => {
  test('is nothing where there are names, metadata and links only', async () => {
    write('G/inner/name', 'PYRO://127.0.0.1:1/x');
    write('G/name.ns_meta');
    write('G/.ns_meta');
    write('G/inner/other');
    symlinkSync('/nowhere', join(root, 'G/notes.txt'));
    expect(await foreignFileIn(root)).toBeUndefined();
  });

  test.each([['G/notes.txt'], ['G/inner/.gitignore'], ['G/inner/two words'], ['G/.git/HEAD', 'G/.git']])(
    'is found: %s',
    async (path, found = path) => {
      write('G/name');
      write(path);
      expect(await foreignFileIn(root)).toBe(join(root, found));
    },
  );

  test('is found where a name is a FIFO', async () => {
    execFileSync('mkfifo', [join(root, 'pipe')]);
    expect(await foreignFileIn(root)).toBe(join(root, 'pipe'));
  });
});

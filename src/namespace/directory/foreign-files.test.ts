import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { foreignFileIn, refuseForeignDirectory } from './foreign-files.js';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pyro-ns-foreign-'));
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

function write(path: string, content = ''): void {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), content);
}

describe('a directory is taken for a database', () => {
  test.each<[string, () => void]>([
    ['where it is empty', () => undefined],
    ['where it is a fresh file system', () => mkdirSync(join(root, 'lost+found'))],
    ['where there are groups only', () => mkdirSync(join(root, 'G/inner'), { recursive: true })],
    ['where only what is no name is in it', () => write('.git/HEAD')],
    ['where the group Pyro is in it', () => (write('Pyro/x'), write('hosts'))],
    ['where the server has been', () => (write('.pyro-ns.ns_meta/x'), write('hosts'))],
    ['where metadata is in it', () => write('G/x.ns_meta')],
    ['where a URI is at its top', () => write('name', 'PYRO://127.0.0.1:1/x')],
    ['where a URI is in a group', () => (write('hosts', '127.0.0.1'), write('G/inner/name', 'PYRO://127.0.0.1:1/x'))],
  ])('%s', async (_what, make) => {
    make();
    await expect(refuseForeignDirectory(root)).resolves.toBeUndefined();
  });

  test.each<[string, () => void]>([
    ['other files are in it', () => write('hosts', '127.0.0.1 localhost')],
    ['other directories are in it', () => write('Documents/old/letter', 'Dear')],
    [
      'a URI is only behind a link',
      () => (write('../elsewhere-uri', 'PYRO://127.0.0.1:1/x'), symlinkSync('../elsewhere-uri', join(root, 'name'))),
    ],
  ])('but not where %s', async (_what, make) => {
    make();
    rmSync(join(root, '../elsewhere-uri'), { force: true });
    const refusal = `${root} is no database of a name server: it holds other things, and no group 'Pyro'. `;
    await expect(refuseForeignDirectory(root)).rejects.toThrow(
      `${refusal}To make it one all the same: mkdir '${root}/Pyro'`,
    );
    mkdirSync(join(root, 'Pyro'));
    await expect(refuseForeignDirectory(root)).resolves.toBeUndefined();
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

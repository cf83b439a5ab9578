import { describe, expect, jest, test } from '@jest/globals';
import * as fs from 'node:fs';

const readFileSync = jest.fn<(path: string, encoding: string) => string>();
jest.unstable_mockModule('node:fs', () => ({ ...fs, readFileSync }));
const { SpansFileSystemsError, requireNoMountAbove, requireNoMountIn } = await import('./mounts.js');

/** The system's table of mounts, with these. */
const mounted = (...paths: string[]) => {
  const lines = paths.map((path, index) => `${index + 20} 1 0:${index} / ${path} rw,relatime - tmpfs none rw\n`);
  readFileSync.mockImplementation((path) => (path === '/proc/self/mountinfo' ? lines.join('') : ''));
};

/** The mount point that an action is refused for. */
function refusalOf(action: () => void): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (!(error instanceof SpansFileSystemsError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

const refusal = (path: string) => `EXDEV: another file system is mounted on ${path}`;

describe('what is mounted in a database', () => {
  test.each([
    ['on a directory', '/db/G', '/db/G'],
    ['below it', '/db/G/inner', '/db/G/inner'],
    ['above it', '/db', undefined],
    ['beside it, with a name that begins alike', '/db/GH', undefined],
    [
      'on a name with a space, a tab, a line feed and a backslash',
      '/db/G/a\\040b\\011c\\012d\\134',
      '/db/G/a b\tc\nd\\',
    ],
  ])('forbids to move or remove a directory: %s', (_, mount, told) => {
    mounted('/', mount, '/var');
    expect(
      refusalOf(() => {
        requireNoMountIn('/db/G');
      }),
    ).toBe(told && refusal(told));
  });

  test.each([
    ['on a directory', '/db/G/inner', true],
    ['above it', '/db/G', true],
    ['on the database itself', '/db', false],
    ['above the database', '/', false],
    ['below it', '/db/G/inner/x', false],
    ['beside it', '/db/G/in', false],
    ['outside of the database', '/dbase', false],
  ])('forbids to move what is in it elsewhere: %s', (_, mount, isRefused) => {
    mounted('/sys', mount);
    expect(
      refusalOf(() => {
        requireNoMountAbove('/db/G/inner', '/db');
      }),
    ).toBe(isRefused ? refusal(mount) : undefined);
  });

  test('is not known where the system does not tell', () => {
    readFileSync.mockImplementation(() => {
      throw new Error('ENOENT');
    });
    expect(() => {
      requireNoMountIn('/');
      requireNoMountAbove('/db/G', '/db');
    }).not.toThrow();
    expect(readFileSync).toHaveBeenLastCalledWith('/proc/self/mountinfo', 'utf8');
  });
});

/**
 * Checks for other file systems mounted inside a database. Names on them can be read, but changes across them are refused: a
 * rename between file systems is not atomic, and removing a group would delete the mounted file system's files.
 */
import { readFileSync } from 'node:fs';

/** A change would span two file systems. It has the code of the system's own error for that, EXDEV. */
export class SpansFileSystemsError extends Error {
  readonly code = 'EXDEV';

  constructor(mountPoint: string) {
    super(`another file system is mounted on ${mountPoint}`);
  }
}

/** @throws SpansFileSystemsError where something is mounted on a directory, or below it */
export function requireNoMountIn(directory: string): void {
  const mountPoint = mountPoints().find((path) => isWithin(path, directory));
  if (mountPoint !== undefined) throw new SpansFileSystemsError(mountPoint);
}

/** @throws SpansFileSystemsError where a directory is on a file system that is mounted below the root of the database */
export function requireNoMountAbove(directory: string, root: string): void {
  const mountPoint = mountPoints().find((path) => path !== root && isWithin(path, root) && isWithin(directory, path));
  if (mountPoint !== undefined) throw new SpansFileSystemsError(mountPoint);
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/**
 * All mount points, from Linux's table; none on other systems. To compare device numbers would not be enough: a bind mount
 * mounts a directory elsewhere on the same device.
 */
function mountPoints(): string[] {
  let table: string;
  try {
    table = readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return [];
  }
  return table.split('\n').flatMap((line) => {
    const path = line.split(' ', 5)[4];
    return path === undefined
      ? []
      : [path.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)))];
  });
}

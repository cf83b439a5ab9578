/**
 * What is mounted in a database. It can be read, but isn't changed: a name that moves there is no longer moved at once, and a
 * group that is removed would take with it what belongs to somebody else.
 */
import { readFileSync } from 'node:fs';

/** Something would have to be done on two file systems at once: an error as the system's own. */
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

/** @throws SpansFileSystemsError where a directory of a database is on what is mounted there, below the root */
export function requireNoMountAbove(directory: string, root: string): void {
  const mountPoint = mountPoints().find((path) => path !== root && isWithin(path, root) && isWithin(directory, path));
  if (mountPoint !== undefined) throw new SpansFileSystemsError(mountPoint);
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** Where file systems are mounted, as Linux tells; devices would not, as a directory may be mounted on another of the same. */
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

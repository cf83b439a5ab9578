/**
 * Trust in the server's own directory. Others may be able to write to a database, and so to put something else in its place:
 * a link, through which the server would remove, move or overwrite files elsewhere.
 */
import type { Stats } from 'node:fs';
import { lstat, mkdir } from 'node:fs/promises';
import { isOwnedByUsOrRoot } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { codeOf, inspect } from './files.js';
import { OWN_DIRECTORY } from './layout.js';

/** Something stands where the server works that it did not make, and that it therefore does not use. */
export class UntrustedPathError extends NamingError {
  constructor(
    readonly path: string,
    what: string,
  ) {
    super(refusalText('PATH_NOT_TRUSTED', path, what));
  }
}

/**
 * Makes the server's own directory, or takes the one that is there.
 * @param root the real path of the database
 * @throws UntrustedPathError where it is no real directory, or somebody else's; the system's error
 */
export async function openOwnDirectory(root: string): Promise<void> {
  const path = `${root}/${OWN_DIRECTORY}`;
  await mkdir(path).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
  const [own, database] = await Promise.all([lstat(path), lstat(root)]);
  if (!own.isDirectory()) throw new UntrustedPathError(path, kindOf(own));
  // Whoever owns the database may do anything in it. Some file systems, such as SMB, also give all files to one owner.
  if (!isOwnedByUsOrRoot(own) && own.uid !== database.uid)
    throw new UntrustedPathError(path, `a directory of another user (with the id ${own.uid})`);
  if (own.dev !== database.dev) throw new UntrustedPathError(path, 'on another file system than the database');
}

/**
 * True if there is a directory at a path.
 * @throws UntrustedPathError where there is something else, such as a link to one; the system's error
 */
export async function directoryExists(path: string): Promise<boolean> {
  const stats = await inspect(path);
  if (stats === undefined) return false;
  if (!stats.isDirectory()) throw new UntrustedPathError(path, kindOf(stats));
  return true;
}

function kindOf(stats: Stats): string {
  if (stats.isSymbolicLink()) return 'a symbolic link, not a directory';
  if (stats.isFile()) return 'a file, not a directory';
  return 'neither a file nor a directory';
}

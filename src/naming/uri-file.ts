import { lstat, mkdtemp, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { isOwnedByUsOrRoot } from '../config/index.js';
import { NamingError } from '../errors.js';
import { refusalText } from '../refusals.js';

/**
 * Writes the file with the name server's URI, atomically: it is written in a temporary directory and then renamed. Only
 * we can enter that directory: other users who may write beside the file could put a symbolic link at the temporary
 * file's path otherwise, and so have another file overwritten.
 * @throws NamingError where the path is neither free nor a file, or a link of another user; the system's error
 */
export async function writeURIFile(path: string, uri: string): Promise<void> {
  const target = await targetOf(path);
  const before = await stat(target).catch(() => undefined);
  if (before?.isFile() === false) throw new NamingError(refusalText('FILE_NOT_REGULAR', target));
  const directory = await mkdtemp(join(dirname(target), '.pyro-ns-'));
  try {
    const whole = join(directory, basename(target));
    const owner = before && { mode: before.mode, chown: { uid: before.uid, gid: before.gid } };
    await writeFileAtomic(whole, `${uri}\n`, owner);
    await rename(whole, target);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The file's path; symbolic links are followed if they are ours or root's. */
async function targetOf(path: string): Promise<string> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats?.isSymbolicLink() !== true) return path;
  if (!isOwnedByUsOrRoot(stats)) throw new NamingError(refusalText('LINK_OF_ANOTHER_USER', path));
  return realpath(path);
}

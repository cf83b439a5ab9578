/** Looking at files that anyone may have put there: nothing here follows a link, waits for a FIFO or reads without end. */
import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { lstat, open } from 'node:fs/promises';

/** What stands at a path: a regular file, a directory, or something that is neither (links too). */
export type FileKind = 'file' | 'directory' | 'other';

export type Reading =
  | { readonly kind: 'file'; readonly content: Buffer; readonly stats: Stats }
  | { readonly kind: 'too large' | 'directory' | 'other' };

// Windows has neither of the last two: they are undefined there, which counts as 0.
const READ_SAFELY = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

// There is nothing at the path: no such entry, something else than a directory on the way, or a name that is too long to exist.
const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG']);
// There is something that can't be opened to be read: a link (ELOOP; FreeBSD says EMLINK), a socket or a device without a driver.
const NO_FILE = new Set(['ELOOP', 'EMLINK', 'ENXIO', 'ENODEV', 'EOPNOTSUPP']);

/** The code of an error of the operating system, such as `ENOENT`; undefined for any other error. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** True if an error says that there is nothing at a path. */
export function saysAbsent(error: unknown): boolean {
  return ABSENT.has(codeOf(error) ?? '');
}

export function kindOf(stats: { isFile(): boolean; isDirectory(): boolean }): FileKind {
  if (stats.isFile()) return 'file';
  return stats.isDirectory() ? 'directory' : 'other';
}

/** What is at a path, links not followed; undefined where there is nothing. @throws the system's error where it can't be told */
export async function inspect(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (saysAbsent(error)) return undefined;
    throw error;
  }
}

/**
 * Reads a regular file of at most `limit` bytes. Undefined where there is nothing at the path.
 * @throws the system's error where it can't be read
 */
export async function readFileAt(path: string, limit: number): Promise<Reading | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, READ_SAFELY);
  } catch (error) {
    if (saysAbsent(error)) return undefined;
    if (NO_FILE.has(codeOf(error) ?? '')) return { kind: 'other' };
    throw error;
  }
  try {
    const stats = await file.stat();
    const kind = kindOf(stats);
    if (kind !== 'file') return { kind };
    if (stats.size > limit) return { kind: 'too large' };
    return { kind, content: await readUpTo(file, stats.size), stats };
  } finally {
    await file.close();
  }
}

/** Reads what was there when the size was asked for: a file that grows meanwhile is not read further. */
async function readUpTo(file: FileHandle, size: number): Promise<Buffer> {
  const content = Buffer.allocUnsafe(size);
  let length = 0;
  while (length < size) {
    const { bytesRead } = await file.read(content, length, size - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return content.subarray(0, length);
}

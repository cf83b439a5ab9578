/** Looking at files that anyone may have put there: nothing here follows a link, waits for a FIFO or reads without end. */
import type { Stats } from 'node:fs';
import { close, constants, fstat, fsync, futimes, lstat, open, read, unlink, write } from 'node:fs';
import { promisify } from 'node:util';

// Plain descriptors, because each step of a FileHandle costs twice the time of ours, and names are many.
const openFile = promisify(open);
const closeFile = promisify(close);
const statFile = promisify(fstat);
const syncFile = promisify(fsync);
const touchFile = promisify(futimes);
const removeFile = promisify(unlink);

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
export function inspect(path: string): Promise<Stats | undefined> {
  return new Promise((resolve, reject) => {
    lstat(path, (error, stats) => {
      if (error === null) resolve(stats);
      else if (saysAbsent(error)) resolve(undefined);
      else reject(error);
    });
  });
}

/**
 * Reads a regular file of at most `limit` bytes. Undefined where there is nothing at the path.
 * @throws the system's error where it can't be read
 */
export async function readFileAt(path: string, limit: number): Promise<Reading | undefined> {
  let file: number;
  try {
    file = await openFile(path, READ_SAFELY);
  } catch (error) {
    if (saysAbsent(error)) return undefined;
    if (NO_FILE.has(codeOf(error) ?? '')) return { kind: 'other' };
    throw error;
  }
  try {
    const stats = await statFile(file);
    const kind = kindOf(stats);
    if (kind !== 'file') return { kind };
    if (stats.size > limit) return { kind: 'too large' };
    return { kind, content: await readUpTo(file, stats.size), stats };
  } finally {
    await closeFile(file);
  }
}

/** Reads what was there when the size was asked for: a file that grows meanwhile is not read further. */
async function readUpTo(file: number, size: number): Promise<Buffer> {
  const content = Buffer.allocUnsafe(size);
  let length = 0;
  while (length < size) {
    const count = await readInto(file, content.subarray(length));
    if (count === 0) break;
    length += count;
  }
  return content.subarray(0, length);
}

function readInto(file: number, target: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    read(file, target, 0, target.length, null, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}

export interface WriteOptions {
  /** Whether the file is to be on the disk at the end. */
  readonly sync: boolean;
  /** When it shall seem to have been made, in seconds. */
  readonly timestamp?: number | undefined;
}

/** Writes a file that isn't there yet. @throws the system's error, with nothing left behind */
export async function writeNewFile(
  path: string,
  content: Uint8Array,
  { sync, timestamp }: WriteOptions,
): Promise<void> {
  const file = await openFile(path, 'wx');
  try {
    for (let rest = content; rest.length > 0;) rest = rest.subarray(await writeFrom(file, rest));
    if (timestamp !== undefined) await touchFile(file, timestamp, timestamp);
    if (sync) await syncFile(file);
  } catch (error) {
    await removeFile(path).catch(() => undefined);
    throw error;
  } finally {
    await closeFile(file);
  }
}

function writeFrom(file: number, content: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(file, content, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}

/** Has a directory on the disk. @throws the system's error */
export async function syncDirectory(path: string): Promise<void> {
  const file = await openFile(path, constants.O_RDONLY);
  try {
    await syncFile(file);
  } finally {
    await closeFile(file);
  }
}

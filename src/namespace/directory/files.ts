/** Looking at files that anyone may have put there: nothing here follows a link, waits for a FIFO or reads without end. */
import type { Stats } from 'node:fs';
import { close, closeSync, constants, fstatSync, fsync, futimes, lstat, lstatSync, open, openSync } from 'node:fs';
import { read, readSync, unlink, write, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import type { InlineIOPolicy } from './inline-io-policy.js';

// Plain descriptors, because each step of a FileHandle costs twice the time of ours, and names are many.
const openFile = promisify(open);
const closeFile = promisify(close);
const syncFile = promisify(fsync);
const touchFile = promisify(futimes);
const removeFile = promisify(unlink);

/** Up to this size content is written at once. */
const SMALL_WRITE_SIZE = 4096;

/** What is at a path: a regular file and what is in it, or why it isn't read. */
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

/** As `inspect`, while everything else waits. */
export function inspectNow(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
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
  const file = await openFile(path, READ_SAFELY).catch(unreadable);
  if (typeof file !== 'number') return file;
  try {
    // At once, as the close: of an open file the system has all of that in memory, and another thread would cost more than both.
    const stats = fstatSync(file);
    const unfit = unfitToRead(stats, limit);
    return unfit ?? { kind: 'file', content: await readUpTo(file, stats.size), stats };
  } finally {
    closeSync(file);
  }
}

/** As `readFileAt`, while everything else waits: for small files. */
export function readFileNow(path: string, limit: number): Reading | undefined {
  let file: number;
  try {
    file = openSync(path, READ_SAFELY);
  } catch (error) {
    return unreadable(error);
  }
  try {
    const stats = fstatSync(file);
    const unfit = unfitToRead(stats, limit);
    if (unfit !== undefined) return unfit;
    const content = Buffer.allocUnsafe(stats.size);
    // No loop: a regular file of this size comes at once, or was made shorter meanwhile.
    return { kind: 'file', content: content.subarray(0, readSync(file, content)), stats };
  } finally {
    closeSync(file);
  }
}

/** What it means that a file can't be opened. @throws the error if that tells nothing of what there is */
function unreadable(error: unknown): Reading | undefined {
  if (saysAbsent(error)) return undefined;
  if (NO_FILE.has(codeOf(error) ?? '')) return { kind: 'other' };
  throw error;
}

/** Why a file is not read, if so. */
function unfitToRead(stats: Stats, limit: number): Reading | undefined {
  if (stats.isFile()) return stats.size > limit ? { kind: 'too large' } : undefined;
  return { kind: stats.isDirectory() ? 'directory' : 'other' };
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
  /** Whether a little may be written at once. */
  readonly inlineIO: InlineIOPolicy;
}

/** Writes a file that isn't there yet. @throws the system's error, with nothing left behind */
export async function writeNewFile(
  path: string,
  content: Uint8Array,
  { sync, timestamp, inlineIO }: WriteOptions,
): Promise<void> {
  const file = await openFile(path, 'wx');
  try {
    for (let rest = content; rest.length > 0;) rest = rest.subarray(await writeSome(file, rest, inlineIO));
    if (timestamp !== undefined) await touchFile(file, timestamp, timestamp);
    if (sync) await syncFile(file);
  } catch (error) {
    await removeFile(path).catch(() => undefined);
    throw error;
  } finally {
    await closeWritten(file, sync);
  }
}

/** Closes a file. What is on the disk already is closed at once: there is nothing left to wait for. */
async function closeWritten(file: number, isSynced: boolean): Promise<void> {
  if (isSynced) closeSync(file);
  else await closeFile(file);
}

/** Writes into the system's memory, which it seldom lets wait for the disk: so it may be done at once. */
function writeSome(file: number, content: Uint8Array, inlineIO: InlineIOPolicy): Promise<number> {
  const later = () => writeFrom(file, content);
  return content.length <= SMALL_WRITE_SIZE ? inlineIO.run(() => writeSync(file, content), later) : later();
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
    closeSync(file);
  }
}

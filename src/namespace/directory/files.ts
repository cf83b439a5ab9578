/** Safe access to files that anyone may have put there: nothing here follows a link, blocks on a FIFO or reads without end. */
import type { Stats } from 'node:fs';
import { close, closeSync, constants, fstatSync, fsync, futimes, lstat, lstatSync, open, openSync } from 'node:fs';
import { read, readSync, unlink, write, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { PyroError } from '../../errors.js';
import { PickleError } from '../../pickle/index.js';
import type { InlineIOPolicy } from './inline-io-policy.js';

// Plain file descriptors: each operation on a FileHandle takes twice the time, and there are many files.
const openFile = promisify(open);
const closeFile = promisify(close);
const syncFile = promisify(fsync);
const touchFile = promisify(futimes);
const removeFile = promisify(unlink);

/** Maximum size of content that may be written inline. */
const MAX_INLINE_WRITE_SIZE = 4096;

/** The result of reading a path: the content of a regular file, or why there is none. */
export type Reading =
  | { readonly kind: 'file'; readonly content: Buffer; readonly stats: Stats }
  | { readonly kind: 'too large' | 'directory' | 'other' };

// On Windows, the last two flags are undefined, which counts as 0.
const READ_SAFELY = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

// Errors that mean that nothing is at the path: no such entry, a non-directory in the path, or a name too long to exist.
const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG']);
// Errors that mean that no regular file is at the path: a link (ELOOP; on FreeBSD EMLINK), a socket, a device without a driver.
const NO_FILE = new Set(['ELOOP', 'EMLINK', 'ENXIO', 'ENODEV', 'EOPNOTSUPP']);

/** The code of an error of the operating system, such as `ENOENT`; undefined for any other error, ours with their own codes among them. */
export function codeOf(error: unknown): string | undefined {
  if (error instanceof PyroError || error instanceof PickleError) return undefined;
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** True if an error means that there is nothing at the path. */
export function saysAbsent(error: unknown): boolean {
  return ABSENT.has(codeOf(error) ?? '');
}

/** The stats of a path, without following a link (lstat); undefined if there is nothing. @throws any other system error */
export function inspect(path: string): Promise<Stats | undefined> {
  return new Promise((resolve, reject) => {
    lstat(path, (error, stats) => {
      if (error === null) resolve(stats);
      else if (saysAbsent(error)) resolve(undefined);
      else reject(error);
    });
  });
}

/** The synchronous `inspect`. */
export function inspectNow(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (saysAbsent(error)) return undefined;
    throw error;
  }
}

/**
 * Reads a regular file of at most `limit` bytes; undefined if there is nothing at the path.
 * @throws the system's error where it can't be read
 */
export async function readFileAt(path: string, limit: number): Promise<Reading | undefined> {
  const file = await openFile(path, READ_SAFELY).catch(unreadable);
  if (typeof file !== 'number') return file;
  try {
    // fstat and close run inline: for an open file they need no disk access, and offloading costs more than both.
    const stats = fstatSync(file);
    return reasonNotToRead(stats, limit) ?? { kind: 'file', content: await readUpTo(file, stats.size), stats };
  } finally {
    closeSync(file);
  }
}

/** The synchronous `readFileAt`, for small files. */
export function readFileNow(path: string, limit: number): Reading | undefined {
  let file: number;
  try {
    file = openSync(path, READ_SAFELY);
  } catch (error) {
    return unreadable(error);
  }
  try {
    const stats = fstatSync(file);
    const reason = reasonNotToRead(stats, limit);
    if (reason !== undefined) return reason;
    const content = Buffer.allocUnsafe(stats.size);
    // No loop: one read returns all of a small regular file, or less if the file was truncated meanwhile.
    return { kind: 'file', content: content.subarray(0, readSync(file, content)), stats };
  } finally {
    closeSync(file);
  }
}

/** The result for a path that can't be opened. @throws the error if it does not say what is at the path */
function unreadable(error: unknown): Reading | undefined {
  if (saysAbsent(error)) return undefined;
  if (NO_FILE.has(codeOf(error) ?? '')) return { kind: 'other' };
  throw error;
}

/** Why an open file is not read; undefined if it may be. */
function reasonNotToRead(stats: Stats, limit: number): Reading | undefined {
  if (stats.isFile()) return stats.size > limit ? { kind: 'too large' } : undefined;
  return { kind: stats.isDirectory() ? 'directory' : 'other' };
}

/** Reads at most `size` bytes, in as many reads as it takes. A file that grows meanwhile is not read further. */
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
  /** Whether to fsync the file. */
  readonly sync: boolean;
  /** The file's times of access and modification, in seconds; the current time without it. */
  readonly timestamp?: number | undefined;
  /** Decides whether small content is written inline. */
  readonly inlineIO: InlineIOPolicy;
}

/** Creates a file. @throws the system's error, EEXIST if the path exists; no partial file is left then */
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

/** Closes a file. A synced one is closed inline, because its close does not wait for the disk. */
async function closeWritten(file: number, isSynced: boolean): Promise<void> {
  if (isSynced) closeSync(file);
  else await closeFile(file);
}

/** Writes as much as one write takes. It goes into the page cache and seldom waits for the disk, so it may run inline. */
function writeSome(file: number, content: Uint8Array, inlineIO: InlineIOPolicy): Promise<number> {
  const offload = () => writeFrom(file, content);
  return content.length <= MAX_INLINE_WRITE_SIZE ? inlineIO.run(() => writeSync(file, content), offload) : offload();
}

function writeFrom(file: number, content: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(file, content, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}

/** Syncs a directory (fsync), so that its entries survive a power failure. @throws the system's error */
export async function syncDirectory(path: string): Promise<void> {
  const file = await openFile(path, constants.O_RDONLY);
  try {
    await syncFile(file);
  } finally {
    closeSync(file);
  }
}

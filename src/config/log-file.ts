import { closeSync, constants, fstatSync, lstatSync, openSync, writeSync } from 'node:fs';
import { ConfigError } from '../errors.js';
import { isOwnedByUsOrRoot } from './ownership.js';
import { writeStderr } from './stderr.js';

const STANDARD_STREAMS: Readonly<Record<string, number>> = { '/dev/stdout': 1, '/dev/stderr': 2 };

// Not blocking, so that a FIFO that nobody reads is an error instead of a wait without end.
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

/**
 * A file that whole lines are appended to, also by other processes at the same time. It is opened when a line is to be
 * written, and again after a failure: a full disk costs the lines of that time and no later ones. No method throws.
 */
export class LogFile {
  private descriptor: number | undefined;
  /** The file ends in the middle of a line, because the disk filled up there. */
  private torn = false;
  private hasComplained = false;

  /**
   * @param path asked when the file is opened
   * @param complain told of the first failure since `reopen`
   */
  constructor(
    private readonly path: () => string,
    private readonly complain: (message: string) => void = writeStderr,
  ) {}

  /** Appends whole lines. */
  write(lines: string): void {
    try {
      this.append(lines);
    } catch (error) {
      this.close();
      if (!this.hasComplained) this.complain(`PYRO: can't write the log file ${this.path()}: ${String(error)}\n`);
      this.hasComplained = true;
    }
  }

  /** Lets go of the file: the next line opens what is under the path by then. */
  reopen(): void {
    this.close();
    this.torn = false;
    this.hasComplained = false;
  }

  private append(lines: string): void {
    const standard = STANDARD_STREAMS[this.path()];
    const descriptor = standard ?? (this.descriptor ??= openLog(this.path()));
    const bytes = Buffer.from(this.torn ? `\n${lines}` : lines);
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(descriptor, bytes, written);
    } finally {
      if (written > 0) this.torn = written < bytes.length;
    }
  }

  private close(): void {
    const descriptor = this.descriptor;
    this.descriptor = undefined;
    try {
      if (descriptor !== undefined) closeSync(descriptor);
    } catch {
      // A delayed write error of a network file system: those lines are gone.
    }
  }
}

/** @throws ConfigError where there is something else than a file or a character device, or a link of another user; the system's error */
function openLog(path: string): number {
  const descriptor = openSync(path, APPEND | (isTrustedLink(path) ? 0 : constants.O_NOFOLLOW));
  const stats = fstatSync(descriptor);
  if (stats.isFile() || stats.isCharacterDevice()) return descriptor;
  closeSync(descriptor);
  throw new ConfigError('it is neither a file nor a character device');
}

/** True where there is a link that may be followed: ours or root's, who decide where the log is. @throws ConfigError for any other */
function isTrustedLink(path: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats?.isSymbolicLink() !== true) return false;
  if (!isOwnedByUsOrRoot(stats)) throw new ConfigError('it is a symbolic link of another user');
  return true;
}

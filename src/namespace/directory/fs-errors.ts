import { LRUCache } from 'lru-cache';
import type { Log } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { Name } from '../../names/index.js';
import { nameTooLong } from '../errors.js';
import { codeOf } from './files.js';

const SOURCE = 'DirectoryNamespace';

/** An error that repeats is logged at most once in this time. */
const REPEAT_AFTER_MS = 10_000;

/** Maximum number of errors kept for that: each path in the database may have its own. */
const MAX_RECENT_ERRORS = 1000;

type DatabaseRefusal =
  | 'DATABASE_FULL'
  | 'DATABASE_FORBIDDEN'
  | 'DATABASE_READ_ONLY'
  | 'DATABASE_IO'
  | 'DATABASE_MISSING'
  | 'DATABASE_SPANS_FILE_SYSTEMS'
  | 'DATABASE_ERROR'
  | 'TOO_MANY_FILES';

interface FsErrorKind {
  /** The refusal that clients get. */
  readonly refusal: DatabaseRefusal;
  /** Advice for the operator, in the log. */
  readonly advice: string;
}

const FULL: FsErrorKind = {
  refusal: 'DATABASE_FULL',
  advice: 'Make room on the file system of the database.',
};
const FORBIDDEN: FsErrorKind = {
  refusal: 'DATABASE_FORBIDDEN',
  advice: 'Let the user that this server runs as read and write all of the database directory.',
};
const BROKEN: FsErrorKind = {
  refusal: 'DATABASE_IO',
  advice: 'The disk or the connection to it fails: look at the system log.',
};
const BUSY: FsErrorKind = {
  refusal: 'TOO_MANY_FILES',
  advice: 'Raise the limit of open files (ulimit -n), or have fewer connections.',
};

const DIVIDED: FsErrorKind = {
  refusal: 'DATABASE_SPANS_FILE_SYSTEMS',
  advice: 'Keep all of the database on one file system: unmount what is mounted in it.',
};

const FS_ERROR_KINDS: ReadonlyMap<string | undefined, FsErrorKind> = new Map([
  ['ENOSPC', FULL],
  ['EDQUOT', FULL],
  ['EACCES', FORBIDDEN],
  ['EPERM', FORBIDDEN],
  ['EROFS', { refusal: 'DATABASE_READ_ONLY', advice: 'Mount the file system of the database for writing.' }],
  ['EIO', BROKEN],
  ['ESTALE', BROKEN],
  ['EMFILE', BUSY],
  ['ENFILE', BUSY],
  ['ENOENT', { refusal: 'DATABASE_MISSING', advice: 'The database directory is gone: put it back.' }],
  ['EXDEV', DIVIDED],
  ['EBUSY', DIVIDED],
]);

const OTHER: FsErrorKind = {
  refusal: 'DATABASE_ERROR',
  advice: 'Look at the error, and at the database directory.',
};

/** Maps errors of the operating system to errors for clients (without paths), and logs them with advice for the operator. */
export class FsErrors {
  /** Number of system errors that were mapped to an error for a client. */
  count = 0;
  private readonly logged = new LRUCache<string, true>({ max: MAX_RECENT_ERRORS, ttl: REPEAT_AFTER_MS });

  constructor(
    private readonly log: Log,
    private readonly root: string,
  ) {}

  /**
   * The NamingError for a system error, which is logged. Other errors are returned as they are: a NamingError, because it is
   * one already; anything else, because it is a bug.
   */
  toNamingError(error: unknown, name: Name): unknown {
    const code = codeOf(error);
    if (error instanceof NamingError || code === undefined) return error;
    if (code === 'ENAMETOOLONG') return nameTooLong(name);
    this.count += 1;
    const { refusal, advice } = FS_ERROR_KINDS.get(code) ?? OTHER;
    const text = refusalText(refusal);
    this.report(`${text}:`, error, `Name: ${name.toString()}. Database: ${this.root}. ${advice}`);
    return new NamingError(text, name.toString());
  }

  /** Logs an error, unless the same one was logged within the last 10 s. */
  report(what: string, error: unknown, advice: string): void {
    const key = `${what} ${codeOf(error) ?? ''}`;
    if (this.logged.has(key)) return;
    this.logged.set(key, true);
    // Of an error of the system, nobody needs the stack.
    this.log.error(SOURCE, what, codeOf(error) === undefined ? error : String(error), advice);
  }
}

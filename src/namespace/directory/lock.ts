/**
 * One server to a database, or one tool that changes it offline. The lock is in the database, so that it is found whatever
 * path leads there, on whatever machine; beside it stands, to be read, who holds it.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, readFile, readlink, realpath, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Log } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { codeOf, inspect, readFileAt } from './files.js';
import { META_SUFFIX, OWN_DIRECTORY, stagedFileName } from './layout.js';
import { directoryExists, openOwnDirectory, UntrustedPathError } from './own-directory.js';
import { suitableWatchMode } from './watcher.js';

/** Without a sign of life for so long, a holder on another machine is taken for dead. */
export const LOCK_STALE_MS = 30_000;

/** How often a holder gives a sign of life, and tries to get back a lock that it lost. */
const HEARTBEAT_MS = 5000;

/** How long a lock takes to be taken, at the very most: then who began it has died. */
const GUARD_STALE_MS = 2000;
const GUARD_RETRIES = { retries: 40, factor: 1, minTimeout: 100 };

/** How large a holder's record may be. */
const MAX_HOLDER_SIZE = 64 * 1024;

const LOCK = `lock${META_SUFFIX}`;
const HOLDER = `holder${META_SUFFIX}`;
const GUARD = `guard${META_SUFFIX}`;

/** What the lock consists of, in the server's own directory. */
export const LOCK_FILES: ReadonlySet<string> = new Set([LOCK, HOLDER, GUARD]);

/** Who holds a database. */
export interface LockHolder {
  readonly host: string;
  readonly pid: number;
  /** When it was opened, as in `2002-01-16T16:45:02.000Z`. */
  readonly since: string;
}

/** What is written of a holder. */
interface HolderRecord extends LockHolder {
  /** Differs for each lock that was ever taken. */
  readonly id: string;
  /** On which machine, since its start, a process id means something: null where that can't be told. */
  readonly machine: string | null;
  /** When the process started, as the machine counts: ids are given again. */
  readonly started: string | null;
  /** The inode of the lock: in a copy of the database, it is another's. */
  readonly lock: number;
  /** The device that the lock is on, as the machine counts: in a copy of the whole file system, the inode is the same. */
  readonly device?: number | undefined;
}

/** Someone else holds the database. */
export class DatabaseInUseError extends NamingError {
  constructor(
    readonly path: string,
    /** Undefined where that is not written down. */
    readonly holder: LockHolder | undefined,
  ) {
    const who = holder && `process ${holder.pid} on ${holder.host}, since ${holder.since}`;
    super(refusalText('DATABASE_IN_USE', ` ${path}`, who ?? 'another server'));
  }
}

/** The lock of a database, while it is held. */
export class DatabaseLock {
  private readonly id = randomUUID();
  private readonly since = new Date().toISOString();
  private unlock: (() => Promise<void>) | undefined;
  private retry: NodeJS.Timeout | undefined;
  /** Why the lock could not be taken again. */
  private refusal: DatabaseInUseError | UntrustedPathError | undefined;
  private takingAgain: Promise<void> | undefined;
  /**
   * The directory of the lock, open: so that its file system is busy, and can't be unmounted while it is served. Not the
   * database's own: of a directory that is open, watches aren't told that it was removed.
   */
  private directory: FileHandle | undefined;

  private constructor(
    /** The real path of the database. */
    readonly root: string,
    private readonly log: Log,
  ) {}

  /**
   * Takes the lock of a database, at once where its holder is known to be dead.
   * @param path an existing directory
   * @throws DatabaseInUseError where someone else holds it; the system's error
   */
  static async acquire(path: string, log: Log): Promise<DatabaseLock> {
    const lock = new DatabaseLock(await realpath(path), log);
    await lock.take();
    return lock;
  }

  /**
   * Refuses where someone else has taken the lock in the meantime: after this process had been standing still for long, or
   * a backup had been copied over the lock.
   * @throws NamingError without the path, to be told to clients
   */
  requireHeld(): void {
    if (this.problem !== undefined) throw new NamingError(this.problem);
  }

  /** Why the database may not be changed; undefined while the lock is held. */
  get problem(): string | undefined {
    if (this.refusal === undefined) return undefined;
    return this.refusal instanceof DatabaseInUseError
      ? refusalText('DATABASE_IN_USE', '', 'another server')
      : refusalText('DATABASE_DAMAGED', `${OWN_DIRECTORY} is not the server's`);
  }

  /** Lets go of the database. */
  async release(): Promise<void> {
    await this.takingAgain;
    clearTimeout(this.retry);
    await this.directory?.close();
    if (this.unlock === undefined) return;
    await rm(this.path(HOLDER)).catch(() => undefined);
    await this.unlock().catch(() => undefined);
    await rmdir(`${this.root}/${OWN_DIRECTORY}`).catch(() => undefined);
  }

  private path(file: string): string {
    return `${this.root}/${OWN_DIRECTORY}/${file}`;
  }

  private async take(): Promise<void> {
    // Not before it is needed: with it comes a listener for signals, which is nothing for those who only import us.
    const { lock } = await import('proper-lockfile');
    await openOwnDirectory(this.root);
    // Both are made as directories.
    for (const file of [GUARD, LOCK]) await directoryExists(this.path(file));
    const guard = this.path(GUARD);
    const openGuard = await lock(guard, {
      realpath: false,
      lockfilePath: guard,
      stale: GUARD_STALE_MS,
      retries: GUARD_RETRIES,
      onCompromised: () => undefined,
    });
    try {
      await this.breakStaleLock();
      const lockPath = this.path(LOCK);
      this.unlock = await lock(lockPath, {
        realpath: false,
        lockfilePath: lockPath,
        stale: LOCK_STALE_MS,
        update: HEARTBEAT_MS,
        onCompromised: (error) => {
          this.lost(error);
        },
      });
      await this.writeHolder();
      await this.holdFileSystem();
    } catch (error) {
      await this.unlock?.().catch(() => undefined);
      this.unlock = undefined;
      if (codeOf(error) !== 'ELOCKED') throw error;
      const holder = await this.readHolder();
      throw new DatabaseInUseError(this.root, holder === 'no file' ? undefined : holder);
    } finally {
      await openGuard().catch(() => undefined);
    }
  }

  /** As a new file that takes the old one's place: what that is, a link to another file perhaps, doesn't matter then. */
  private async writeHolder(): Promise<void> {
    const staged = this.path(stagedFileName(randomBytes(4).toString('hex'), 0));
    await writeFile(staged, `${JSON.stringify(await this.record(), null, 2)}\n`, { flag: 'wx' });
    await rename(staged, this.path(HOLDER)).catch(async (error: unknown) => {
      await rm(staged, { force: true });
      throw error;
    });
  }

  private async holdFileSystem(): Promise<void> {
    await this.directory?.close();
    // Not every system opens directories.
    this.directory = await open(`${this.root}/${OWN_DIRECTORY}`).catch(() => undefined);
  }

  /**
   * Removes a lock that nobody holds any more. Behind the guard, so a lock without a holder's name isn't being taken: who
   * took it has died before it could say so, or is letting go.
   */
  private async breakStaleLock(): Promise<void> {
    const stats = await inspect(this.path(LOCK));
    if (stats === undefined) return;
    const holder = await this.readHolder();
    // Somebody has put something else there, so nothing is known of the holder but its signs of life.
    if (holder === 'no file') return;
    const isOurs = holder?.id === this.id;
    if (holder !== undefined && !isOurs && !(await this.isCopied(holder, stats))) {
      const alive = await isAlive(holder);
      if (alive === true) throw new DatabaseInUseError(this.root, holder);
      if (alive === undefined) return;
    }
    await rmdir(this.path(LOCK));
  }

  /** True if a lock came here with a copy of the database. */
  private async isCopied({ lock, device, machine }: HolderRecord, { ino, dev }: Stats): Promise<boolean> {
    if (lock !== ino) return true;
    if (device === undefined || device === dev || machine === null) return false;
    // Each machine counts devices on its own, and a network file system may be several to one machine.
    return machine === (await machineID()) && (await suitableWatchMode(this.root)) === 'native';
  }

  private async record(): Promise<HolderRecord> {
    const { ino: lock = 0, dev: device } = (await inspect(this.path(LOCK))) ?? {};
    const [machine, state] = await Promise.all([machineID(), processState(process.pid)]);
    const { id, since } = this;
    return { host: hostname(), pid: process.pid, since, id, machine, started: state?.started ?? null, lock, device };
  }

  /** Undefined where nothing is written, or nothing that makes sense; 'no file' of a link, a FIFO or a device, which are not read. */
  private async readHolder(): Promise<HolderRecord | 'no file' | undefined> {
    try {
      const reading = await readFileAt(this.path(HOLDER), MAX_HOLDER_SIZE);
      if (reading?.kind === 'other') return 'no file';
      if (reading?.kind !== 'file') return undefined;
      const record: unknown = JSON.parse(reading.content.toString());
      return isHolderRecord(record) ? record : undefined;
    } catch {
      return undefined;
    }
  }

  /** The lock has vanished, with the directory it was in perhaps, or someone has touched it: takes it again, unless another has. */
  private lost(error: unknown): void {
    this.unlock = undefined;
    this.log.warn('DirectoryNamespace', `the lock of ${this.root} was lost, and is taken again:`, error);
    this.takingAgain = this.takeAgain();
  }

  private async takeAgain(): Promise<void> {
    try {
      await this.take();
      this.refusal = undefined;
    } catch (error) {
      if (error instanceof DatabaseInUseError || error instanceof UntrustedPathError) {
        if (this.refusal === undefined)
          this.log.error('DirectoryNamespace', 'no more changes are made:', error.message);
        this.refusal = error;
      }
      this.retry = setTimeout(() => {
        this.takingAgain = this.takeAgain();
      }, HEARTBEAT_MS).unref();
    }
  }
}

/** Whether a holder is alive: undefined where that can't be told from here. */
async function isAlive({ host, pid, machine, started }: HolderRecord): Promise<boolean | undefined> {
  const here = await machineID();
  const isHere = machine === null ? host === hostname() : machine === here;
  if (!isHere) return undefined;
  const state = await processState(pid);
  if (state !== undefined) return !state.isDead && (started === null || state.started === started);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    return codeOf(error) !== 'ESRCH';
  }
}

/** This machine since its start, and which of its processes are seen from here: containers number theirs on their own. */
async function machineID(): Promise<string | null> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1');
    return `${boot.trim()} ${await readlink('/proc/self/ns/pid')}`;
  } catch {
    return null;
  }
}

/** When a process started, and whether all that is left of it is what its parent has not asked for. Undefined without /proc. */
async function processState(pid: number): Promise<{ started: string; isDead: boolean } | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    // Before the last parenthesis is the program's name, which may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, started = ''] = [fields[0], fields[19]];
    return { started, isDead: state === 'Z' || state === 'X' };
  } catch {
    return undefined;
  }
}

function isHolderRecord(value: unknown): value is HolderRecord {
  if (typeof value !== 'object' || value === null) return false;
  const isTextOrNull = (field: unknown) => field === null || typeof field === 'string';
  return (
    'host' in value &&
    typeof value.host === 'string' &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    Number.isInteger(value.pid) &&
    value.pid > 0 &&
    'since' in value &&
    typeof value.since === 'string' &&
    'id' in value &&
    typeof value.id === 'string' &&
    'machine' in value &&
    isTextOrNull(value.machine) &&
    'started' in value &&
    isTextOrNull(value.started) &&
    'lock' in value &&
    typeof value.lock === 'number' &&
    (!('device' in value) || typeof value.device === 'number')
  );
}

/**
 * One server to a database, or one tool that changes it offline. The lock is in the database, so that it is found whatever
 * path leads there, on whatever machine.
 *
 * It is a lease, kept by heartbeat. No clock is compared with another, nor with a file's time: machines, containers and file
 * servers have clocks of their own, which are wrong, and are set. Whoever waits watches, for some time of its own monotonic
 * clock, whether the holder's sign of life changes.
 */
import { randomUUID } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { open, realpath } from 'node:fs/promises';
import type { Log } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { onAbort } from '../../sync/index.js';
import { OWN_DIRECTORY } from './layout.js';
import { heartbeatName, LOCK, LockDirectory, recordName, type Occupancy } from './lock-directory.js';
import { describeProcess, isAlive, machineID, type HolderRecord, type LockHolder } from './lock-holder.js';
import { UntrustedPathError } from './own-directory.js';
import { suitableWatchMode } from './watcher.js';

/** Without a sign of life for so long, a holder of which nothing is known is taken for dead. */
export const LOCK_STALE_MS = 30_000;

/** How often a holder gives a sign of life. */
const HEARTBEAT_MS = 2000;

/** How often who wants the lock looks at it. */
const POLL_MS = 500;

/**
 * For how long a holder believes that it has the lock. Then it asks, before its next change: it may have stood still meanwhile
 * for longer than LOCK_STALE_MS. The rest of that time is for the changes under way.
 */
const CONFIRMED_MS = 1000;

/** What the lock consists of, in the server's own directory. */
export const LOCK_FILES: ReadonlySet<string> = new Set([LOCK]);

const SOURCE = 'DirectoryNamespace';

/** Someone else holds the database. */
export class DatabaseInUseError extends NamingError {
  constructor(
    readonly path: string,
    /** Undefined where that is not written down. */
    readonly holder: LockHolder | undefined,
  ) {
    super(refusalText('DATABASE_IN_USE', ` ${path}`, holder === undefined ? 'another server' : holderText(holder)));
  }
}

const holderText = ({ pid, host, since }: LockHolder): string => `process ${pid} on ${host}, since ${since}`;

/** How a lock is waited for and kept. */
export interface DatabaseLockOptions {
  /** Ends the wait. */
  readonly signal?: AbortSignal | undefined;
  /** Is told, in a sentence, that the lock must be waited for, and why. */
  readonly onWait?: ((text: string) => void) | undefined;
  /** Called after a lock that was lost was taken again: another server may have served the database meanwhile. */
  readonly onRetaken?: (() => void) | undefined;
}

/** A moment, by both clocks of this process: the monotonic one stands still while the machine sleeps. */
interface Clocks {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

const NEVER: Clocks = { monotonicMs: -Infinity, wallMs: -Infinity };

/** Who has the lock, and may be alive. */
interface Occupant {
  /** Undefined where it can't be read. */
  readonly record: LockHolder | undefined;
  /** False where nothing is known of the process. */
  readonly isKnownAlive: boolean;
}

/** A lock that is held. */
interface Held {
  /** The name of our record. */
  fileName: string;
  readonly stopHeartbeat: () => Promise<void>;
  /**
   * The lock's directory, open: so that its file system is busy, and can't be unmounted while it is served, and that its inode
   * stays the same. Undefined on systems that don't open directories. Not the database's own directory: of one that is open,
   * watches aren't told that it was removed.
   */
  readonly directory: FileHandle | undefined;
}

/** The lock of a database, while it is held. */
export class DatabaseLock {
  private readonly id = randomUUID();
  private readonly since = new Date().toISOString();
  private readonly directory: LockDirectory;
  private count = 0;
  private held: Held | undefined;
  /** When this process last knew that it had the lock. */
  private confirmedAt = NEVER;
  private confirming: Promise<void> | undefined;
  /** Why the lock could not be taken again. */
  private refusal: DatabaseInUseError | UntrustedPathError | undefined;
  private retaking: Promise<void> | undefined;
  private attempting: Promise<void> | undefined;
  private watch = new HeartbeatWatch();
  private readonly released = new AbortController();

  private constructor(
    /** The real path of the database. */
    readonly root: string,
    private readonly log: Log,
    private readonly options: DatabaseLockOptions,
  ) {
    this.directory = new LockDirectory(root);
  }

  /**
   * Takes the lock of a database: at once where its holder is known to be dead; after LOCK_STALE_MS without a sign of life where
   * nothing is known of the holder.
   * @param path an existing directory
   * @throws DatabaseInUseError where someone else holds it, and is alive; the signal's reason; the system's error
   */
  static async acquire(path: string, log: Log, options: DatabaseLockOptions = {}): Promise<DatabaseLock> {
    const lock = new DatabaseLock(await realpath(path), log, options);
    await lock.take();
    return lock;
  }

  /**
   * Makes sure that a change may be made: that nobody else has taken the lock in the meantime, while this process or its machine
   * stood still, or because a backup was copied over it.
   * @returns undefined where that is known already
   * @throws NamingError without the path, to be told to clients; the system's error where the lock can't be looked at
   */
  confirm(): Promise<void> | undefined {
    if (this.held !== undefined && this.isConfirmed) return undefined;
    this.confirming ??= this.confirmNow().finally(() => {
      this.confirming = undefined;
    });
    return this.confirming;
  }

  /** Why the database may not be changed; undefined while the lock is held. */
  get problem(): string | undefined {
    return this.refusal && problemText(this.refusal);
  }

  /** Lets go of the database. */
  async release(): Promise<void> {
    this.released.abort();
    await Promise.allSettled([this.confirming, this.attempting, this.retaking]);
    const { held } = this;
    if (held === undefined) return;
    await this.abandon(held);
    await this.directory.release(held.fileName);
  }

  private get isConfirmed(): boolean {
    const { monotonicMs, wallMs } = this.confirmedAt;
    return performance.now() - monotonicMs < CONFIRMED_MS && Math.abs(Date.now() - wallMs) < CONFIRMED_MS;
  }

  private async take(): Promise<void> {
    const { signal, onWait } = this.options;
    const watch = new HeartbeatWatch();
    for (let isWaiting = false; ; isWaiting = true) {
      signal?.throwIfAborted();
      const occupant = await this.attempt(watch);
      if (occupant === undefined) return;
      const { record, isKnownAlive } = occupant;
      if (isKnownAlive || watch.hasSeenLife) throw new DatabaseInUseError(this.root, record);
      if (!isWaiting) {
        const holder = record === undefined ? 'of which nothing is known' : holderText(record);
        const text = `waiting up to ${LOCK_STALE_MS / 1000} s for a sign of life of the server that has ${this.root}: ${holder}`;
        this.log.warn(SOURCE, text);
        onWait?.(text);
      }
      await pause(signal, true);
    }
  }

  /**
   * Takes the lock, unless somebody has it who is alive, as far as is known or was watched.
   * @returns who that is; undefined where the lock was taken
   */
  private async attempt(watch: HeartbeatWatch): Promise<Occupant | undefined> {
    for (;;) {
      const occupancy = await this.directory.read();
      if (occupancy !== undefined) {
        watch.look(occupancy.sign);
        const occupant = await this.occupantOf(occupancy);
        if (occupant?.isKnownAlive === true || (occupant !== undefined && !watch.isStale)) return occupant;
        await this.directory.clear(occupancy);
      }
      if (await this.claim()) return undefined;
    }
  }

  /** Who has the lock, and is not known to be dead. */
  private async occupantOf(occupancy: Occupancy): Promise<Occupant | undefined> {
    const { records, foreign } = occupancy;
    let occupant: Occupant | undefined =
      records.size === 0 && foreign.length > 0 ? { record: undefined, isKnownAlive: false } : undefined;
    for (const record of records.values()) {
      const isHolding = record && (await this.isHolding(record, occupancy));
      if (isHolding === true) return { record, isKnownAlive: true };
      if (isHolding === undefined) occupant = { record, isKnownAlive: false };
    }
    return occupant;
  }

  private async isHolding(record: HolderRecord, occupancy: Occupancy): Promise<boolean | undefined> {
    if (record.id === this.id || (await this.isCopied(record, occupancy))) return false;
    return isAlive(record);
  }

  /** True if a lock came here with a copy of the database. */
  private async isCopied({ lock, device, machine }: HolderRecord, { ino, dev }: Occupancy): Promise<boolean> {
    if (lock === ino && device === dev) return false;
    // A network file system may have other numbers on each machine.
    if ((await suitableWatchMode(this.root)) !== 'native') return false;
    return lock !== ino || (machine !== null && machine === (await machineID()));
  }

  /** Takes the lock. @returns false where it is not free, or not any more */
  private async claim(): Promise<boolean> {
    const { id, since } = this;
    const process = await describeProcess();
    const now = bothClocks();
    const fileName = this.newRecordName();
    const record = (lock: number, device: number) => ({ ...process, since, id, lock, device });
    if (!(await this.directory.claim(fileName, record))) return false;
    let held: Held | undefined;
    try {
      held = { fileName, stopHeartbeat: await this.startHeartbeat(), directory: await this.hold() };
      this.held = held;
      // Who stood still since, for long, may have lost it.
      if (await this.renew(held, now)) return true;
      await this.abandon(held);
      return false;
    } catch (error) {
      if (held) await this.abandon(held);
      await this.directory.release(held?.fileName ?? fileName);
      throw error;
    }
  }

  private newRecordName(): string {
    this.count += 1;
    return recordName(this.id, this.count);
  }

  /** Touches a directory in the lock from time to time, until that is removed or somebody else touches it. */
  private async startHeartbeat(): Promise<() => Promise<void>> {
    // Not before it is needed: with it comes a listener for signals, which is nothing for those who only import us.
    const { lock } = await import('proper-lockfile');
    const path = this.directory.pathOf(heartbeatName(this.id));
    const stop = await lock(path, {
      realpath: false,
      lockfilePath: path,
      // What is stale it would decide by the wall clock.
      stale: Infinity,
      update: HEARTBEAT_MS,
      onCompromised: (error) => {
        if (this.held !== undefined) this.lose(this.held, error);
      },
    });
    return () => stop().catch(() => undefined);
  }

  private hold(): Promise<FileHandle | undefined> {
    return open(this.directory.path).catch(() => undefined);
  }

  private async confirmNow(): Promise<void> {
    const { held } = this;
    if (held !== undefined) {
      if (await this.renew(held, bothClocks())) return;
      this.lose(held, new Error('another has taken it, or it was removed'));
    }
    if (this.problem !== undefined) throw new NamingError(this.problem);
    await this.attemptAgain();
  }

  /** Confirms that the lock is held, from some time before on. @returns false where it is lost */
  private async renew(held: Held, confirmedAt: Clocks): Promise<boolean> {
    const next = this.newRecordName();
    if (!(await this.directory.confirm(held.fileName, next))) return false;
    held.fileName = next;
    this.confirmedAt = confirmedAt;
    return this.held === held;
  }

  /** The lock has vanished, with the directory it was in perhaps, or someone has taken it: takes it again, unless another has. */
  private lose(held: Held, error: unknown): void {
    if (this.held !== held) return;
    void this.abandon(held);
    if (this.released.signal.aborted) return;
    this.log.warn(SOURCE, `the lock of ${this.root} was lost, and is taken again:`, error);
    this.watch = new HeartbeatWatch();
    this.retaking ??= this.retake().finally(() => {
      this.retaking = undefined;
    });
  }

  private async abandon(held: Held): Promise<void> {
    this.held = undefined;
    await held.stopHeartbeat();
    await held.directory?.close().catch(() => undefined);
  }

  private async retake(): Promise<void> {
    const { signal } = this.released;
    while (!signal.aborted) {
      await this.attemptAgain().catch(() => undefined);
      if (this.held !== undefined) return;
      await pause(signal, false);
    }
  }

  private attemptAgain(): Promise<void> {
    this.attempting ??= this.attemptOnce().finally(() => {
      this.attempting = undefined;
    });
    return this.attempting;
  }

  /** @throws NamingError where someone else has the lock, or it was released; the system's error */
  private async attemptOnce(): Promise<void> {
    if (this.held !== undefined) return;
    if (this.released.signal.aborted) throw new NamingError(refusalText('DATABASE_CLOSED'));
    try {
      const occupant = await this.attempt(this.watch);
      if (occupant !== undefined) throw new DatabaseInUseError(this.root, occupant.record);
    } catch (error) {
      if (!(error instanceof DatabaseInUseError) && !(error instanceof UntrustedPathError)) throw error;
      if (this.refusal === undefined) this.log.error(SOURCE, 'no more changes are made:', error.message);
      this.refusal = error;
      throw new NamingError(problemText(error));
    }
    if (this.refusal !== undefined) this.log.warn(SOURCE, `changes are made again: the lock of ${this.root} is held`);
    this.refusal = undefined;
    this.options.onRetaken?.();
  }
}

/** Watches for signs of life. What counts is the time in which it looked: while it stood still itself, so may all others have. */
class HeartbeatWatch {
  private sign: string | undefined;
  private lookedAtMs = 0;
  private unchangedMs = 0;
  /** True once there was a sign of life. */
  hasSeenLife = false;

  look(sign: string): void {
    const nowMs = performance.now();
    if (sign === this.sign) this.unchangedMs += Math.min(nowMs - this.lookedAtMs, 2 * POLL_MS);
    else {
      this.hasSeenLife = this.sign !== undefined;
      this.sign = sign;
      this.unchangedMs = 0;
    }
    this.lookedAtMs = nowMs;
  }

  get isStale(): boolean {
    return this.unchangedMs >= LOCK_STALE_MS;
  }
}

const bothClocks = (): Clocks => ({ monotonicMs: performance.now(), wallMs: Date.now() });

const problemText = (error: DatabaseInUseError | UntrustedPathError): string =>
  error instanceof DatabaseInUseError
    ? refusalText('DATABASE_IN_USE', '', 'another server')
    : refusalText('DATABASE_DAMAGED', `${OWN_DIRECTORY} is not the server's`);

/**
 * Waits for the next look, or until the signal is aborted.
 * @param keepsAlive whether the process lasts as long, at least
 */
function pause(signal: AbortSignal | undefined, keepsAlive: boolean): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    };
    const timer = setTimeout(end, POLL_MS);
    if (!keepsAlive) timer.unref();
    const unsubscribe = onAbort(signal, end);
  });
}

/** Who holds the lock of a database, as it is written down, and whether that process is known to be alive or dead. */
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { codeOf } from './files.js';

/** Who holds a database. */
export interface LockHolder {
  readonly host: string;
  readonly pid: number;
  /** When it was opened, as in `2002-01-16T16:45:02.000Z`. */
  readonly since: string;
}

/** What is written of a holder. */
export interface HolderRecord extends LockHolder {
  /** Differs for each `DatabaseLock`. */
  readonly id: string;
  /** On which machine, since its start, a process id means something: null where that can't be told. */
  readonly machine: string | null;
  /** When the process started, as the machine counts: ids are given again. */
  readonly started: string | null;
  /** The inode of the lock's directory: in a copy of the database, it is another's. */
  readonly lock: number;
  /** The device that the lock is on, as the machine counts: in a copy of the whole file system, the inode is the same. */
  readonly device: number;
}

/** What can be told of this process. */
export async function describeProcess(): Promise<Pick<HolderRecord, 'host' | 'pid' | 'machine' | 'started'>> {
  const [machine, state] = await Promise.all([machineID(), processState(process.pid)]);
  // Where the machine isn't known, /proc may be that of other processes.
  const started = machine === null ? null : (state?.started ?? null);
  return { host: hostname(), pid: process.pid, machine, started };
}

/**
 * Whether a holder is alive. Undefined where that can't be told from here: it is on another machine, in another container, or
 * was there before the machine was started again.
 */
export async function isAlive({ host, pid, machine, started }: HolderRecord): Promise<boolean | undefined> {
  const here = await machineID();
  if (machine === null || here === null) return isAliveByName(host, pid, machine ?? here);
  if (machine !== here) return undefined;
  const state = await processState(pid);
  if (state !== undefined) return !state.isDead && (started === null || state.started === started);
  return exists(pid);
}

/**
 * On systems that have no /proc at all, and no containers either: a process is dead if there is none with its id. One that is
 * there may be another, to which the id was given.
 */
function isAliveByName(host: string, pid: number, knownMachine: string | null): false | undefined {
  const isHere = process.platform !== 'linux' && knownMachine === null && host === hostname();
  return isHere && !exists(pid) ? false : undefined;
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    return codeOf(error) !== 'ESRCH';
  }
}

/** This machine since its start, and which of its processes are seen from here: containers number theirs on their own. */
export async function machineID(): Promise<string | null> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1');
    const [self, namespace] = await Promise.all([readlink('/proc/self'), readlink('/proc/self/ns/pid')]);
    // Else this is the /proc of another PID namespace: `unshare --pid` without `--mount-proc` leaves it there.
    return self === String(process.pid) ? `${boot.trim()} ${namespace}` : null;
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

export function isHolderRecord(value: unknown): value is HolderRecord {
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
    'device' in value &&
    typeof value.device === 'number'
  );
}

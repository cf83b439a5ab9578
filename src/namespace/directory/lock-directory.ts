/**
 * The lock as it is on the disk: a directory, which is free while it is empty or missing, and otherwise holds a file that says
 * who holds it.
 *
 * That file has a name that is used only once. So each step is a compare-and-swap, which succeeds for one process only and only
 * if nothing has changed: to take the lock, a directory with the file in it is renamed to the lock's place, which works only
 * where nothing or an empty directory is; to confirm that one still has it, the file is renamed; to break it, the file is removed.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, rename, rm, rmdir, unlink, writeFile } from 'node:fs/promises';
import { codeOf, inspect, readFileAt, saysAbsent } from './files.js';
import { META_SUFFIX, OWN_DIRECTORY, stagedFileName } from './layout.js';
import { isHolderRecord, type HolderRecord } from './lock-holder.js';
import { directoryExists, openOwnDirectory, UntrustedPathError } from './own-directory.js';

/** The lock's name in the server's own directory. */
export const LOCK = `lock${META_SUFFIX}`;

/** How large a holder's record may be. */
const MAX_HOLDER_SIZE = 64 * 1024;

const RECORD = /^holder-[0-9a-f-]{36}-\d+$/;
const HEARTBEAT = /^heartbeat-[0-9a-f-]{36}$/;

/** What is in a lock that is not free. */
export interface Occupancy {
  /** Changes with each sign of life of who holds the lock. Only to be compared with another one. */
  readonly sign: string;
  /** The holder's record by its file name; undefined where it can't be read, or makes no sense. There may be several in a copy. */
  readonly records: ReadonlyMap<string, HolderRecord | undefined>;
  /** The names of directories that holders touch. */
  readonly heartbeats: readonly string[];
  /** The names of files that no server makes. */
  readonly foreign: readonly string[];
  /** The inode and the device of the lock's directory. */
  readonly ino: number;
  readonly dev: number;
}

/** The name of a holder's record. No two records ever have the same. */
export const recordName = (id: string, count: number): string => `holder-${id}-${count}`;

/** The name of the directory that shows by its time that a holder is alive. */
export const heartbeatName = (id: string): string => `heartbeat-${id}`;

/** The lock of one database. */
export class LockDirectory {
  readonly path: string;
  private readonly own: string;

  /** @param root the real path of the database */
  constructor(private readonly root: string) {
    this.own = `${root}/${OWN_DIRECTORY}`;
    this.path = `${this.own}/${LOCK}`;
  }

  /** The path of a file in it. */
  pathOf(fileName: string): string {
    return `${this.path}/${fileName}`;
  }

  /**
   * Takes the lock, if it is free: `read` has said so.
   * @param record what to write of the holder, given the inode and the device of the lock's directory
   * @returns false where it is not free, or something has changed meanwhile
   * @throws the system's error
   */
  async claim(fileName: string, record: (ino: number, dev: number) => HolderRecord): Promise<boolean> {
    const staged = `${this.own}/${stagedFileName(randomBytes(4).toString('hex'), 0)}`;
    try {
      await mkdir(staged);
      const { ino, dev } = await lstat(staged);
      await writeFile(`${staged}/${fileName}`, `${JSON.stringify(record(ino, dev), null, 2)}\n`, { flag: 'wx' });
      // Some file systems put no directory in the place of another, even if that is empty.
      await rmdir(this.path).catch(() => undefined);
      await rename(staged, this.path);
      return true;
    } catch (error) {
      await rm(staged, { recursive: true, force: true });
      // ENOENT: the server that has just let go of the lock has removed its own directory.
      if (OCCUPIED.has(codeOf(error) ?? '') || codeOf(error) === 'ENOENT') return false;
      if ((await this.read()) === undefined) throw error;
      return false;
    }
  }

  /**
   * What is in the lock; undefined where it is free. Makes the server's own directory, where it is missing.
   * @throws UntrustedPathError where something else is in the place of one of them; the system's error
   */
  async read(): Promise<Occupancy | undefined> {
    await openOwnDirectory(this.root);
    if (!(await directoryExists(this.path))) return undefined;
    const stats = await inspect(this.path);
    const entries = await readdir(this.path).catch(unlessAbsent);
    // NFS keeps a removed file under such a name for as long as somebody has it open.
    const fileNames = entries?.filter((name) => !name.startsWith('.nfs')).sort() ?? [];
    if (stats === undefined || fileNames.length === 0) return undefined;
    const signs = await Promise.all(fileNames.map(async (name) => `${name} ${await this.timeOf(name)}`));
    const records = fileNames
      .filter((name) => RECORD.test(name))
      .map(async (name) => [name, await this.readRecord(name)] as const);
    return {
      sign: signs.join('\n'),
      records: new Map(await Promise.all(records)),
      heartbeats: fileNames.filter((name) => HEARTBEAT.test(name)),
      foreign: fileNames.filter((name) => !RECORD.test(name) && !HEARTBEAT.test(name)),
      ino: stats.ino,
      dev: stats.dev,
    };
  }

  /**
   * Shows others that the holder is alive, and finds out whether it still is the holder.
   * @returns false where it is not
   * @throws the system's error
   */
  async confirm(fileName: string, nextFileName: string): Promise<boolean> {
    try {
      await rename(this.pathOf(fileName), this.pathOf(nextFileName));
      return true;
    } catch (error) {
      if (saysAbsent(error)) return false;
      throw error;
    }
  }

  /**
   * Takes the lock away from who was found in it. Where that one has shown a sign of life since, or another has the lock by now,
   * nothing is changed.
   * @throws UntrustedPathError where there is more in it than servers put there; the system's error
   */
  async clear({ records, heartbeats, foreign }: Occupancy): Promise<void> {
    for (const fileName of records.keys()) {
      if (!(await this.remove(fileName))) return;
    }
    for (const name of heartbeats) await rmdir(this.pathOf(name)).catch(() => undefined);
    const [first] = foreign;
    if (first === undefined) return;
    const path = this.pathOf(first);
    if ((await inspect(path)) !== undefined)
      throw new UntrustedPathError(path, 'in the lock of the database, and no server made it');
  }

  /** Lets go of the lock, and removes what has become empty. */
  async release(fileName: string): Promise<void> {
    await unlink(this.pathOf(fileName)).catch(() => undefined);
    await rmdir(this.path).catch(() => undefined);
    await rmdir(this.own).catch(() => undefined);
  }

  /** False where it is not there any more. */
  private async remove(fileName: string): Promise<boolean> {
    try {
      await unlink(this.pathOf(fileName));
      return true;
    } catch (error) {
      if (saysAbsent(error)) return false;
      throw error;
    }
  }

  /**
   * When a file was changed, as the file system counts. It is opened for that: network file systems then ask the server, instead
   * of answering what they remember, for a minute even.
   */
  private async timeOf(fileName: string): Promise<string> {
    const path = this.pathOf(fileName);
    try {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        return String((await file.stat()).mtimeMs);
      } finally {
        await file.close();
      }
    } catch {
      return String((await inspect(path))?.mtimeMs);
    }
  }

  private async readRecord(fileName: string): Promise<HolderRecord | undefined> {
    try {
      const reading = await readFileAt(this.pathOf(fileName), MAX_HOLDER_SIZE);
      if (reading?.kind !== 'file') return undefined;
      const record: unknown = JSON.parse(reading.content.toString());
      return isHolderRecord(record) ? record : undefined;
    } catch {
      return undefined;
    }
  }
}

/** What systems say where a directory can't be renamed to another that is not empty. */
const OCCUPIED = new Set(['ENOTEMPTY', 'EEXIST']);

function unlessAbsent(error: unknown): undefined {
  if (!saysAbsent(error)) throw error;
}

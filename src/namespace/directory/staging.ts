import { randomBytes } from 'node:crypto';
import { linkSync, unlinkSync } from 'node:fs';
import { link, lstat, mkdir, opendir, readdir, rename, rm, unlink } from 'node:fs/promises';
import pLimit from 'p-limit';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { FsErrors } from './fs-errors.js';
import { codeOf, inspect, saysAbsent, writeNewFile } from './files.js';
import type { InlineIOPolicy } from './inline-io-policy.js';
import { isStagedFileName, MAX_PATH_BYTES, OWN_DIRECTORY, stagedFileName } from './layout.js';
import { requireNoMountIn, SpansFileSystemsError } from './mounts.js';

/** How many files are written at the same time: enough to keep a disk busy, and far from the limit of open files. */
const MAX_WRITES = 64;

/** How long a server that closes goes on removing a large group: what is left of it Pyro 3's `flatlist` trips over. */
const CLOSE_TIMEOUT_MS = 5000;

/** How many file names are put into one line of the log. */
const MAX_SHOWN = 10;

/** A file system without hard links says one of these. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/**
 * The place in a database where files become whole before they get their names, and where what loses its name vanishes.
 * What a crash leaves here is removed at the next start. `openOwnDirectory` has seen to it that the directory is ours.
 */
export class Staging {
  // Differs each time, so that nothing of the last time is in the way.
  private readonly prefix = randomBytes(4).toString('hex');
  private count = 0;
  private readonly writeLimit = pLimit(MAX_WRITES);
  private readonly pendingDeletes = new Set<Promise<void>>();
  private closed = false;

  /**
   * @param directory on the database's file system; made where it is missing
   * @param sync whether files are to be on the disk before they get their names
   * @param inlineIO whether they may be written at once
   * @param fsErrors is told of what can't be removed
   */
  constructor(
    readonly directory: string,
    private readonly sync: boolean,
    private readonly inlineIO: InlineIOPolicy,
    private readonly fsErrors: FsErrors,
  ) {}

  /** Writes a file, whole and on the disk, and gives its path. @throws the system's error, with nothing left behind */
  write(content: Uint8Array): Promise<string> {
    const path = this.newPath();
    return this.writeLimit(async () => {
      await this.inDirectory(() => this.writeAt(path, content));
      return path;
    });
  }

  /**
   * Writes a new file, whole and on the disk, in a place where nobody looks yet.
   * @param timestamp when it shall seem to have been made, in seconds
   * @throws the system's error, with nothing left behind
   */
  writeAt(path: string, content: Uint8Array, timestamp?: number): Promise<void> {
    return writeNewFile(path, content, { sync: this.sync, timestamp, inlineIO: this.inlineIO });
  }

  /** Makes a directory that holds nothing. @throws the system's error */
  async makeDirectory(): Promise<string> {
    const path = this.newPath();
    await this.inDirectory(() => mkdir(path));
    return path;
  }

  /**
   * Gives a staged file its name, if the name is free: what anyone put there in the meantime is left alone.
   * @throws the system's error, EEXIST where the name is taken
   */
  async publish(staged: string, path: string): Promise<void> {
    try {
      await this.inlineIO.run(
        () => {
          linkSync(staged, path);
        },
        () => link(staged, path),
      );
      this.deleteLater(staged);
    } catch (error) {
      if (!NO_LINKS.has(codeOf(error) ?? '')) throw error;
      // For a moment there is an empty file: where there are no hard links, nothing else keeps a name from others.
      await writeNewFile(path, new Uint8Array(), { sync: false, inlineIO: this.inlineIO });
      await rename(staged, path).catch(async (reason: unknown) => {
        // Unless somebody has put something else there meanwhile.
        if ((await inspect(path))?.size === 0) await unlink(path);
        throw reason;
      });
    }
  }

  /** Takes its name away from what has it, at once, and gives the path where it is now. @throws the system's error */
  async detach(path: string): Promise<string> {
    const taken = this.newPath();
    await this.inDirectory(() => rename(path, taken));
    return taken;
  }

  /** Removes a file, or a directory with all its contents, in its own time. */
  deleteLater(path: string): void {
    const vanishing = this.remove(path)
      .catch((error: unknown) => {
        const advice = 'It is tried again at the next start.';
        this.fsErrors.report(`what was removed from the database is still in ${this.directory}:`, error, advice);
      })
      .finally(() => this.pendingDeletes.delete(vanishing));
    this.pendingDeletes.add(vanishing);
  }

  /**
   * Makes the directory where it is missing, and removes, in its own time, what an earlier server left in it. What is not
   * called as servers call their files is left alone: somebody else has put it there.
   * @param known what belongs there, and stays
   */
  async open(known: ReadonlySet<string>): Promise<void> {
    const leftovers = (await this.inDirectory(() => readdir(this.directory))).filter((file) => !known.has(file));
    for (const leftover of leftovers.filter(isStagedFileName)) this.deleteLater(`${this.directory}/${leftover}`);
    const foreign = leftovers.filter((file) => !isStagedFileName(file)).sort();
    if (foreign.length === 0) return;
    const shown = foreign.slice(0, MAX_SHOWN).join(', ') + (foreign.length > MAX_SHOWN ? ', ...' : '');
    this.fsErrors.report(`left alone in ${this.directory}, as no server made it:`, shown, 'Move it elsewhere.');
  }

  /** Waits for what is being removed, but not long: the next start goes on with it. */
  async close(): Promise<void> {
    const closeTimer = setTimeout(() => {
      this.closed = true;
    }, CLOSE_TIMEOUT_MS);
    while (this.pendingDeletes.size > 0) await Promise.all(this.pendingDeletes);
    clearTimeout(closeTimer);
  }

  private newPath(): string {
    this.count += 1;
    return `${this.directory}/${stagedFileName(this.prefix, this.count)}`;
  }

  /** Runs an action that needs the directory, and makes the directory if that is what is missing: anyone may have removed it. */
  private async inDirectory<Result>(action: () => Promise<Result>): Promise<Result> {
    try {
      return await action();
    } catch (error) {
      if (codeOf(error) === 'ENOTDIR') await this.requireDirectory();
      if (codeOf(error) !== 'ENOENT') throw error;
      await mkdir(this.directory).catch((reason: unknown) => {
        if (codeOf(reason) !== 'EEXIST') throw reason;
      });
      return await action();
    }
  }

  private async requireDirectory(): Promise<void> {
    const stats = await inspect(this.directory);
    if (stats === undefined || stats.isDirectory()) return;
    const refusal = new NamingError(refusalText('DATABASE_DAMAGED', `${OWN_DIRECTORY} is no directory`));
    this.fsErrors.report('no changes can be made:', refusal, `Remove ${this.directory}`);
    throw refusal;
  }

  /** One file after the other, so that the removal of a large group doesn't hold up those who read and write. */
  private async remove(path: string): Promise<void> {
    try {
      await this.inlineIO.run(
        () => {
          unlinkSync(path);
        },
        () => unlink(path),
      );
      return;
    } catch (error) {
      // Linux says EISDIR of a directory, others EPERM.
      if (codeOf(error) !== 'EISDIR' && codeOf(error) !== 'EPERM') throw error;
    }
    requireNoMountIn(path);
    const { dev } = await lstat(path);
    const directories = [path];
    for (const directory of directories) {
      const stats = await inspect(directory);
      // It has gone, or a link has taken its place.
      if (stats?.isDirectory() !== true) continue;
      if (stats.dev !== dev) throw new SpansFileSystemsError(directory);
      for await (const entry of await opendir(directory)) {
        if (this.closed) return;
        const member = `${directory}/${entry.name}`;
        if (!entry.isDirectory()) await unlink(member).catch(unlessAbsent);
        else if (Buffer.byteLength(member) <= MAX_PATH_BYTES) directories.push(member);
        else this.deleteLater(await this.detach(member));
      }
    }
    // The rest: directories, and what has a name that is no text and so was not found above.
    await rm(path, { recursive: true, force: true });
  }
}

function unlessAbsent(error: unknown): void {
  if (!saysAbsent(error)) throw error;
}

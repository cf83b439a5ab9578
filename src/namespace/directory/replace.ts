/**
 * A whole tree takes the place of another. The new one is built in the server's own directory; from the moment it is
 * decided, a crash changes nothing: the next start goes on where this one stopped. Until then, it leaves the old one.
 *
 * Members of the root are moved one by one rather than the root itself, because the root may be where a file system is
 * mounted, or in a directory that isn't ours to write; and because what else is in it, `.git` say, stays.
 */
import { mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import type { Log } from '../../config/index.js';
import type { NamespaceEntry, SystemMeta } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import { groupExists, nameExists, parentIsNoGroup, parentNotFound } from '../errors.js';
import type { DirectorySync } from './directory-sync.js';
import { codeOf, inspect } from './files.js';
import { isOfDatabase, metaPathOf, pathOf, uriFileContent } from './layout.js';
import { metaFileContent, microseconds } from './metadata.js';
import { directoryExists } from './own-directory.js';
import type { Staging } from './staging.js';

/** A new tree that is whole and on the disk; the old one is about to move out. */
const DECIDED = 'decided';
/** The old tree, while it moves out. */
const LEAVING = 'leaving';
/** The new tree, while it moves in. */
const ARRIVING = 'arriving';

/** What a start finds in the server's own directory after a crash, and must not remove. */
export const REPLACEMENT_STATES: ReadonlySet<string> = new Set([DECIDED, LEAVING, ARRIVING]);

/** How many files are written or moved at the same time. */
const BATCH_SIZE = 64;

/** Where the tree that was replaced last is kept: beside the database. */
export function backupPathOf(root: string): string {
  return `${root}.replaced`;
}

export class TreeReplacement {
  constructor(
    private readonly root: string,
    private readonly staging: Staging,
    private readonly directories: DirectorySync,
    private readonly log: Log,
  ) {}

  /**
   * Writes a new tree, whole and on the disk, and gives its path.
   * @throws NamingError where the entries make no tree; the system's error; what the entries throw
   */
  async build(entries: AsyncIterable<NamespaceEntry>): Promise<string> {
    const tree = await this.staging.makeDirectory();
    try {
      const groups = [tree];
      let objects: NamespaceEntry[] = [];
      for await (const entry of entries) {
        if (entry.uri === undefined) groups.push(await this.writeGroup(tree, entry));
        else if (objects.push(entry) === BATCH_SIZE) {
          await this.writeObjects(tree, objects);
          objects = [];
        }
      }
      await this.writeObjects(tree, objects);
      await inBatches(groups, (group) => this.directories.sync(group));
    } catch (error) {
      this.staging.deleteLater(tree);
      throw error;
    }
    return tree;
  }

  /**
   * Puts a tree that was built in the place of the old one, which becomes the backup. The caller sees to it that nobody
   * reads or changes the database meanwhile.
   * @throws the system's error: the old tree is in its place again and the new one removed, or where that failed too, the
   * next start goes on
   */
  async swap(tree: string): Promise<void> {
    try {
      // The server's own directory may be new: what is moved into it would be lost without it. And in it, what the last
      // replacement left must not come back.
      await Promise.all([this.directories.sync(this.root), this.directories.sync(this.staging.directory)]);
      await this.move(tree, this.state(DECIDED));
      await this.finish();
    } catch (error) {
      await this.undo(tree);
      throw error;
    }
  }

  /**
   * Goes on with what was decided, if anything was: at a start, after a crash.
   * @throws UntrustedPathError, with nothing moved, where something else than a directory stands there; the system's error
   */
  async finish(): Promise<void> {
    const [decided, leaving, arriving] = [this.state(DECIDED), this.state(LEAVING), this.state(ARRIVING)];
    for (const state of [decided, leaving, arriving]) await directoryExists(state);
    if (await directoryExists(decided)) {
      if (!(await directoryExists(leaving))) await mkdir(leaving);
      await this.directories.sync(this.staging.directory);
      await this.moveMembers(this.root, leaving);
      await this.move(decided, arriving);
    }
    if (await directoryExists(arriving)) {
      await this.moveMembers(arriving, this.root);
      await rmdir(arriving);
    }
    if (await directoryExists(leaving)) await this.keepBackup(leaving);
  }

  private async undo(tree: string): Promise<void> {
    const [decided, leaving, arriving] = [this.state(DECIDED), this.state(LEAVING), this.state(ARRIVING)];
    if (await inspect(tree)) this.staging.deleteLater(tree);
    if (await inspect(arriving)) {
      await this.moveMembers(this.root, arriving);
      await this.move(arriving, decided);
    }
    if (!(await inspect(decided))) return;
    if (await inspect(leaving)) {
      await this.moveMembers(leaving, this.root);
      // Else the next start would take it for the backup.
      await rmdir(leaving);
    }
    const taken = await this.staging.detach(decided);
    await this.directories.sync(this.staging.directory);
    this.staging.deleteLater(taken);
  }

  private state(name: string): string {
    return `${this.staging.directory}/${name}`;
  }

  private async move(from: string, to: string): Promise<void> {
    await rename(from, to);
    await this.directories.sync(this.staging.directory);
  }

  private async moveMembers(from: string, to: string): Promise<void> {
    const members = (await readdir(from)).filter(isOfDatabase);
    await inBatches(members, (member) => rename(`${from}/${member}`, `${to}/${member}`));
    await Promise.all([this.directories.sync(from), this.directories.sync(to)]);
  }

  /** The tree before the last one makes room. Beside the database may be another file system, or nothing we may write to. */
  private async keepBackup(tree: string): Promise<void> {
    const backup = backupPathOf(this.root);
    try {
      if (await inspect(backup)) this.staging.deleteLater(await this.staging.detach(backup));
      await rename(tree, backup);
      this.log.msg('DirectoryNamespace', 'the database was replaced; what it was before is in', backup);
    } catch (error) {
      this.log.warn('DirectoryNamespace', 'the database was replaced, and no backup could be kept in', backup, error);
      this.staging.deleteLater(await this.staging.detach(tree));
    }
  }

  private async writeGroup(tree: string, { name, systemMeta, userMeta }: NamespaceEntry): Promise<string> {
    const path = pathOf(tree, name);
    if (!name.isRoot) {
      await mkdir(path).catch((error: unknown) => {
        throw codeOf(error) === 'EEXIST' ? groupExists(name) : placeRefusal(error, name);
      });
    }
    if (systemMeta !== undefined || userMeta !== null) {
      const system = systemMeta ?? { type: GROUP, timestamp: Date.now() / 1000, owner: null };
      await this.staging.writeAt(metaPathOf(path, name), metaFileContent(system, userMeta));
    }
    return path;
  }

  private async writeObjects(tree: string, entries: readonly NamespaceEntry[]): Promise<void> {
    // All settle before one fails: what is written when the tree is discarded would stay.
    const outcomes = await Promise.allSettled(entries.map((entry) => this.writeObject(tree, entry)));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  private async writeObject(tree: string, { name, uri, systemMeta, userMeta }: NamespaceEntry): Promise<void> {
    if (uri === undefined) return;
    const path = pathOf(tree, name);
    await this.staging.writeAt(path, uriFileContent(uri), systemMeta?.timestamp).catch((error: unknown) => {
      throw codeOf(error) === 'EEXIST' ? nameExists(name) : placeRefusal(error, name);
    });
    if (userMeta !== null || (systemMeta !== undefined && !isToldByFile(systemMeta))) {
      const system = systemMeta ?? { type: OBJECT, timestamp: Date.now() / 1000, owner: null };
      await this.staging.writeAt(metaPathOf(path, name), metaFileContent(system, userMeta));
    }
  }
}

/** True if an object's file says all that this system metadata does, so that it needs no file of its own. */
function isToldByFile({ type, timestamp, owner }: SystemMeta): boolean {
  return type === OBJECT && owner === null && timestamp >= 0 && microseconds(timestamp) / 1e6 === timestamp;
}

function placeRefusal(error: unknown, name: NamespaceEntry['name']): unknown {
  if (codeOf(error) === 'ENOENT') return parentNotFound(name);
  return codeOf(error) === 'ENOTDIR' ? parentIsNoGroup(name) : error;
}

async function inBatches<Item>(items: readonly Item[], action: (item: Item) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < items.length; start += BATCH_SIZE) {
    await Promise.all(items.slice(start, start + BATCH_SIZE).map(action));
  }
}

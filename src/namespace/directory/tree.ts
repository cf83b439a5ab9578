import type { Stats, Dirent } from 'node:fs';
import { lstat, realpath } from 'node:fs/promises';
import { Name } from '../../names/index.js';
import { GROUP, OBJECT } from '../namespace.js';
import type { NodeType } from '../namespace.js';
import { parentIsNoGroup, parentNotFound } from '../errors.js';
import type { Cache, DirectoryScan } from './cache.js';
import type { Reading } from './files.js';
import { codeOf, saysAbsent } from './files.js';
import { fileNameOf, isMetadataOfMember, isUsualSpelling, partOf, pathOf } from './layout.js';
import type { Reader } from './reader.js';
import type { Validity } from './validity.js';
import type { Watcher } from './watcher.js';

/** An existing name, with the stats of its file or directory. */
export interface Found {
  readonly path: string;
  readonly type: NodeType;
  readonly stats: Stats;
}

/** A member of a group, from the directory entry alone: its file was not looked at. */
export interface Member {
  readonly part: string;
  readonly path: string;
  readonly type: NodeType;
}

/** The directory of a group. */
export interface Directory {
  readonly path: string;
  /** The validity of what is read from it; undefined if that must not be cached. */
  readonly validity: Validity | undefined;
}

/**
 * The minimum TTL of a scan, as a multiple of the time that the scan took. With the short TTL of polling alone, a large
 * directory would be scanned again for each name that is looked up.
 */
const TTL_PER_SCAN_TIME = 20;

/**
 * Finds names on the disk, whatever other programs have put there. A symbolic link is never a name, and none is followed.
 */
export class Tree {
  /** @param root the real path of the database */
  constructor(
    readonly root: string,
    private readonly reader: Reader,
    private readonly watcher: Watcher,
    private readonly cache: Cache,
  ) {}

  /** Finds a name; undefined if nothing, or nothing that can be a name, is there. @throws the system's error if it can't be read */
  async find(name: Name): Promise<Found | undefined> {
    // Throws ENOENT where the root is gone: then the database is missing, which is not the same as empty.
    if (name.isRoot) return foundAt(this.root, await lstat(this.root));
    const directory = await this.directoryOf(name.parent);
    return directory && (await this.findMember(directory, name));
  }

  /** Finds a name in the directory of its parent. @throws the system's error */
  async findMember(directory: Directory, name: Name): Promise<Found | undefined> {
    const usual = `${directory.path}/${fileNameOf(name.part)}`;
    const stats = await this.reader.inspect(usual);
    if (stats !== undefined) return foundAt(usual, stats);
    const unusual = await this.unusualPath(directory, name);
    return unusual === undefined ? undefined : foundAt(unusual, await this.reader.inspect(unusual));
  }

  /** Reads the file of an object; undefined if there is nothing with that name. @throws the system's error */
  async read(name: Name, limit: number): Promise<{ reading: Reading; validity: Validity | undefined } | undefined> {
    if (name.isRoot) return { reading: { kind: 'directory' }, validity: undefined };
    const directory = await this.directoryOf(name.parent);
    if (directory === undefined) return undefined;
    let reading = await this.reader.read(`${directory.path}/${fileNameOf(name.part)}`, limit);
    if (reading === undefined) {
      const unusual = await this.unusualPath(directory, name);
      if (unusual !== undefined) reading = await this.reader.read(unusual, limit);
    }
    return reading && { reading, validity: directory.validity };
  }

  /** The directory of a group; undefined if there is none. @throws the system's error if it can't be read, or the database is gone */
  async directoryOf(group: Name): Promise<Directory | undefined> {
    const watched = await this.watcher.get(group);
    if (watched !== undefined) return { path: watched.path, validity: watched };
    const validity = this.watcher.unwatchedValidity;
    const usual = pathOf(this.root, group);
    // `isRealPath` comes first, because `inspect` throws ELOOP for a path through a link that leads to itself.
    if ((await isRealPath(usual)) && (await this.reader.inspect(usual))?.isDirectory() === true)
      return { path: usual, validity };
    // As in `find`: throws ENOENT where the root is gone.
    if (group.isRoot) await lstat(this.root);
    let path = this.root;
    for (const name of ancestry(group)) {
      const found = await this.findMember({ path, validity }, name);
      if (found?.type !== GROUP) return undefined;
      path = found.path;
    }
    return { path, validity };
  }

  /**
   * The directory of the parent of a new name.
   * @throws NamingError if the parent is no group; the system's error if it can't be read, or the database is gone
   */
  async parentOf(name: Name): Promise<Directory> {
    const directory = await this.directoryOf(name.parent);
    if (directory !== undefined) return directory;
    await lstat(this.root);
    for (const ancestor of ancestry(name.parent)) {
      const found = await this.find(ancestor);
      if (found === undefined) throw parentNotFound(name);
      if (found.type === OBJECT) throw parentIsNoGroup(name);
    }
    throw parentNotFound(name);
  }

  /**
   * The members of a group, in batches. If two file names stand for one name, the usual spelling wins.
   * @throws the system's error
   */
  async *members(directory: string): AsyncGenerator<readonly Member[]> {
    const unusual = new Map<string, Member>();
    for await (const entries of this.reader.entries(directory)) {
      const members: Member[] = [];
      for (const entry of entries) {
        const member = memberOf(directory, entry);
        if (member === undefined) continue;
        if (isUsualSpelling(entry.name, member.part)) members.push(member);
        else unusual.set(member.part, member);
      }
      yield members;
    }
    for (const [part, member] of unusual) {
      const usual = await this.reader.inspect(`${directory}/${fileNameOf(part)}`);
      if (usual === undefined) yield [member];
    }
  }

  /**
   * True if a name exists in an unusual spelling. Where scans can't be cached, this returns false without looking: to scan the
   * whole directory for each new name would take too long.
   */
  async isSpelledUnusually(directory: Directory, name: Name): Promise<boolean> {
    if (directory.validity === undefined) return false;
    const path = await this.unusualPath(directory, name);
    return path !== undefined && (await this.reader.inspect(path)) !== undefined;
  }

  /** False if nothing in a directory has metadata. True where a scan can't be cached, without looking. @throws the system's error */
  async mayHoldMetadata(directory: Directory, group: Name): Promise<boolean> {
    return directory.validity === undefined || (await this.scan(directory, group)).hasMetadata;
  }

  /** The path of a name in an unusual spelling, as of the last scan: it may not exist any more. */
  private async unusualPath(directory: Directory, name: Name): Promise<string | undefined> {
    const fileName = (await this.scan(directory, name.parent)).unusual.get(name.part);
    return fileName === undefined ? undefined : `${directory.path}/${fileName}`;
  }

  private scan({ path, validity }: Directory, group: Name): Promise<DirectoryScan> {
    return this.cache.scans.getOrLoad(group.toString(), async () => {
      const startedAt = performance.now();
      const value = await this.readScan(path);
      return { value, validity, minTtlMs: (performance.now() - startedAt) * TTL_PER_SCAN_TIME };
    });
  }

  /** Scans the file names in a directory. @throws the system's error */
  private async readScan(directory: string): Promise<DirectoryScan> {
    const unusual = new Map<string, string>();
    let hasMetadata = false;
    for await (const entries of this.reader.entries(directory)) {
      for (const entry of entries) {
        hasMetadata ||= isMetadataOfMember(entry.name);
        const part = memberOf(directory, entry)?.part;
        if (part !== undefined && !isUsualSpelling(entry.name, part)) unusual.set(part, entry.name);
      }
    }
    return { unusual, hasMetadata };
  }
}

/** The ancestors of a group below the root, and the group itself, outermost first. */
function* ancestry(group: Name): Generator<Name> {
  let name = Name.root;
  for (const part of group.parts) {
    name = name.child(part);
    yield name;
  }
}

/** True if a path contains no symbolic link, and exists. */
async function isRealPath(directory: string): Promise<boolean> {
  try {
    return (await realpath(directory)) === directory;
  } catch (error) {
    if (saysAbsent(error) || codeOf(error) === 'ELOOP') return false;
    throw error;
  }
}

function memberOf(directory: string, entry: Dirent): Member | undefined {
  const part = partOf(entry.name);
  if (part === undefined) return undefined;
  const path = `${directory}/${entry.name}`;
  if (entry.isFile()) return { part, path, type: OBJECT };
  return entry.isDirectory() ? { part, path, type: GROUP } : undefined;
}

function foundAt(path: string, stats: Stats | undefined): Found | undefined {
  if (stats === undefined) return undefined;
  if (stats.isFile()) return { path, type: OBJECT, stats };
  return stats.isDirectory() ? { path, type: GROUP, stats } : undefined;
}

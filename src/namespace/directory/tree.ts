import type { Stats, Dirent } from 'node:fs';
import { lstat, realpath } from 'node:fs/promises';
import { Name } from '../../names/index.js';
import { GROUP, OBJECT } from '../namespace.js';
import type { NodeType } from '../namespace.js';
import { parentIsNoGroup, parentNotFound } from '../errors.js';
import type { Cache, Validity, DirectoryScan } from './cache.js';
import type { Reading } from './files.js';
import { codeOf, saysAbsent } from './files.js';
import { fileNameOf, isMetadataOfMember, isUsualSpelling, partOf, pathOf } from './layout.js';
import type { Reader } from './reader.js';
import type { Watcher } from './watcher.js';

/** A name that is there. */
export interface Found {
  readonly path: string;
  readonly type: NodeType;
  readonly stats: Stats;
}

/** A member of a group, as a directory tells it: not looked at any further. */
export interface Member {
  readonly part: string;
  readonly path: string;
  readonly type: NodeType;
}

/** A directory of a group. */
export interface Directory {
  readonly path: string;
  /** What a memory of its contents may rest on; undefined if they are not to be remembered. */
  readonly validity: Validity | undefined;
}

/**
 * How many times longer than it took is believed what was seen of a whole directory: where nobody tells of changes, a large
 * one would else be read again for each name that is looked for.
 */
const TTL_PER_SCAN_TIME = 20;

/** Finds names on the disk, in whatever state the tree is: links are no names, and nothing is found behind them. */
export class Tree {
  /** @param root the real path of the database */
  constructor(
    readonly root: string,
    private readonly reader: Reader,
    private readonly watches: Watcher,
    private readonly cache: Cache,
  ) {}

  /** What has a name; undefined where nothing has, or what is no name. @throws the system's error where it can't be told */
  async find(name: Name): Promise<Found | undefined> {
    // Without its directory, a database isn't empty but missing.
    if (name.isRoot) return foundAt(this.root, await lstat(this.root));
    const directory = await this.directoryOf(name.parent);
    return directory && (await this.findMember(directory, name));
  }

  /** What has a name in a directory that is known to be its parent's. @throws the system's error */
  async findMember(directory: Directory, name: Name): Promise<Found | undefined> {
    const usual = `${directory.path}/${fileNameOf(name.part)}`;
    const stats = await this.reader.inspect(usual);
    if (stats !== undefined) return foundAt(usual, stats);
    const unusual = await this.unusualPath(directory, name);
    return unusual === undefined ? undefined : foundAt(unusual, await this.reader.inspect(unusual));
  }

  /** Reads the file of an object; undefined where nothing has that name. @throws the system's error */
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

  /** The directory of a group; undefined where there is none. @throws the system's error where it can't be told, or the database is gone */
  async directoryOf(group: Name): Promise<Directory | undefined> {
    const watched = await this.watches.get(group);
    if (watched !== undefined) return { path: watched.path, validity: watched };
    const validity = this.watches.unwatchedValidity;
    const usual = pathOf(this.root, group);
    // In this order: behind a link that leads to itself, nothing can be inspected.
    if ((await isRealPath(usual)) && (await this.reader.inspect(usual))?.isDirectory() === true)
      return { path: usual, validity };
    // Without its directory, a database isn't empty but missing.
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
   * The directory that a new name goes into.
   * @throws NamingError where that is no group; the system's error where it can't be told, or the database is gone
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
   * The members of a group, in batches. Of two file names that spell one name the usual one counts.
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
   * True if a name is there, in another spelling than the usual one: as far as that can be told without reading the
   * directory, which for each new name would take too long where it isn't remembered.
   */
  async isSpelledUnusually(directory: Directory, name: Name): Promise<boolean> {
    if (directory.validity === undefined) return false;
    const path = await this.unusualPath(directory, name);
    return path !== undefined && (await this.reader.inspect(path)) !== undefined;
  }

  /** False if it is known that nothing in a directory has metadata. @throws the system's error */
  async mayHoldMetadata(directory: Directory, group: Name): Promise<boolean> {
    return directory.validity === undefined || (await this.scan(directory, group)).hasMetadata;
  }

  /** Where a name is if not in the usual spelling; to be looked at, whether it still is there. */
  private async unusualPath(directory: Directory, name: Name): Promise<string | undefined> {
    const fileName = (await this.scan(directory, name.parent)).unusual.get(name.part);
    return fileName === undefined ? undefined : `${directory.path}/${fileName}`;
  }

  private scan({ path, validity: validity }: Directory, group: Name): Promise<DirectoryScan> {
    return this.cache.scans.getOrLoad(group.toString(), async () => {
      const begun = performance.now();
      const value = await this.readScan(path);
      return { value, validity, minTtlMs: (performance.now() - begun) * TTL_PER_SCAN_TIME };
    });
  }

  /** Looks through the file names in a directory. @throws the system's error */
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

/** The groups on the way to a group, from the first below the root to itself. */
function* ancestry(group: Name): Generator<Name> {
  let name = Name.root;
  for (const part of group.parts) {
    name = name.child(part);
    yield name;
  }
}

/** True if no link is on the way to a directory. */
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

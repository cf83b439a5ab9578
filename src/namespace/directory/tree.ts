import type { Stats, Dirent } from 'node:fs';
import { lstat, opendir, readdir, realpath } from 'node:fs/promises';
import { Name } from '../../names/index.js';
import { GROUP, OBJECT } from '../namespace.js';
import type { NodeType } from '../namespace.js';
import { parentIsNoGroup, parentNotFound } from '../refusals.js';
import { codeOf, inspect, saysAbsent } from './files.js';
import { fileNameOf, isUsualSpelling, partOf, pathOf } from './layout.js';

/** How many members are read from a directory at a time: reading more is not faster, and keeps others waiting. */
const BATCH_SIZE = 1000;

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

/** Finds names on the disk, in whatever state the tree is: links are no names, and nothing is found behind them. */
export class Tree {
  /** @param root the real path of the database */
  constructor(readonly root: string) {}

  /** What has a name; undefined where nothing has, or what is no name. @throws the system's error where it can't be told */
  async find(name: Name): Promise<Found | undefined> {
    return (await this.findUsual(name)) ?? (await this.findSpelled(name));
  }

  /** As `find`, where the name is spelled in file names as this server spells it. */
  async findUsual(name: Name): Promise<Found | undefined> {
    const path = pathOf(this.root, name);
    const [stats, isReal] = await Promise.all([inspect(path), this.isReal(pathOf(this.root, name.parent))]);
    return isReal ? foundAt(path, stats) : undefined;
  }

  /**
   * The directory that a new name goes into.
   * @throws NamingError where that is no group; the system's error where it can't be told, or the database is gone
   */
  async parentOf(name: Name): Promise<string> {
    const parent = await this.find(name.parent);
    if (parent?.type === GROUP) return parent.path;
    await lstat(this.root);
    let ancestor = Name.root;
    for (const part of name.parent.parts) {
      ancestor = ancestor.child(part);
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
    let batch: Member[] = [];
    const unusual = new Map<string, Member>();
    for await (const entry of await opendir(directory, { bufferSize: BATCH_SIZE })) {
      const member = memberOf(directory, entry);
      if (member === undefined) continue;
      if (!isUsualSpelling(entry.name, member.part)) unusual.set(member.part, member);
      else if (batch.push(member) === BATCH_SIZE) {
        yield batch;
        batch = [];
      }
    }
    for (const [part, member] of unusual) {
      if ((await inspect(`${directory}/${fileNameOf(part)}`)) === undefined) batch.push(member);
    }
    yield batch;
  }

  /** True if no link is on the way to a directory. */
  private async isReal(directory: string): Promise<boolean> {
    try {
      return (await realpath(directory)) === directory;
    } catch (error) {
      if (saysAbsent(error) || codeOf(error) === 'ELOOP') return false;
      throw error;
    }
  }

  /** Looks for a name in any spelling, which means to read each directory on the way that doesn't have the usual one. */
  private async findSpelled(name: Name): Promise<Found | undefined> {
    let found = foundAt(this.root, await inspect(this.root));
    for (const part of name.parts) {
      if (found?.type !== GROUP) return undefined;
      const usual = `${found.path}/${fileNameOf(part)}`;
      const stats = await inspect(usual);
      found = stats === undefined ? await this.findSpelling(found.path, part) : foundAt(usual, stats);
    }
    return found;
  }

  private async findSpelling(directory: string, part: string): Promise<Found | undefined> {
    for (const fileName of await readdir(directory)) {
      if (partOf(fileName) !== part) continue;
      const path = `${directory}/${fileName}`;
      return foundAt(path, await inspect(path));
    }
    return undefined;
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

import type { FSWatcher, Stats } from 'node:fs';
import { readFileSync, watch } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Log } from '../../config/index.js';
import { Name } from '../../names/index.js';
import type { Validity } from './cache.js';
import { codeOf, inspect, saysAbsent } from './files.js';
import { fileNameOf, OWN_DIRECTORY } from './layout.js';

/** How changes made by other programs are noticed: told by the kernel, or by looking again after a moment. */
export type WatchMode = 'native' | 'polling';

/** Who is told what may have changed. */
export interface WatchListener {
  /**
   * What has this file name in a group may have changed.
   * @param membershipChanged false where only what it holds may have changed
   */
  changed(group: WatchedGroup, fileName: string, membershipChanged: boolean): void;
  /** Anything may have changed: the grounds that aren't trusted any more say what. */
  invalidatedAll(): void;
}

/**
 * Even while a directory is watched, what was read is read again after this time. The kernel tells nothing of a file that is
 * written through a mapping or another link, nor of what is mounted over a directory: so no answer is wrong for good.
 */
const WATCHED_TTL_MS = 60_000;

/** Where the kernel tells nothing, what was read is believed this long: well below the 100 ms in which a change is to be seen. */
const POLLED_TTL_MS = 50;

/** How often it is checked that the database directory is still the one that is watched: its parents may be moved too. */
const ROOT_CHECK_INTERVAL_MS = 1000;

/** How many directories are watched; the least used is let go first. Linux allows at least 8192 watches to a user. */
const MAX_WATCHES = 4096;

/** How long no directory is watched after one could not be. */
const WATCH_RETRY_MS = 10_000;

/** Events that Linux keeps for us until we look; any more are lost without a word. Its default, where it doesn't say. */
const DEFAULT_QUEUED_EVENTS = 16_384;

/** A directory of a group, while it is watched. */
export class WatchedGroup implements Validity {
  readonly ttlMs = WATCHED_TTL_MS;
  /** False from the moment on when something may have changed unseen. */
  valid = true;
  /** Groups in it that are watched too, by their file names. */
  readonly members = new Map<string, WatchedGroup>();
  /** Resolves when it is known that this is a directory, and no link to one; it isn't trusted otherwise. */
  ready: Promise<void> = Promise.resolve();
  readonly fileName: string;
  /** When it was looked at last that this is the directory at its path, and which one it was. */
  verifiedAt = performance.now();
  private stats: Stats | undefined;

  constructor(
    readonly name: Name,
    readonly path: string,
    readonly parent: WatchedGroup | undefined,
    readonly watcher: FSWatcher,
  ) {
    this.fileName = basename(path);
  }

  /** True if what is at its path now is a directory, and the same as ever. */
  async isUnchanged(): Promise<boolean> {
    this.verifiedAt = performance.now();
    const stats = await inspect(this.path).catch(() => undefined);
    if (stats?.isDirectory() !== true) return false;
    this.stats ??= stats;
    return stats.dev === this.stats.dev && stats.ino === this.stats.ino;
  }
}

export interface WatchOptions {
  readonly mode: WatchMode;
  /** True where the file system takes `A` and `a` for one name, so that events don't say which file was changed by its other name. */
  readonly ignoresCase: boolean;
  readonly listener: WatchListener;
  readonly log: Log;
}

/**
 * Watches the directories that are used, each with a plain `fs.watch`, from before they are read: so that nothing happens
 * unseen between a read and the watch. Whatever is unclear ends the trust in a directory and in all below it.
 */
export class Watcher {
  private readonly groups = new Map<string, WatchedGroup>();
  private readonly rootCheck: NodeJS.Timeout;
  private readonly overflowThreshold = queuedEvents() / 4;
  private eventsThisTurn = 0;
  private polledValidity = { valid: true, ttlMs: POLLED_TTL_MS };
  private retryAt = 0;

  /** @param root the real path of the database */
  constructor(
    private readonly root: string,
    private readonly options: WatchOptions,
  ) {
    this.rootCheck = setInterval(() => void this.checkRoot(), ROOT_CHECK_INTERVAL_MS).unref();
  }

  /** What the memory of directories that aren't watched rests on: none at all, unless by polling. */
  get unwatchedValidity(): Validity | undefined {
    return this.options.mode === 'polling' ? this.polledValidity : undefined;
  }

  /** The directory of a group, watched from now on; undefined where there is none, or it can't be watched. */
  async get(group: Name): Promise<WatchedGroup | undefined> {
    if (this.options.mode === 'polling' || performance.now() < this.retryAt) return undefined;
    const watched = this.groups.get(group.toString()) ?? (await this.begin(group));
    if (watched !== undefined && performance.now() - watched.verifiedAt >= WATCHED_TTL_MS) {
      watched.ready = this.verifyAgain(watched);
    }
    await watched?.ready;
    if (watched?.valid !== true) return undefined;
    this.touch(watched);
    return watched;
  }

  /** Ends the trust in a group and all below it. */
  invalidate(group: Name): void {
    this.polledValidity.valid = false;
    this.polledValidity = { ...this.polledValidity, valid: true };
    const watched = this.groups.get(group.toString());
    if (watched !== undefined) this.end(watched);
    else this.options.listener.invalidatedAll();
  }

  close(): void {
    clearInterval(this.rootCheck);
    for (const group of this.groups.values()) this.end(group);
  }

  private async begin(name: Name): Promise<WatchedGroup | undefined> {
    const parent = name.isRoot ? undefined : await this.get(name.parent);
    if (parent === undefined && !name.isRoot) return undefined;
    // Others may have begun while this one waited.
    const begun = this.groups.get(name.toString());
    if (begun !== undefined) return begun;
    const fileName = fileNameOf(name.part);
    const path = parent === undefined ? this.root : `${parent.path}/${fileName}`;
    const watcher = this.watch(path);
    if (watcher === undefined) return undefined;
    const group = new WatchedGroup(name, path, parent, watcher);
    watcher.on('change', (event, file) => {
      this.changed(group, event === 'rename', file);
    });
    watcher.on('error', () => {
      this.end(group);
    });
    this.groups.set(name.toString(), group);
    parent?.members.set(fileName, group);
    group.ready = this.verify(group);
    return group;
  }

  private watch(path: string): FSWatcher | undefined {
    try {
      return watch(path, { persistent: false });
    } catch (error) {
      if (saysAbsent(error) || codeOf(error) === 'EACCES' || codeOf(error) === 'ELOOP') return undefined;
      this.retryAt = performance.now() + WATCH_RETRY_MS;
      const advice = 'Names are read from the disk each time. Raise fs.inotify.max_user_watches or max_user_instances.';
      this.options.log.warn('DirectoryNamespace', 'no more directories can be watched:', error, advice);
      return undefined;
    }
  }

  /** A watch follows links, so it is looked afterwards at what is watched: had it been another then, its parent would tell. */
  private async verify(group: WatchedGroup): Promise<void> {
    if (!(await group.isUnchanged()) || !(await this.canDetectRemoval(group))) this.end(group);
  }

  /**
   * The kernel doesn't tell that a directory is removed as long as anyone has it open, a shell that stands in it say. Its parent
   * tells instead; the root has none that is watched, but has our own directory in it, without which it can't be removed.
   */
  private async canDetectRemoval({ parent, path }: WatchedGroup): Promise<boolean> {
    return parent !== undefined || (await inspect(`${path}/${OWN_DIRECTORY}`)) !== undefined;
  }

  /** What is mounted over a directory hides it, and no event tells of that: the groups above may be hidden, too. */
  private async verifyAgain(group: WatchedGroup): Promise<void> {
    if (!(await group.isUnchanged())) this.endAll();
  }

  private changed(group: WatchedGroup, membershipChanged: boolean, fileName: string | Buffer | null): void {
    if (this.mayHaveOverflowed() || !group.valid) return;
    // What happens to a directory itself is told under its own name.
    const isUnclear =
      typeof fileName !== 'string' ||
      fileName === group.fileName ||
      fileName === OWN_DIRECTORY ||
      this.options.ignoresCase;
    if (isUnclear) {
      this.end(group);
      return;
    }
    const member = group.members.get(fileName);
    if (member !== undefined) this.end(member);
    this.options.listener.changed(group, fileName, membershipChanged);
  }

  /** So many events at once that some may have been lost: all that is known is in doubt. */
  private mayHaveOverflowed(): boolean {
    this.eventsThisTurn += 1;
    if (this.eventsThisTurn === 1) {
      setImmediate(() => {
        this.eventsThisTurn = 0;
      });
    }
    if (this.eventsThisTurn < this.overflowThreshold) return false;
    this.endAll();
    return true;
  }

  private end(group: WatchedGroup): void {
    if (!group.valid) return;
    group.parent?.members.delete(group.fileName);
    const ending = [group];
    for (let next = ending.pop(); next !== undefined; next = ending.pop()) {
      next.valid = false;
      this.closeLater(next.watcher);
      this.groups.delete(next.name.toString());
      ending.push(...next.members.values());
    }
    this.options.listener.invalidatedAll();
  }

  /** Not before this turn is over: the events that have come for it tell how many came for all, of which some may be lost. */
  private closeLater(watcher: FSWatcher): void {
    setImmediate(() => {
      watcher.close();
    });
  }

  /** The least recently used groups are in front; a group is never in front of one that is below it. */
  private touch(group: WatchedGroup): void {
    for (let each: WatchedGroup | undefined = group; each !== undefined; each = each.parent) {
      this.groups.delete(each.name.toString());
      this.groups.set(each.name.toString(), each);
    }
    for (const oldest of this.groups.values()) {
      if (this.groups.size <= MAX_WATCHES) break;
      this.end(oldest);
    }
  }

  private async checkRoot(): Promise<void> {
    const watched = this.groups.get(Name.root.toString());
    if (watched !== undefined && !(await watched.isUnchanged())) this.endAll();
  }

  private endAll(): void {
    for (const group of this.groups.values()) this.end(group);
  }
}

/** Types of file systems that others change without this machine's kernel knowing: network, and what containers share with hosts. */
const CHANGED_ELSEWHERE = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x65735546, 'FUSE'],
  [0x01021997, '9p'],
  [0x5346414f, 'AFS'],
  [0x00c36400, 'Ceph'],
  [0x01161970, 'GFS2'],
  [0x7461636f, 'OCFS2'],
  [0x0bd00bd0, 'Lustre'],
  [0x47504653, 'GPFS'],
  [0x786f4256, 'VirtualBox'],
  [0xbacbacbc, 'VMware'],
]);

/** The mode that suits the file system of a directory. @throws the system's error */
export async function suitableWatchMode(directory: string): Promise<WatchMode> {
  if (process.platform !== 'linux') return 'native';
  const { type } = await statfs(directory);
  return CHANGED_ELSEWHERE.has(type) ? 'polling' : 'native';
}

function queuedEvents(): number {
  try {
    return Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'latin1'));
  } catch {
    return DEFAULT_QUEUED_EVENTS;
  }
}

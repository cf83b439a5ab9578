import type { FSWatcher, Stats } from 'node:fs';
import { readFileSync, watch } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Log } from '../../config/index.js';
import { Name } from '../../names/index.js';
import { codeOf, inspect, saysAbsent } from './files.js';
import { fileNameOf, OWN_DIRECTORY } from './layout.js';
import type { Validity, WatchListener } from './validity.js';

/**
 * How changes made by other programs are detected: `native` by events of the kernel, `polling` by a short TTL, after which
 * the disk is read again.
 */
export type WatchMode = 'native' | 'polling';

/**
 * TTL of what is read from a watched directory. It bounds for how long an answer can be stale after a change without an
 * event: a file written through a memory mapping or another hard link, or a file system mounted over the directory.
 */
const WATCHED_TTL_MS = 60_000;

/** TTL where there are no events: well below the 100 ms within which a change must be visible. */
const POLLED_TTL_MS = 50;

/** How often it is checked that the watched root is still the directory at the database's path: a parent may have been moved. */
const ROOT_CHECK_INTERVAL_MS = 1000;

/** Maximum number of watches; the least recently used is ended first. Linux allows a user at least 8192. */
const MAX_WATCHES = 4096;

/** Back-off: after a watch could not be created, none is tried for this time. */
const WATCH_RETRY_MS = 10_000;

/** The size of the kernel's event queue, if it can't be read: Linux's default. When the queue overflows, events are lost. */
const DEFAULT_QUEUED_EVENTS = 16_384;

/** A watched directory of a group: the validity of all cache entries that were read from it. */
export class WatchedGroup implements Validity {
  readonly ttlMs = WATCHED_TTL_MS;
  /** False from when changes may go undetected: the watch has ended, for good. */
  valid = true;
  /** The watched groups in it, by file name. */
  readonly members = new Map<string, WatchedGroup>();
  /** Resolves after the check that this is a real directory, not a link to one. If it is not, `valid` is false by then. */
  ready: Promise<void> = Promise.resolve();
  readonly fileName: string;
  /** When it was last checked that this directory is still the one at its path. */
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

  /** True if there still is a directory at its path, and the same one (by device and inode) as at the first check. */
  async isUnchanged(): Promise<boolean> {
    this.verifiedAt = performance.now();
    const stats = await inspect(this.path).catch(() => undefined);
    if (stats?.isDirectory() !== true) return false;
    this.stats ??= stats;
    return stats.dev === this.stats.dev && stats.ino === this.stats.ino;
  }
}

export interface WatcherOptions {
  readonly mode: WatchMode;
  /** True if the file system ignores case: then an event for `A` may be a change of `a`, and can't be assigned to a name. */
  readonly ignoresCase: boolean;
  readonly listener: WatchListener;
  readonly log: Log;
}

/**
 * Watches the directories in use, each with a plain `fs.watch`. A watch starts before its directory is read, so that no
 * change between read and watch is missed. Any event that can't be interpreted invalidates the directory and all below it.
 */
export class Watcher {
  private readonly groups = new Map<string, WatchedGroup>();
  private readonly rootCheck: NodeJS.Timeout;
  private readonly overflowThreshold = eventQueueSize() / 4;
  private eventsThisTurn = 0;
  private polledValidity = { valid: true, ttlMs: POLLED_TTL_MS };
  private retryAt = 0;

  /** @param root the real path of the database */
  constructor(
    private readonly root: string,
    private readonly options: WatcherOptions,
  ) {
    this.rootCheck = setInterval(() => void this.checkRoot(), ROOT_CHECK_INTERVAL_MS).unref();
  }

  /** The validity of what is read from a directory without a watch. Undefined, so not cached, unless the mode is polling. */
  get unwatchedValidity(): Validity | undefined {
    return this.options.mode === 'polling' ? this.polledValidity : undefined;
  }

  /** The directory of a group, watched from now on; undefined if it does not exist or can't be watched. */
  async get(group: Name): Promise<WatchedGroup | undefined> {
    if (this.options.mode === 'polling' || performance.now() < this.retryAt) return undefined;
    const watched = this.groups.get(group.toString()) ?? (await this.start(group));
    if (watched !== undefined && performance.now() - watched.verifiedAt >= WATCHED_TTL_MS) {
      watched.ready = this.verifyAgain(watched);
    }
    await watched?.ready;
    if (watched?.valid !== true) return undefined;
    this.touch(watched);
    return watched;
  }

  /** Invalidates all that was read from a group and from all groups below it. */
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

  private async start(name: Name): Promise<WatchedGroup | undefined> {
    const parent = name.isRoot ? undefined : await this.get(name.parent);
    if (parent === undefined && !name.isRoot) return undefined;
    // A concurrent call may have started the watch during the await.
    const started = this.groups.get(name.toString());
    if (started !== undefined) return started;
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

  /**
   * Checks that what is watched is a real directory: `fs.watch` follows links. The check comes after the watch has started; if
   * the directory was exchanged in between, the watch of its parent reports that.
   */
  private async verify(group: WatchedGroup): Promise<void> {
    if (!(await group.isUnchanged()) || !(await this.canDetectRemoval(group))) this.end(group);
  }

  /**
   * True if the removal of a directory causes an event. Linux sends none for the directory itself while a process has it open,
   * such as a shell whose working directory it is. For a group, the watch of its parent reports the removal. The root has no
   * watched parent; but it contains the server's own directory, whose removal, which must come first, is reported.
   */
  private async canDetectRemoval({ parent, path }: WatchedGroup): Promise<boolean> {
    return parent !== undefined || (await inspect(`${path}/${OWN_DIRECTORY}`)) !== undefined;
  }

  /** Detects a file system mounted over a directory, for which there is no event. Groups above may be hidden by it, too. */
  private async verifyAgain(group: WatchedGroup): Promise<void> {
    if (!(await group.isUnchanged())) this.endAll();
  }

  private changed(group: WatchedGroup, membershipChanged: boolean, fileName: string | Buffer | null): void {
    if (this.mayHaveOverflowed() || !group.valid) return;
    // An event with the directory's own file name is about the directory itself.
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
    this.options.listener.changed(group.name, fileName, membershipChanged);
  }

  /**
   * Counts the events of one iteration of the event loop. If they are so many that the kernel's queue may have overflowed,
   * events may be lost: then all watches end, which invalidates all that was read. @returns true in that case
   */
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

  /** Ends the watches of a group and of all groups below it. */
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

  /**
   * Closes a watch, but only after this iteration of the event loop: events of it that are already queued must still be
   * counted, because `mayHaveOverflowed` needs the number of all.
   */
  private closeLater(watcher: FSWatcher): void {
    setImmediate(() => {
      watcher.close();
    });
  }

  /**
   * Marks a group and its ancestors as used most recently. `groups` is in the order of use, and a group never comes before one
   * of its descendants: so the first one, which is ended when there are too many, has no descendants.
   */
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

/**
 * Types of file systems that can be changed without an event of this machine's kernel: network file systems, and those that
 * containers and virtual machines share with their host.
 */
const TYPES_WITHOUT_EVENTS = new Map([
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

/** The watch mode for the file system of a directory. @throws the system's error */
export async function suitableWatchMode(directory: string): Promise<WatchMode> {
  if (process.platform !== 'linux') return 'native';
  const { type } = await statfs(directory);
  return TYPES_WITHOUT_EVENTS.has(type) ? 'polling' : 'native';
}

/** The size of the kernel's event queue. */
function eventQueueSize(): number {
  try {
    return Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'latin1'));
  } catch {
    return DEFAULT_QUEUED_EVENTS;
  }
}

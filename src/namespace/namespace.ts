import type { Name, PyroURI } from '../names/index.js';
import type { PythonValue } from '../pickle/index.js';

/** Pyro's code of a group, in listings and in system metadata. */
export const GROUP = 0;
/** Pyro's code of an object, in listings and in system metadata. */
export const OBJECT = 1;
/** What a name is. */
export type NodeType = typeof GROUP | typeof OBJECT;

/** What the name server itself keeps of a name: Pyro's `NameSpaceSystemMeta`. */
export interface SystemMeta {
  readonly type: NodeType;
  /** Seconds since the epoch, with a fraction: when the entry was made. */
  readonly timestamp: number;
  /** None in all that Pyro 3 makes. */
  readonly owner: PythonValue;
}

/** A member of a group, as a listing shows it. */
export interface ListEntry {
  readonly part: string;
  readonly type: NodeType;
}

/** One entry of a whole namespace, for copies: to a twin, to another store, to a file. */
export interface NamespaceEntry {
  readonly name: Name;
  /** An object's URI; undefined for a group. */
  readonly uri: PyroURI | undefined;
  readonly systemMeta: SystemMeta | undefined;
  /** None (null) where unset. */
  readonly userMeta: PythonValue;
}

/** How many names there are; the root is not counted. */
export interface NamespaceSize {
  readonly groups: number;
  readonly objects: number;
}

/** How a store does, for who looks after the server. Counts are those since it was opened. */
export type StoreStatus = MemoryStatus | DirectoryStatus | EtcdStatus;

interface CommonStatus {
  /** Why names can't be read or changed as they should; undefined where all is well. */
  readonly problem: string | undefined;
}

/** How names in memory are. */
export interface MemoryStatus extends CommonStatus {
  readonly kind: 'memory';
}

/** How a database directory and what is remembered of it are. */
export interface DirectoryStatus extends CommonStatus {
  readonly kind: 'directory';
  /** Whether a change is on the disk before it is answered. */
  readonly isDurable: boolean;
  /** Changes that were asked for, and the seconds that all of them together took, until they were durable or refused. */
  readonly changes: number;
  readonly changeSeconds: number;
  /** How often a directory was brought to the disk: once for all changes that waited for it. */
  readonly directorySyncs: number;
  /** Errors of the file system that clients were told of. */
  readonly fsErrors: number;
  /** Of how many names the URIs are remembered; how often one was known, and how often one had to be read. */
  readonly cachedNames: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
}

/** How names in etcd, and the way there, are. */
export interface EtcdStatus extends CommonStatus {
  readonly kind: 'etcd';
  /** The member of the cluster that is talked to, as `host:port`. */
  readonly endpoint: string;
  /** For how many seconds etcd has been away; undefined while it is not. */
  readonly awaySeconds: number | undefined;
}

/**
 * A tree of groups and objects: the only seam between naming and storage.
 *
 * What each method promises, whatever the store:
 * - It decides its preconditions itself and atomically: of two that register one name at once, one gets
 *   `name already exists`.
 * - A promise of a change resolves when the change is as durable as the store makes it (the directory store: on disk,
 *   file and directory), and when every later read sees it.
 * - A failure is a NamingError with Pyro's own text (facts: the name server object's table) and the name; nothing
 *   is half done after it. Causes (paths, errno) go to the log, never into the error.
 * - The root group always exists. Names given here are valid; relative names are expanded before.
 */
export interface Namespace {
  /**
   * The URI of an object.
   * @throws NamingError `name not found`, `attempt to resolve groupname`
   */
  resolve(name: Name): Promise<PyroURI>;

  /** What `resolve` would answer, if that is known without waiting: the hot path. Undefined says nothing. */
  resolveNow(name: Name): PyroURI | undefined;

  /**
   * Adds an object.
   * @throws NamingError `name already exists`, `(parent)group not found`, `parent is no group`, `invalid name` (root),
   *   `name too long`
   */
  register(name: Name, uri: PyroURI): Promise<void>;

  /**
   * Removes an object, with its metadata.
   * @throws NamingError `name not found`, `is a group, not an object`
   */
  unregister(name: Name): Promise<void>;

  /**
   * The members of a group, in any order.
   * @throws NamingError `group not found`, `is no group`
   */
  list(group: Name): Promise<ListEntry[]>;

  /**
   * All objects, in any order, in batches, so that a large namespace neither blocks nor fills memory. Entries that
   * come or go meanwhile may or may not be among them.
   */
  flatlist(): AsyncIterable<readonly (readonly [Name, PyroURI])[]>;

  /**
   * Adds an empty group.
   * @throws NamingError `group already exists`, `(parent)group not found`, `parent is no group`, `name too long`
   */
  createGroup(group: Name): Promise<void>;

  /**
   * Removes a group with all its contents.
   * @throws NamingError `not allowed to delete root group`, `group not found`, `is no group`
   */
  deleteGroup(group: Name): Promise<void>;

  /** The user metadata of a group or an object, null where unset. @throws NamingError `name not found` */
  getMeta(name: Name): Promise<PythonValue>;

  /** Sets user metadata; null unsets it. @throws NamingError `name not found`, `name too long` */
  setMeta(name: Name, meta: PythonValue): Promise<void>;

  /** @throws NamingError `name not found` */
  getSystemMeta(name: Name): Promise<SystemMeta>;

  /** @throws NamingError `name not found` */
  setSystemMeta(name: Name, meta: SystemMeta): Promise<void>;

  /** The whole namespace, parents before their members, the root (with its metadata) first. */
  export(): AsyncIterable<NamespaceEntry>;

  /**
   * Replaces the whole namespace by these entries (parents first), at once: the old tree serves until the new one is
   * complete and durable. Missing parents are an error, and leave the old tree in service.
   */
  replace(entries: AsyncIterable<NamespaceEntry>): Promise<void>;

  /** Counts all names: it takes as long as listing all groups. */
  count(): Promise<NamespaceSize>;

  /** How many bytes the names, URIs and metadata have that the store holds in memory; 0 where it reads them from a disk. */
  readonly bytesInMemory: number;

  /** How the store does. */
  status(): StoreStatus;

  /** Waits for what is under way and lets go of files, locks and watches. */
  close(): Promise<void>;
}

/** The tree of groups and objects, and the stores that keep it. */
export { checkDatabase } from './directory/check.js';
export type { CheckOptions, CheckReport, DamageKind, Finding } from './directory/check.js';
export { DirectoryNamespace } from './directory/directory-namespace.js';
export type { DirectoryOptions } from './directory/directory-namespace.js';
export type { WatchMode } from './directory/watcher.js';
export { DatabaseInUseError, DatabaseLock, LOCK_STALE_MS } from './directory/lock.js';
export type { LockHolder } from './directory/lock-holder.js';
export type { DatabaseLockOptions } from './directory/lock.js';
export type { EtcdHealth, EtcdNamespace, EtcdOptions } from './etcd/etcd-namespace.js';
export { isEtcdURL } from './etcd/url.js';
export { makeDirectory } from './make-directory.js';
export { MemoryNamespace } from './memory.js';
export { GROUP, OBJECT } from './namespace.js';
export type {
  DirectoryStatus,
  EtcdStatus,
  ListEntry,
  MemoryStatus,
  Namespace,
  NamespaceEntry,
  NamespaceSize,
  NodeType,
  StoreStatus,
  SystemMeta,
} from './namespace.js';
export { databaseOf, openNamespace } from './open.js';
export { systemMetaFromPython, systemMetaToPython } from './system-meta.js';

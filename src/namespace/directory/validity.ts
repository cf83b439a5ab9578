/** What the cache and the watcher agree on, in a file of its own so that neither imports the other. */
import type { Name } from '../../names/index.js';

/** The validity of cache entries, shared by all that were read from one directory: when `valid` turns false, none counts any more. */
export interface Validity {
  readonly valid: boolean;
  /** TTL of an entry: how long it may be used without reading the disk again. */
  readonly ttlMs: number;
}

/** Gets invalidations from the watcher. */
export interface WatchListener {
  /**
   * The member of a group with this file name may have changed.
   * @param membershipChanged false if only its content may have changed, and it has neither come nor gone
   */
  changed(group: Name, fileName: string, membershipChanged: boolean): void;
  /** Anything may have changed in the directories whose `Validity` is no longer valid. */
  invalidatedAll(): void;
}

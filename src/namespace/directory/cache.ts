import { LRUCache } from 'lru-cache';
import type { Name, PyroURI } from '../../names/index.js';
import type { ListEntry } from '../namespace.js';
import { isMetadataOfMember, isUsualSpelling, partOf } from './layout.js';
import type { Validity, WatchListener } from './validity.js';

/** A value read from the disk. */
export interface LoadResult<Value> {
  readonly value: Value;
  /** What the validity of the cache entry depends on; undefined if the value must not be cached. */
  readonly validity: Validity | undefined;
  /** The minimum TTL, where that is longer than `validity.ttlMs`. */
  readonly minTtlMs?: number;
}

interface CacheEntry<Value> {
  readonly value: Value;
  readonly validity: Validity;
  /** A whole number of milliseconds: V8 stores it in place, where a fraction would be an object of its own. */
  readonly expiresAt: number;
}

/**
 * An LRU cache of values read from the disk, with single flight: concurrent callers for one key share one read.
 *
 * After `invalidate`, later callers get neither the cached value nor the result of a read that was in flight: that read may
 * have seen the state before the change.
 */
export class ReadCache<Value extends object> {
  private readonly entries: LRUCache<string, CacheEntry<Value>>;
  /** Number of answers from the cache, and of reads from the disk. */
  hits = 0;
  misses = 0;
  private readonly inflight = new Map<string, Promise<Value>>();

  /**
   * @param capacity the maximum total size
   * @param sizeOf the size of a value; without it, each counts as one
   */
  constructor(capacity: number, sizeOf?: (value: Value) => number) {
    this.entries = new LRUCache(
      sizeOf === undefined ? { max: capacity } : { maxSize: capacity, sizeCalculation: ({ value }) => sizeOf(value) },
    );
  }

  /** Number of entries. */
  get size(): number {
    return this.entries.size;
  }

  /** The cached value; undefined if there is none, or it is not valid any more. */
  get(key: string): Value | undefined {
    const value = freshValue(this.find(key));
    if (value !== undefined) this.hits += 1;
    return value;
  }

  /** As `get`, but does not count as a use of the entry: for callers that go through all names, and would upset the LRU order. */
  peek(key: string): Value | undefined {
    return freshValue(this.entries.peek(key));
  }

  /** The cached value, or else loads it: once for all concurrent callers (single flight). */
  async getOrLoad(key: string, load: () => Promise<LoadResult<Value>>): Promise<Value> {
    const shared = this.get(key) ?? this.inflight.get(key);
    if (shared !== undefined) return shared;
    this.misses += 1;
    const startedAt = performance.now();
    const loading = load().then(({ value, validity, minTtlMs = 0 }) => {
      const isCurrent = this.inflight.get(key) === loading;
      if (isCurrent && validity?.valid === true) {
        this.store(key, { value, validity, expiresAt: Math.trunc(startedAt + Math.max(validity.ttlMs, minTtlMs)) });
      }
      return value;
    });
    this.inflight.set(key, loading);
    try {
      return await loading;
    } finally {
      if (this.inflight.get(key) === loading) this.inflight.delete(key);
    }
  }

  /** Drops the entry of a key, and detaches a load in flight: its result is neither cached nor given to later callers. */
  invalidate(key: string): void {
    this.entries.delete(key);
    this.inflight.delete(key);
  }

  /** Detaches all loads in flight, as `invalidate` does for one key: after a change whose extent is unknown. */
  abandonLoads(): void {
    this.inflight.clear();
  }

  /** The entry of a key, valid or not. */
  protected find(key: string): CacheEntry<Value> | undefined {
    return this.entries.get(key);
  }

  protected store(key: string, entry: CacheEntry<Value>): void {
    this.entries.set(key, entry);
  }
}

/** The value of an entry; undefined if the entry is invalid or its TTL is over. */
function freshValue<Value>(entry: CacheEntry<Value> | undefined): Value | undefined {
  return entry !== undefined && entry.validity.valid && performance.now() < entry.expiresAt ? entry.value : undefined;
}

/** Maximum number of URIs in the hot set. */
const MAX_HOT_URIS = 2000;

/**
 * A cache of URIs with a hot set, for locality of memory. URIs that are asked for again are copied into it, together with the
 * encoded reply of each. Scattered among some hundred thousand others, each access to them would be a miss in the processor's
 * cache: that took a third of the time of an answer.
 */
class URICache extends ReadCache<PyroURI> {
  private readonly hot = new Map<string, CacheEntry<PyroURI>>();
  private readonly maxHot: number;

  constructor(capacity: number) {
    super(capacity);
    this.maxHot = Math.min(capacity, MAX_HOT_URIS);
  }

  override invalidate(key: string): void {
    this.hot.delete(key);
    super.invalidate(key);
  }

  protected override find(key: string): CacheEntry<PyroURI> | undefined {
    return this.hot.get(key) ?? this.promoteToHot(key);
  }

  protected override store(key: string, entry: CacheEntry<PyroURI>): void {
    this.hot.delete(key);
    super.store(key, entry);
  }

  private promoteToHot(key: string): CacheEntry<PyroURI> | undefined {
    const entry = super.find(key);
    if (entry === undefined) return undefined;
    // The hot set is emptied as a whole. So a URI in use is looked up in the LRU cache from time to time, and stays recent there.
    if (this.hot.size >= this.maxHot) this.hot.clear();
    const { value, validity, expiresAt } = entry;
    const copy = { value: value.withAddress(value.address), validity, expiresAt };
    this.hot.set(key, copy);
    return copy;
  }
}

/** The result of a scan of all file names in a group's directory. */
export interface DirectoryScan {
  /** The file names of members in an unusual spelling (see `isUsualSpelling`), by part. */
  readonly unusual: ReadonlyMap<string, string>;
  /** False if there is no file of a member's metadata at all, not even an orphaned one. */
  readonly hasMetadata: boolean;
}

/** Number of cached scans. They are small, because unusual spellings are rare. */
const MAX_SCANS = 10_000;

/** The caches of a database: URIs, listings of groups, and scans of directories, all by absolute name. */
export class Cache implements WatchListener {
  readonly uris: ReadCache<PyroURI>;
  readonly listings: ReadCache<readonly ListEntry[]>;
  readonly scans = new ReadCache<DirectoryScan>(MAX_SCANS);

  /** @param capacity the number of names whose URIs are cached, and also the number of names in all cached listings together */
  constructor(capacity: number) {
    this.uris = new URICache(capacity);
    this.listings = new ReadCache(capacity, (entries) => entries.length + 1);
  }

  changed(name: Name, fileName: string, membershipChanged: boolean): void {
    const group = name.toString();
    if (isMetadataOfMember(fileName)) this.metadataAdded(group);
    const part = partOf(fileName);
    if (part === undefined) return;
    this.uris.invalidate(name.isRoot ? group + part : `${group}.${part}`);
    if (membershipChanged) this.listings.invalidate(group);
    if (!isUsualSpelling(fileName, part)) this.scans.invalidate(group);
  }

  invalidatedAll(): void {
    this.uris.abandonLoads();
    this.listings.abandonLoads();
    this.scans.abandonLoads();
  }

  /** To be called when a member of a group may have got metadata: a scan that has found none is dropped. */
  metadataAdded(group: string): void {
    if (this.scans.peek(group)?.hasMetadata !== true) this.scans.invalidate(group);
  }

  /** Drops the URI and the listing of a name, and the listing of its parent group. */
  invalidate(name: Name): void {
    this.uris.invalidate(name.toString());
    this.listings.invalidate(name.toString());
    this.listings.invalidate(name.parent.toString());
  }
}

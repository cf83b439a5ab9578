import { LRUCache } from 'lru-cache';
import type { Name, PyroURI } from '../../names/index.js';
import type { ListEntry } from '../namespace.js';
import { isMetadataOfMember, isUsualSpelling, partOf } from './layout.js';
import type { WatchedGroup, WatchListener } from './watcher.js';

/** What a memory rests on, such as a directory being watched: without trust in it, all that rests on it counts for nothing. */
export interface Validity {
  readonly valid: boolean;
  /** How long what rests on it is believed without another look at the disk. */
  readonly ttlMs: number;
}

/** What was read; without a ground it is not to be remembered. */
export interface LoadResult<Value> {
  readonly value: Value;
  readonly validity: Validity | undefined;
  /** How long it is believed at least, where that is longer than the ground says. */
  readonly minTtlMs?: number;
}

interface CacheEntry<Value> {
  readonly value: Value;
  readonly validity: Validity;
  /** A whole number of milliseconds, which takes no memory of its own. */
  readonly expiresAt: number;
}

/**
 * Remembers what was read from the disk, the least used is forgotten first. Never more than a memory: whoever learns of a
 * change says `forget`, and then neither what is kept nor what is being read at that moment is given to later callers.
 */
export class ReadCache<Value extends object> {
  private readonly entries: LRUCache<string, CacheEntry<Value>>;
  /** How often something was known, and how often it had to be read. */
  hits = 0;
  misses = 0;
  private readonly inflight = new Map<string, Promise<Value>>();

  /**
   * @param capacity how much is kept
   * @param sizeOf how much of that a value takes: one unless said otherwise
   */
  constructor(capacity: number, sizeOf?: (value: Value) => number) {
    this.entries = new LRUCache(
      sizeOf === undefined ? { max: capacity } : { maxSize: capacity, sizeCalculation: ({ value }) => sizeOf(value) },
    );
  }

  /** How much is kept. */
  get size(): number {
    return this.entries.size;
  }

  /** What is known without a look at the disk. */
  get(key: string): Value | undefined {
    const value = freshValue(this.find(key));
    if (value !== undefined) this.hits += 1;
    return value;
  }

  /** As `get`, for those who ask for everything: what is used least stays what is forgotten first. */
  peek(key: string): Value | undefined {
    return freshValue(this.entries.peek(key));
  }

  /** What is known, or else is read: once for all who ask at the same time. */
  async getOrLoad(key: string, read: () => Promise<LoadResult<Value>>): Promise<Value> {
    const known = this.get(key) ?? this.inflight.get(key);
    if (known !== undefined) return known;
    this.misses += 1;
    const begun = performance.now();
    const reading = read().then(({ value, validity, minTtlMs: minTtlMs = 0 }) => {
      const isCurrent = this.inflight.get(key) === reading;
      if (isCurrent && validity?.valid === true) {
        this.store(key, { value, validity, expiresAt: Math.trunc(begun + Math.max(validity.ttlMs, minTtlMs)) });
      }
      return value;
    });
    this.inflight.set(key, reading);
    try {
      return await reading;
    } finally {
      if (this.inflight.get(key) === reading) this.inflight.delete(key);
    }
  }

  /** Forgets what is known of a key, and what is being read at this moment. */
  invalidate(key: string): void {
    this.entries.delete(key);
    this.inflight.delete(key);
  }

  /** Gives none of what is being read at this moment to later callers: something has changed, nobody knows what. */
  abandonLoads(): void {
    this.inflight.clear();
  }

  /** What is kept, whether it still counts or not. */
  protected find(key: string): CacheEntry<Value> | undefined {
    return this.entries.get(key);
  }

  protected store(key: string, kept: CacheEntry<Value>): void {
    this.entries.set(key, kept);
  }
}

/** What is kept, if it still counts. */
function freshValue<Value>(kept: CacheEntry<Value> | undefined): Value | undefined {
  return kept !== undefined && kept.validity.valid && performance.now() < kept.expiresAt ? kept.value : undefined;
}

/** How many URIs are kept close together. */
const MAX_HOT_URIS = 2000;

/**
 * Remembers URIs. Those that are asked for again are copied to one place, and so is what is made of them: strewn among some
 * hundred thousand others, the processor would wait for its memory at each step to them, a third of the time of an answer.
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

  protected override store(key: string, kept: CacheEntry<PyroURI>): void {
    this.hot.delete(key);
    super.store(key, kept);
  }

  private promoteToHot(key: string): CacheEntry<PyroURI> | undefined {
    const kept = super.find(key);
    if (kept === undefined) return undefined;
    // All at once, so that each that is used says so to the larger memory from time to time, and stays there.
    if (this.hot.size >= this.maxHot) this.hot.clear();
    const { value, validity, expiresAt } = kept;
    const copy = { value: value.withAddress(value.address), validity: validity, expiresAt: expiresAt };
    this.hot.set(key, copy);
    return copy;
  }
}

/** What is known of a group's directory as a whole. */
export interface DirectoryScan {
  /** The file names of members that are not spelled as usual, by their parts. */
  readonly unusual: ReadonlyMap<string, string>;
  /** False if no member has metadata, nor is there any that has lost its name. */
  readonly hasMetadata: boolean;
}

/** How many surveys are remembered: they are next to nothing, as there are hardly ever any unusual spellings. */
const MAX_SCANS = 10_000;

/** All that is remembered of a database, by absolute names. */
export class Cache implements WatchListener {
  readonly uris: ReadCache<PyroURI>;
  readonly listings: ReadCache<readonly ListEntry[]>;
  readonly scans = new ReadCache<DirectoryScan>(MAX_SCANS);

  /** @param names of how many names the URIs are remembered, and again of how many that they are in a group */
  constructor(names: number) {
    this.uris = new URICache(names);
    this.listings = new ReadCache(names, (entries) => entries.length + 1);
  }

  changed({ name }: Pick<WatchedGroup, 'name'>, fileName: string, membershipChanged: boolean): void {
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

  /** A member of a group may have metadata now. */
  metadataAdded(group: string): void {
    if (this.scans.peek(group)?.hasMetadata !== true) this.scans.invalidate(group);
  }

  /** Forgets what was known of a name, and the listing of its group. */
  invalidate(name: Name): void {
    this.uris.invalidate(name.toString());
    this.listings.invalidate(name.toString());
    this.listings.invalidate(name.parent.toString());
  }
}

import { LRUCache } from 'lru-cache';
import type { Name, PyroURI } from '../../names/index.js';
import type { ListEntry } from '../namespace.js';
import { isMetadataOfMember, isUsualSpelling, partOf } from './layout.js';
import type { WatchedGroup, WatchListener } from './watch.js';

/** What a memory rests on, such as a directory being watched: without trust in it, all that rests on it counts for nothing. */
export interface Ground {
  readonly trusted: boolean;
  /** How long what rests on it is believed without another look at the disk. */
  readonly believedMs: number;
}

/** What was read; without a ground it is not to be remembered. */
export interface Read<Value> {
  readonly value: Value;
  readonly ground: Ground | undefined;
  /** How long it is believed at least, where that is longer than the ground says. */
  readonly believedMs?: number;
}

interface Kept<Value> {
  readonly value: Value;
  readonly ground: Ground;
  /** A whole number of milliseconds, which takes no memory of its own. */
  readonly until: number;
}

/**
 * Remembers what was read from the disk, the least used is forgotten first. Never more than a memory: whoever learns of a
 * change says `forget`, and then neither what is kept nor what is being read at that moment is given to later callers.
 */
export class ReadCache<Value extends object> {
  private readonly kept: LRUCache<string, Kept<Value>>;
  /** How often something was known, and how often it had to be read. */
  hits = 0;
  misses = 0;
  private readonly underway = new Map<string, Promise<Value>>();

  /**
   * @param capacity how much is kept
   * @param sizeOf how much of that a value takes: one unless said otherwise
   */
  constructor(capacity: number, sizeOf?: (value: Value) => number) {
    this.kept = new LRUCache(
      sizeOf === undefined ? { max: capacity } : { maxSize: capacity, sizeCalculation: ({ value }) => sizeOf(value) },
    );
  }

  /** How much is kept. */
  get size(): number {
    return this.kept.size;
  }

  /** What is known without a look at the disk. */
  get(key: string): Value | undefined {
    const value = believed(this.find(key));
    if (value !== undefined) this.hits += 1;
    return value;
  }

  /** As `get`, for those who ask for everything: what is used least stays what is forgotten first. */
  peek(key: string): Value | undefined {
    return believed(this.kept.peek(key));
  }

  /** What is known, or else is read: once for all who ask at the same time. */
  async recall(key: string, read: () => Promise<Read<Value>>): Promise<Value> {
    const known = this.get(key) ?? this.underway.get(key);
    if (known !== undefined) return known;
    this.misses += 1;
    const begun = performance.now();
    const reading = read().then(({ value, ground, believedMs = 0 }) => {
      const isCurrent = this.underway.get(key) === reading;
      if (isCurrent && ground?.trusted === true) {
        this.keep(key, { value, ground, until: Math.trunc(begun + Math.max(ground.believedMs, believedMs)) });
      }
      return value;
    });
    this.underway.set(key, reading);
    try {
      return await reading;
    } finally {
      if (this.underway.get(key) === reading) this.underway.delete(key);
    }
  }

  /** Forgets what is known of a key, and what is being read at this moment. */
  forget(key: string): void {
    this.kept.delete(key);
    this.underway.delete(key);
  }

  /** Gives none of what is being read at this moment to later callers: something has changed, nobody knows what. */
  doubt(): void {
    this.underway.clear();
  }

  /** What is kept, whether it still counts or not. */
  protected find(key: string): Kept<Value> | undefined {
    return this.kept.get(key);
  }

  protected keep(key: string, kept: Kept<Value>): void {
    this.kept.set(key, kept);
  }
}

/** What is kept, if it still counts. */
function believed<Value>(kept: Kept<Value> | undefined): Value | undefined {
  return kept !== undefined && kept.ground.trusted && performance.now() < kept.until ? kept.value : undefined;
}

/** How many URIs are kept close together. */
const MAX_NEAR_URIS = 2000;

/**
 * Remembers URIs. Those that are asked for again are copied to one place, and so is what is made of them: strewn among some
 * hundred thousand others, the processor would wait for its memory at each step to them, a third of the time of an answer.
 */
class URICache extends ReadCache<PyroURI> {
  private readonly near = new Map<string, Kept<PyroURI>>();
  private readonly maxNear: number;

  constructor(capacity: number) {
    super(capacity);
    this.maxNear = Math.min(capacity, MAX_NEAR_URIS);
  }

  override forget(key: string): void {
    this.near.delete(key);
    super.forget(key);
  }

  protected override find(key: string): Kept<PyroURI> | undefined {
    return this.near.get(key) ?? this.bringNear(key);
  }

  protected override keep(key: string, kept: Kept<PyroURI>): void {
    this.near.delete(key);
    super.keep(key, kept);
  }

  private bringNear(key: string): Kept<PyroURI> | undefined {
    const kept = super.find(key);
    if (kept === undefined) return undefined;
    // All at once, so that each that is used says so to the larger memory from time to time, and stays there.
    if (this.near.size >= this.maxNear) this.near.clear();
    const { value, ground, until } = kept;
    const copy = { value: value.withAddress(value.address), ground, until };
    this.near.set(key, copy);
    return copy;
  }
}

/** What is known of a group's directory as a whole. */
export interface Survey {
  /** The file names of members that are not spelled as usual, by their parts. */
  readonly unusual: ReadonlyMap<string, string>;
  /** False if no member has metadata, nor is there any that has lost its name. */
  readonly hasMetadata: boolean;
}

/** How many surveys are remembered: they are next to nothing, as there are hardly ever any unusual spellings. */
const MAX_SURVEYS = 10_000;

/** All that is remembered of a database, by absolute names. */
export class Cache implements WatchListener {
  readonly uris: ReadCache<PyroURI>;
  readonly listings: ReadCache<readonly ListEntry[]>;
  readonly surveys = new ReadCache<Survey>(MAX_SURVEYS);

  /** @param names of how many names the URIs are remembered, and again of how many that they are in a group */
  constructor(names: number) {
    this.uris = new URICache(names);
    this.listings = new ReadCache(names, (entries) => entries.length + 1);
  }

  changed({ name }: Pick<WatchedGroup, 'name'>, fileName: string, cameOrWent: boolean): void {
    const group = name.toString();
    if (isMetadataOfMember(fileName)) this.gainedMetadata(group);
    const part = partOf(fileName);
    if (part === undefined) return;
    this.uris.forget(name.isRoot ? group + part : `${group}.${part}`);
    if (cameOrWent) this.listings.forget(group);
    if (!isUsualSpelling(fileName, part)) this.surveys.forget(group);
  }

  doubted(): void {
    this.uris.doubt();
    this.listings.doubt();
    this.surveys.doubt();
  }

  /** A member of a group may have metadata now. */
  gainedMetadata(group: string): void {
    if (this.surveys.peek(group)?.hasMetadata !== true) this.surveys.forget(group);
  }

  /** Forgets what was known of a name, and the listing of its group. */
  forget(name: Name): void {
    this.uris.forget(name.toString());
    this.listings.forget(name.toString());
    this.listings.forget(name.parent.toString());
  }
}

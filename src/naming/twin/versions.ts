import type { Name } from '../../names/index.js';
import { isNewer, MAX_CLOCK_SKEW_SECONDS, type Timestamp, type TwinRole } from './records.js';

/** The most tombstones kept. Older ones are dropped, oldest first; then a merge may bring the removed name back. */
export const MAX_TOMBSTONES = 100_000;

/** The logical clock's smallest step, in seconds: about the resolution of a float that holds today's time. */
const TICK = 1e-6;

/** The version of a name: its last change that was observed. */
export interface Version {
  readonly timestamp: Timestamp;
  /** True if the twin has acknowledged this version, or sent it. */
  readonly confirmed: boolean;
  /** See NameState. */
  readonly systemMetaSet: boolean;
}

/** A tombstone: the record that a name was removed, so that a merge does not bring it back. */
export interface Tombstone {
  readonly timestamp: Timestamp;
  /** True if the twin has acknowledged the removal, or sent it. */
  readonly confirmed: boolean;
}

/**
 * The versions of names, tombstones of removed ones, and a hybrid logical clock for their timestamps. In memory, since
 * this server started: an entry that was not changed since then has no version, and is dated by its system metadata.
 */
export class Versions {
  private readonly present = new Map<string, Version>();
  private readonly tombstones = new Map<string, Tombstone>();
  private lastTime = 0;

  /** @param now the wall clock, in milliseconds since the epoch */
  constructor(
    private readonly role: TwinRole,
    private readonly now: () => number = Date.now,
  ) {}

  /**
   * The timestamp for a change made here now. Later than every timestamp seen before, even if the wall clock was set
   * back.
   */
  next(): Timestamp {
    const now = this.now() / 1000;
    if (this.lastTime > now + MAX_CLOCK_SKEW_SECONDS) this.restart(now);
    this.lastTime = Math.max(now, this.lastTime + TICK);
    return { time: this.lastTime, role: this.role };
  }

  /**
   * Advances the clock to a timestamp of the twin, so that later changes here get later timestamps, even if its clock
   * is ahead.
   */
  observe({ time }: Timestamp): void {
    this.lastTime = Math.max(this.lastTime, time);
  }

  get(name: Name): Version | undefined {
    return this.present.get(name.toString());
  }

  set(name: Name, version: Version): void {
    this.observe(version.timestamp);
    this.present.set(name.toString(), version);
  }

  /** Records that the twin has this change of the name, or a later one. */
  confirm(name: Name, timestamp: Timestamp): void {
    const text = name.toString();
    const version = this.present.get(text);
    if (version && !isNewer(version.timestamp, timestamp)) this.present.set(text, { ...version, confirmed: true });
    const tombstone = this.tombstones.get(text);
    if (tombstone && !isNewer(tombstone.timestamp, timestamp))
      this.tombstones.set(text, { ...tombstone, confirmed: true });
  }

  /** Records a removal, which includes everything within the name. A later version of the name is kept. */
  remove(name: Name, tombstone: Tombstone): void {
    this.observe(tombstone.timestamp);
    const text = name.toString();
    const version = this.present.get(text);
    if (version && !isNewer(version.timestamp, tombstone.timestamp)) this.present.delete(text);
    const known = this.tombstones.get(text);
    if (known && isNewer(known.timestamp, tombstone.timestamp)) return;
    // Moves it to the end: the map's order is the order of age, oldest first.
    this.tombstones.delete(text);
    this.tombstones.set(text, tombstone);
    if (this.tombstones.size > MAX_TOMBSTONES) this.dropOldestTombstone();
  }

  /** Drops the versions of everything within a removed group. */
  dropVersionsWithin(group: Name): void {
    const prefix = `${group.toString()}.`;
    for (const text of this.present.keys()) if (text.startsWith(prefix)) this.present.delete(text);
  }

  /** The latest tombstone of a name, or of a group that it is in. */
  tombstoneOf(name: Name): Tombstone | undefined {
    let latest: Tombstone | undefined;
    for (let here = name; !here.isRoot; here = here.parent) {
      const tombstone = this.tombstones.get(here.toString());
      if (tombstone && (latest === undefined || isNewer(tombstone.timestamp, latest.timestamp))) latest = tombstone;
    }
    return latest;
  }

  /** All tombstones, with their names. */
  allTombstones(): readonly (readonly [string, Tombstone])[] {
    return [...this.tombstones];
  }

  /**
   * Restarts the logical clock after the wall clock was far ahead and was set back. Versions and tombstones dated in
   * the future are dated to now, as they would win against every later change otherwise.
   */
  private restart(now: number): void {
    const redated = <T extends Tombstone>(one: T): T =>
      one.timestamp.time > now ? { ...one, timestamp: { ...one.timestamp, time: now } } : one;
    for (const [text, version] of this.present) this.present.set(text, redated(version));
    for (const [text, tombstone] of this.tombstones) this.tombstones.set(text, redated(tombstone));
    this.lastTime = now;
  }

  private dropOldestTombstone(): void {
    for (const oldest of this.tombstones.keys()) {
      this.tombstones.delete(oldest);
      return;
    }
  }
}

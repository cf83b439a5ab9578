import type { Name } from '../../names/index.js';
import { isNewer, MAX_CLOCK_SKEW_SECONDS, type Timestamp, type TwinRole } from './records.js';

/** How many removals are remembered; the oldest are forgotten first, and then a name may come back. */
export const MAX_TOMBSTONES = 100_000;

/** The smallest step of the clock, in seconds: what a float of today's time can tell apart. */
const TICK = 1e-6;

/** What is known of a name's last change. */
export interface Version {
  readonly timestamp: Timestamp;
  /** True where the twin has it too, as far as we know. */
  readonly confirmed: boolean;
  /** See NameState. */
  readonly systemMetaSet: boolean;
}

/** What is known of a removal. */
export interface Tombstone {
  readonly timestamp: Timestamp;
  /** True where the twin knows of it, as far as we know. */
  readonly confirmed: boolean;
}

/**
 * When names were last changed, and which were removed: in memory, since this server started. What was there before
 * has the age that its system metadata tells.
 */
export class Versions {
  private readonly present = new Map<string, Version>();
  private readonly tombstones = new Map<string, Tombstone>();
  private lastTime = 0;

  /** @param now the time of day, in milliseconds */
  constructor(
    private readonly role: TwinRole,
    private readonly now: () => number = Date.now,
  ) {}

  /** The timestamp of a change made here now: later than all that was seen before, even if the clock was set back. */
  next(): Timestamp {
    const now = this.now() / 1000;
    if (this.lastTime > now + MAX_CLOCK_SKEW_SECONDS) this.restart(now);
    this.lastTime = Math.max(now, this.lastTime + TICK);
    return { time: this.lastTime, role: this.role };
  }

  /** Notes a timestamp of the twin's: what is changed here from now on is later, even if its clock is ahead. */
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

  /** Notes that the twin knows of this change of the name, or of a later one. */
  confirm(name: Name, timestamp: Timestamp): void {
    const text = name.toString();
    const version = this.present.get(text);
    if (version && !isNewer(version.timestamp, timestamp)) this.present.set(text, { ...version, confirmed: true });
    const tombstone = this.tombstones.get(text);
    if (tombstone && !isNewer(tombstone.timestamp, timestamp))
      this.tombstones.set(text, { ...tombstone, confirmed: true });
  }

  /** Notes that a name was removed, with what was within it. A later version of it stays. */
  remove(name: Name, tombstone: Tombstone): void {
    this.observe(tombstone.timestamp);
    const text = name.toString();
    const version = this.present.get(text);
    if (version && !isNewer(version.timestamp, tombstone.timestamp)) this.present.delete(text);
    const known = this.tombstones.get(text);
    if (known && isNewer(known.timestamp, tombstone.timestamp)) return;
    // Put behind the others: the map's order is that of their age.
    this.tombstones.delete(text);
    this.tombstones.set(text, tombstone);
    if (this.tombstones.size > MAX_TOMBSTONES) this.forgetOldest();
  }

  /** Forgets the versions of what was within a group that is no more. */
  forgetWithin(group: Name): void {
    const prefix = `${group.toString()}.`;
    for (const text of this.present.keys()) if (text.startsWith(prefix)) this.present.delete(text);
  }

  /** The latest removal of a name, or of a group that it was in. */
  tombstoneOf(name: Name): Tombstone | undefined {
    let latest: Tombstone | undefined;
    for (let here = name; !here.isRoot; here = here.parent) {
      const tombstone = this.tombstones.get(here.toString());
      if (tombstone && (latest === undefined || isNewer(tombstone.timestamp, latest.timestamp))) latest = tombstone;
    }
    return latest;
  }

  /** All removals that are remembered, by their names. */
  allTombstones(): readonly (readonly [string, Tombstone])[] {
    return [...this.tombstones];
  }

  /** The clock was far ahead, and was set back: what is dated in the future was changed just now, or it would win for ever. */
  private restart(now: number): void {
    const redated = <T extends Tombstone>(one: T): T =>
      one.timestamp.time > now ? { ...one, timestamp: { ...one.timestamp, time: now } } : one;
    for (const [text, version] of this.present) this.present.set(text, redated(version));
    for (const [text, tombstone] of this.tombstones) this.tombstones.set(text, redated(tombstone));
    this.lastTime = now;
  }

  private forgetOldest(): void {
    for (const oldest of this.tombstones.keys()) {
      this.tombstones.delete(oldest);
      return;
    }
  }
}

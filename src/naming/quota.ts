import type { Config } from '../config/index.js';
import { NamingError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { Namespace } from '../namespace/index.js';
import { dumps } from '../pickle/index.js';
import type { Change } from './change.js';

/** The limits of what clients may add. */
type QuotaLimits = Pick<Config, 'PYRO_NS_MAX_NAMES' | 'PYRO_NS_MAX_META_SIZE' | 'PYRO_NS_MAX_TOTAL_SIZE'>;

/** The part of a namespace that is measured. */
type Measured = Pick<Namespace, 'count' | 'bytesInMemory'>;

/** Counting names on a disk is slow: it is first done after this share of the allowed names was created here. */
const UNCOUNTED_SHARE = 0.01;

/** The pause after a count is this many times as long as the count took. */
const COUNT_COST_FACTOR = 20;

/**
 * Quota of names and bytes that clients can make a name server store. Only changes that add something are refused:
 * names that exceed the quota already, such as those of an older database, can be read and removed.
 */
export class Quota {
  /** The number of names at the last count; undefined before the first one. */
  private counted: number | undefined;
  /** Names created since then, minus names removed. */
  private added = 0;
  private counting: Promise<void> | undefined;
  private nextCountAt = 0;
  /** Reservations of the changes in progress, which the store does not contain yet. */
  private pendingNames = 0;
  private pendingBytes = 0;

  constructor(
    private readonly namespace: Measured,
    private readonly limits: QuotaLimits,
  ) {}

  /**
   * Makes a change, if it stays within the quota.
   * @param apply makes the change
   * @throws NamingError with the limit that would be exceeded; as `apply`
   */
  async run(change: Change, apply: () => Promise<void>): Promise<void> {
    const bytes = this.bytesOf(change);
    const isNew = change.kind === 'register' || change.kind === 'createGroup';
    if (isNew && !this.hasRoomForName) await this.recount();
    if (isNew) this.requireRoomForName(change);
    if (bytes > 0) this.requireRoomFor(bytes, change);
    const names = isNew ? 1 : 0;
    this.pendingNames += names;
    this.pendingBytes += bytes;
    try {
      await apply();
      this.added += names;
      this.recordRemoval(change);
    } finally {
      this.pendingNames -= names;
      this.pendingBytes -= bytes;
    }
  }

  private recordRemoval({ kind }: Change): void {
    if (kind === 'unregister') this.added -= 1;
    // Only a count can tell how many names were in it: allow one at once.
    if (kind === 'deleteGroup') this.nextCountAt = 0;
  }

  private bytesOf(change: Change): number {
    const { kind, name } = change;
    if (kind === 'unregister' || kind === 'deleteGroup') return 0;
    if (kind === 'createGroup') return name.toString().length;
    if (kind === 'register') return name.toString().length + change.uri.toString().length;
    const value = kind === 'setMeta' ? change.meta : change.meta.owner;
    if (value === null) return 0;
    const size = dumps(value).length;
    const limit = this.limits.PYRO_NS_MAX_META_SIZE;
    if (size <= limit) return size;
    throw new NamingError(refusalText('METADATA_TOO_LARGE', size, limit), name.toString());
  }

  private get hasRoomForName(): boolean {
    const limit = this.limits.PYRO_NS_MAX_NAMES;
    const made = this.added + this.pendingNames;
    return this.counted === undefined ? made + 1 <= limit * UNCOUNTED_SHARE : this.counted + made < limit;
  }

  private requireRoomForName({ name }: Change): void {
    if (this.hasRoomForName) return;
    throw new NamingError(refusalText('TOO_MANY_NAMES', this.limits.PYRO_NS_MAX_NAMES), name.toString());
  }

  /**
   * Counts again (single flight), as others may have removed names; not before the pause after the last count is over.
   */
  private async recount(): Promise<void> {
    if (this.counting === undefined && performance.now() >= this.nextCountAt) {
      this.counting = this.count().finally(() => {
        this.counting = undefined;
      });
    }
    await this.counting;
  }

  private async count(): Promise<void> {
    const begun = performance.now();
    const addedBefore = this.added;
    const { groups, objects } = await this.namespace.count();
    this.counted = groups + objects;
    // Names created during the count may be counted twice, until the next count.
    this.added -= addedBefore;
    const now = performance.now();
    this.nextCountAt = now + (now - begun) * COUNT_COST_FACTOR;
  }

  private requireRoomFor(bytes: number, { name }: Change): void {
    const limit = this.limits.PYRO_NS_MAX_TOTAL_SIZE;
    if (this.namespace.bytesInMemory + this.pendingBytes + bytes <= limit) return;
    throw new NamingError(refusalText('NO_ROOM', limit), name.toString());
  }
}

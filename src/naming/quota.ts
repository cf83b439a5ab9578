import type { Config } from '../config/index.js';
import { NamingError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { Namespace } from '../namespace/index.js';
import { dumps } from '../pickle/index.js';
import type { Change } from './change.js';

/** The limits that hold for what clients add. */
type QuotaLimits = Pick<Config, 'PYRO_NS_MAX_NAMES' | 'PYRO_NS_MAX_META_SIZE' | 'PYRO_NS_MAX_TOTAL_SIZE'>;

/** A namespace, as far as it is measured. */
type Measured = Pick<Namespace, 'count' | 'bytesInMemory'>;

/** Counting takes long where names are on a disk: it is done when so many of the allowed names were made here. */
const UNCOUNTED_SHARE = 0.01;

/** After a count, there is none for so many times as long as it took. */
const COUNT_COST_FACTOR = 20;

/**
 * Bounds what clients can make a name server store. What exceeds the limits already, such as an older database, stays
 * and can be read and removed; only changes that add something are refused.
 */
export class Quota {
  /** Names that were there at the last count; undefined before the first one. */
  private counted: number | undefined;
  /** Names that were made, less those that were removed, since then. */
  private added = 0;
  private counting: Promise<void> | undefined;
  private nextCountAt = 0;
  /** What changes that are under way add: the store does not have it yet. */
  private pendingNames = 0;
  private pendingBytes = 0;

  constructor(
    private readonly namespace: Measured,
    private readonly limits: QuotaLimits,
  ) {}

  /**
   * Makes a change, if it stays within the limits.
   * @throws NamingError that names the limit; what `apply` throws
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
      this.noteRemoval(change);
    } finally {
      this.pendingNames -= names;
      this.pendingBytes -= bytes;
    }
  }

  private noteRemoval({ kind }: Change): void {
    if (kind === 'unregister') this.added -= 1;
    // How many were in it, only a count can tell.
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

  /** Counts again, but not all the time: others may have removed names. */
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
    // What was made while it counted may be counted twice, until the next count.
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

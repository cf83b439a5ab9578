import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { MAX_UNCONFIRMED_BYTES, sizeOf, type NameRecord } from './records.js';
import type { Replica } from './merge.js';

/** About how many bytes of changes may wait to be merged. More than a twin sends before it needs a confirmation. */
const MAX_WAITING_BYTES = 2 * MAX_UNCONFIRMED_BYTES;

/**
 * The queue of changes received from one run of the twin, by their sequence numbers. They are accepted at once and
 * merged in batches, so that the disk is not awaited for each. Changes are confirmed (acknowledged) when they are
 * merged.
 */
export class Inbox {
  private waiting: NameRecord[] = [];
  private waitingBytes = 0;
  /** The sequence number of the last change accepted; undefined until the first full merge has begun. */
  private taken: number | undefined;
  /** The sequence number of the last change merged. */
  private merged: number | undefined;
  private merging = false;

  /**
   * @param instance identifies the run of the twin
   * @param onMerged called after each batch, with the error if it could not be merged: time to confirm to the twin
   */
  constructor(
    readonly instance: string,
    private readonly replica: Pick<Replica, 'mergeAll'>,
    private readonly onMerged: (error?: unknown) => void,
  ) {}

  /** The sequence number of the last change merged; undefined if a full merge is needed. */
  get received(): number | undefined {
    return this.merged;
  }

  /** A full merge begins. @param next the sequence number of the next change that the twin will send */
  begin(next: number): void {
    this.taken = next - 1;
    this.merged = next - 1;
  }

  /**
   * Accepts changes.
   * @param first the sequence number of the first one
   * @param records undefined for a change that is not to be merged, but has a number
   * @throws NamingError where there is a gap before these, or too many wait already
   */
  take(first: number, records: readonly (NameRecord | undefined)[]): void {
    if (this.taken === undefined || first > this.taken + 1) throw new NamingError(refusalText('TWIN_CHANGES_MISSING'));
    if (this.waitingBytes > MAX_WAITING_BYTES) throw new NamingError(refusalText('TWIN_CHANGES_WAIT'));
    // Skips duplicates, which the twin sends after a reconnect.
    const fresh = records.slice(this.taken + 1 - first).filter((record) => record !== undefined);
    this.taken = Math.max(this.taken, first + records.length - 1);
    this.waiting.push(...fresh);
    for (const record of fresh) this.waitingBytes += sizeOf(record);
    if (!this.merging) void this.merge();
  }

  private async merge(): Promise<void> {
    this.merging = true;
    while (this.waiting.length > 0 || (this.merged ?? 0) < (this.taken ?? 0)) {
      const records = this.waiting;
      const last = this.taken;
      this.waiting = [];
      this.waitingBytes = 0;
      try {
        await this.replica.mergeAll(records);
      } catch (error) {
        // The twin has to send them again.
        this.waiting = [];
        this.waitingBytes = 0;
        this.taken = this.merged;
        this.onMerged(error);
        continue;
      }
      this.merged = Math.max(this.merged ?? 0, last ?? 0);
      this.onMerged();
    }
    this.merging = false;
  }
}

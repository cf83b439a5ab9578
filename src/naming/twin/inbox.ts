import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { MAX_UNCONFIRMED_BYTES, sizeOf, type NameRecord } from './records.js';
import type { Replica } from './merge.js';

/** How many bytes of changes may wait to be merged, about: more than a twin of ours sends before it is confirmed. */
const MAX_WAITING_BYTES = 2 * MAX_UNCONFIRMED_BYTES;

/**
 * The changes that come from one run of the twin, by its numbers. They are taken at once and merged many together: nobody
 * waits for the disk with each of them. What is confirmed is what was merged.
 */
export class Inbox {
  private waiting: NameRecord[] = [];
  private waitingBytes = 0;
  /** The number of the last change taken; undefined until a merge has begun. */
  private taken: number | undefined;
  private merged: number | undefined;
  private merging = false;

  /**
   * @param instance names the run of the twin
   * @param onMerged called each time that the twin is to be told what was merged, or why it wasn't
   */
  constructor(
    readonly instance: string,
    private readonly replica: Pick<Replica, 'mergeAll'>,
    private readonly onMerged: (error?: unknown) => void,
  ) {}

  /** The number of the last change that was merged; undefined where only a merge of all helps. */
  get received(): number | undefined {
    return this.merged;
  }

  /** A merge of all begins: the changes after it have numbers from this one on. */
  begin(next: number): void {
    this.taken = next - 1;
    this.merged = next - 1;
  }

  /**
   * @param records with undefined in place of those that are not to be merged: they count all the same
   * @throws NamingError where changes are missing before these, or too many wait already
   */
  take(first: number, records: readonly (NameRecord | undefined)[]): void {
    if (this.taken === undefined || first > this.taken + 1) throw new NamingError(refusalText('TWIN_CHANGES_MISSING'));
    if (this.waitingBytes > MAX_WAITING_BYTES) throw new NamingError(refusalText('TWIN_CHANGES_WAIT'));
    // What was taken before is merged already, or waits to be.
    const news = records.slice(this.taken + 1 - first).filter((record) => record !== undefined);
    this.taken = Math.max(this.taken, first + records.length - 1);
    this.waiting.push(...news);
    for (const record of news) this.waitingBytes += sizeOf(record);
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
        // The twin is to send them again.
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

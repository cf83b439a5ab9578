import type { Config, Log } from '../../config/index.js';
import { RequestFlag } from '../../wire/index.js';
import type { PeerLink } from './peer-link.js';
import { MAX_BATCH_LENGTH, MAX_UNCONFIRMED_BYTES, recordToPython, sizeOf, type NameRecord } from './records.js';
import type { Replica } from './merge.js';

/** How long the twin may go without confirming any change that it was sent. */
const CONFIRMATION_TIMEOUT_MS = 60_000;

/** About how many bytes of changes are sent in one call; a single change may be larger. */
const MAX_BATCH_BYTES = 1024 * 1024;

/** An upper bound, in bytes, of what a call with one record has in addition to that record. */
const RECORD_OVERHEAD_BYTES = 64 * 1024;

export interface OutboxOptions {
  /** Identifies this server's run: sequence numbers are per run. */
  readonly instance: string;
  readonly replica: Pick<Replica, 'confirm' | 'records'>;
  readonly config: Config;
  readonly log: Log;
  /** Wakes the session, which has to do a full merge. */
  readonly onAttention: () => void;
}

/**
 * The send queue: the changes that the twin has not confirmed (acknowledged), in order, with sequence numbers. Delivery
 * is at least once.
 *
 * Changes are written to the twin's connection at once, by one-way calls, so that they arrive even if this process is
 * killed: with ordinary calls, replies that we had not read would make the system reset the connection then, and the
 * twin would lose what it had not read. The twin confirms in batches, over its own connection. Without a connection the
 * changes wait. If too many wait they are dropped, and a full merge, which sends the whole namespace, replaces them.
 */
export class Outbox {
  /** The unconfirmed changes; the first has the sequence number `confirmed + 1`. */
  private queue: NameRecord[] = [];
  /** Their approximate size in bytes. */
  private size = 0;
  private confirmed = 0;
  /** How many of the queue have been sent over the current connection. */
  private sent = 0;
  /** Since when, on the monotonic clock, no confirmation has come. */
  private waitingSince = 0;
  private peer: PeerLink | undefined;
  private mergeIsDue = true;

  constructor(private readonly options: OutboxOptions) {}

  get unconfirmed(): number {
    return this.queue.length;
  }

  /** True if a full merge is needed. */
  get isBehind(): boolean {
    return this.mergeIsDue;
  }

  /** True if the twin was sent changes, and has confirmed none for CONFIRMATION_TIMEOUT_MS. */
  get isStalled(): boolean {
    return this.sent > 0 && performance.now() - this.waitingSince > CONFIRMATION_TIMEOUT_MS;
  }

  /** Queues a change, and sends it if there is a connection. */
  add(record: NameRecord): void {
    if (this.mergeIsDue || !this.fits(record)) return;
    const { PYRO_NS_TWIN_QUEUE } = this.options.config;
    if (this.queue.length >= PYRO_NS_TWIN_QUEUE || this.size > MAX_UNCONFIRMED_BYTES) {
      this.options.log.warn('NameServer', `twin: ${this.queue.length} changes wait for it: all names will be merged`);
      this.requireMerge();
      return;
    }
    if (this.queue.length === 0) this.waitingSince = performance.now();
    this.queue.push(record);
    this.size += sizeOf(record);
    this.flush();
  }

  /** Drops the queue, and requests a full merge. */
  requireMerge(): void {
    this.drop();
    this.options.onAttention();
  }

  /**
   * Uses a new connection from now on, and sends what is unconfirmed.
   * @param received the sequence number of the last change that the twin has; undefined if it has none of this run
   */
  attach(peer: PeerLink, received: number | undefined): void {
    const isContinued = received !== undefined && received >= this.confirmed;
    if (isContinued && received <= this.confirmed + this.queue.length) this.confirm(received);
    else this.drop();
    this.peer = peer;
    this.sent = 0;
    this.waitingSince = performance.now();
    this.flush();
  }

  detach(): void {
    this.peer = undefined;
  }

  /**
   * Full merge: sends the whole state. Changes made meanwhile are sent as usual; the twin keeps the newest of each
   * name.
   * @throws as the calls; then the full merge is still due
   */
  async merge(peer: PeerLink): Promise<void> {
    const { instance, replica } = this.options;
    const send = (records: readonly NameRecord[], isLast: boolean): Promise<unknown> =>
      peer.call('_twinMerge', [instance, null, records.map(recordToPython), isLast]);
    this.drop();
    this.mergeIsDue = false;
    try {
      await peer.call('_twinMerge', [instance, this.confirmed + 1, [], false]);
      for await (const records of replica.records()) {
        const fitting = records.filter((record) => this.fits(record));
        for (const batch of batches(fitting)) await send(batch, false);
        replica.confirm(fitting);
      }
      await send([], true);
    } catch (error) {
      this.mergeIsDue = true;
      throw error;
    }
  }

  private drop(): void {
    this.mergeIsDue = true;
    this.confirmed += this.queue.length;
    this.queue = [];
    this.size = 0;
    this.sent = 0;
  }

  /** False, and logged, for a name whose metadata is too large for a message: it must not stop all replication. */
  private fits(record: NameRecord): boolean {
    const { config, log } = this.options;
    if (sizeOf(record) + RECORD_OVERHEAD_BYTES <= config.PYRO_NS_MAX_MESSAGE_SIZE) return true;
    log.error('NameServer', `twin: ${record.name.toString()} is not the same on both sides: its metadata is too large`);
    return false;
  }

  private flush(): void {
    while (this.peer?.isOpen && this.sent < this.queue.length) {
      const [batch = []] = batches(this.queue.slice(this.sent, this.sent + MAX_BATCH_LENGTH));
      this.send(this.peer, batch);
    }
  }

  private send(peer: PeerLink, records: readonly NameRecord[]): void {
    const { instance, log } = this.options;
    const first = this.confirmed + this.sent + 1;
    this.sent += records.length;
    try {
      peer.send('_twinChanges', [instance, first, records.map(recordToPython)], { flags: RequestFlag.Oneway });
    } catch (error) {
      // Unconfirmed changes are sent again over the next connection.
      log.warn('NameServer', 'twin: it did not take our changes:', error);
      peer.destroy();
    }
  }

  /** The twin confirms all changes up to this sequence number. */
  confirm(number: number): void {
    // Clamped, because the twin may send any number.
    const count = Math.min(Math.max(0, number - this.confirmed), this.queue.length);
    const records = this.queue.splice(0, count);
    for (const record of records) this.size -= sizeOf(record);
    this.options.replica.confirm(records);
    this.confirmed += count;
    this.sent = Math.max(0, this.sent - count);
    this.waitingSince = performance.now();
  }
}

/** Splits records into batches of at most MAX_BATCH_BYTES. */
function* batches(records: readonly NameRecord[]): Generator<NameRecord[]> {
  let batch: NameRecord[] = [];
  let size = 0;
  for (const record of records) {
    if (batch.length > 0 && size + sizeOf(record) > MAX_BATCH_BYTES) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(record);
    size += sizeOf(record);
  }
  if (batch.length > 0) yield batch;
}

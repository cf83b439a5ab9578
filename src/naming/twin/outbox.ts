import type { Config, Log } from '../../config/index.js';
import { RequestFlag } from '../../wire/index.js';
import type { PeerLink } from './peer-link.js';
import { MAX_BATCH_LENGTH, MAX_UNCONFIRMED_BYTES, recordToPython, sizeOf, type NameRecord } from './records.js';
import type { Replica } from './merge.js';

/** How long the twin may take to confirm anything, in milliseconds. */
const CONFIRMATION_TIMEOUT_MS = 60_000;

/** How many bytes of changes go in one call, about; a change may be larger than that. */
const MAX_BATCH_BYTES = 1024 * 1024;

/** What a call has beside its records' metadata, in bytes: more than enough. */
const RECORD_OVERHEAD_BYTES = 64 * 1024;

export interface OutboxOptions {
  /** Names this server's run: the numbers of its changes are its own. */
  readonly instance: string;
  readonly replica: Pick<Replica, 'confirm' | 'records'>;
  readonly config: Config;
  readonly log: Log;
  /** Called when something is to be done: a merge, or away with a connection that failed. */
  readonly onAttention: () => void;
}

/**
 * The changes that the twin has not confirmed yet, in their order. They are written to the twin's connection at once, by
 * one-way calls, so that they outlive this process: were there replies that we have not read, the system would reset the
 * connection at our death, and what the twin has not read yet would be lost. The twin confirms them over its own
 * connection, many together; while there is no connection they wait. A merge, which sends the whole namespace, takes the
 * place of changes that are not known any more.
 */
export class Outbox {
  /** Unconfirmed changes; the first has the number `confirmed + 1`. */
  private queue: NameRecord[] = [];
  /** How many bytes they have, about. */
  private size = 0;
  private confirmed = 0;
  /** How many of the queue have been sent over this connection. */
  private sent = 0;
  /** Since when the oldest of the queue could have been confirmed. */
  private waitingSince = 0;
  private peer: PeerLink | undefined;
  private mergeIsDue = true;

  constructor(private readonly options: OutboxOptions) {}

  get unconfirmed(): number {
    return this.queue.length;
  }

  /** True where only a merge can make the twin equal. */
  get isBehind(): boolean {
    return this.mergeIsDue;
  }

  /** True where the twin has been sent changes, and has confirmed none for long. */
  get isStalled(): boolean {
    return this.sent > 0 && performance.now() - this.waitingSince > CONFIRMATION_TIMEOUT_MS;
  }

  /** Takes a change, and sends it if the twin is there. */
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

  /** Drops what waits: a merge is to follow. */
  requireMerge(): void {
    this.drop();
    this.options.onAttention();
  }

  /**
   * Sends over this connection from now on, what is unconfirmed first.
   * @param received the number of the last change that the twin has; undefined where it doesn't know us
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
   * Sends everything. Changes made meanwhile are sent as they come: the twin takes the newest of each name.
   * @throws what the call throws; then the merge is still due
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

  /** One name whose metadata is too large for the twin to take is no reason to break with it. */
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
      peer.send('_twinChanges', RequestFlag.Oneway, [instance, first, records.map(recordToPython)]);
    } catch (error) {
      // What is unconfirmed is sent again over the next connection.
      log.warn('NameServer', 'twin: it did not take our changes:', error);
      peer.close();
    }
  }

  /** Notes that the twin has all changes up to this one. */
  confirm(number: number): void {
    // It can't have what was never made.
    const count = Math.min(Math.max(0, number - this.confirmed), this.queue.length);
    const records = this.queue.splice(0, count);
    for (const record of records) this.size -= sizeOf(record);
    this.options.replica.confirm(records);
    this.confirmed += count;
    this.sent = Math.max(0, this.sent - count);
    this.waitingSince = performance.now();
  }
}

/** Records in turn, as many together as a call may take. */
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

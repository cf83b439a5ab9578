import { MAX_TIMEOUT_MS } from './timers.js';

/** For so many bytes one has the stall timeout another time: 60 seconds for 8 MiB are 1 Mbit/s. */
const BYTES_PER_TIMEOUT = 0x800000;

/** A connection, as far as its end goes. */
export interface Evictable {
  destroy(): void;
}

/** What it holds, in bytes, and what ends it. */
interface Held {
  readonly size: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Bounds how long connections may hold memory that others wait for. A peer that sends or takes a byte now and then is never
 * idle; so each has the stall timeout, and as long again for each 8 MiB that it holds, and is closed then. The time runs
 * only while somebody waits: without, nobody is hurt by a slow line.
 */
export class StallTimeout {
  private readonly holders = new Map<Evictable, Held>();
  private isContended = false;

  /** @param stallTimeout in milliseconds */
  constructor(private readonly stallTimeout: number) {}

  /** Takes note that a connection holds so many bytes, until `forget`. */
  add(holder: Evictable, size: number): void {
    const held: Held = { size, timer: undefined };
    this.holders.set(holder, held);
    if (this.isContended) this.start(holder, held);
  }

  remove(holder: Evictable): void {
    clearTimeout(this.holders.get(holder)?.timer);
    this.holders.delete(holder);
  }

  /** Says whether somebody waits: all have their time from when somebody begins to. */
  setContended(isWaited: boolean): void {
    if (isWaited === this.isContended) return;
    this.isContended = isWaited;
    for (const [holder, held] of this.holders) {
      if (isWaited) this.start(holder, held);
      else clearTimeout(held.timer);
    }
  }

  private start(holder: Evictable, held: Held): void {
    const end = (): void => {
      holder.destroy();
    };
    const time = this.stallTimeout * (1 + held.size / BYTES_PER_TIMEOUT);
    held.timer = setTimeout(end, Math.min(time, MAX_TIMEOUT_MS)).unref();
  }
}

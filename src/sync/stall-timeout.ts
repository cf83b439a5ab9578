import { MAX_TIMEOUT_MS } from './timers.js';

/** The stall timeout is granted once more for so many bytes: 60 seconds for 8 MiB are 1 Mbit/s. */
const BYTES_PER_TIMEOUT = 0x800000;

/** What can be closed, such as a connection. */
export interface Evictable {
  destroy(): void;
}

interface Holder {
  readonly bytes: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Evicts slow consumers of a shared resource. A peer that sends or takes a byte now and then is never idle, so an idle
 * timeout does not end it. Here each holder has the stall timeout, and as long again for each 8 MiB that it holds, and
 * is destroyed then. The time runs only while others wait for the resource: a slow line that hurts nobody is left alone.
 */
export class StallTimeout {
  private readonly holders = new Map<Evictable, Holder>();
  private isContended = false;

  constructor(private readonly timeoutMs: number) {}

  /** Adds a holder of so many bytes; its time runs until `remove`. */
  add(evictable: Evictable, bytes: number): void {
    const holder: Holder = { bytes, timer: undefined };
    this.holders.set(evictable, holder);
    if (this.isContended) this.start(evictable, holder);
  }

  remove(evictable: Evictable): void {
    clearTimeout(this.holders.get(evictable)?.timer);
    this.holders.delete(evictable);
  }

  /** Says whether anybody waits for the resource. When that begins, all holders get their full time. */
  setContended(isContended: boolean): void {
    if (isContended === this.isContended) return;
    this.isContended = isContended;
    for (const [evictable, holder] of this.holders) {
      if (isContended) this.start(evictable, holder);
      else clearTimeout(holder.timer);
    }
  }

  private start(evictable: Evictable, holder: Holder): void {
    const evict = (): void => {
      evictable.destroy();
    };
    const delayMs = this.timeoutMs * (1 + holder.bytes / BYTES_PER_TIMEOUT);
    holder.timer = setTimeout(evict, Math.min(delayMs, MAX_TIMEOUT_MS)).unref();
  }
}

import { LONGEST_TIMEOUT_MILLISECONDS } from './connection.js';

/** For so many bytes one has the stall timeout another time: 60 seconds for 8 MiB are 1 Mbit/s. */
const SIZE_OF_A_TIMEOUT = 0x800000;

/** A connection, as far as its end goes. */
export interface Holder {
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
export class Patience {
  private readonly holders = new Map<Holder, Held>();
  private isRunning = false;

  /** @param stallTimeout in milliseconds */
  constructor(private readonly stallTimeout: number) {}

  /** Takes note that a connection holds so many bytes, until `forget`. */
  watch(holder: Holder, size: number): void {
    const held: Held = { size, timer: undefined };
    this.holders.set(holder, held);
    if (this.isRunning) this.start(holder, held);
  }

  forget(holder: Holder): void {
    clearTimeout(this.holders.get(holder)?.timer);
    this.holders.delete(holder);
  }

  /** Says whether somebody waits: all have their time from when somebody begins to. */
  setWaited(isWaited: boolean): void {
    if (isWaited === this.isRunning) return;
    this.isRunning = isWaited;
    for (const [holder, held] of this.holders) {
      if (isWaited) this.start(holder, held);
      else clearTimeout(held.timer);
    }
  }

  private start(holder: Holder, held: Held): void {
    const end = (): void => {
      holder.destroy();
    };
    const time = this.stallTimeout * (1 + held.size / SIZE_OF_A_TIMEOUT);
    held.timer = setTimeout(end, Math.min(time, LONGEST_TIMEOUT_MILLISECONDS)).unref();
  }
}

import { HostRoundRobin, type HasRemoteAddress } from './host-round-robin.js';
import { StallTimeout, type Evictable } from './stall-timeout.js';

/** Who reserves memory, such as a connection. */
type Holder = Evictable & HasRemoteAddress;

interface Waiter {
  readonly bytes: number;
  readonly onGranted: () => void;
}

/**
 * Admission control for memory: a byte semaphore. Each holder reserves all that it needs before it begins, so that none
 * that has begun waits for another that has. Where there is no room it waits; hosts are granted room in turn. One alone
 * may be larger than the limit. Holders that make others wait have a stall timeout, and are destroyed after it.
 */
export class MemoryBudget {
  private readonly granted = new Map<Holder, number>();
  private readonly waiters = new Map<Holder, Waiter>();
  private grantedBytes = 0;
  private readonly roundRobin = new HostRoundRobin();
  private readonly stallTimeout: StallTimeout;

  /** @param limit in bytes, for all reservations together */
  constructor(
    private readonly limit: number,
    stallTimeoutMs: number,
  ) {
    this.stallTimeout = new StallTimeout(stallTimeoutMs);
  }

  /**
   * Reserves so many bytes for a holder that has no reservation yet, until `release`.
   * @param onGranted called when there is room, where there is none now
   * @returns true where there is room now
   */
  reserve(holder: Holder, bytes: number, onGranted: () => void): boolean {
    if (this.waiters.size === 0 && this.hasRoom(bytes)) {
      this.grant(holder, bytes);
      return true;
    }
    this.waiters.set(holder, { bytes, onGranted });
    this.stallTimeout.setContended(true);
    return false;
  }

  /** Releases what a holder has reserved, or no longer waits for. */
  release(holder: Holder): void {
    this.waiters.delete(holder);
    this.grantedBytes -= this.granted.get(holder) ?? 0;
    this.granted.delete(holder);
    this.stallTimeout.remove(holder);
    for (;;) {
      const next = this.roundRobin.next(this.waiters.keys());
      const waiter = next && this.waiters.get(next);
      if (!waiter || !this.hasRoom(waiter.bytes)) break;
      this.waiters.delete(next);
      this.grant(next, waiter.bytes);
      waiter.onGranted();
    }
    this.stallTimeout.setContended(this.waiters.size > 0);
  }

  private hasRoom(bytes: number): boolean {
    return this.granted.size === 0 || this.grantedBytes + bytes <= this.limit;
  }

  private grant(holder: Holder, bytes: number): void {
    this.granted.set(holder, bytes);
    this.grantedBytes += bytes;
    this.roundRobin.recordTurn(holder);
    this.stallTimeout.add(holder, bytes);
  }
}

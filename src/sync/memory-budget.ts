import { StallTimeout, type Evictable } from './stall-timeout.js';
import { HostRoundRobin, type HasRemoteAddress } from './host-round-robin.js';

/** A connection, as far as this is concerned. */
type Sender = Evictable & HasRemoteAddress;

/** Who waits for room: how many bytes it takes, and whom to tell. */
interface Waiting {
  readonly size: number;
  readonly onGranted: () => void;
}

/**
 * The large frames that are arriving at a server, whose sizes together are bounded. Each asks for all of its room before the
 * rest of it is read, so that none that has begun waits for another that has; where there is no room, its connection is not
 * read until others have arrived or ended. One may always be as large as it is. Who makes others wait has the time that
 * `Patience` gives.
 */
export class MemoryBudget {
  private readonly reserved = new Map<Sender, number>();
  private readonly waiting = new Map<Sender, Waiting>();
  private reservedSize = 0;
  private readonly roundRobin = new HostRoundRobin();
  private readonly stallTimeout: StallTimeout;

  /**
   * @param limit how many bytes they may have together
   * @param stallTimeout in milliseconds
   */
  constructor(
    private readonly limit: number,
    stallTimeout: number,
  ) {
    this.stallTimeout = new StallTimeout(stallTimeout);
  }

  /**
   * Asks, once, for room for the frame that has begun to arrive, of so many bytes; it is kept until `end`.
   * @param onGranted is called once there is room, where there is none now
   * @returns true where there is
   */
  reserve(sender: Sender, size: number, onGranted: () => void): boolean {
    if (this.waiting.size === 0 && this.hasRoom(size)) {
      this.grant(sender, size);
      return true;
    }
    this.waiting.set(sender, { size, onGranted });
    this.stallTimeout.setContended(true);
    return false;
  }

  /** Says that the frame has arrived, or will not. */
  release(sender: Sender): void {
    this.waiting.delete(sender);
    this.reservedSize -= this.reserved.get(sender) ?? 0;
    this.reserved.delete(sender);
    this.stallTimeout.remove(sender);
    for (;;) {
      const next = this.roundRobin.next(this.waiting.keys());
      const waited = next && this.waiting.get(next);
      if (!waited || !this.hasRoom(waited.size)) break;
      this.waiting.delete(next);
      this.grant(next, waited.size);
      waited.onGranted();
    }
    this.stallTimeout.setContended(this.waiting.size > 0);
  }

  private hasRoom(size: number): boolean {
    return this.reserved.size === 0 || this.reservedSize + size <= this.limit;
  }

  private grant(sender: Sender, size: number): void {
    this.reserved.set(sender, size);
    this.reservedSize += size;
    this.roundRobin.recordTurn(sender);
    this.stallTimeout.add(sender, size);
  }
}

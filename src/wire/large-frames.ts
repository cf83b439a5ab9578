import { Patience, type Holder } from './patience.js';
import { HostTurns, type FromAddress } from './host-turns.js';

/** A connection, as far as this is concerned. */
type Sender = Holder & FromAddress;

/** Who waits for room: how many bytes it takes, and whom to tell. */
interface Waiting {
  readonly size: number;
  readonly goOn: () => void;
}

/**
 * The large frames that are arriving at a server, whose sizes together are bounded. Each asks for all of its room before the
 * rest of it is read, so that none that has begun waits for another that has; where there is no room, its connection is not
 * read until others have arrived or ended. One may always be as large as it is. Who makes others wait has the time that
 * `Patience` gives.
 */
export class LargeFrames {
  private readonly arriving = new Map<Sender, number>();
  private readonly waiting = new Map<Sender, Waiting>();
  private arrivingSize = 0;
  private readonly turns = new HostTurns();
  private readonly patience: Patience;

  /**
   * @param limit how many bytes they may have together
   * @param stallTimeout in milliseconds
   */
  constructor(
    private readonly limit: number,
    stallTimeout: number,
  ) {
    this.patience = new Patience(stallTimeout);
  }

  /**
   * Asks, once, for room for the frame that has begun to arrive, of so many bytes; it is kept until `end`.
   * @param goOn is called once there is room, where there is none now
   * @returns true where there is
   */
  admit(sender: Sender, size: number, goOn: () => void): boolean {
    if (this.waiting.size === 0 && this.hasRoom(size)) {
      this.begin(sender, size);
      return true;
    }
    this.waiting.set(sender, { size, goOn });
    this.patience.setWaited(true);
    return false;
  }

  /** Says that the frame has arrived, or will not. */
  end(sender: Sender): void {
    this.waiting.delete(sender);
    this.arrivingSize -= this.arriving.get(sender) ?? 0;
    this.arriving.delete(sender);
    this.patience.forget(sender);
    for (;;) {
      const next = this.turns.next(this.waiting.keys());
      const waited = next && this.waiting.get(next);
      if (!waited || !this.hasRoom(waited.size)) break;
      this.waiting.delete(next);
      this.begin(next, waited.size);
      waited.goOn();
    }
    this.patience.setWaited(this.waiting.size > 0);
  }

  private hasRoom(size: number): boolean {
    return this.arriving.size === 0 || this.arrivingSize + size <= this.limit;
  }

  private begin(sender: Sender, size: number): void {
    this.arriving.set(sender, size);
    this.arrivingSize += size;
    this.turns.note(sender);
    this.patience.watch(sender, size);
  }
}

/** How many addresses are remembered; the one whose turn is the longest ago is forgotten first. */
const MAX_ADDRESSES = 1000;

/** A connection, or what belongs to one. */
export interface HasRemoteAddress {
  readonly remoteAddress: string | undefined;
}

/** Fair queueing: hosts take turns, one after the other, so that the many requests of one don't delay the others. */
export class HostRoundRobin {
  /** The number of the last turn of each address; the longest ago first. */
  private readonly lastTurns = new Map<string | undefined, number>();
  private turns = 0;

  /**
   * Chooses who is next; `recordTurn` tells that it has had its turn.
   * @param waiting in the order in which they came
   * @returns the first one of the host that has had no turn, or whose last turn is the longest ago; undefined where
   *   nobody waits
   */
  next<T extends HasRemoteAddress>(waiting: Iterable<T>): T | undefined {
    let earliest = Infinity;
    let next: T | undefined;
    for (const candidate of waiting) {
      const lastTurn = this.lastTurns.get(candidate.remoteAddress) ?? 0;
      if (lastTurn >= earliest) continue;
      earliest = lastTurn;
      next = candidate;
    }
    return next;
  }

  /** Records that a host has a turn now. */
  recordTurn({ remoteAddress }: HasRemoteAddress): void {
    this.turns += 1;
    this.lastTurns.delete(remoteAddress);
    this.lastTurns.set(remoteAddress, this.turns);
    const [oldest] = this.lastTurns.keys();
    if (this.lastTurns.size > MAX_ADDRESSES) this.lastTurns.delete(oldest);
  }
}

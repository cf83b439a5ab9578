/** How many addresses are remembered. */
const MAX_ADDRESSES = 1000;

/** A connection, or what belongs to one. */
export interface HasRemoteAddress {
  readonly remoteAddress: string | undefined;
}

/** Whose turn it is, where many want what is scarce: the hosts', one after the other, so that one's many keep no other away. */
export class HostRoundRobin {
  /** The addresses that have had one, and which; the longest ago first. */
  private readonly lastTurns = new Map<string | undefined, number>();
  private count = 0;

  /**
   * @param waiting in the order in which they came
   * @returns the first of the address that has had no turn, or whose last is the longest ago; undefined where nobody waits
   */
  next<T extends HasRemoteAddress>(waiting: Iterable<T>): T | undefined {
    let earliest = Infinity;
    let next: T | undefined;
    for (const candidate of waiting) {
      const last = this.lastTurns.get(candidate.remoteAddress) ?? 0;
      if (last >= earliest) continue;
      earliest = last;
      next = candidate;
    }
    return next;
  }

  /** Takes note that somebody has a turn. */
  recordTurn({ remoteAddress }: HasRemoteAddress): void {
    this.lastTurns.delete(remoteAddress);
    this.lastTurns.set(remoteAddress, ++this.count);
    const [oldest] = this.lastTurns.keys();
    if (this.lastTurns.size > MAX_ADDRESSES) this.lastTurns.delete(oldest);
  }
}

/** How long, in one turn of the event loop, files are dealt with while everything else waits. */
const TURN_MS = 2;

/** What takes longer had to wait for the disk: what is to be done next is likely to have to, too. */
const SLOW_MS = 5;

/** How long after that nothing is done at once. */
const WARY_MS = 200;

/**
 * Says whether something small may be done with a file at once, while everything else waits. What the system has in memory
 * takes it some 10 microseconds; to have another thread do it costs ten times as much, of which half is this thread's. So
 * files are dealt with at once, a little while in each turn of the event loop, and for as long as the disk is not in the way.
 */
export class Haste {
  private spentThisTurn = 0;
  private waryUntil = 0;

  /** @param mayBlock false where anything may take long: on a network file system */
  constructor(private readonly mayBlock: boolean) {}

  /** Does something at once where it may be, or else in the way that waits for nothing. */
  run<Result>(atOnce: () => Result, later: () => Promise<Result>): Promise<Result> {
    return this.isDue ? this.atOnce(atOnce) : later();
  }

  private get isDue(): boolean {
    return this.mayBlock && this.spentThisTurn < TURN_MS && performance.now() >= this.waryUntil;
  }

  /** Accounts for the time that it takes. */
  private atOnce<Result>(action: () => Result): Promise<Result> {
    return new Promise((resolve) => {
      const from = performance.now();
      try {
        resolve(action());
      } finally {
        this.account(performance.now() - from);
      }
    });
  }

  private account(tookMs: number): void {
    if (this.spentThisTurn === 0) {
      setImmediate(() => {
        this.spentThisTurn = 0;
      });
    }
    this.spentThisTurn += tookMs;
    if (tookMs > SLOW_MS) this.waryUntil = performance.now() + WARY_MS;
  }
}

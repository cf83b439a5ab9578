/** How long, in one turn of the event loop, files are dealt with while everything else waits. */
const TURN_MS = 2;

/** When to leave things to other threads. */
export interface Wariness {
  /** What takes longer, in milliseconds, had to wait for the disk: what is to be done next is likely to have to, too. */
  readonly slowMs: number;
  /** For how long nothing is done at once then. */
  readonly waryMs: number;
}

/** A change waits for others at times, and costs much more in another thread: only a disk that is in trouble counts. */
export const WARY_OF_CHANGES: Wariness = { slowMs: 5, waryMs: 200 };

/** What is in memory is read in a tenth of this; what isn't, several threads read twice as fast. */
export const WARY_OF_READING: Wariness = { slowMs: 0.06, waryMs: 2 };

/**
 * Says whether something small may be done with a file at once, while everything else waits. What the system has in memory
 * takes it some 10 microseconds; to have another thread do it costs ten times as much, of which half is this thread's. So
 * files are dealt with at once, a little while in each turn of the event loop, and for as long as the disk is not in the way.
 */
export class Haste {
  private spentThisTurn = 0;
  private waryUntil = 0;

  /** @param mayBlock false where anything may take long: on a network file system */
  constructor(
    private readonly mayBlock: boolean,
    private readonly wariness: Wariness,
  ) {}

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
    if (tookMs > this.wariness.slowMs) this.waryUntil = performance.now() + this.wariness.waryMs;
  }
}

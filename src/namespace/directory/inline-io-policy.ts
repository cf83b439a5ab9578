/** How long, in one turn of the event loop, files are dealt with while everything else waits. */
const MAX_INLINE_MS_PER_TURN = 2;

/** When to leave things to other threads. */
export interface Backoff {
  /** What takes longer, in milliseconds, had to wait for the disk: what is to be done next is likely to have to, too. */
  readonly slowMs: number;
  /** For how long nothing is done at once then. */
  readonly backoffMs: number;
}

/** A change waits for others at times, and costs much more in another thread: only a disk that is in trouble counts. */
export const WRITE_BACKOFF: Backoff = { slowMs: 5, backoffMs: 200 };

/** What is in memory is read in a tenth of this; what isn't, several threads read twice as fast. */
export const READ_BACKOFF: Backoff = { slowMs: 0.06, backoffMs: 2 };

/**
 * Says whether something small may be done with a file at once, while everything else waits. What the system has in memory
 * takes it some 10 microseconds; to have another thread do it costs ten times as much, of which half is this thread's. So
 * files are dealt with at once, a little while in each turn of the event loop, and for as long as the disk is not in the way.
 */
export class InlineIOPolicy {
  private spentThisTurnMs = 0;
  private backoffUntil = 0;

  /** @param mayBlock false where anything may take long: on a network file system */
  constructor(
    private readonly mayBlock: boolean,
    private readonly backoff: Backoff,
  ) {}

  /** Does something at once where it may be, or else in the way that waits for nothing. */
  run<Result>(atOnce: () => Result, later: () => Promise<Result>): Promise<Result> {
    return this.canInline ? this.runInline(atOnce) : later();
  }

  private get canInline(): boolean {
    return this.mayBlock && this.spentThisTurnMs < MAX_INLINE_MS_PER_TURN && performance.now() >= this.backoffUntil;
  }

  /** Accounts for the time that it takes. */
  private runInline<Result>(action: () => Result): Promise<Result> {
    return new Promise((resolve) => {
      const from = performance.now();
      try {
        resolve(action());
      } finally {
        this.recordDuration(performance.now() - from);
      }
    });
  }

  private recordDuration(tookMs: number): void {
    if (this.spentThisTurnMs === 0) {
      setImmediate(() => {
        this.spentThisTurnMs = 0;
      });
    }
    this.spentThisTurnMs += tookMs;
    if (tookMs > this.backoff.slowMs) this.backoffUntil = performance.now() + this.backoff.backoffMs;
  }
}

/** Maximum time spent on inline I/O in one iteration of the event loop, during which everything else waits. */
const MAX_INLINE_MS_PER_TURN = 2;

/** When to stop inline I/O, and for how long. */
export interface Backoff {
  /** An operation that takes longer had to wait for the disk. The next one is then likely to wait, too. */
  readonly slowMs: number;
  /** For how long all I/O is offloaded after a slow operation. */
  readonly backoffMs: number;
}

/**
 * Back-off of writes. The limit is high, because a write waits for others at times, and costs much more in another thread:
 * only a disk in trouble should cause a back-off.
 */
export const WRITE_BACKOFF: Backoff = { slowMs: 5, backoffMs: 200 };

/** Back-off of reads. A read from the page cache takes a tenth of `slowMs`; from the disk, several threads are twice as fast. */
export const READ_BACKOFF: Backoff = { slowMs: 0.06, backoffMs: 2 };

/**
 * Decides whether a small file operation runs inline (synchronously, while the event loop waits) or is offloaded to the thread
 * pool. On data in the page cache, an operation takes some 10 microseconds; offloading it costs ten times as much, of which
 * half is CPU time of this thread. So operations run inline, within a time budget per iteration of the event loop, until one
 * is slow: then all are offloaded for a while (back-off).
 */
export class InlineIOPolicy {
  private spentThisTurnMs = 0;
  private backoffUntil = 0;

  /** @param mayBlock false to offload always, as on a network file system, where any operation may take long */
  constructor(
    private readonly mayBlock: boolean,
    private readonly backoff: Backoff,
  ) {}

  /** Runs an operation: the synchronous `inline` if the policy allows it, else the asynchronous `offload`. */
  run<Result>(inline: () => Result, offload: () => Promise<Result>): Promise<Result> {
    return this.canInline ? this.runInline(inline) : offload();
  }

  private get canInline(): boolean {
    return this.mayBlock && this.spentThisTurnMs < MAX_INLINE_MS_PER_TURN && performance.now() >= this.backoffUntil;
  }

  /** Runs an operation inline, and charges its time to the budget. */
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

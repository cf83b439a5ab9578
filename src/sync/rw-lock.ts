/**
 * A read-write lock: any number of actions hold it shared at the same time, or one holds it exclusively. An exclusive
 * action that waits is preferred: shared ones that come later wait for it.
 */
export class RWLock {
  private readers = 0;
  private writer: Promise<unknown> | undefined;
  private onNoReaders: (() => void) | undefined;

  /** Runs an action beside other shared ones, when no exclusive one runs or waits. */
  async shared<Result>(action: () => Promise<Result>): Promise<Result> {
    while (this.writer !== undefined) await this.writer;
    this.readers += 1;
    try {
      return await action();
    } finally {
      this.readers -= 1;
      if (this.readers === 0) this.onNoReaders?.();
    }
  }

  /** Runs an action alone: when the shared ones that run have settled, while later ones wait. */
  async exclusive<Result>(action: () => Promise<Result>): Promise<Result> {
    while (this.writer !== undefined) await this.writer;
    const noReaders = new Promise<void>((resolve) => {
      if (this.readers === 0) resolve();
      else this.onNoReaders = resolve;
    });
    const result = noReaders.then(action);
    this.writer = result.catch(() => undefined);
    try {
      return await result;
    } finally {
      this.writer = undefined;
    }
  }
}

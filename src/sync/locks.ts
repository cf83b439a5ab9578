/** Who may act when: changes of one name take turns, and some things are done while nothing else is. */

/** Lets actions on the same thing run one after the other, in the order in which they came. */
export class KeyedMutex {
  private readonly tails = new Map<string, Promise<unknown>>();

  /** Runs an action when all that came before it for the same key are done. */
  async run<Result>(key: string, action: () => Promise<Result>): Promise<Result> {
    const before = this.tails.get(key);
    const turn = before === undefined ? action() : before.then(action, action);
    this.tails.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.tails.get(key) === turn) this.tails.delete(key);
    }
  }

  /** True while an action for this key is under way. */
  isLocked(key: string): boolean {
    return this.tails.has(key);
  }
}

/** Lets any number of actions pass at once, or one alone. */
export class RWLock {
  private readers = 0;
  private writer: Promise<unknown> | undefined;
  private onNoReaders: (() => void) | undefined;

  /** Runs an action beside others, after whoever is alone. */
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

  /** Runs an action alone: after those inside have left, while others wait. */
  async exclusive<Result>(action: () => Promise<Result>): Promise<Result> {
    while (this.writer !== undefined) await this.writer;
    const left = new Promise<void>((resolve) => {
      if (this.readers === 0) resolve();
      else this.onNoReaders = resolve;
    });
    const turn = left.then(action);
    this.writer = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.writer = undefined;
    }
  }
}

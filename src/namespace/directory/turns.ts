/** Who may act when: changes of one name take turns, and some things are done while nothing else is. */

/** Lets actions on the same thing run one after the other, in the order in which they came. */
export class Turns {
  private readonly last = new Map<string, Promise<unknown>>();

  /** Runs an action when all that came before it for the same key are done. */
  async take<Result>(key: string, action: () => Promise<Result>): Promise<Result> {
    const before = this.last.get(key);
    const turn = before === undefined ? action() : before.then(action, action);
    this.last.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.last.get(key) === turn) this.last.delete(key);
    }
  }

  /** True while an action for this key is under way. */
  isTaken(key: string): boolean {
    return this.last.has(key);
  }
}

/** Lets any number of actions pass at once, or one alone. */
export class Gate {
  private inside = 0;
  private closed: Promise<unknown> | undefined;
  private whenEmpty: (() => void) | undefined;

  /** Runs an action beside others, after whoever is alone. */
  async pass<Result>(action: () => Promise<Result>): Promise<Result> {
    while (this.closed !== undefined) await this.closed;
    this.inside += 1;
    try {
      return await action();
    } finally {
      this.inside -= 1;
      if (this.inside === 0) this.whenEmpty?.();
    }
  }

  /** Runs an action alone: after those inside have left, while others wait. */
  async alone<Result>(action: () => Promise<Result>): Promise<Result> {
    while (this.closed !== undefined) await this.closed;
    const left = new Promise<void>((resolve) => {
      if (this.inside === 0) resolve();
      else this.whenEmpty = resolve;
    });
    const turn = left.then(action);
    this.closed = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.closed = undefined;
    }
  }
}

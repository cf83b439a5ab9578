/** A mutex per key: actions with the same key run one after the other, in the order of their calls. */
export class KeyedMutex {
  /** The last action of each key that is locked. */
  private readonly tails = new Map<string, Promise<unknown>>();

  /** Runs an action when all earlier ones with the same key have settled. Settles as the action does. */
  async run<Result>(key: string, action: () => Promise<Result>): Promise<Result> {
    const before = this.tails.get(key);
    const tail = before === undefined ? action() : before.then(action, action);
    this.tails.set(key, tail);
    try {
      return await tail;
    } finally {
      if (this.tails.get(key) === tail) this.tails.delete(key);
    }
  }

  /** True while an action with this key runs or waits. */
  isLocked(key: string): boolean {
    return this.tails.has(key);
  }
}

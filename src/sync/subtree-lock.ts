import type { Name } from '../names/index.js';

/**
 * Lets actions on names run at the same time, but for those that depend on each other: an action on a name waits for
 * earlier ones on the same name, on a group that it is in, and on what is within it. So the twin is told of changes in
 * an order in which it can make them too. An action on the root has the namespace for itself.
 */
export class SubtreeLock {
  private readonly pending = new Set<{ readonly name: Name; readonly done: Promise<unknown> }>();

  /** Runs an action in its turn; at once where nothing is before it. The turns are those of the calls. */
  run<Result>(name: Name, action: () => Promise<Result>): Promise<Result> {
    const earlier: Promise<unknown>[] = [];
    for (const other of this.pending) {
      if (other.name.isWithin(name) || name.isWithin(other.name)) earlier.push(other.done);
    }
    const result = earlier.length === 0 ? action() : Promise.all(earlier).then(action);
    const entry = { name, done: result.catch(() => undefined) };
    this.pending.add(entry);
    void entry.done.then(() => this.pending.delete(entry));
    return result;
  }
}

import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';

/** How long a call waits for an object that may still come, in milliseconds. */
const PATIENCE = 10_000;

/**
 * Knows whether objects are on their way to a daemon. A program that has just started connects them one after the other, each
 * with a name server's answers, while clients that have known them are calling already. Those wait: in Pyro 3, too, nobody is
 * answered before the program has connected all and enters its request loop.
 */
export class Arrivals {
  private readonly underWay = new Set<Promise<unknown>>();
  private readonly noFirst = new AbortController();

  constructor() {
    this.note(delay(PATIENCE, undefined, { ref: false, signal: this.noFirst.signal }));
  }

  /** Notes that an object is on its way until this settles. */
  track<Result>(connecting: Promise<Result>): Promise<Result> {
    this.note(connecting);
    const hasBegun = (): void => {
      this.noFirst.abort();
    };
    connecting.then(hasBegun, hasBegun);
    return connecting;
  }

  /** Resolves when no object is on its way any more, or that took too long; undefined where none is. */
  get settled(): Promise<void> | undefined {
    return this.underWay.size === 0 ? undefined : this.wait();
  }

  private note(arrival: Promise<unknown>): void {
    this.underWay.add(arrival);
    const leave = (): void => {
      this.underWay.delete(arrival);
    };
    arrival.then(leave, leave);
  }

  private async wait(): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    while (this.underWay.size > 0 && performance.now() < deadline) {
      await Promise.race([Promise.allSettled(this.underWay), delay(PATIENCE, undefined, { ref: false })]);
      // The program goes on to the next one.
      await nextTurn();
    }
  }
}

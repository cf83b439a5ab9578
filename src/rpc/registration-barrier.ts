import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';

/** How long a call waits for an object that may still come, in milliseconds. */
const MAX_WAIT_MS = 10_000;

/**
 * Knows whether objects are on their way to a daemon. A program that has just started connects them one after the other, each
 * with a name server's answers, while clients that have known them are calling already. Those wait: in Pyro 3, too, nobody is
 * answered before the program has connected all and enters its request loop.
 */
export class RegistrationBarrier {
  private readonly pending = new Set<Promise<unknown>>();
  private readonly noFirst = new AbortController();

  constructor() {
    this.note(delay(MAX_WAIT_MS, undefined, { ref: false, signal: this.noFirst.signal }));
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
    return this.pending.size === 0 ? undefined : this.wait();
  }

  private note(arrival: Promise<unknown>): void {
    this.pending.add(arrival);
    const leave = (): void => {
      this.pending.delete(arrival);
    };
    arrival.then(leave, leave);
  }

  private async wait(): Promise<void> {
    const deadline = performance.now() + MAX_WAIT_MS;
    while (this.pending.size > 0 && performance.now() < deadline) {
      await Promise.race([Promise.allSettled(this.pending), delay(MAX_WAIT_MS, undefined, { ref: false })]);
      // The program goes on to the next one.
      await nextTurn();
    }
  }
}

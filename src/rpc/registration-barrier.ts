import { setImmediate as nextIteration, setTimeout as delay } from 'node:timers/promises';

/** How long a call waits for an object that is not connected yet. */
const MAX_WAIT_MS = 10_000;

/**
 * Start-up barrier: calls of unknown objects wait until a daemon's objects are connected. A program that has just
 * started connects its objects one after another, each with round trips to a name server, while clients that know them
 * from before are calling already. In Pyro 3, too, no call is answered before the program has connected all and enters
 * its request loop.
 */
export class RegistrationBarrier {
  private readonly pending = new Set<Promise<unknown>>();
  /** Aborted when the first object has been connected: until then the barrier is closed for MAX_WAIT_MS. */
  private readonly firstConnected = new AbortController();

  constructor() {
    this.add(delay(MAX_WAIT_MS, undefined, { ref: false, signal: this.firstConnected.signal }));
  }

  /** Keeps the barrier closed until this settles. */
  track<Result>(connecting: Promise<Result>): Promise<Result> {
    this.add(connecting);
    const onSettled = (): void => {
      this.firstConnected.abort();
    };
    connecting.then(onSettled, onSettled);
    return connecting;
  }

  /**
   * Resolves when no object is being connected any more, or after MAX_WAIT_MS; undefined if none is being connected.
   */
  get settled(): Promise<void> | undefined {
    return this.pending.size === 0 ? undefined : this.wait();
  }

  private add(connecting: Promise<unknown>): void {
    this.pending.add(connecting);
    const remove = (): void => {
      this.pending.delete(connecting);
    };
    connecting.then(remove, remove);
  }

  private async wait(): Promise<void> {
    const deadline = performance.now() + MAX_WAIT_MS;
    while (this.pending.size > 0 && performance.now() < deadline) {
      await Promise.race([Promise.allSettled(this.pending), delay(MAX_WAIT_MS, undefined, { ref: false })]);
      // Lets the program begin to connect its next object.
      await nextIteration();
    }
  }
}

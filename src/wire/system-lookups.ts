import { onAbort } from '../sync/index.js';

/** The system's own look-up of a name: it takes a thread for as long as it lasts, and can't be cancelled. */
export type SystemLookup = (name: string) => Promise<readonly string[]>;

/** How many of Node's four threads may look up names: the others are for files, and what is compressed. */
const MAX_THREADS = 2;

/** How many of them may be taken by names of one client: so that one is left for the others. */
const MAX_CLIENT_THREADS = 1;

interface Waiter {
  readonly client: string | undefined;
  readonly signal: AbortSignal;
  readonly start: () => Promise<void>;
}

/** Bounds how many of Node's threads look up host names by the system (getaddrinfo); further names wait. */
export class SystemLookups {
  /** The clients for which threads are taken. */
  private readonly running: (string | undefined)[] = [];
  private waiting: Waiter[] = [];

  constructor(private readonly lookUp: SystemLookup) {}

  /**
   * Looks up a name.
   * @param client for whom; undefined for this program itself
   * @param signal ends the waiting; a thread that has begun goes on
   * @throws what the look-up throws; the signal's reason
   */
  run(name: string, client: string | undefined, signal: AbortSignal): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const forget = onAbort(signal, reject);
      const start = (): Promise<void> => this.lookUp(name).then(resolve, reject).finally(forget);
      this.waiting.push({ client, signal, start });
      this.startWaiting();
    });
  }

  private startWaiting(): void {
    this.waiting = this.waiting.filter(({ signal }) => !signal.aborted);
    while (this.running.length < MAX_THREADS) {
      const index = this.waiting.findIndex(({ client }) => this.mayStart(client));
      const [next] = index < 0 ? [] : this.waiting.splice(index, 1);
      if (next === undefined) return;
      this.running.push(next.client);
      void next.start().finally(() => {
        this.running.splice(this.running.indexOf(next.client), 1);
        this.startWaiting();
      });
    }
  }

  private mayStart(client: string | undefined): boolean {
    if (client === undefined) return true;
    return this.running.filter((other) => other === client).length < MAX_CLIENT_THREADS;
  }
}

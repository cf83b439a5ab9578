import { NamingError } from '../errors.js';
import type { Namespace, NamespaceSize } from '../namespace/index.js';

/** How much longer a count is believed than it took: so at most a twentieth of the time is spent on counting. */
const BELIEVED_TIMES = 20;

/** How long somebody waits for a new count. */
const PATIENCE_MILLISECONDS = 2000;

/** Counts the names of a namespace when somebody wants to know, but not all the time: there may be millions of them. */
export class NameCount {
  private last: NamespaceSize | undefined;
  private believedUntil = 0;
  private counting: Promise<void> | undefined;

  constructor(private readonly namespace: Namespace) {}

  /** How many names there are, as far as that is known: the last count, where a new one takes long or can't be had. */
  async get(): Promise<NamespaceSize | undefined> {
    if (performance.now() < this.believedUntil) return this.last;
    this.counting ??= this.count().finally(() => {
      this.counting = undefined;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, PATIENCE_MILLISECONDS).unref();
    });
    try {
      await Promise.race([this.counting, late]);
    } finally {
      clearTimeout(timer);
    }
    return this.last;
  }

  private async count(): Promise<void> {
    const begun = performance.now();
    try {
      this.last = await this.namespace.count();
      const end = performance.now();
      this.believedUntil = end + (end - begun) * BELIEVED_TIMES;
    } catch (error) {
      if (!(error instanceof NamingError)) throw error;
      this.last = undefined;
    }
  }
}

import { NamingError } from '../errors.js';
import type { Namespace, NamespaceSize } from '../namespace/index.js';
import { TTLValue } from '../sync/index.js';

/** A count is cached for so many times as long as it took: at most a twentieth of the time is spent on counting. */
const COST_FACTOR = 20;

/** How long somebody waits for a new count, unless they say. */
const MAX_WAIT_MS = 2000;

/** Counts the names of a namespace when somebody wants to know, but not all the time: there may be millions of them. */
export class NameCount {
  private readonly size: TTLValue<NamespaceSize>;

  constructor(namespace: Namespace) {
    this.size = new TTLValue(() => namespace.count(), { costFactor: COST_FACTOR });
  }

  /** How many names there are: the last count, where a new one takes long; undefined where they can't be counted. */
  async get(maxWaitMs = MAX_WAIT_MS): Promise<NamespaceSize | undefined> {
    try {
      return await this.size.getWithin(maxWaitMs);
    } catch (error) {
      if (!(error instanceof NamingError)) throw error;
      this.size.invalidate();
      return undefined;
    }
  }
}

import { NamingError } from '../errors.js';
import type { Namespace, NamespaceSize } from '../namespace/index.js';
import { TTLValue } from '../sync/index.js';

/** The TTL of a count, as a multiple of its duration: so at most a twentieth of the time is spent on counting. */
const COST_FACTOR = 20;

/** The default time to wait for a new count. */
const MAX_WAIT_MS = 2000;

/** The number of names in a namespace, counted on demand and cached, because there may be millions. */
export class NameCount {
  private readonly size: TTLValue<NamespaceSize>;

  constructor(namespace: Namespace) {
    this.size = new TTLValue(() => namespace.count(), { costFactor: COST_FACTOR });
  }

  /** The number of names. The last count if a new one takes longer than `maxWaitMs`; undefined if counting fails. */
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

import type { Config } from '../config/index.js';
import type { PickleReadOptions } from '../pickle/index.js';

/**
 * What a pickle from a peer may hold, by the PYRO_MAX_PICKLE_* items.
 * @param objects the limit of containers, memo entries and members of one tuple, where another one holds
 */
export function pickleLimits(config: Config, objects = config.PYRO_MAX_PICKLE_OBJECTS): PickleReadOptions {
  return { depth: config.PYRO_MAX_PICKLE_DEPTH, objects, memo: objects, stack: objects };
}

import type { Config } from '../config/index.js';
import type { PickleReadOptions } from '../pickle/index.js';

/**
 * The limits of pickles from peers, from the PYRO_MAX_PICKLE_* items.
 * @param objects the limit of containers, memo entries and members of one tuple, instead of PYRO_MAX_PICKLE_OBJECTS
 */
export function pickleLimits(config: Config, objects = config.PYRO_MAX_PICKLE_OBJECTS): PickleReadOptions {
  return { depth: config.PYRO_MAX_PICKLE_DEPTH, objects, memo: objects, stack: objects };
}

/**
 * The options with which values for a program are unpickled.
 * @param exactValues true keeps the types, so that values are written again as they came; false gives strings and
 *   numbers for ASCII unicode and integral floats, as programs expect
 */
export function readOptionsOf(limits: PickleReadOptions, exactValues: boolean): PickleReadOptions {
  return { ...limits, views: true, ...(exactValues ? {} : { unicode: 'text', floats: 'number' }) };
}

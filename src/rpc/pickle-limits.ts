import type { Config } from '../config/index.js';
import type { PickleReadOptions } from '../pickle/index.js';

/**
 * What a pickle from a peer may hold, by the PYRO_MAX_PICKLE_* items.
 * @param objects the limit of containers, memo entries and members of one tuple, where another one holds
 */
export function pickleLimits(config: Config, objects = config.PYRO_MAX_PICKLE_OBJECTS): PickleReadOptions {
  return { depth: config.PYRO_MAX_PICKLE_DEPTH, objects, memo: objects, stack: objects };
}

/**
 * How what a program is given is read: values as they came, so that they are written again as they were, or the strings and
 * numbers that programs expect.
 */
export function readingOf(limits: PickleReadOptions, exactValues: boolean): PickleReadOptions {
  return { ...limits, views: true, ...(exactValues ? {} : { unicode: 'text', floats: 'number' }) };
}

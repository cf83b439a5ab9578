/** The other name server of a pair. */
export { TwinFinder } from './finder.js';
export type { TwinAddress } from './finder.js';
export type { TwinRole } from './records.js';
export { Twin } from './twin.js';
export type { TwinOptions, TwinStatus } from './twin.js';

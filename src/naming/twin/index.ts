/** Replication between the two name servers of a pair; each is the other's twin. */
export { TwinFinder } from './finder.js';
export type { TwinAddress } from './finder.js';
export type { TwinRole } from './records.js';
export { Twin } from './twin.js';
export type { TwinOptions, TwinStatus } from './twin.js';

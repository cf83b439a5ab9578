/** The name server: its object, and what starts it. */
export { NameServer } from './name-server.js';
export type { NameServerOptions } from './name-server.js';
export { NameServerStarter } from './starter.js';
export type { StarterOptions, StartOptions } from './starter.js';

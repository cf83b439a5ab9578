/** The name server: its object, what starts it, who may use it, and how it is found. */
export { WILL_SHUT_DOWN } from './broadcast.js';
export type { SystemCommand } from './broadcast.js';
export type { ChangesSince, NameChange } from './change-feed.js';
export { BCReqValidator, loadGuards } from './guards.js';
export type { Acceptance, Guards, OperationGuard } from './guards.js';
export { NameServerLocator } from './locator.js';
export type { LocatorOptions, Whereabouts } from './locator.js';
export { NameServer } from './name-server.js';
export type { NameServerOptions } from './name-server.js';
export { NameServerProxy } from './name-server-proxy.js';
export type { NameServerProxyOptions } from './name-server-proxy.js';
export { NameServerStarter } from './starter.js';
export type { StarterOptions, StartOptions } from './starter.js';
export { watch } from './watch.js';
export type { WatchEvent, WatchOptions } from './watch.js';
export type { TwinAddress, TwinRole, TwinStatus } from './twin/index.js';

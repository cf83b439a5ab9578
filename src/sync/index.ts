/** Synchronization: locks, budgets, timeouts and cached values, without any knowledge of names, files or sockets. */
export { onAbort } from './abort.js';
export { Deadline } from './deadline.js';
export { FailureDelay } from './failure-delay.js';
export { HostRoundRobin } from './host-round-robin.js';
export { KeyedMutex } from './keyed-mutex.js';
export { MemoryBudget } from './memory-budget.js';
export { RWLock } from './rw-lock.js';
export { StallTimeout } from './stall-timeout.js';
export { SubtreeLock } from './subtree-lock.js';
export { MAX_TIMEOUT_MS } from './timers.js';
export { TTLValue } from './ttl-value.js';
export type { TTLOptions } from './ttl-value.js';

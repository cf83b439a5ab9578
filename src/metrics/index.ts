/** Tells how a name server does: numbers for Prometheus, and whether it lives and is ready. */
export { MetricsServer } from './metrics-server.js';
export type { MetricsServerOptions } from './metrics-server.js';

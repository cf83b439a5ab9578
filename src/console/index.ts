/** The browser console: an HTTP server on loopback with a page and an API, to inspect and change name servers. */
export { Console } from './console.js';
export type { ConsoleOptions } from './console.js';
export type { FindRequest, ServerDescription } from './api.js';

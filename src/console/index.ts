/** The browser console: an HTTP server on loopback with an API and a page, to look at name servers and change what they hold. */
export { Console } from './console.js';
export type { ConsoleOptions } from './console.js';
export type { FindRequest, ServerDescription } from './api.js';

/** The grammar: names, URIs, GUIDs. Pure values and functions, no I/O. */
export { INTERNAL_DAEMON_GUID, NAMESERVER_NAME, newGUID } from './guid.js';
export { MAX_NAME_LENGTH, Name, requireNewName } from './name.js';
export { DEFAULT_PORT, MAX_URI_LENGTH, PyroURI, requireNewURI } from './uri.js';
export type { ObjectProtocol } from './uri.js';

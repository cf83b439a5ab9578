/** The grammar of names, URIs and object ids. Pure values and functions, no I/O. */
export { INTERNAL_DAEMON_GUID, isUsableObjectID, NAMESERVER_NAME, newGUID } from './guid.js';
export { MAX_NAME_LENGTH, Name, requireNewName } from './name.js';
export { DEFAULT_PORT, isPYRONAME, MAX_URI_LENGTH, PyroURI, readPYRONAME, requireNewURI } from './uri.js';
export type { NamedObject, ObjectProtocol } from './uri.js';

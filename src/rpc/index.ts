/** Remote objects: daemons that serve them, connection validators, errors as they travel. */
export { resolveAddress } from './address.js';
export { Daemon } from './daemon.js';
export type { DaemonOptions, NameServerObject } from './daemon.js';
export { getCaller, ObjBase, SynchronizedObjBase } from './objects.js';
export type { RemoteAccess } from './objects.js';
export { noSuchAttribute, RemoteError } from './remote-error.js';
export { Pickled } from './servant.js';
export type { Answer, Servant } from './servant.js';
export { uriFromPython, uriToPython } from './translation.js';
export { BasicSSLValidator, DefaultConnValidator } from './validators.js';
export type { GuardedDaemon, Verdict } from './validators.js';

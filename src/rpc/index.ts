/**
 * Remote objects: daemons, proxies, connection validators, marshalling of values and exceptions, the liveness probe.
 */
export { PYROAdapter } from './adapter.js';
export type { AdapterOptions, InvocationOptions, Locate } from './adapter.js';
export { resolveAddress } from './address.js';
export { bindArguments } from './bind-arguments.js';
export { readClientTLS } from './certificates.js';
export { Daemon } from './daemon.js';
export type { DaemonOptions, NameServerObject } from './daemon.js';
export { ObjectConnection } from './object-connection.js';
export type { CallOptions, RequestOptions } from './object-connection.js';
export { getCaller, ObjBase, SynchronizedObjBase } from './objects.js';
export type { RemoteAccess } from './objects.js';
export { isDead, LivenessProbe } from './liveness-probe.js';
export type { LivenessProbeOptions, ObjectStatus } from './liveness-probe.js';
export { pickleLimits } from './pickle-limits.js';
export {
  DynamicProxy,
  DynamicProxyWithAttrs,
  getAttrProxyForURI,
  getProxyForURI,
  Keywords,
  keywords,
  receivedProxy,
} from './proxy.js';
export type { AttrProxy, Proxy, Untyped } from './proxy.js';
export { openFilesWarning } from './open-files.js';
export { noSuchAttribute, RemoteError } from './remote-error.js';
export type { Answer, Servant } from './servant.js';
export type { ConnectionCounts } from './tcp-server.js';
export { fromPython, proxyFromPython, proxyToPython, toPython, uriFromPython, uriToPython } from './marshalling.js';
export type { ProxyDescription, ProxyKind } from './marshalling.js';
export { BasicSSLValidator, DefaultConnValidator } from './validators.js';
export type { GuardedDaemon, Verdict } from './validators.js';

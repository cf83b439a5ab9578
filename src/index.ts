/** The public names of the package. */
export { loadConfig, defaultConfig, createLog, defaultLog, silentLog, type Config, type Log } from './config/index.js';
export * from './errors.js';
export { Name, newGUID, PyroURI, INTERNAL_DAEMON_GUID, NAMESERVER_NAME } from './names/index.js';
export {
  DirectoryNamespace,
  MemoryNamespace,
  type ListEntry,
  type Namespace,
  type NamespaceEntry,
  type SystemMeta,
} from './namespace/index.js';
export { NameServerStarter, type StarterOptions, type StartOptions } from './naming/index.js';
export {
  dumps,
  fromDate,
  loads,
  PickleError,
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonTuple,
  PythonUnicode,
  toDate,
  tuple,
  type PythonValue,
  type PythonWritable,
} from './pickle/index.js';
export {
  BasicSSLValidator,
  Daemon,
  DefaultConnValidator,
  DynamicProxy,
  DynamicProxyWithAttrs,
  getAttrProxyForURI,
  getCaller,
  getProxyForURI,
  keywords,
  ObjBase,
  PYROAdapter,
  RemoteError,
  SynchronizedObjBase,
  type AdapterOptions,
  type AttrProxy,
  type DaemonOptions,
  type InvocationOptions,
  type Keywords,
  type NameServerObject,
  type Proxy,
  type RemoteAccess,
  type Servant,
} from './rpc/index.js';
export { DeniedReason, type ServerConnection } from './wire/index.js';

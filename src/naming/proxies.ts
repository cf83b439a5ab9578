import { defaultConfig } from '../config/index.js';
import { isPYRONAME, PyroURI, readPYRONAME } from '../names/index.js';
import * as rpc from '../rpc/index.js';
import type { AdapterOptions, AttrProxy, Locate, Proxy, Untyped } from '../rpc/index.js';
import { NameServerLocator } from './locator.js';

/**
 * Makes a proxy of the object of a URI: PYRO, PYROLOC, PYRONAME, or one of their TLS forms. It connects at the first
 * call. A proxy of a PYRONAME URI asks the name server at each new connection, so it finds an object that has moved.
 * @throws URIError where the URI is not valid; ProtocolError `unsupported protocol`
 */
export function getProxyForURI<Remote extends object = Untyped>(
  uri: PyroURI | string,
  options?: AdapterOptions,
): Proxy<Remote> {
  const [target, locate] = targetOf(uri, options);
  return rpc.getProxyForURI<Remote>(target, options, locate);
}

/** As `getProxyForURI`, with access to the object's attributes too. */
export function getAttrProxyForURI<Remote extends object = Untyped>(
  uri: PyroURI | string,
  options?: AdapterOptions,
): AttrProxy<Remote> {
  const [target, locate] = targetOf(uri, options);
  return rpc.getAttrProxyForURI<Remote>(target, options, locate);
}

/** The arguments for a proxy: the URI, and for a PYRONAME URI the function that resolves it. */
function targetOf(uri: PyroURI | string, options: AdapterOptions = {}): [uri: PyroURI | string, locate?: Locate] {
  const text = String(uri);
  if (!isPYRONAME(text)) return [uri];
  const { config = defaultConfig() } = options;
  const { port = config.PYRO_NS_PORT } = readPYRONAME(text);
  const { protocol, address, objectID } = PyroURI.parse(text);
  const target = new PyroURI(protocol, address, port, objectID);
  return [target, (signal) => new NameServerLocator({ ...options, signal }).resolvePYRONAME(text)];
}

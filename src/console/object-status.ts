import { silentLog, type Config } from '../config/index.js';
import { ConnectionDeniedError, NamingError, PyroError } from '../errors.js';
import { INTERNAL_DAEMON_GUID, PyroURI } from '../names/index.js';
import { PYROAdapter } from '../rpc/index.js';
import type { ObjectStatus } from './api.js';

/** How long a daemon may take to answer, in seconds. */
const ANSWER_TIMEOUT = 4;

/** Protocols of URIs that name an object instead of giving its id, and the protocol of its daemon. */
const META_PROTOCOLS: ReadonlyMap<string, string> = new Map([
  ['PYROLOC', 'PYRO'],
  ['PYROLOCSSL', 'PYROSSL'],
]);

type Answer = Omit<ObjectStatus, 'milliseconds'>;

/**
 * Asks the daemon behind a URI whether it has the object. The object itself is not called.
 * @param identification only where the daemon is one that may have it: what it is told can be guessed from
 */
export async function askForObject(
  uri: PyroURI,
  identification: string | undefined,
  config: Config,
): Promise<ObjectStatus> {
  const start = performance.now();
  const answer = await askDaemon(uri, identification, config).catch(explain);
  return { ...answer, milliseconds: Math.round(performance.now() - start) };
}

async function askDaemon(uri: PyroURI, identification: string | undefined, config: Config): Promise<Answer> {
  const metaProtocol = META_PROTOCOLS.get(uri.protocol);
  const protocol = metaProtocol ?? uri.protocol;
  if (protocol !== 'PYRO' && protocol !== 'PYROSSL') {
    return { status: 'unknown', explanation: `A URI of protocol ${protocol} leads to no daemon.` };
  }
  const internal = new PyroURI(protocol, uri.address, uri.port, INTERNAL_DAEMON_GUID);
  const daemon = new PYROAdapter(internal, { config, log: silentLog });
  daemon.setIdentification(identification ?? null);
  daemon.timeout = ANSWER_TIMEOUT;
  try {
    if (metaProtocol !== undefined) {
      await daemon.remoteInvocation('ResolvePYROLOC', 0, [uri.objectID]);
      return { status: 'answers', explanation: 'The daemon has an object of this name.' };
    }
    const registered = await daemon.remoteInvocation('getRegistered', 0, []);
    if (!(registered instanceof Map)) return { status: 'unknown', explanation: 'What listens there is no daemon.' };
    return registered.has(uri.objectID)
      ? { status: 'answers', explanation: 'The daemon has this object.' }
      : { status: 'gone', explanation: 'The daemon is there, but does not have this object any more.' };
  } finally {
    await daemon.release();
  }
}

function explain(error: unknown): Answer {
  if (error instanceof NamingError) {
    return { status: 'gone', explanation: 'The daemon is there, but has no object of this name.' };
  }
  if (error instanceof ConnectionDeniedError) {
    return { status: 'denied', explanation: `The daemon is there, and refuses to be asked: ${error.message}.` };
  }
  if (error instanceof PyroError)
    return { status: 'unreachable', explanation: `No daemon answers: ${error.args.join(': ')}.` };
  // What listens there raised something of its own.
  return { status: 'unknown', explanation: `The daemon can't say: ${String(error)}.` };
}

import pLimit from 'p-limit';
import { silentLog, type Config } from '../config/index.js';
import { ConnectionClosedError, ConnectionDeniedError, NamingError, PyroError } from '../errors.js';
import { INTERNAL_DAEMON_GUID, PyroURI } from '../names/index.js';
import type { PythonValue } from '../pickle/index.js';
import { PYROAdapter } from './adapter.js';
import { PROTOCOLS } from './object-connection.js';
import { isSameEverywhere, resolveAddress } from './address.js';

/** The timeout of the handshake with a daemon, and of its reply, in seconds. */
const ANSWER_TIMEOUT_SECONDS = 4;

/** Concurrency limit: how many daemons are asked at the same time. */
const MAX_DAEMONS_ASKED = 32;

/** Whether the object of a URI exists: what its daemon said, or why the daemon could not be asked. */
export interface ObjectStatus {
  /**
   * - `answers`: the daemon has the object;
   * - `gone`: the daemon is running, and does not have it;
   * - `closed`: the machine is running, and nothing listens on the daemon's port;
   * - `unreachable`: no response: the machine is off, or there is a fault in the network;
   * - `denied`: the daemon is running, and refuses the connection;
   * - `unknown`: the URI is of no daemon, or the reply makes no sense, or its address is not global: see
   *   `isSameEverywhere`.
   */
  readonly status: 'answers' | 'gone' | 'closed' | 'unreachable' | 'denied' | 'unknown';
  /** The same as a readable sentence. */
  readonly explanation: string;
}

const DEAD: ReadonlySet<ObjectStatus['status']> = new Set(['gone', 'closed', 'unreachable']);

/**
 * True if the object is taken for dead. `unreachable` is among that, although a fault in the network may be the cause.
 */
export function isDead({ status }: ObjectStatus): boolean {
  return DEAD.has(status);
}

/** Options of a LivenessProbe. */
export interface LivenessProbeOptions {
  readonly config: Config;
  /**
   * The host, as address or name, of the name server that has the URIs. A program on another machine may have
   * registered an address such as 127.0.1.1: unless the name server itself has such an address, we can't know whether
   * that object is dead.
   */
  readonly nameServerHost: string;
  /**
   * The passphrase for a daemon; undefined for a daemon that must not get a token, because the passphrase can be
   * guessed from it offline. Without this option no daemon gets one.
   */
  readonly identificationFor?: ((uri: PyroURI) => string | undefined) | undefined;
  /** Gives up what is being asked. */
  readonly signal?: AbortSignal | undefined;
}

/** The ids of the objects that a daemon has; or the status of them all if it did not list them. */
type Registered = ReadonlySet<string> | ObjectStatus;

/**
 * Asks daemons whether they have the objects of URIs. The objects themselves are not called. Each daemon is asked only
 * once by one probe, however many of its objects are in question.
 */
export class LivenessProbe {
  private readonly registered = new Map<string, Promise<Registered>>();
  private readonly limit = pLimit(MAX_DAEMONS_ASKED);

  constructor(private readonly options: LivenessProbeOptions) {}

  /** Asks the daemon of a URI. Never rejects. */
  async ask(uri: PyroURI): Promise<ObjectStatus> {
    const status = await this.askDaemon(uri);
    return status.status === 'answers' || (await this.limit(() => this.canJudge(uri.address))) ? status : UNCERTAIN;
  }

  private async canJudge(host: string): Promise<boolean> {
    // Without an address there is nothing to mistake for another.
    const addressOf = (name: string): Promise<string> => resolveAddress(name, this.options).catch(() => '');
    const [address = '', nameServer = ''] = await Promise.all([host, this.options.nameServerHost].map(addressOf));
    return isSameEverywhere(address, nameServer);
  }

  private async askDaemon(uri: PyroURI): Promise<ObjectStatus> {
    const protocol = PROTOCOLS.get(uri.protocol);
    if (protocol === undefined) {
      return { status: 'unknown', explanation: `A URI of protocol ${uri.protocol} leads to no daemon.` };
    }
    const daemon = new PyroURI(protocol, uri.address, uri.port, INTERNAL_DAEMON_GUID);
    // A PYROLOC URI has the object's name in place of its id.
    if (protocol !== uri.protocol) return this.limit(() => this.askForName(daemon, uri.objectID)).catch(explain);
    const registered = await this.registeredAt(daemon);
    if (!isSet(registered)) return registered;
    return registered.has(uri.objectID)
      ? { status: 'answers', explanation: 'The daemon has this object.' }
      : { status: 'gone', explanation: 'The daemon is there, but does not have this object any more.' };
  }

  private registeredAt(daemon: PyroURI): Promise<Registered> {
    const key = daemon.toString();
    let registered = this.registered.get(key);
    if (registered === undefined) {
      registered = this.limit(() => this.askForObjects(daemon)).catch(explain);
      this.registered.set(key, registered);
    }
    return registered;
  }

  private async askForObjects(daemon: PyroURI): Promise<Registered> {
    const answer = await this.call(daemon, 'getRegistered');
    if (!(answer instanceof Map)) return { status: 'unknown', explanation: 'What listens there is no daemon.' };
    // Drops the names, and anything that is no id, to save memory.
    return new Set([...answer.keys()].filter((id) => typeof id === 'string'));
  }

  private async askForName(daemon: PyroURI, name: string): Promise<ObjectStatus> {
    await this.call(daemon, 'ResolvePYROLOC', name);
    return { status: 'answers', explanation: 'The daemon has an object of this name.' };
  }

  private async call(daemon: PyroURI, method: string, ...args: string[]): Promise<PythonValue> {
    const { config, identificationFor, signal } = this.options;
    // A daemon may be malicious: its replies are limited like requests to a name server.
    const limits = {
      PYRO_MAX_MESSAGE_SIZE: config.PYRO_NS_MAX_MESSAGE_SIZE,
      PYRO_MAX_INFLATED_SIZE: config.PYRO_NS_MAX_MESSAGE_SIZE,
      PYRO_MAX_PICKLE_OBJECTS: Math.min(config.PYRO_MAX_PICKLE_OBJECTS, config.PYRO_NS_MAX_PICKLE_OBJECTS),
    };
    const adapter = new PYROAdapter(daemon, { config: { ...config, ...limits }, log: silentLog });
    adapter.setIdentification(identificationFor?.(daemon) ?? null);
    adapter.timeout = Math.min(ANSWER_TIMEOUT_SECONDS, config.PYRO_HANDSHAKE_TIMEOUT);
    try {
      return await adapter.remoteInvocation(method, 0, args, undefined, { signal });
    } finally {
      await adapter.release();
    }
  }
}

const UNCERTAIN: ObjectStatus = {
  status: 'unknown',
  explanation:
    'Its address means another machine elsewhere, so it can only be asked from the machine that registered it.',
};

const isSet = (registered: Registered): registered is ReadonlySet<string> => registered instanceof Set;

/** The status that follows from the error of asking a daemon. */
function explain(error: unknown): ObjectStatus {
  if (error instanceof NamingError) {
    return { status: 'gone', explanation: 'The daemon is there, but has no object of this name.' };
  }
  if (error instanceof ConnectionDeniedError) {
    return { status: 'denied', explanation: `The daemon is there, and refuses to be asked: ${error.message}.` };
  }
  if (error instanceof PyroError) {
    const explanation = `No daemon answers: ${error.args.join(': ')}.`;
    // The second argument is the system's own error text.
    const [, reason] = error.code === 'CONNECTION_FAILED' ? error.args : [];
    if (reason?.includes('ECONNREFUSED') === true) return { status: 'closed', explanation };
    const isSilent = reason !== undefined || error instanceof ConnectionClosedError;
    return { status: isSilent ? 'unreachable' : 'unknown', explanation };
  }
  // Some other exception, which the peer has raised.
  return { status: 'unknown', explanation: `The daemon can't say: ${String(error)}.` };
}

import { setTimeout as delay } from 'node:timers/promises';
import { defaultConfig, defaultLog, type Config, type Log } from '../config/index.js';
import { ConnectionClosedError, ProtocolError, TimeoutError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { INTERNAL_DAEMON_GUID, PyroURI, type ObjectProtocol } from '../names/index.js';
import type { PickleReadOptions, PythonValue, PythonWritable } from '../pickle/index.js';
import { MAX_TIMEOUT_MS, onAbort } from '../sync/index.js';
import { ClientConnection, decodeReply, encodeRequest, RequestFlag } from '../wire/index.js';
import { readClientTLS } from './certificates.js';
import { errorOf } from './exceptions.js';
import { pickleLimits, readingOf } from './pickle-limits.js';
import { PendingConnection } from './pending-connection.js';
import { DefaultConnValidator } from './validators.js';

/** What the client's side is set up with; without them, the process's own configuration and log. */
export interface AdapterOptions {
  readonly config?: Config | undefined;
  readonly log?: Log | undefined;
  /**
   * Give results that are written again as they came: ASCII unicode and whole floats keep their type. Else they are the
   * strings and numbers that programs expect.
   */
  readonly exactValues?: boolean | undefined;
}

/** How a call may end early. */
export interface InvocationOptions {
  /** How long to wait, in seconds; null or 0 for ever. */
  readonly timeout?: number | null | undefined;
  /** Stops waiting for the reply; the call itself can't be taken back. */
  readonly signal?: AbortSignal | undefined;
}

const NO_KEYWORDS: ReadonlyMap<string, PythonWritable> = new Map();

/** Finds out where an object is: asked for each new connection. The signal says that nobody wants to know any more. */
export type Locate = (signal: AbortSignal) => Promise<PyroURI>;

/** The protocols that lead to an object that can be called, by what they become once it is found. */
export const PROTOCOLS: ReadonlyMap<string, ObjectProtocol> = new Map([
  ['PYRO', 'PYRO'],
  ['PYROSSL', 'PYROSSL'],
  ['PYROLOC', 'PYRO'],
  ['PYROLOCSSL', 'PYROSSL'],
]);

// The connection of an adapter that nobody has any more is closed, as when Python forgets a proxy: not before one-way
// calls are sent, for which nobody waits.
const forgotten = new FinalizationRegistry<ClientConnection>((connection) => {
  void connection.close();
});

/**
 * The client's end of the protocol, for one URI: binds to it when it is first called, and again after the connection
 * was lost. Pyro's `PYROAdapter`.
 */
export class PYROAdapter {
  /** The methods that are called without waiting for them, nor for their errors. */
  readonly onewayMethods = new Set<string>();
  private readonly config: Config;
  private readonly reading: PickleReadOptions;
  private uri: PyroURI;
  #timeout: number | null = null;
  private validator = new DefaultConnValidator();
  #identification: Buffer = Buffer.alloc(0);
  private pending: PendingConnection | undefined;
  private connection: ClientConnection | undefined;

  /**
   * @param locate where the URI does not lead to the object by itself: what does
   * @throws ProtocolError `unsupported protocol` where the URI leads to no object that can be called
   */
  constructor(
    uri: PyroURI,
    readonly options: AdapterOptions = {},
    private readonly locate?: Locate,
  ) {
    if (locate === undefined) protocolOf(uri);
    this.config = options.config ?? defaultConfig();
    this.reading = readingOf(pickleLimits(this.config), options.exactValues === true);
    this.uri = uri;
  }

  /** Where calls go to. A PYROLOC or PYRONAME URI becomes that of the object it names, once it is bound. */
  get URI(): PyroURI {
    return this.uri;
  }

  /** False where it is still to be found out where the object is. */
  get isLocated(): boolean {
    return PROTOCOLS.has(this.uri.protocol);
  }

  /**
   * How long connecting, and any one call, may take, in seconds. Null or 0, as with Pyro 3, for ever: then connecting may
   * take PYRO_HANDSHAKE_TIMEOUT. As good as for ever is what Node's timers can't wait, more than 24 days.
   * @throws RangeError where it is set to no such time
   */
  get timeout(): number | null {
    return this.#timeout;
  }

  set timeout(timeout: number | null) {
    requireTimeout(timeout);
    this.#timeout = timeout;
  }

  /** The passphrase that servers are told of (never itself); null for none. For the next connection. */
  setIdentification(ident: string | null): void {
    this.setMungedIdentification(ident === null ? Buffer.alloc(0) : this.validator.mungeIdent(ident));
  }

  /** What `setIdentification` makes of a passphrase, such as another proxy has it. */
  setMungedIdentification(ident: Uint8Array): void {
    this.#identification = Buffer.from(ident);
  }

  /** Calls these methods without waiting for them, nor for their errors. */
  setOneway(methods: string | readonly string[]): void {
    for (const method of typeof methods === 'string' ? [methods] : methods) this.onewayMethods.add(method);
  }

  /** The validator that answers servers' challenges. */
  setNewConnectionValidator(validator: DefaultConnValidator): void {
    this.validator = validator;
  }

  /** True while there is a connection. */
  connected(): boolean {
    return this.openConnection !== undefined;
  }

  /**
   * Connects, where there is no connection yet; calls do that by themselves.
   * @throws ProtocolError `connection failed`; ConnectionDeniedError with the server's reason; TimeoutError;
   *   NamingError `no object found by this name` where a PYROLOC URI leads nowhere
   */
  async bindToURI(): Promise<void> {
    await this.bind();
  }

  /**
   * Connects anew, trying again while that fails.
   * @param tries how often to try; without end by default
   * @param wait how long to wait between two tries, in seconds
   * @throws TimeoutError `connection lost` when all tries have failed; the signal's reason
   */
  async rebindURI(tries = Infinity, wait = 1, signal?: AbortSignal): Promise<void> {
    const pause = Math.min(wait * 1000, MAX_TIMEOUT_MS);
    signal?.throwIfAborted();
    // What is still to be sent goes on being sent where the signal ends this.
    await new Promise<void>((resolve, reject) => {
      const forget = onAbort(signal, reject);
      this.release().finally(forget).then(resolve, reject);
    });
    for (let failed = 0; failed < tries;) {
      try {
        await this.bind(signal);
        return;
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof ProtocolError)) throw error;
      }
      if (++failed < tries) await delay(pause, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
    throw new TimeoutError(refusalText('CONNECTION_LOST'));
  }

  /**
   * Closes the connection; one that is still being opened is given up, and calls that wait for it get a
   * ConnectionClosedError. The next call makes a new one.
   */
  async release(): Promise<void> {
    const { pending, connection } = this;
    this.pending = undefined;
    this.connection = undefined;
    pending?.giveUp(new ConnectionClosedError(refusalText('CONNECTION_LOST')));
    if (connection === undefined) return;
    this.log.msg('PYROAdapter', 'releasing connection');
    await connection.close();
  }

  /**
   * Calls a method of the object. Calls may be made without waiting for earlier ones; they are made in their order.
   * @param flags how the arguments are sent: 0 as they are, or Varargs and Keywords as Pyro's dynamic proxies do it
   * @returns None for one-way methods, as soon as the call is under way
   * @throws what the method raised: Pyro's own errors as their classes, others as a RemoteError; ProtocolError and its
   *   relatives where the call could not be made or the reply not be had; PickleError where an argument can't be sent
   */
  async remoteInvocation(
    method: string,
    flags: number,
    args: readonly PythonWritable[],
    keywords: ReadonlyMap<string, PythonWritable> = NO_KEYWORDS,
    { signal, timeout = this.timeout }: InvocationOptions = {},
  ): Promise<PythonValue> {
    signal?.throwIfAborted();
    const oneway = this.onewayMethods.has(method) ? RequestFlag.Oneway : 0;
    const call = (connection: ClientConnection): Promise<Buffer> | undefined => {
      const request = { objectID: this.uri.objectID, method, flags: flags | oneway, args, keywords };
      const body = encodeRequest(request, this.config.PYRO_PICKLE_FORMAT);
      if (!oneway) return connection.call(body, { timeout: milliseconds(timeout), signal });
      connection.send(body);
      return undefined;
    };
    const open = this.openConnection;
    const replied = await (open === undefined ? this.whenOpen(call, timeout, signal) : call(open));
    if (replied === undefined) return null;
    const reply = decodeReply(replied, this.reading);
    if ('exception' in reply) throw errorOf(reply.exception);
    return reply.value;
  }

  /** An adapter of the same URI, with the same settings and a connection of its own. */
  copy(): PYROAdapter {
    const copy = new PYROAdapter(this.uri, this.options, this.locate);
    copy.setMungedIdentification(this.#identification);
    copy.timeout = this.timeout;
    copy.setOneway([...this.onewayMethods]);
    copy.setNewConnectionValidator(this.validator);
    return copy;
  }

  /** The connection, where there is one: then a call need not wait. */
  private get openConnection(): ClientConnection | undefined {
    return this.connection?.isOpen === true ? this.connection : undefined;
  }

  private bind(signal?: AbortSignal): Promise<void> {
    if (this.openConnection !== undefined) return Promise.resolve();
    return this.whenOpen(() => undefined, this.timeout, signal);
  }

  /** Makes a call by a new connection, for which all calls wait that are made meanwhile. */
  private whenOpen<T>(
    call: (connection: ClientConnection) => T | Promise<T>,
    timeout: number | null,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    if (this.pending === undefined || this.pending.isGivenUp) this.pending = this.open(timeout);
    return this.pending.whenOpen(call, milliseconds(timeout), signal);
  }

  /** Begins to connect. @param timeout of the call that needs the connection; others may have longer, or shorter ones */
  private open(timeout: number | null): PendingConnection {
    const patience = this.config.PYRO_HANDSHAKE_TIMEOUT * 1000;
    const handshakeTimeout = Math.max(milliseconds(this.timeout) || patience, milliseconds(timeout) || patience);
    const pending = new PendingConnection((signal) => this.connect(handshakeTimeout, signal));
    pending.opened.then(
      (connection) => {
        if (this.pending !== pending) {
          void connection.close();
          return;
        }
        this.pending = undefined;
        this.connection = connection;
      },
      () => {
        if (this.pending === pending) this.pending = undefined;
      },
    );
    return pending;
  }

  private async connect(handshakeTimeoutMs: number, signal: AbortSignal): Promise<ClientConnection> {
    const { config, validator } = this;
    const uri = (await this.locate?.(signal)) ?? this.uri;
    const protocol = protocolOf(uri);
    const identification = this.#identification;
    const connection = await ClientConnection.open(uri.address, uri.port, {
      compression: config.PYRO_COMPRESSION,
      checksum: config.PYRO_CHECKSUM,
      keepAlive: config.PYRO_SOCK_KEEPALIVE,
      limits: { maxBodySize: config.PYRO_MAX_MESSAGE_SIZE, maxInflatedSize: config.PYRO_MAX_INFLATED_SIZE },
      handshakeTimeoutMs,
      lookupTimeoutMs: config.PYRO_DNS_TIMEOUT * 1000,
      signal,
      tls: protocol === 'PYROSSL' ? await readClientTLS(config) : undefined,
      createAuthToken: (_none, challenge) => validator.createAuthToken(identification, challenge),
    });
    forgotten.register(this, connection, connection);
    void connection.closed.then(() => forgotten.unregister(connection));
    this.log.msg('PYROAdapter', 'connected to', uri);
    this.uri = uri.protocol === protocol ? uri : await this.resolvePYROLOC(connection, uri, protocol, signal);
    return connection;
  }

  /** Asks the daemon for the object that it knows by the name in the URI. */
  private async resolvePYROLOC(
    connection: ClientConnection,
    uri: PyroURI,
    protocol: ObjectProtocol,
    signal: AbortSignal,
  ): Promise<PyroURI> {
    this.log.msg('PYROAdapter', 'resolving PYROLOC name:', uri.objectID);
    try {
      const body = encodeRequest({
        objectID: INTERNAL_DAEMON_GUID,
        method: 'ResolvePYROLOC',
        flags: 0,
        args: [uri.objectID],
        keywords: NO_KEYWORDS,
      });
      const replied = await connection.call(body, { timeout: milliseconds(this.timeout), signal });
      const reply = decodeReply(replied, { ...this.reading, unicode: 'text' });
      if ('exception' in reply) throw errorOf(reply.exception);
      if (typeof reply.value !== 'string') throw new ProtocolError(refusalText('ANSWER_INVALID'));
      return new PyroURI(protocol, uri.address, uri.port, reply.value);
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  private get log(): Log {
    return this.options.log ?? defaultLog();
  }
}

/** A timeout in seconds, null or 0 for ever, as connections have it: in milliseconds, 0 for ever. */
function milliseconds(timeout: number | null): number {
  const time = (timeout ?? 0) * 1000;
  return time > 0 && time <= MAX_TIMEOUT_MS ? time : 0;
}

/** @throws RangeError where this is no timeout, such as the time left until a moment that is past */
export function requireTimeout(timeout: number | null): void {
  if (timeout === null || timeout >= 0) return;
  throw new RangeError(`a timeout is a number of seconds, or null for ever, and not ${timeout}`);
}

/** How the object is called that a URI leads to. @throws ProtocolError `unsupported protocol` */
function protocolOf({ protocol }: PyroURI): ObjectProtocol {
  const found = PROTOCOLS.get(protocol);
  if (found === undefined) throw new ProtocolError(refusalText('PROTOCOL_UNSUPPORTED'), protocol);
  return found;
}

import { setTimeout as delay } from 'node:timers/promises';
import { defaultConfig, defaultLog, type Config, type Log } from '../config/index.js';
import { ConnectionClosedError, ProtocolError, TimeoutError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { PyroURI } from '../names/index.js';
import type { PickleReadOptions, PythonValue, PythonWritable } from '../pickle/index.js';
import { MAX_TIMEOUT_MS, onAbort } from '../sync/index.js';
import { RequestFlag } from '../wire/index.js';
import { ObjectConnection, PROTOCOLS, protocolOf } from './object-connection.js';
import { pickleLimits, readOptionsOf } from './pickle-limits.js';
import { PendingConnection } from './pending-connection.js';
import { DefaultConnValidator } from './validators.js';

/** Options of adapters and proxies. By default, the process's configuration and log. */
export interface AdapterOptions {
  readonly config?: Config | undefined;
  readonly log?: Log | undefined;
  /**
   * Keep the types of results, so that they are written again as they came: ASCII unicode is a PythonUnicode, and a
   * float such as 2.0 a PythonFloat. By default these are strings and numbers, as programs expect.
   */
  readonly exactValues?: boolean | undefined;
}

/** When to stop waiting for the reply to a call. */
export interface InvocationOptions {
  /** How long to wait, in seconds; null or 0: no limit. */
  readonly timeout?: number | null | undefined;
  /** Stops waiting for the reply; the server still executes the call. */
  readonly signal?: AbortSignal | undefined;
}

/** Resolves the URI of an object, such as by a name server; called before each new connection. The signal aborts it. */
export type Locate = (signal: AbortSignal) => Promise<PyroURI>;

// Closes the connection of an adapter that was garbage-collected, as when Python drops a proxy. `close` flushes first,
// because one-way calls may still be queued.
const collectedAdapters = new FinalizationRegistry<ObjectConnection>((connection) => {
  void connection.close();
});

/**
 * The client side of the protocol for one URI: connects at the first call, and again at the first call after the
 * connection was lost. Pyro's `PYROAdapter`.
 */
export class PYROAdapter {
  /** The one-way methods: calls of them wait for no reply, and get no errors. */
  readonly onewayMethods = new Set<string>();
  private readonly config: Config;
  private readonly readOptions: PickleReadOptions;
  private uri: PyroURI;
  #timeout: number | null = null;
  private validator = new DefaultConnValidator();
  #identification: Buffer = Buffer.alloc(0);
  private pending: PendingConnection | undefined;
  private connection: ObjectConnection | undefined;

  /**
   * @param locate resolves the URI, if it is one (such as PYRONAME) that does not locate the object itself
   * @throws ProtocolError `unsupported protocol`
   */
  constructor(
    uri: PyroURI,
    readonly options: AdapterOptions = {},
    private readonly locate?: Locate,
  ) {
    if (locate === undefined) protocolOf(uri);
    this.config = options.config ?? defaultConfig();
    this.readOptions = readOptionsOf(pickleLimits(this.config), options.exactValues === true);
    this.uri = uri;
  }

  /** The URI of the object. A PYROLOC or PYRONAME URI is replaced by the object's own when the adapter is bound. */
  get URI(): PyroURI {
    return this.uri;
  }

  /** False while the URI still has to be resolved by `locate`. */
  get isLocated(): boolean {
    return PROTOCOLS.has(this.uri.protocol);
  }

  /**
   * The timeout of connecting, and of each call, in seconds. Null or 0, as with Pyro 3: no limit, but connecting is
   * limited by PYRO_HANDSHAKE_TIMEOUT. More than 24 days, which Node's timers can't wait, is no limit either.
   * @throws RangeError where a negative timeout is set
   */
  get timeout(): number | null {
    return this.#timeout;
  }

  set timeout(timeout: number | null) {
    requireTimeout(timeout);
    this.#timeout = timeout;
  }

  /** Sets the passphrase to identify with; null for none. Used for the next connection. It is never sent itself. */
  setIdentification(ident: string | null): void {
    this.setMungedIdentification(ident === null ? Buffer.alloc(0) : this.validator.mungeIdent(ident));
  }

  /** As `setIdentification`, with the digest of a passphrase (`mungeIdent`), such as that of another proxy. */
  setMungedIdentification(ident: Uint8Array): void {
    this.#identification = Buffer.from(ident);
  }

  /** Makes these methods one-way: calls of them wait for no reply, and get no errors. */
  setOneway(methods: string | readonly string[]): void {
    for (const method of typeof methods === 'string' ? [methods] : methods) this.onewayMethods.add(method);
  }

  /** Sets the validator that computes the token for a server's challenge. */
  setNewConnectionValidator(validator: DefaultConnValidator): void {
    this.validator = validator;
  }

  /** True while a connection is open. */
  connected(): boolean {
    return this.openConnection !== undefined;
  }

  /**
   * Connects, if no connection is open. Calls do that themselves.
   * @throws ProtocolError `connection failed`; ConnectionDeniedError with the server's reason; TimeoutError;
   *   NamingError `no object found by this name` where the daemon has no object with the name in a PYROLOC URI
   */
  async bindToURI(): Promise<void> {
    await this.bind();
  }

  /**
   * Closes the connection, and connects again, with retries.
   * @param tries how many attempts; no limit by default
   * @param wait the delay between two attempts, in seconds
   * @throws TimeoutError `connection lost` when all attempts have failed; the signal's reason
   */
  async rebindURI(tries = Infinity, wait = 1, signal?: AbortSignal): Promise<void> {
    const delayMs = Math.min(wait * 1000, MAX_TIMEOUT_MS);
    signal?.throwIfAborted();
    // If the signal aborts this, the old connection still finishes flushing in the background.
    await new Promise<void>((resolve, reject) => {
      const removeListener = onAbort(signal, reject);
      this.release().finally(removeListener).then(resolve, reject);
    });
    for (let failed = 0; failed < tries;) {
      try {
        await this.bind(signal);
        return;
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof ProtocolError)) throw error;
      }
      if (++failed < tries) await delay(delayMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
    throw new TimeoutError(refusalText('CONNECTION_LOST'));
  }

  /**
   * Closes the connection, or aborts opening it; then calls that wait for it reject with ConnectionClosedError. The
   * next call connects again.
   */
  async release(): Promise<void> {
    const { pending, connection } = this;
    this.pending = undefined;
    this.connection = undefined;
    pending?.abort(new ConnectionClosedError(refusalText('CONNECTION_LOST')));
    if (connection === undefined) return;
    this.log.msg('PYROAdapter', 'releasing connection');
    await connection.close();
  }

  /**
   * Calls a method of the object. Calls are pipelined: they may be made without waiting for earlier ones, and the
   * server executes them in their order.
   * @param flags how the arguments are packed: 0 as they are, or Varargs and Keywords, as Pyro's dynamic proxies do it
   * @returns the method's result; null for one-way methods, as soon as the call is queued
   * @throws the exception that the method raised: Pyro's own errors as their classes, others as a RemoteError;
   *   ProtocolError or a subclass where the call could not be sent, or its reply not be received; PickleError where an
   *   argument can't be pickled
   */
  async remoteInvocation(
    method: string,
    flags: number,
    args: readonly PythonWritable[],
    keywords?: ReadonlyMap<string, PythonWritable>,
    { signal, timeout = this.timeout }: InvocationOptions = {},
  ): Promise<PythonValue> {
    signal?.throwIfAborted();
    const oneway = this.onewayMethods.has(method) ? RequestFlag.Oneway : 0;
    const call = (connection: ObjectConnection): Promise<PythonValue> | null => {
      if (!oneway) return connection.call(method, args, { flags, keywords, timeoutMs: milliseconds(timeout), signal });
      connection.send(method, args, { flags: flags | oneway, keywords });
      return null;
    };
    const open = this.openConnection;
    return open === undefined ? this.whenOpen(call, timeout, signal) : call(open);
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

  /** The connection, if it is open: then a call is sent at once. */
  private get openConnection(): ObjectConnection | undefined {
    return this.connection?.isOpen === true ? this.connection : undefined;
  }

  private bind(signal?: AbortSignal): Promise<void> {
    if (this.openConnection !== undefined) return Promise.resolve();
    return this.whenOpen(() => undefined, this.timeout, signal);
  }

  /**
   * Makes a call on a new connection (single flight): calls made while it is being opened wait for the same connection.
   */
  private whenOpen<T>(
    call: (connection: ObjectConnection) => T | Promise<T>,
    timeout: number | null,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    if (this.pending === undefined || this.pending.isAborted) this.pending = this.open(timeout);
    return this.pending.whenOpen(call, milliseconds(timeout), signal);
  }

  /**
   * Begins to connect.
   * @param timeout that of the call that needs the connection; other waiting calls may have another
   */
  private open(timeout: number | null): PendingConnection {
    const defaultMs = this.config.PYRO_HANDSHAKE_TIMEOUT * 1000;
    const handshakeTimeoutMs = Math.max(milliseconds(this.timeout) || defaultMs, milliseconds(timeout) || defaultMs);
    const pending = new PendingConnection((signal) => this.connect(handshakeTimeoutMs, signal));
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

  private async connect(handshakeTimeoutMs: number, signal: AbortSignal): Promise<ObjectConnection> {
    const { config, readOptions, validator } = this;
    const uri = (await this.locate?.(signal)) ?? this.uri;
    const identification = this.#identification;
    const connection = await ObjectConnection.open(uri, {
      config,
      readOptions,
      identification,
      // It must not refer to the adapter, which could never be collected then.
      createAuthToken: (_same, challenge) => validator.createAuthToken(identification, challenge),
      handshakeTimeoutMs,
      signal,
    });
    collectedAdapters.register(this, connection, connection);
    void connection.closed.then(() => collectedAdapters.unregister(connection));
    this.log.msg('PYROAdapter', 'connected to', uri);
    if (connection.isNamed) {
      this.log.msg('PYROAdapter', 'resolving PYROLOC name:', uri.objectID);
      await connection.findObject({ timeoutMs: milliseconds(this.timeout), signal });
    }
    this.uri = connection.uri;
    return connection;
  }

  private get log(): Log {
    return this.options.log ?? defaultLog();
  }
}

/** Converts a timeout from seconds, null or 0 for no limit, to milliseconds, 0 for no limit. */
function milliseconds(timeout: number | null): number {
  const timeoutMs = (timeout ?? 0) * 1000;
  return timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS ? timeoutMs : 0;
}

/**
 * Checks a timeout in seconds.
 * @throws RangeError where it is negative, such as the time left until a deadline that has passed
 */
export function requireTimeout(timeout: number | null): void {
  if (timeout === null || timeout >= 0) return;
  throw new RangeError(`a timeout is a number of seconds, or null for ever, and not ${timeout}`);
}

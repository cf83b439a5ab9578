import type { Config } from '../config/index.js';
import { ProtocolError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { INTERNAL_DAEMON_GUID, PyroURI, type ObjectProtocol } from '../names/index.js';
import type { PickleReadOptions, PythonValue, PythonWritable } from '../pickle/index.js';
import { ClientConnection, decodeReply, encodeRequest } from '../wire/index.js';
import type { ClientConnectionOptions, ExceptionDescription } from '../wire/index.js';
import { readClientTLS } from './certificates.js';
import { errorOf } from './exceptions.js';

/** Options of `ObjectConnection.open`. */
export interface ObjectConnectionOptions {
  readonly config: Config;
  /** How the pickles of replies are read, with their limits. */
  readonly readOptions: PickleReadOptions;
  /** The munged identification; empty where there is none. */
  readonly identification: Uint8Array;
  /** Computes the token for the server's challenge; by default, as Pyro does. */
  readonly createAuthToken?: ClientConnectionOptions['createAuthToken'] | undefined;
  readonly handshakeTimeoutMs: number;
  /** The default timeout of a call; 0 or undefined: no limit. */
  readonly callTimeoutMs?: number | undefined;
  /** Aborts opening the connection. */
  readonly signal?: AbortSignal | undefined;
  /** Makes the error to throw of the exception in a reply; by default, Pyro's own errors as their classes, others as a RemoteError. */
  readonly errorOf?: ((exception: ExceptionDescription) => Error) | undefined;
}

/** How a request is packed. */
export interface RequestOptions {
  /** Request flags, such as Oneway; 0 by default. */
  readonly flags?: number | undefined;
  readonly keywords?: ReadonlyMap<string, PythonWritable> | undefined;
}

/** How a request is packed, and when to stop waiting for its reply. */
export interface CallOptions extends RequestOptions {
  /** 0: no limit. */
  readonly timeoutMs?: number | undefined;
  /** Stops waiting for the reply; the server still executes the call. */
  readonly signal?: AbortSignal | undefined;
}

const NO_KEYWORDS: ReadonlyMap<string, PythonWritable> = new Map();

/** The protocols of URIs whose objects can be called, and the protocol of the URI after PYROLOC is resolved. */
export const PROTOCOLS: ReadonlyMap<string, ObjectProtocol> = new Map([
  ['PYRO', 'PYRO'],
  ['PYROSSL', 'PYROSSL'],
  ['PYROLOC', 'PYRO'],
  ['PYROLOCSSL', 'PYROSSL'],
]);

/** A client's connection to one object. It does not reconnect: `PYROAdapter` does. */
export class ObjectConnection {
  private constructor(
    private readonly connection: ClientConnection,
    private target: PyroURI,
    private readonly options: ObjectConnectionOptions,
  ) {}

  /**
   * Connects to the daemon of the object.
   * @param uri of the object; if it is a PYROLOC URI, call `findObject` first
   * @throws ProtocolError `unsupported protocol`, and as `ClientConnection.open`
   */
  static async open(uri: PyroURI, options: ObjectConnectionOptions): Promise<ObjectConnection> {
    const { config, identification, createAuthToken, handshakeTimeoutMs, signal } = options;
    const protocol = protocolOf(uri);
    const connection = await ClientConnection.open(uri.address, uri.port, {
      compression: config.PYRO_COMPRESSION,
      checksum: config.PYRO_CHECKSUM,
      keepAlive: config.PYRO_SOCK_KEEPALIVE,
      limits: { maxBodySize: config.PYRO_MAX_MESSAGE_SIZE, maxInflatedSize: config.PYRO_MAX_INFLATED_SIZE },
      handshakeTimeoutMs,
      lookupTimeoutMs: config.PYRO_DNS_TIMEOUT * 1000,
      signal,
      tls: protocol === 'PYROSSL' ? await readClientTLS(config) : undefined,
      identification,
      ...(createAuthToken && { createAuthToken }),
    });
    return new ObjectConnection(connection, uri, options);
  }

  /** The object's URI. */
  get uri(): PyroURI {
    return this.target;
  }

  /** Resolves when the connection is closed, by either side. */
  get closed(): Promise<void> {
    return this.connection.closed;
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  /** Bytes that are queued in the socket. */
  get unsent(): number {
    return this.connection.socket.writableLength;
  }

  /** True for a PYROLOC URI: it has the object's name at its daemon, and not its id. */
  get isNamed(): boolean {
    return this.target.protocol !== protocolOf(this.target);
  }

  /**
   * Asks the daemon for the id of the object that has the name in the URI.
   * @throws as `call`; then the connection is closed
   */
  async findObject({ timeoutMs, signal }: Pick<CallOptions, 'timeoutMs' | 'signal'> = {}): Promise<void> {
    const { address, port, objectID: name } = this.target;
    const protocol = protocolOf(this.target);
    const { readOptions } = this.options;
    try {
      this.target = new PyroURI(protocol, address, port, INTERNAL_DAEMON_GUID);
      const objectID = await this.ask(
        'ResolvePYROLOC',
        [name],
        { timeoutMs, signal },
        { ...readOptions, unicode: 'text' },
      );
      if (typeof objectID !== 'string') throw new ProtocolError(refusalText('ANSWER_INVALID'));
      this.target = new PyroURI(protocol, address, port, objectID);
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  /**
   * Calls a method. Calls are pipelined: they may be made without waiting for earlier ones.
   * @throws the exception that the method raised; ProtocolError or a subclass where the call could not be sent, or its
   *   reply not be received; PickleError where an argument can't be pickled; the signal's reason
   */
  call(method: string, args: readonly PythonWritable[], options: CallOptions = {}): Promise<PythonValue> {
    return this.ask(method, args, options, this.options.readOptions);
  }

  /** Sends a one-way request, as its flags say. @throws ConnectionClosedError; PickleError */
  send(method: string, args: readonly PythonWritable[], options?: RequestOptions): void {
    this.connection.send(this.request(method, args, options));
  }

  /** Flushes, and closes the connection. */
  close(): Promise<void> {
    return this.connection.close();
  }

  /** Closes the connection at once, without flushing. */
  destroy(): void {
    this.connection.destroy();
  }

  private request(
    method: string,
    args: readonly PythonWritable[],
    { flags = 0, keywords = NO_KEYWORDS }: RequestOptions = {},
  ): Buffer {
    const { objectID } = this.target;
    return encodeRequest({ objectID, method, flags, args, keywords }, this.options.config.PYRO_PICKLE_FORMAT);
  }

  private async ask(
    method: string,
    args: readonly PythonWritable[],
    options: CallOptions,
    readOptions: PickleReadOptions,
  ): Promise<PythonValue> {
    const { timeoutMs = this.options.callTimeoutMs, signal } = options;
    const body = await this.connection.call(this.request(method, args, options), { timeout: timeoutMs, signal });
    const reply = decodeReply(body, readOptions);
    if (!('exception' in reply)) return reply.value;
    throw (this.options.errorOf ?? errorOf)(reply.exception);
  }
}

/** The protocol by which the object of a URI is called. @throws ProtocolError `unsupported protocol` */
export function protocolOf({ protocol }: PyroURI): ObjectProtocol {
  const found = PROTOCOLS.get(protocol);
  if (found === undefined) throw new ProtocolError(refusalText('PROTOCOL_UNSUPPORTED'), protocol);
  return found;
}

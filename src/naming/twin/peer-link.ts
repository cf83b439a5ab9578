import type { Config } from '../../config/index.js';
import { ProtocolError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { INTERNAL_DAEMON_GUID, NAMESERVER_NAME, PyroURI, type ObjectProtocol } from '../../names/index.js';
import type { PythonValue, PythonWritable } from '../../pickle/index.js';
import { pickleLimits, readClientTLS, RemoteError } from '../../rpc/index.js';
import { ClientConnection, decodeReply, encodeRequest, mungeIdentification } from '../../wire/index.js';

/** The timeout of a call of the twin. */
const CALL_TIMEOUT_MS = 15_000;

/** The timeout of opening a connection: shorter, because the clients of a starting server wait for it. */
const OPEN_TIMEOUT_MS = 3000;

/** The address of the other name server. */
export interface PeerAddress {
  readonly host: string;
  readonly port: number;
}

export interface PeerOptions {
  readonly config: Config;
  /** PYROSSL if both servers use TLS. */
  readonly protocol: ObjectProtocol;
  /** The passphrase that both servers have. */
  readonly identification?: string | undefined;
}

/** The part of a `PeerConnection` that the rest of this folder uses. */
export type PeerLink = Pick<PeerConnection, 'uri' | 'closed' | 'isOpen' | 'unsent' | 'call' | 'send' | 'close'>;

/** A connection to the name server object of another name server. It does not reconnect. */
export class PeerConnection {
  private constructor(
    private readonly connection: ClientConnection,
    /** The URI of the other's name server object. */
    readonly uri: PyroURI,
    private readonly config: Config,
  ) {}

  /**
   * Connects to a name server, and asks its daemon which object it is.
   * @throws ConnectionDeniedError where it doesn't let us in; ProtocolError, RemoteError where there is none
   */
  static async open(
    { host, port }: PeerAddress,
    { config, protocol, identification }: PeerOptions,
  ): Promise<PeerConnection> {
    const connection = await ClientConnection.open(host, port, {
      compression: config.PYRO_COMPRESSION,
      checksum: config.PYRO_CHECKSUM,
      keepAlive: config.PYRO_SOCK_KEEPALIVE,
      limits: { maxBodySize: config.PYRO_MAX_MESSAGE_SIZE, maxInflatedSize: config.PYRO_MAX_INFLATED_SIZE },
      handshakeTimeoutMs: OPEN_TIMEOUT_MS,
      lookupTimeoutMs: config.PYRO_DNS_TIMEOUT * 1000,
      tls: protocol === 'PYROSSL' ? await readClientTLS(config) : undefined,
      identification: identification === undefined ? Buffer.alloc(0) : mungeIdentification(identification),
    });
    try {
      const daemon = new PeerConnection(connection, new PyroURI(protocol, host, port, INTERNAL_DAEMON_GUID), config);
      const objectID = await daemon.call('ResolvePYROLOC', [NAMESERVER_NAME]);
      if (typeof objectID !== 'string') throw new ProtocolError(refusalText('ANSWER_INVALID'));
      return new PeerConnection(connection, new PyroURI(protocol, host, port, objectID), config);
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  /** Resolves when the connection is closed, for whatever reason. */
  get closed(): Promise<void> {
    return this.connection.closed;
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  /** How many bytes are queued that the other side has not taken yet. */
  get unsent(): number {
    return this.connection.socket.writableLength;
  }

  /**
   * Calls a method. Calls are pipelined.
   * @param timeout in milliseconds
   * @throws RemoteError with the exception that the method raised; ProtocolError or a subclass
   */
  async call(method: string, args: readonly PythonWritable[], timeout = CALL_TIMEOUT_MS): Promise<PythonValue> {
    const replied = await this.connection.call(this.request(method, 0, args), { timeout });
    const reply = decodeReply(replied, pickleLimits(this.config));
    if (!('exception' in reply)) return reply.value;
    const { module, className, args: details } = reply.exception;
    throw new RemoteError(module, className, details);
  }

  /** Makes a one-way call. @throws ConnectionClosedError */
  send(method: string, flags: number, args: readonly PythonWritable[]): void {
    this.connection.send(this.request(method, flags, args));
  }

  close(): void {
    this.connection.destroy();
  }

  private request(method: string, flags: number, args: readonly PythonWritable[]): Buffer {
    const request = { objectID: this.uri.objectID, method, flags, args, keywords: new Map() };
    return encodeRequest(request, this.config.PYRO_PICKLE_FORMAT);
  }
}

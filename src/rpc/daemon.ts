import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { hostname as machineName } from 'node:os';
import type { Config, Log } from '../config/index.js';
import { DaemonError, NamingError, ProtocolError } from '../errors.js';
import { INTERNAL_DAEMON_GUID, PyroURI } from '../names/index.js';
import { PickleError, type PickleReadOptions } from '../pickle/index.js';
import {
  decodeRequest,
  encodeException,
  encodeReply,
  isOneway,
  ServerConnection,
  type CallRequest,
  type Reply,
  type ServerConnectionOptions,
} from '../wire/index.js';
import { resolveAddress } from './address.js';
import { DaemonServant } from './daemon-servant.js';
import { describeException } from './exceptions.js';
import { Pickled, type Answer, type Servant } from './servant.js';
import { DefaultConnValidator, type GuardedDaemon } from './validators.js';

/** What a daemon asks of a name server: a proxy of one, or the object itself in the name server's own process. */
export interface NameServerObject {
  register(name: string, uri: PyroURI): Promise<unknown>;
  unregister(name: string): Promise<unknown>;
  resolve(name: string): Promise<PyroURI>;
}

export interface DaemonOptions {
  readonly config: Config;
  readonly log: Log;
  /** The host name or address to listen on; PYRO_HOST by default, and all addresses where that is empty. */
  readonly host?: string | undefined;
  /** The first port to try; PYRO_PORT by default. With `norange`, 0 lets the system choose. */
  readonly port?: number | undefined;
  /** Only this very port, instead of PYRO_PORT_RANGE ports from it upwards. */
  readonly norange?: boolean | undefined;
  /** The host name that URIs of this daemon's objects have; PYRO_PUBLISHHOST by default, else the host. */
  readonly publishHost?: string | undefined;
}

interface Implementation {
  readonly servant: Servant;
  readonly name: string | undefined;
}

/**
 * Accepts and dispatches calls to the objects connected to it, as Pyro's `Daemon` does.
 */
export class Daemon implements GuardedDaemon, AsyncDisposable {
  private readonly server: Server;
  private readonly connections = new Set<ServerConnection>();
  private readonly implementations = new Map<string, Implementation>();
  private readonly persistentIDs = new Set<string>();
  private readonly config: Config;
  private readonly log: Log;
  private validator = new DefaultConnValidator();
  private nameServer: NameServerObject | undefined;
  private boundAddress: AddressInfo | undefined;
  private readonly pickleLimits: PickleReadOptions;

  private constructor(
    options: DaemonOptions,
    /** The host name as published. */
    readonly hostname: string,
    /** The address that URIs have: the published host's IPv4 address, or with PYRO_DNS_URI its name. */
    readonly address: string,
  ) {
    this.config = options.config;
    this.log = options.log;
    this.pickleLimits = { objects: this.config.PYRO_MAX_PICKLE_OBJECTS };
    this.server = createServer({ noDelay: true, keepAlive: this.config.PYRO_SOCK_KEEPALIVE }, (socket) => {
      this.accept(socket);
    });
    const internal = new DaemonServant(this);
    this.implementations.set(INTERNAL_DAEMON_GUID, { servant: internal, name: '__PYRO_Internal_Daemon' });
  }

  /**
   * Starts listening.
   * @throws DaemonError where no port of the range is free, or a host is not known
   */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const { config } = options;
    const host = options.host ?? config.PYRO_HOST;
    const hostname = (options.publishHost ?? config.PYRO_PUBLISHHOST ?? host) || machineName();
    const address = config.PYRO_DNS_URI ? hostname : await addressOf(hostname);
    const daemon = new Daemon(options, hostname, address);
    await daemon.listen(host === '' ? '0.0.0.0' : await addressOf(host), options);
    return daemon;
  }

  /** The port listened on. */
  get port(): number {
    return this.listening.port;
  }

  /** Where the daemon listens: address and port. */
  get listening(): AddressInfo {
    if (this.boundAddress === undefined) throw new DaemonError('the daemon is not listening');
    return this.boundAddress;
  }

  get connectionCount(): number {
    return this.connections.size;
  }

  get maxConnections(): number {
    return this.config.PYRO_MAXCONNECTIONS;
  }

  /** The name server that objects with a name are registered with. */
  useNameServer(nameServer: NameServerObject): void {
    this.nameServer = nameServer;
  }

  /** Lets in only clients with one of these passphrases; null lets in everybody. */
  setAllowedIdentifications(ids: readonly string[] | null): void {
    this.validator.setAllowedIdentifications(ids);
  }

  setNewConnectionValidator(validator: DefaultConnValidator): void {
    this.validator = validator;
  }

  /**
   * Serves an object, and registers it with the name server if it has a name and there is a name server.
   * @throws NamingError where the name is taken or not valid
   */
  async connect(servant: Servant, name?: string): Promise<PyroURI> {
    const uri = this.uriOf(servant);
    if (name !== undefined) {
      if (this.nameServer) await this.nameServer.register(name, uri);
      else this.log.warn('Daemon', 'connecting object without name server specified:', name);
    }
    this.implementations.set(uri.objectID, { servant, name });
    return uri;
  }

  /**
   * Serves an object under the id that it is registered with, if that registration leads to this daemon: so that its
   * URI survives a restart. Else an old registration is replaced.
   */
  async connectPersistent(servant: Servant, name?: string): Promise<PyroURI> {
    const registered = name === undefined ? undefined : await this.registeredURI(name);
    if (name !== undefined && registered !== undefined) {
      const own = this.uriOf(servant);
      if (registered.protocol === own.protocol && registered.address === own.address && registered.port === own.port) {
        servant.setGUID(registered.objectID);
        this.implementations.set(registered.objectID, { servant, name });
        this.persistentIDs.add(registered.objectID);
        return registered;
      }
      await this.unregister(name);
    }
    const uri = await this.connect(servant, name);
    this.persistentIDs.add(uri.objectID);
    return uri;
  }

  /** Serves an object no longer, and removes its registration. */
  async disconnect(servant: Servant): Promise<void> {
    const guid = servant.GUID();
    const implementation = this.implementations.get(guid);
    if (guid === INTERNAL_DAEMON_GUID || implementation === undefined) return;
    if (implementation.name !== undefined) await this.unregister(implementation.name);
    this.implementations.delete(guid);
    this.persistentIDs.delete(guid);
  }

  getRegistered(): ReadonlyMap<string, string | undefined> {
    return new Map([...this.implementations].map(([guid, { name }]) => [guid, name]));
  }

  /**
   * Stops: no new connections, requests under way are answered, then connections are closed and the port is free.
   * @param disconnect unregister the objects too, but for those connected persistently
   */
  async shutdown(disconnect = false): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.server.close(() => {
        resolve();
      });
    });
    if (disconnect) await this.disconnectObjects();
    await Promise.all([...this.connections].map((connection) => connection.end()));
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown(true);
  }

  toString(): string {
    return `<Pyro Daemon on ${this.hostname}:${this.port}>`;
  }

  private async listen(address: string, options: DaemonOptions): Promise<void> {
    const first = options.port ?? this.config.PYRO_PORT;
    const tries = options.norange === true ? 1 : this.config.PYRO_PORT_RANGE;
    for (let port = first; ; port++) {
      try {
        this.boundAddress = await this.listenOn(address, port);
        return;
      } catch (error) {
        if (port + 1 < first + tries && port < 65535) continue;
        const reason = error instanceof Error ? error.message : String(error);
        throw new DaemonError(`Couldn't start Pyro daemon: ${reason}`);
      }
    }
  }

  private listenOn(host: string, port: number): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen({ host, port, backlog: this.config.PYRO_TCP_LISTEN_BACKLOG }, () => {
        this.server.off('error', reject);
        this.server.on('error', (error) => {
          this.log.error('Daemon', 'accepting a connection failed:', error);
        });
        const bound = this.server.address();
        if (bound === null || typeof bound === 'string') reject(new DaemonError('not listening on a TCP port'));
        else resolve(bound);
      });
    });
  }

  private accept(socket: Socket): void {
    const { config, log } = this;
    const connection = new ServerConnection(socket, connectionOptions(config));
    this.connections.add(connection);
    void connection.closed.then(() => {
      this.connections.delete(connection);
      log.msg('TCPServer', 'removed connection', connection, '#conns=', this.connections.size);
    });
    void this.open(connection);
  }

  private async open(connection: ServerConnection): Promise<void> {
    const { validator } = this;
    const accepted = await connection.open({
      acceptHost: () => validator.acceptHost(this, connection),
      createAuthChallenge: () => validator.createAuthChallenge(this, connection),
      acceptIdentification: (_connection, token, challenge) =>
        validator.acceptIdentification(this, connection, token, challenge),
    });
    if (!accepted) {
      this.log.warn('TCPServer', 'connection not accepted:', connection);
      return;
    }
    this.log.msg('TCPServer', 'new connection', connection, '#conns=', this.connections.size);
    connection.serve((body) => this.answer(body, connection));
  }

  /** Answers the body of a request; without a promise where the object answers without one. */
  private answer(body: Buffer, connection: ServerConnection): Reply | Promise<Reply> {
    const call = this.read(body);
    const implementation = this.implementations.get(call.objectID);
    if (implementation === undefined) throw new ProtocolError('unknown object ID');
    const oneway = isOneway(call);
    try {
      const answer = implementation.servant.invoke(call, connection);
      if (!(answer instanceof Promise)) return oneway ? undefined : this.encode(answer);
      const reply = answer.then(
        (value) => (oneway ? undefined : this.encode(value)),
        (error: unknown) => this.encodeError(error, call),
      );
      // Like Pyro's thread per one-way call: the next request doesn't wait for it.
      return oneway && this.config.PYRO_ONEWAY_THREADED ? undefined : reply;
    } catch (error) {
      return this.encodeError(error, call);
    }
  }

  private read(body: Buffer): CallRequest {
    try {
      return decodeRequest(body, this.pickleLimits);
    } catch (error) {
      if (error instanceof PickleError) throw new ProtocolError(`invalid request data format: ${error.message}`);
      throw error;
    }
  }

  private encode(answer: Answer): Reply {
    return answer instanceof Pickled ? answer.pieces : encodeReply(answer, this.config.PYRO_PICKLE_FORMAT);
  }

  private encodeError(error: unknown, call: CallRequest): Reply {
    this.log.warn('Daemon', 'exception during processing of', call.method, 'for object', call.objectID, error);
    if (isOneway(call)) return undefined;
    return encodeException(describeException(error), this.config.PYRO_PICKLE_FORMAT);
  }

  private uriOf(servant: Servant): PyroURI {
    return new PyroURI('PYRO', this.address, this.port, servant.GUID());
  }

  private async registeredURI(name: string): Promise<PyroURI | undefined> {
    try {
      return await this.nameServer?.resolve(name);
    } catch (error) {
      if (error instanceof NamingError) return undefined;
      throw error;
    }
  }

  private async unregister(name: string): Promise<void> {
    try {
      await this.nameServer?.unregister(name);
    } catch (error) {
      // Gone already is as good.
      if (!(error instanceof NamingError)) throw error;
    }
  }

  private async disconnectObjects(): Promise<void> {
    for (const [guid, { name }] of this.implementations) {
      if (name === undefined || guid === INTERNAL_DAEMON_GUID || this.persistentIDs.has(guid)) continue;
      await this.unregister(name).catch((error: unknown) => {
        this.log.warn('Daemon', 'unregistering an object at shutdown failed:', name, error);
      });
    }
    this.implementations.clear();
  }
}

/** The configuration items that are about connections, in the wire's terms. */
function connectionOptions(config: Config): Partial<ServerConnectionOptions> {
  return {
    compression: config.PYRO_COMPRESSION,
    checksum: config.PYRO_CHECKSUM,
    keepAlive: config.PYRO_SOCK_KEEPALIVE,
    limits: { maxBodySize: config.PYRO_MAX_MESSAGE_SIZE, maxInflatedSize: config.PYRO_MAX_INFLATED_SIZE },
    handshakeTimeout: config.PYRO_HANDSHAKE_TIMEOUT * 1000,
    idleTimeout: config.PYRO_IDLE_TIMEOUT * 1000,
    maxUnsentReplies: config.PYRO_MAX_UNSENT_SIZE,
  };
}

async function addressOf(host: string): Promise<string> {
  try {
    return await resolveAddress(host);
  } catch {
    throw new DaemonError(`Couldn't start Pyro daemon: no IP address known for host '${host}'`);
  }
}

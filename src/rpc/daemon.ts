import type { AddressInfo, Server } from 'node:net';
import { hostname as machineName } from 'node:os';
import { defaultConfig, defaultLog, PeerLog, type Config, type Log } from '../config/index.js';
import { DaemonError, NamingError, ProtocolError, PyroError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { INTERNAL_DAEMON_GUID, isUsableObjectID, PyroURI, type ObjectProtocol } from '../names/index.js';
import { PickleError, type PickleReadOptions } from '../pickle/index.js';
import {
  decodeRequest,
  encodeException,
  encodeReply,
  isOneway,
  Pickled,
  type CallRequest,
  type Certificates,
  type FrameLimits,
  type Reply,
  type ServerConnection,
} from '../wire/index.js';
import type { AdapterOptions } from './adapter.js';
import { resolveAddress } from './address.js';
import { RegistrationBarrier } from './registration-barrier.js';
import { readCertificates } from './certificates.js';
import { DaemonServant } from './daemon-servant.js';
import { describeException } from './exceptions.js';
import { getCaller, ObjBase } from './objects.js';
import { OnewayCalls } from './oneway-calls.js';
import { pickleLimits, readOptionsOf } from './pickle-limits.js';
import { isServant, type Answer, type Servant } from './servant.js';
import { TCPServer, type ConnectionCounts } from './tcp-server.js';
import type { DefaultConnValidator } from './validators.js';

/**
 * What a daemon needs of a name server: a proxy has it, and so has the name server object itself, in its own process.
 */
export interface NameServerObject {
  register(name: string, uri: PyroURI): Promise<unknown>;
  unregister(name: string): Promise<unknown>;
  resolve(name: string): Promise<PyroURI>;
}

/** Options of a daemon. The defaults come from the configuration. */
export interface DaemonOptions {
  /** PYRO by default; PYROSSL is the same over TLS, with the certificates of the PYROSSL_* items. */
  readonly protocol?: ObjectProtocol | undefined;
  /** The host name or address to listen on; PYRO_HOST by default, and all addresses where that is empty. */
  readonly host?: string | undefined;
  /** The first port to try; PYRO_PORT by default. With `norange`, 0 lets the system choose. */
  readonly port?: number | undefined;
  /** Try only this port; by default, PYRO_PORT_RANGE ports from it upwards are tried. */
  readonly norange?: boolean | undefined;
  /** The host name in the URIs of this daemon's objects; PYRO_PUBLISHHOST by default, else the host. */
  readonly publishHost?: string | undefined;
  /** This process's configuration by default. */
  readonly config?: Config | undefined;
  readonly log?: Log | undefined;
  /**
   * The most bytes of a message, as sent and after decompression; PYRO_MAX_MESSAGE_SIZE and PYRO_MAX_INFLATED_SIZE by
   * default.
   */
  readonly maxMessageSize?: number | undefined;
  /** The memory budget, in bytes, for all large messages while they arrive; PYRO_MAX_INCOMING_SIZE by default. */
  readonly maxIncomingSize?: number | undefined;
  /** The most containers, memo entries and members of one tuple in a message; PYRO_MAX_PICKLE_OBJECTS by default. */
  readonly maxPickleObjects?: number | undefined;
  /**
   * Keep the types of arguments, so that they are written again as they came: ASCII unicode is a PythonUnicode, and a
   * float such as 2.0 a PythonFloat. By default these are strings and numbers, as programs expect.
   */
  readonly exactValues?: boolean | undefined;
}

/** The options with their defaults filled in. */
interface Settings {
  readonly protocol: ObjectProtocol;
  readonly hostname: string;
  readonly address: string;
  readonly config: Config;
  readonly log: Log;
  readonly certificates: Certificates | undefined;
  readonly exactValues: boolean;
  readonly limits: FrameLimits;
  readonly maxIncomingSize: number;
  readonly maxPickleObjects: number;
}

interface Implementation {
  readonly servant: Servant;
  readonly name: string | undefined;
}

/**
 * Accepts connections, and dispatches calls to the objects connected to it, as Pyro's `Daemon` does. `Daemon.start`
 * starts one; it listens until `shutdown`, or until the scope of an `await using` ends.
 */
export class Daemon implements AsyncDisposable {
  readonly protocol: ObjectProtocol;
  /** The published host name. */
  readonly hostname: string;
  /** The address in URIs: the published host's IPv4 address, or with PYRO_DNS_URI its name. */
  readonly address: string;
  private readonly config: Config;
  private readonly log: Log;
  private readonly peerLog: PeerLog;
  private readonly exactValues: boolean;
  private readonly tcpServer: TCPServer;
  private readonly implementations = new Map<string, Implementation>();
  private readonly persistentIDs = new Set<string>();
  /** The ObjBase of each plain object, to find it again when the object is disconnected. */
  private readonly wrappers = new WeakMap<object, ObjBase>();
  private readonly onewayCalls = new WeakMap<ServerConnection, OnewayCalls>();
  private readonly registrationBarrier = new RegistrationBarrier();
  private readonly readOptions: PickleReadOptions;
  private nameServer: NameServerObject | undefined;
  private cleanupTimer: NodeJS.Timeout | undefined;

  private constructor(settings: Settings) {
    const { config, log, exactValues, maxPickleObjects } = settings;
    this.protocol = settings.protocol;
    this.hostname = settings.hostname;
    this.address = settings.address;
    this.config = config;
    this.log = log;
    this.peerLog = new PeerLog(log);
    this.exactValues = exactValues;
    this.readOptions = readOptionsOf(pickleLimits(config, maxPickleObjects), exactValues);
    this.tcpServer = new TCPServer({
      ...settings,
      handler: (body, connection) => this.dispatch(body, connection),
    });
    const internal = new DaemonServant(this);
    this.implementations.set(INTERNAL_DAEMON_GUID, { servant: internal, name: '__PYRO_Internal_Daemon' });
  }

  /**
   * Starts a daemon: resolves when it listens.
   * @throws DaemonError where no port of the range is free, or a host name can't be resolved
   * @throws ConfigError where a certificate can't be read
   */
  static async start(options: DaemonOptions = {}): Promise<Daemon> {
    const { protocol = 'PYRO', config = defaultConfig(), log = defaultLog() } = options;
    const host = options.host ?? config.PYRO_HOST;
    const hostname = (options.publishHost ?? config.PYRO_PUBLISHHOST ?? host) || machineName();
    const daemon = new Daemon({
      protocol,
      hostname,
      address: config.PYRO_DNS_URI ? hostname : await addressOf(hostname, config),
      config,
      log,
      certificates: protocol === 'PYROSSL' ? await readCertificates(config) : undefined,
      exactValues: options.exactValues === true,
      limits: {
        maxBodySize: options.maxMessageSize ?? config.PYRO_MAX_MESSAGE_SIZE,
        maxInflatedSize: options.maxMessageSize ?? config.PYRO_MAX_INFLATED_SIZE,
      },
      maxIncomingSize: options.maxIncomingSize ?? config.PYRO_MAX_INCOMING_SIZE,
      maxPickleObjects: options.maxPickleObjects ?? config.PYRO_MAX_PICKLE_OBJECTS,
    });
    const first = options.port ?? config.PYRO_PORT;
    const tries = options.norange === true ? 1 : config.PYRO_PORT_RANGE;
    await daemon.tcpServer.listen(host === '' ? '0.0.0.0' : await addressOf(host, config), first, tries);
    return daemon;
  }

  /** The port that the daemon listens on. */
  get port(): number {
    return this.listening.port;
  }

  /** The options of proxies that the daemon's objects receive, and of proxies of these objects. */
  get proxyOptions(): AdapterOptions {
    const { config, log, exactValues } = this;
    return { config, log, exactValues };
  }

  /** The address and port that the daemon listens on. */
  get listening(): AddressInfo {
    return this.tcpServer.listening;
  }

  /** The listening sockets, as in Pyro: an array of one. */
  getServerSockets(): Server[] {
    return [this.tcpServer.server];
  }

  /** The number of open connections. */
  get connectionCount(): number {
    return this.tcpServer.connectionCount;
  }

  /** The numbers of open connections, and of those accepted and refused since the start. */
  get connectionCounts(): ConnectionCounts {
    return this.tcpServer.connectionCounts;
  }

  /** Sets the name server that objects with a name are registered with. */
  useNameServer(nameServer: NameServerObject): void {
    this.nameServer = nameServer;
  }

  getNameServer(): NameServerObject | undefined {
    return this.nameServer;
  }

  /** Accepts only clients with one of these passphrases; null accepts everybody. */
  setAllowedIdentifications(ids: readonly string[] | null): void {
    this.tcpServer.validator.setAllowedIdentifications(ids);
  }

  setNewConnectionValidator(validator: DefaultConnValidator): void {
    this.tcpServer.validator = validator;
  }

  getNewConnectionValidator(): DefaultConnValidator {
    return this.tcpServer.validator;
  }

  /**
   * Serves an object: a Servant such as an ObjBase, or any other, which gets an ObjBase as adapter. An object with a
   * name is registered with the name server, if there is one; an object without a name is transient. Calls of unknown
   * objects wait while others are being connected, and until the first one is, at most 10 seconds: see
   * RegistrationBarrier.
   * @returns the object's URI
   * @throws NamingError where the name exists already, or is not valid
   */
  connect(object: object, name?: string): Promise<PyroURI> {
    return this.registrationBarrier.track(this.register(object, name));
  }

  private async register(object: object, name: string | undefined): Promise<PyroURI> {
    const servant = this.servantOf(object);
    const uri = this.uriOf(servant);
    if (name !== undefined) {
      if (this.nameServer) await this.nameServer.register(name, uri);
      else this.log.warn('Daemon', 'connecting object without name server specified:', name);
    }
    this.serve(servant, name);
    return uri;
  }

  /**
   * Serves an object under the id of its registration, if the registered URI has this daemon's address and port: so the
   * URI survives a restart. A registration with another address is replaced; so is one with the id of another object of
   * this daemon, or with an unusable id, because anybody can register any URI.
   * @returns the object's URI
   * @throws NamingError where the name is not valid
   */
  connectPersistent(object: object, name?: string): Promise<PyroURI> {
    return this.registrationBarrier.track(this.registerPersistent(object, name));
  }

  private async registerPersistent(object: object, name: string | undefined): Promise<PyroURI> {
    const servant = this.servantOf(object);
    const registered = name === undefined ? undefined : await this.registeredURI(name);
    if (name !== undefined && registered !== undefined) {
      if (this.isOwn(registered) && this.mayTakeOver(registered, servant, name)) {
        servant.setGUID(registered.objectID);
        this.serve(servant, name);
        this.persistentIDs.add(registered.objectID);
        return registered;
      }
      await this.unregister(name);
    }
    const uri = await this.register(servant, name);
    this.persistentIDs.add(uri.objectID);
    return uri;
  }

  /** Stops serving an object, and removes its registration. @param object the object, or its id */
  async disconnect(object: object | string): Promise<void> {
    const guid = typeof object === 'string' ? object : this.servantOf(object).GUID();
    const implementation = this.implementations.get(guid);
    if (guid === INTERNAL_DAEMON_GUID || implementation === undefined) return;
    if (implementation.name !== undefined) await this.unregister(implementation.name);
    this.remove(guid, implementation);
  }

  /** The names of the connected objects, by their ids; undefined for transient ones. */
  getRegistered(): ReadonlyMap<string, string | undefined> {
    return new Map([...this.implementations].map(([guid, { name }]) => [guid, name]));
  }

  /** Resolves when no object is being connected any more; undefined if none is. @internal */
  get objectsSettled(): Promise<void> | undefined {
    return this.registrationBarrier.settled;
  }

  /** The object with that id; for a plain object that is its adapter. */
  getLocalObject(guid: string): Servant | undefined {
    return this.implementations.get(guid)?.servant;
  }

  /** The URI of an object, whether it is connected yet or not. */
  uriOf(object: object): PyroURI {
    return new PyroURI(this.protocol, this.address, this.port, this.servantOf(object).GUID());
  }

  /** Sets the idle time, in seconds, after which a transient object is dropped; 0 keeps them. */
  setTransientsCleanupAge(seconds: number): void {
    clearInterval(this.cleanupTimer);
    if (seconds <= 0) return;
    this.cleanupTimer = setInterval(() => {
      this.reapUnusedTransients(seconds * 1000);
    }, seconds * 200).unref();
  }

  /**
   * Graceful shutdown: accepts no new connections, finishes the requests in progress, closes all connections, and frees
   * the port. A remote method may call it: its caller gets its reply before its connection is closed.
   * @param disconnect also removes the registrations of the objects, except for those connected persistently
   */
  async shutdown(disconnect = false): Promise<void> {
    clearInterval(this.cleanupTimer);
    if (disconnect) await this.disconnectObjects();
    await this.tcpServer.close(getCaller());
    this.peerLog.flush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown(true);
  }

  toString(): string {
    return `<Pyro Daemon on ${this.hostname}:${this.port}>`;
  }

  /** Dispatches a request to its object. Synchronous if the object's method is. */
  private dispatch(body: Buffer, connection: ServerConnection): Reply | Promise<Reply> {
    const call = decodeRequest(body, this.readOptions);
    const implementation = this.implementations.get(call.objectID);
    if (implementation !== undefined) return this.invoke(implementation, call, connection);
    const { settled } = this.registrationBarrier;
    if (settled === undefined) throw unknownObject();
    return settled.then(() => {
      const arrived = this.implementations.get(call.objectID);
      if (arrived === undefined) throw unknownObject();
      return this.invoke(arrived, call, connection);
    });
  }

  private invoke({ servant }: Implementation, call: CallRequest, connection: ServerConnection): Reply | Promise<Reply> {
    try {
      const answer = servant.invoke(call, connection);
      if (!(answer instanceof Promise)) return isOneway(call) ? undefined : this.encode(answer);
      const reply = answer
        .then((value) => (isOneway(call) ? undefined : this.encode(value)))
        .catch((error: unknown) => this.encodeError(error, call, connection));
      return isOneway(call) && this.config.PYRO_ONEWAY_THREADED ? this.runInBackground(reply, connection) : reply;
    } catch (error) {
      return this.encodeError(error, call, connection);
    }
  }

  /**
   * Runs a one-way call in the background, like Pyro's thread for each: the connection's next request does not wait for
   * it, except where too many are in progress.
   */
  private runInBackground(call: Promise<Reply>, connection: ServerConnection): Promise<undefined> | undefined {
    let calls = this.onewayCalls.get(connection);
    if (calls === undefined) {
      calls = new OnewayCalls();
      this.onewayCalls.set(connection, calls);
    }
    return calls.begin(call, this.config.PYRO_MAX_ONEWAY_CALLS);
  }

  private encode(answer: Answer): Reply {
    return answer instanceof Pickled ? answer : encodeReply(answer, this.config.PYRO_PICKLE_FORMAT);
  }

  private encodeError(error: unknown, call: CallRequest, { remoteAddress }: ServerConnection): Reply {
    const { method, objectID } = call;
    this.peerLog.warn(remoteAddress, 'Daemon', 'exception during processing of', method, 'of object', objectID, error);
    if (isOneway(call)) return undefined;
    try {
      return encodeException(describeException(error), this.config.PYRO_PICKLE_FORMAT);
    } catch (reason) {
      // An exception may contain anything. As in Pyro 3, the caller gets an error that says that it can't be sent.
      const why = reason instanceof PickleError ? reason.message : 'it has no text';
      const instead = new PyroError(refusalText('EXCEPTION_UNSENDABLE', why));
      return encodeException(describeException(instead), this.config.PYRO_PICKLE_FORMAT);
    }
  }

  private servantOf(object: object): Servant {
    if (isServant(object)) return object;
    let wrapper = this.wrappers.get(object);
    if (wrapper === undefined) {
      wrapper = new ObjBase(object);
      this.wrappers.set(object, wrapper);
    }
    return wrapper;
  }

  private serve(servant: Servant, name: string | undefined): void {
    this.implementations.set(servant.GUID(), { servant, name });
    if (servant instanceof ObjBase) servant.setPyroDaemon(this);
  }

  private remove(guid: string, { servant }: Implementation): void {
    this.implementations.delete(guid);
    this.persistentIDs.delete(guid);
    if (servant instanceof ObjBase) servant.setPyroDaemon(undefined);
  }

  private isOwn({ protocol, address, port }: PyroURI): boolean {
    return protocol === this.protocol && address === this.address && port === this.port;
  }

  /** True if an object may take over the id of its registration; logs a warning if not. */
  private mayTakeOver({ objectID }: PyroURI, servant: Servant, name: string): boolean {
    const holder = this.implementations.get(objectID)?.servant;
    if (isUsableObjectID(objectID) && (holder === undefined || holder === servant)) return true;
    const reason = holder === undefined ? 'it is no usable object id' : 'another object of this daemon has it';
    this.log.warn('Daemon', 'the object gets a new id, not the one registered:', name, objectID, `(${reason})`);
    return false;
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
      // It is gone already.
      if (!(error instanceof NamingError)) throw error;
    }
  }

  private reapUnusedTransients(age: number): void {
    for (const [guid, implementation] of this.implementations) {
      const { servant, name } = implementation;
      if (name !== undefined || !(servant instanceof ObjBase) || Date.now() - servant.lastUsed <= age) continue;
      this.remove(guid, implementation);
      servant._gotReaped();
    }
  }

  private async disconnectObjects(): Promise<void> {
    for (const [guid, implementation] of this.implementations) {
      if (guid === INTERNAL_DAEMON_GUID) continue;
      const { name } = implementation;
      if (name !== undefined && !this.persistentIDs.has(guid)) {
        await this.unregister(name).catch((error: unknown) => {
          this.log.warn('Daemon', 'unregistering an object at shutdown failed:', name, error);
        });
      }
      this.remove(guid, implementation);
    }
  }
}

const unknownObject = (): ProtocolError => new ProtocolError(refusalText('OBJECT_UNKNOWN'));

async function addressOf(host: string, config: Config): Promise<string> {
  try {
    return await resolveAddress(host, { config });
  } catch {
    throw new DaemonError(refusalText('DAEMON_NOT_STARTED', `no IP address known for host '${host}'`));
  }
}

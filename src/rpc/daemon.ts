import type { AddressInfo, Server } from 'node:net';
import { hostname as machineName } from 'node:os';
import { defaultConfig, defaultLog, type Config, type Log } from '../config/index.js';
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
import { pickleLimits, readingOf } from './pickle-limits.js';
import { isServant, type Answer, type Servant } from './servant.js';
import { TCPServer, type ConnectionCounts } from './tcp-server.js';
import type { DefaultConnValidator } from './validators.js';

/** What a daemon asks of a name server: a proxy of one, or the object itself in the name server's own process. */
export interface NameServerObject {
  register(name: string, uri: PyroURI): Promise<unknown>;
  unregister(name: string): Promise<unknown>;
  resolve(name: string): Promise<PyroURI>;
}

/** How a daemon is started; the configuration says what is not given here. */
export interface DaemonOptions {
  /** PYRO by default; PYROSSL is the same within TLS, with the certificates of the PYROSSL_* items. */
  readonly protocol?: ObjectProtocol | undefined;
  /** The host name or address to listen on; PYRO_HOST by default, and all addresses where that is empty. */
  readonly host?: string | undefined;
  /** The first port to try; PYRO_PORT by default. With `norange`, 0 lets the system choose. */
  readonly port?: number | undefined;
  /** Only this very port, instead of PYRO_PORT_RANGE ports from it upwards. */
  readonly norange?: boolean | undefined;
  /** The host name that URIs of this daemon's objects have; PYRO_PUBLISHHOST by default, else the host. */
  readonly publishHost?: string | undefined;
  /** This process's configuration by default. */
  readonly config?: Config | undefined;
  readonly log?: Log | undefined;
  /** The largest message taken, in bytes, compressed or not; PYRO_MAX_MESSAGE_SIZE and PYRO_MAX_INFLATED_SIZE by default. */
  readonly maxMessageSize?: number | undefined;
  /** How many bytes large messages may have together while they arrive; PYRO_MAX_INCOMING_SIZE by default. */
  readonly maxIncomingSize?: number | undefined;
  /** How many containers, memo entries and members of one tuple a message may hold; PYRO_MAX_PICKLE_OBJECTS by default. */
  readonly maxPickleObjects?: number | undefined;
  /**
   * Give objects arguments that are written again as they came: ASCII unicode and whole floats keep their type. Else
   * they are the strings and numbers that programs expect.
   */
  readonly exactValues?: boolean | undefined;
}

/** The options, with all that was left out. */
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
 * Accepts and dispatches calls to the objects connected to it, as Pyro's `Daemon` does. Start one with `Daemon.start`;
 * it listens until `shutdown`, or until an `await using` ends.
 */
export class Daemon implements AsyncDisposable {
  readonly protocol: ObjectProtocol;
  /** The host name as published. */
  readonly hostname: string;
  /** The address that URIs have: the published host's IPv4 address, or with PYRO_DNS_URI its name. */
  readonly address: string;
  private readonly config: Config;
  private readonly log: Log;
  private readonly exactValues: boolean;
  private readonly tcpServer: TCPServer;
  private readonly implementations = new Map<string, Implementation>();
  private readonly persistentIDs = new Set<string>();
  /** What was made of plain objects, to find it again when they are disconnected. */
  private readonly wrappers = new WeakMap<object, ObjBase>();
  private readonly onewayCalls = new WeakMap<ServerConnection, OnewayCalls>();
  private readonly registrationBarrier = new RegistrationBarrier();
  private readonly reading: PickleReadOptions;
  private nameServer: NameServerObject | undefined;
  private cleanupTimer: NodeJS.Timeout | undefined;

  private constructor(settings: Settings) {
    const { config, log, exactValues, maxPickleObjects } = settings;
    this.protocol = settings.protocol;
    this.hostname = settings.hostname;
    this.address = settings.address;
    this.config = config;
    this.log = log;
    this.exactValues = exactValues;
    this.reading = readingOf(pickleLimits(config, maxPickleObjects), exactValues);
    this.tcpServer = new TCPServer({
      ...settings,
      handler: (body, connection) => this.answer(body, connection),
    });
    const internal = new DaemonServant(this);
    this.implementations.set(INTERNAL_DAEMON_GUID, { servant: internal, name: '__PYRO_Internal_Daemon' });
  }

  /**
   * Starts listening.
   * @throws DaemonError where no port of the range is free, or a host is not known
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

  /** The port listened on. */
  get port(): number {
    return this.listening.port;
  }

  /** What proxies are set up with that the daemon's objects are given, or give of themselves. */
  get proxyOptions(): AdapterOptions {
    const { config, log, exactValues } = this;
    return { config, log, exactValues };
  }

  /** Where the daemon listens: address and port. */
  get listening(): AddressInfo {
    return this.tcpServer.listening;
  }

  /** The sockets listened on: one. */
  getServerSockets(): Server[] {
    return [this.tcpServer.server];
  }

  /** How many connections are open. */
  get connectionCount(): number {
    return this.tcpServer.connectionCount;
  }

  /** How many connections are open, and were accepted and refused since the start. */
  get connectionCounts(): ConnectionCounts {
    return this.tcpServer.connectionCounts;
  }

  /** The name server that objects with a name are registered with. */
  useNameServer(nameServer: NameServerObject): void {
    this.nameServer = nameServer;
  }

  getNameServer(): NameServerObject | undefined {
    return this.nameServer;
  }

  /** Lets in only clients with one of these passphrases; null lets in everybody. */
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
   * Serves an object: a Servant such as an ObjBase, or any other, around which an ObjBase is put. Registers it with the
   * name server if it has a name and there is a name server; without a name it is transient. Calls of objects that aren't
   * there wait while others are being connected, and until the first one is, 10 seconds at most.
   * @throws NamingError where the name is taken or not valid
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
   * Serves an object under the id that it is registered with, if that registration leads to this daemon: so its URI
   * survives a restart. A registration that leads elsewhere is replaced; so is one with the id of another object of this
   * daemon, or an unusable id, because anybody can register any URI.
   * @throws NamingError where the name is not valid
   */
  connectPersistent(object: object, name?: string): Promise<PyroURI> {
    return this.registrationBarrier.track(this.reclaim(object, name));
  }

  private async reclaim(object: object, name: string | undefined): Promise<PyroURI> {
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

  /** Serves an object no longer, and removes its registration. An object is named by itself or by its id. */
  async disconnect(object: object | string): Promise<void> {
    const guid = typeof object === 'string' ? object : this.servantOf(object).GUID();
    const implementation = this.implementations.get(guid);
    if (guid === INTERNAL_DAEMON_GUID || implementation === undefined) return;
    if (implementation.name !== undefined) await this.unregister(implementation.name);
    this.drop(guid, implementation);
  }

  /** The names of the objects served, by their ids; undefined for transient ones. */
  getRegistered(): ReadonlyMap<string, string | undefined> {
    return new Map([...this.implementations].map(([guid, { name }]) => [guid, name]));
  }

  /** Resolves when no object is on its way any more; undefined where none is. @internal */
  get objectsSettled(): Promise<void> | undefined {
    return this.registrationBarrier.settled;
  }

  /** The object served under an id; what was given to `connect` is its delegate, where it was no Servant itself. */
  getLocalObject(guid: string): Servant | undefined {
    return this.implementations.get(guid)?.servant;
  }

  /** The URI of an object, whether it is served yet or not. */
  uriOf(object: object): PyroURI {
    return new PyroURI(this.protocol, this.address, this.port, this.servantOf(object).GUID());
  }

  /** Drops objects without a name that nobody called for so many seconds; 0 keeps them. */
  setTransientsCleanupAge(seconds: number): void {
    clearInterval(this.cleanupTimer);
    if (seconds <= 0) return;
    this.cleanupTimer = setInterval(() => {
      this.reapUnusedTransients(seconds * 1000);
    }, seconds * 200).unref();
  }

  /**
   * Stops: no new connections, requests under way are answered, then connections are closed and the port is free. A remote method
   * may ask for it: its own caller is answered before the last connection is closed.
   * @param disconnect unregister the objects too, but for those connected persistently
   */
  async shutdown(disconnect = false): Promise<void> {
    clearInterval(this.cleanupTimer);
    if (disconnect) await this.disconnectObjects();
    await this.tcpServer.close(getCaller());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown(true);
  }

  toString(): string {
    return `<Pyro Daemon on ${this.hostname}:${this.port}>`;
  }

  /** Answers the body of a request; without a promise where the object answers without one. */
  private answer(body: Buffer, connection: ServerConnection): Reply | Promise<Reply> {
    const call = decodeRequest(body, this.reading);
    const implementation = this.implementations.get(call.objectID);
    if (implementation !== undefined) return this.answerBy(implementation, call, connection);
    const { settled } = this.registrationBarrier;
    if (settled === undefined) throw unknownObject();
    return settled.then(() => {
      const arrived = this.implementations.get(call.objectID);
      if (arrived === undefined) throw unknownObject();
      return this.answerBy(arrived, call, connection);
    });
  }

  private answerBy(
    { servant }: Implementation,
    call: CallRequest,
    connection: ServerConnection,
  ): Reply | Promise<Reply> {
    try {
      const answer = servant.invoke(call, connection);
      if (!(answer instanceof Promise)) return isOneway(call) ? undefined : this.encode(answer);
      const reply = answer
        .then((value) => (isOneway(call) ? undefined : this.encode(value)))
        .catch((error: unknown) => this.encodeError(error, call));
      return isOneway(call) && this.config.PYRO_ONEWAY_THREADED ? this.goOn(reply, connection) : reply;
    } catch (error) {
      return this.encodeError(error, call);
    }
  }

  /** Like Pyro's thread per one-way call, the next request doesn't wait for this one; but for one of very many. */
  private goOn(call: Promise<Reply>, connection: ServerConnection): Promise<undefined> | undefined {
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

  private encodeError(error: unknown, call: CallRequest): Reply {
    this.log.warn('Daemon', 'exception during processing of', call.method, 'of object', call.objectID, error);
    if (isOneway(call)) return undefined;
    try {
      return encodeException(describeException(error), this.config.PYRO_PICKLE_FORMAT);
    } catch (reason) {
      // Anything may be thrown, with anything in it. As in Pyro 3, the caller is told of what can't be sent.
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

  private drop(guid: string, { servant }: Implementation): void {
    this.implementations.delete(guid);
    this.persistentIDs.delete(guid);
    if (servant instanceof ObjBase) servant.setPyroDaemon(undefined);
  }

  private isOwn({ protocol, address, port }: PyroURI): boolean {
    return protocol === this.protocol && address === this.address && port === this.port;
  }

  /** False, with a warning, where the id of a registration may not become that of this object. */
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
      // Gone already is as good.
      if (!(error instanceof NamingError)) throw error;
    }
  }

  private reapUnusedTransients(age: number): void {
    for (const [guid, implementation] of this.implementations) {
      const { servant, name } = implementation;
      if (name !== undefined || !(servant instanceof ObjBase) || Date.now() - servant.lastUsed <= age) continue;
      this.drop(guid, implementation);
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
      this.drop(guid, implementation);
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

import type { Socket } from 'node:dgram';
import type { AddressInfo, Server } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { defaultConfig, defaultLog, printable, VERSION, type Config, type Log } from '../config/index.js';
import { DaemonError, NamingError, PyroError, URIError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { NAMESERVER_NAME, type ObjectProtocol, type PyroURI } from '../names/index.js';
import {
  databaseOf,
  isEtcdURL,
  makeDirectory,
  MemoryNamespace,
  openNamespace,
  type Namespace,
  type NamespaceSize,
  type StoreStatus,
} from '../namespace/index.js';
import { Daemon, openFilesWarning, resolveAddress } from '../rpc/index.js';
import { MAX_TIMEOUT_MS } from '../sync/index.js';
import { AutoClean } from './auto-clean.js';
import { BroadcastServer } from './broadcast.js';
import { RequestMetrics } from './request-metrics.js';
import { ChangeFeed } from './change-feed.js';
import type { Guards, OperationGuard } from './security-plugins.js';
import { NameServerLocator } from './locator.js';
import { NameCount } from './name-count.js';
import { NameServer } from './name-server.js';
import type { NameServerStatus } from './status.js';
import { writeURIFile } from './uri-file.js';
import { Twin, TwinFinder, type TwinAddress, type TwinRole } from './twin/index.js';

/** Options of a start: those of `pyro-ns`, by their names in Pyro's `NameServerStarter.start`. */
export interface StartOptions {
  readonly hostname?: string | undefined;
  /** PYRO_NS_PORT by default; 0 lets the system choose. */
  readonly nsport?: number | undefined;
  /** Use TLS, with the certificates of the PYROSSL_* items. */
  readonly ssl?: boolean | undefined;
  /** Port of the broadcast listener: PYRO_NS_BC_PORT by default. */
  readonly bcport?: number | undefined;
  /** Its address, which is also used to search for other name servers: PYRO_NS_BC_ADDR by default. */
  readonly bcaddr?: string | undefined;
  /** Start no broadcast listener. */
  readonly nobroadcast?: boolean | undefined;
  /** Start even if there is another name server on the network segment. */
  readonly allowmultiple?: boolean | undefined;
  /** Don't search for another name server. */
  readonly dontlookupother?: boolean | undefined;
  /** Deny shutdown requests. */
  readonly keep?: boolean | undefined;
  /** Keep the namespace in a directory, or in etcd. */
  readonly persistent?: boolean | undefined;
  /** The database: a directory, absolute or relative to PYRO_STORAGE, or `etcd://host:port[,host:port...]/prefix`. */
  readonly dbdir?: string | undefined;
  /** Authorization of connections, operations and broadcasts: see `loadGuards`. */
  readonly guards?: Partial<Guards> | undefined;
  readonly verbose?: boolean | undefined;
  /** Measure calls: see `calls`. */
  readonly countCalls?: boolean | undefined;
  /** The role in a pair; undefined for a single server. A secondary's ports and addresses are the PYRO_NS2_* items. */
  readonly role?: TwinRole | undefined;
  /** The address of the other server of the pair; undefined: it is searched for. */
  readonly twin?: TwinAddress | undefined;
}

/** Options of a starter. Configuration and log are the process's by default. */
export interface StarterOptions {
  readonly config?: Config | undefined;
  readonly log?: Log | undefined;
  /** Prints a line that Pyro's starter prints, too; by default nothing is printed. */
  readonly print?: ((line: string) => void) | undefined;
  /** The passphrase that clients must have; undefined accepts everybody. */
  readonly identification?: string | undefined;
}

/** The options with their defaults filled in. */
interface Settings extends StarterOptions {
  readonly config: Config;
  readonly log: Log;
  readonly print: (line: string) => void;
}

/**
 * Starts and stops a name server within a program, like Pyro's class of this name. `pyro-ns` uses it. It wires the
 * parts: store, daemon, name server object, broadcast listener, twin.
 */
export class NameServerStarter implements AsyncDisposable {
  private daemon: Daemon | undefined;
  private namespace: Namespace | undefined;
  private nameServer: NameServer | undefined;
  private broadcastServer: BroadcastServer | undefined;
  private finder: TwinFinder | undefined;
  private twin: Twin | undefined;
  private autoClean: AutoClean | undefined;
  private readonly options: Settings;
  private starting: Promise<PyroURI> | undefined;
  private nameCount: NameCount | undefined;
  private changes: ChangeFeed | undefined;
  /** The metrics of calls; undefined without `countCalls`. */
  calls: RequestMetrics | undefined;
  private stopping: Promise<void> | undefined;
  private readonly stopRequest = new AbortController();
  private readonly since = Date.now() / 1000;
  private isStarted = false;
  private resolveStarted: () => void = () => undefined;
  private resolveStopped: () => void = () => undefined;
  private readonly started = new Promise<void>((resolve) => {
    this.resolveStarted = resolve;
  });

  /** Resolves when the name server has stopped, by `shutdown` or at the request of a client. */
  readonly stopped = new Promise<void>((resolve) => {
    this.resolveStopped = resolve;
  });

  constructor(options: StarterOptions = {}) {
    const { config = defaultConfig(), log = defaultLog(), print = () => undefined } = options;
    this.options = { ...options, config, log, print };
  }

  /**
   * Starts the name server: when this resolves, it serves clients. A starter can be used only once.
   * @returns its URI
   * @throws DaemonError where it can't listen, or was started or shut down before; NamingError where its database can't
   *   be used, where there is another name server on the network segment, or where it can't listen to broadcasts
   */
  async start(options: StartOptions = {}): Promise<PyroURI> {
    if (this.starting ?? this.stopping) throw new DaemonError(refusalText('STARTER_USED'));
    try {
      this.starting = this.listen(options);
      const uri = await this.starting;
      await this.twin?.start(uri);
      this.autoClean?.start();
      this.isStarted = true;
      this.resolveStarted();
      return uri;
    } catch (error) {
      await this.shutdown();
      throw error;
    }
  }

  /** Pyro's `start` without the request loop. Node needs no such loop, so this is the same as `start`. */
  initialize(options: StartOptions = {}): Promise<PyroURI> {
    return this.start(options);
  }

  /** The sockets that the name server listens on: the daemon's, then the broadcast listener's if it runs. */
  getServerSockets(): (Server | Socket)[] {
    const sockets: (Server | Socket)[] = [...(this.daemon?.getServerSockets() ?? [])];
    if (this.broadcastServer) sockets.push(this.broadcastServer.socket);
    return sockets;
  }

  /**
   * Waits for the name server to be ready.
   * @param timeout in seconds; no limit by default, and for more than 24 days, which Node's timers can't wait
   * @returns false if it is not ready in time, or has failed or stopped
   */
  async waitUntilStarted(timeout?: number | null): Promise<boolean> {
    const outcomes = [this.started.then(() => true), this.stopped.then(() => false)];
    const timeoutMs = (timeout ?? Infinity) * 1000;
    if (timeoutMs > MAX_TIMEOUT_MS) return Promise.race(outcomes);
    const expiry = new AbortController();
    const late = setTimeout(timeoutMs, false, { signal: expiry.signal }).catch(() => false);
    const result = await Promise.race([...outcomes, late]);
    expiry.abort();
    return result;
  }

  /** The state of the name server. @throws DaemonError where it does not run */
  async status(): Promise<NameServerStatus> {
    const { daemon, namespace, twin, autoClean, nameCount } = this;
    if (daemon === undefined || namespace === undefined) throw new DaemonError(refusalText('STARTER_NOT_RUNNING'));
    const { kind, problem, ...store } = namespace.status();
    const { endpoint = null, awaySeconds = null } = 'endpoint' in store ? store : {};
    return {
      version: VERSION,
      role: twin?.role ?? 'single',
      since: this.since,
      store: { kind, problem: problem ?? null, endpoint, awaySeconds },
      names: (await nameCount?.get()) ?? null,
      connections: daemon.connectionCounts,
      autoCleaned: autoClean?.removed ?? 0,
      twin: twin?.status() ?? null,
    };
  }

  /** The state of the store; undefined while the name server does not run. */
  get storeStatus(): StoreStatus | undefined {
    return this.namespace?.status();
  }

  /** Why clients are not served as they should be (readiness); undefined if they are. */
  get problem(): string | undefined {
    if (this.stopping) return 'the name server shuts down';
    if (!this.isStarted) return 'the name server is starting';
    return this.storeStatus?.problem;
  }

  /** Graceful shutdown: finishes the requests in progress, frees the port, closes the database. */
  shutdown(): Promise<void> {
    this.stopping ??= this.stop();
    return this.stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  private async listen(options: StartOptions): Promise<PyroURI> {
    const { print } = this.options;
    const verbose = (line: string): void => {
      if (options.verbose) print(line);
    };
    const warning = openFilesWarning(this.options.config);
    if (warning !== undefined) {
      print(`WARNING: ${warning}`);
      this.options.log.warn('NameServer', warning);
    }
    await this.makeStorage();
    const another = options.dontlookupother ? undefined : await this.lookForAnother(options);
    await this.locateTwin(options, another);
    // Before it listens: clients should not connect while we wait for the lock of the database.
    const namespace = await this.openNamespace(options);
    this.namespace = namespace;
    const daemon = await this.startDaemon(options);
    this.guard(daemon, options);
    const uri = await this.serve(daemon, namespace, options);
    const onLoopback = await isOnLoopback(daemon, this.options.config);
    this.broadcastServer = await this.startBroadcastServer(uri, onLoopback, options);
    if (!this.broadcastServer) verbose('Not starting broadcast server.');
    verbose(options.keep ? 'Will ignore shutdown requests.' : 'Will accept shutdown requests.');
    print(`Name server listening on: ${addressText(daemon.listening)}`);
    if (this.broadcastServer) {
      print(`Broadcast server listening on: ${addressText(this.broadcastServer.listening)}`);
    }
    if (onLoopback) print(`\nWARNING: ${LOOPBACK_WARNING}\n`);
    if (options.guards) guardLines(options.guards).forEach(verbose);
    await this.publish(uri);
    if (options.persistent) verbose(`Persistent mode, database is in ${this.databaseOf(options)}`);
    this.logStart(daemon);
    print(`${titleOf(options.role)}Name Server started.`);
    return uri;
  }

  private async stop(): Promise<void> {
    this.stopRequest.abort(new NamingError(refusalText('SHUTTING_DOWN')));
    // Waits for a start in progress, so that everything it has opened is closed.
    await this.starting?.catch(() => undefined);
    await this.broadcastServer?.close();
    this.autoClean?.stop();
    this.nameServer?.close();
    this.finder?.stop();
    await this.twin?.stop();
    await this.daemon?.shutdown();
    await this.namespace?.close();
    this.options.log.msg('NS daemon', 'Shut down gracefully.');
    this.resolveStopped();
  }

  /** Creates PYRO_STORAGE, as Pyro 3 does: by default it contains the URI file, the log and the database. */
  private async makeStorage(): Promise<void> {
    const { PYRO_STORAGE, PYRO_NS_SYNC } = this.options.config;
    await makeDirectory(PYRO_STORAGE, PYRO_NS_SYNC).catch((error: unknown) => {
      this.options.log.warn('NameServer', "Couldn't make PYRO_STORAGE", PYRO_STORAGE, error);
    });
  }

  /**
   * Searches for another name server on the network segment, with Pyro's timeout.
   * @throws NamingError where there is one, and `allowmultiple` is not set
   */
  private async lookForAnother(options: StartOptions): Promise<PyroURI | undefined> {
    const { print } = this.options;
    const other = await this.locate(options);
    if (other === undefined) return undefined;
    print('The Name Server appears to be already running on this segment.');
    print(`(host: ${other.address}  port: ${other.port} )`);
    if (options.role !== undefined) return other;
    if (!options.allowmultiple) {
      print(MULTIPLE_REFUSAL);
      throw new NamingError(MULTIPLE_REFUSAL);
    }
    print('WARNING: starting another Name Server in the same segment!');
    return other;
  }

  /** Searches for a name server, with Pyro's timeout. @param port for a search by broadcast only: the port to ask */
  private async locate(options: StartOptions, port?: number): Promise<PyroURI | undefined> {
    const { config, log, identification } = this.options;
    // A copy, as the locator changes PYRO_NS_* items when it finds the second server of a pair.
    const locatorConfig = { ...config, PYRO_BC_RETRIES: 1, PYRO_BC_TIMEOUT: 0.7 };
    const locator = new NameServerLocator({ config: locatorConfig, log, identification });
    const bcaddr = options.bcaddr ?? broadcastSettings(config, options.role).address;
    return locator.detectNS({ bcaddr, port }).catch((error: unknown) => {
      if (error instanceof PyroError) return undefined;
      throw error;
    });
  }

  /** Searches for the other name server of the pair before our own daemon is started, as Pyro does. */
  private async locateTwin(options: StartOptions, another: PyroURI | undefined): Promise<void> {
    const { role, twin } = options;
    if (role === undefined) return;
    const database = this.databaseOf(options);
    // Both would share the names: each would receive changes that are made already, and a resync would replace both's
    // names.
    if (isEtcdURL(database)) throw new NamingError(refusalText('TWIN_OVER_ETCD'), database);
    const other = broadcastSettings(this.options.config, role === 'primary' ? 'secondary' : 'primary');
    const broadcast = (): Promise<PyroURI | undefined> => this.locate(options, other.port);
    this.finder = new TwinFinder({ ...this.options, protocol: protocolOf(options), role, address: twin, broadcast });
    if (another) this.finder.note(another);
    await this.finder.locate('Locating twin NameServer.');
  }

  private guard(daemon: Daemon, { guards }: StartOptions): void {
    if (guards?.connection) daemon.setNewConnectionValidator(guards.connection);
    const { identification, print } = this.options;
    if (identification === undefined) return;
    daemon.setAllowedIdentifications([identification]);
    print('Requiring connection authentication.');
  }

  private async startBroadcastServer(
    uri: PyroURI,
    onLoopback: boolean,
    { nobroadcast, bcaddr, bcport, keep, guards, role }: StartOptions,
  ): Promise<BroadcastServer | undefined> {
    const { config, log, print } = this.options;
    const settings = broadcastSettings(config, role);
    if (nobroadcast) {
      log.msg('NS daemon', 'Not starting broadcast server due to config option');
      return undefined;
    }
    if (onLoopback) {
      log.msg('NS daemon', 'Not starting broadcast server because of issue with daemon IP address.');
      return undefined;
    }
    try {
      return await BroadcastServer.start({
        config,
        log,
        address: bcaddr ?? settings.address,
        port: bcport ?? settings.port,
        uri,
        ignoreShutdown: keep === true,
        requestValidator: guards?.broadcast,
        onShutdown: () => {
          print('BroadcastServer received shutdown request... will shutdown shortly...');
          void this.shutdown();
        },
      });
    } catch (error) {
      print('Cannot start broadcast server. Is somebody else occupying our broadcast port?');
      if (error instanceof NamingError) print(`The error(s) were: ${error.args.slice(1).join(' ')}`);
      print('\nName Server was not started!');
      throw error;
    }
  }

  private logStart(daemon: Daemon): void {
    const { log } = this.options;
    log.msg('NS daemon', 'This is the Pyro Name Server.');
    log.msg('NS daemon', 'Starting on', daemon.hostname, 'port', daemon.port);
    if (this.broadcastServer) log.msg('NS daemon', 'Broadcast server on port', this.broadcastServer.listening.port);
    else log.msg('NS daemon', 'No Broadcast server');
  }

  private async startDaemon({ hostname, nsport, ssl, role }: StartOptions): Promise<Daemon> {
    const { config, log, print } = this.options;
    const port = nsport ?? (role === 'secondary' ? config.PYRO_NS2_PORT : config.PYRO_NS_PORT);
    try {
      this.daemon = await Daemon.start({
        protocol: protocolOf({ ssl }),
        config,
        log,
        host: hostname,
        port,
        norange: true,
        exactValues: true,
        maxMessageSize: config.PYRO_NS_MAX_MESSAGE_SIZE,
        maxIncomingSize: config.PYRO_NS_MAX_INCOMING_SIZE,
        maxPickleObjects: config.PYRO_NS_MAX_PICKLE_OBJECTS,
      });
      return this.daemon;
    } catch (error) {
      if (!(error instanceof DaemonError)) throw error;
      print('The Name Server appears to be already running on this host.');
      print(`(or somebody else occupies our port, ${port} )`);
      if (hostname !== undefined) print(`It could also be that the address '${hostname}' is not correct.`);
      print('Name Server was not started!');
      throw error;
    }
  }

  private async openNamespace(options: StartOptions): Promise<Namespace> {
    if (options.persistent !== true) return new MemoryNamespace();
    const { config, log, print } = this.options;
    const { signal } = this.stopRequest;
    const onRetaken = (): void => void this.restoreEntry();
    return openNamespace(this.databaseOf(options), { config, log, signal, onWait: print, onRetaken });
  }

  private async serve(daemon: Daemon, namespace: Namespace, options: StartOptions): Promise<PyroURI> {
    const { config, log } = this.options;
    const persistent = options.persistent === true;
    const connectionGuard = options.guards?.connection;
    if (persistent) await this.announceDatabase(namespace, this.databaseOf(options));
    const changes = new ChangeFeed();
    this.changes = changes;
    const { protocol } = daemon;
    this.twin =
      this.finder && new Twin({ ...this.options, protocol, namespace, persistent, finder: this.finder, changes });
    this.nameCount = new NameCount(namespace);
    const nameServer = new NameServer(namespace, {
      config,
      log,
      address: daemon.address,
      className: persistent ? 'PersistentNameServer' : 'NameServer',
      ignoreShutdown: options.keep === true,
      // Deferred, so that the reply to the request is sent first.
      onShutdown: () => setImmediate(() => void this.shutdown()),
      status: () => this.status(),
      operationGuard: isOperationGuard(connectionGuard) ? connectionGuard : undefined,
      changes,
      twin: this.twin,
    });
    this.nameServer = nameServer;
    this.autoClean = new AutoClean({
      config,
      log,
      nameServerHost: daemon.address,
      namespace,
      unregister: (name) => nameServer.unregister(name),
    });
    await nameServer.createInitialGroups();
    daemon.useNameServer(nameServer);
    if (options.countCalls === true) this.calls = new RequestMetrics(nameServer);
    // The object gets the id of the entry of an earlier run, so that the URI survives a restart.
    return daemon.connectPersistent(this.calls ?? nameServer, NAMESERVER_NAME);
  }

  /**
   * Called when the lock of the database was lost and taken again: another server may have served it meanwhile.
   * Registers our own entry again, and tells watchers that they may have missed changes.
   */
  private async restoreEntry(): Promise<void> {
    const { daemon, nameServer, changes } = this;
    // During a start there is nothing to restore: the entry is written at its end.
    if (daemon === undefined || nameServer === undefined || !this.isStarted) return;
    try {
      changes?.skip();
      await nameServer.createInitialGroups();
      await daemon.connectPersistent(this.calls ?? nameServer, NAMESERVER_NAME);
    } catch (error) {
      this.options.log.error('NameServer', `${NAMESERVER_NAME} could not be registered again:`, error);
    }
  }

  /** Prints which database is served and how many names are in it, so that a wrong directory is noticed. */
  private async announceDatabase(namespace: Namespace, database: string): Promise<void> {
    const size = await new NameCount(namespace).get(MAX_COUNT_MS);
    this.options.print(`Database: ${printable(database)} (${size === undefined ? 'not counted yet' : sizeText(size)})`);
  }

  private databaseOf({ dbdir }: StartOptions): string {
    return databaseOf(dbdir, this.options.config);
  }

  private async publish(uri: PyroURI): Promise<void> {
    const { config, log, print } = this.options;
    print(`URI is: ${uri.toString()}`);
    try {
      await writeURIFile(config.PYRO_NS_URIFILE, uri.toString());
      print(`URI written to: ${config.PYRO_NS_URIFILE}`);
      log.msg('NameServer', 'URI written to', config.PYRO_NS_URIFILE);
    } catch (error) {
      print(`WARNING: Couldn't write URI to: ${config.PYRO_NS_URIFILE}`);
      log.warn('NameServer', "Couldn't write URI to", config.PYRO_NS_URIFILE, error);
    }
  }
}

/** The role, as Pyro prints it before `Name Server started.` */
const titleOf = (role: TwinRole | undefined): string =>
  role === undefined ? '' : role === 'primary' ? 'Primary ' : 'Secondary ';

const protocolOf = ({ ssl }: StartOptions): ObjectProtocol => (ssl ? 'PYROSSL' : 'PYRO');

/** The broadcast address and port of a name server with that role. */
const broadcastSettings = (config: Config, role: TwinRole | undefined) =>
  role === 'secondary'
    ? { address: config.PYRO_NS2_BC_ADDR, port: config.PYRO_NS2_BC_PORT }
    : { address: config.PYRO_NS_BC_ADDR, port: config.PYRO_NS_BC_PORT };

/** How long a start waits for the number of names that it prints. */
const MAX_COUNT_MS = 1000;

const LOOPBACK_WARNING = 'daemon bound on hostname that resolves to loopback address 127.0.x.x';

const MULTIPLE_REFUSAL = refusalText('NAME_SERVER_RUNS');

/** True if the published host name resolves to loopback, so that only this machine can reach the daemon. */
async function isOnLoopback({ hostname }: Daemon, config: Config): Promise<boolean> {
  if (hostname === 'localhost') return true;
  try {
    return (await resolveAddress(hostname, { config })).startsWith('127.0.');
  } catch (error) {
    // With PYRO_DNS_URI a host name may be published that clients can resolve and this machine can't.
    if (error instanceof URIError) return false;
    throw error;
  }
}

function sizeText({ objects, groups }: NamespaceSize): string {
  if (objects === 0 && groups === 0) return 'new';
  return `${objects} ${objects === 1 ? 'name' : 'names'} in ${groups} ${groups === 1 ? 'group' : 'groups'}`;
}

/** An address as Python prints a socket's name. */
const addressText = ({ address, port }: AddressInfo): string => `('${address}', ${port})`;

function guardLines({ connection, broadcast, source }: Partial<Guards>): string[] {
  const from = source === undefined ? '' : ` from ${source}`;
  return [
    'Using security plugins:',
    connection ? `  NS new conn validator = ${connection.constructor.name}${from}` : '  default NS new conn validator',
    broadcast ? `  BC request validator  = ${broadcast.constructor.name}${from}` : '  default BC request validator',
  ];
}

function isOperationGuard(guard: Partial<OperationGuard> | undefined): guard is OperationGuard {
  return guard?.acceptOperation !== undefined;
}

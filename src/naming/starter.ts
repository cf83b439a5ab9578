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

/** How a name server is started: the options of `pyro-ns`, by their names in Pyro's `NameServerStarter.start`. */
export interface StartOptions {
  readonly hostname?: string | undefined;
  /** PYRO_NS_PORT by default; 0 lets the system choose. */
  readonly nsport?: number | undefined;
  /** Speak TLS, with the certificates of the PYROSSL_* items. */
  readonly ssl?: boolean | undefined;
  /** Port of the broadcast listener: PYRO_NS_BC_PORT by default. */
  readonly bcport?: number | undefined;
  /** Its address, and where other name servers are looked for: PYRO_NS_BC_ADDR by default. */
  readonly bcaddr?: string | undefined;
  /** Start no broadcast listener. */
  readonly nobroadcast?: boolean | undefined;
  /** Start even if there is another name server on the network segment. */
  readonly allowmultiple?: boolean | undefined;
  /** Don't look for another name server. */
  readonly dontlookupother?: boolean | undefined;
  /** Deny requests to shut down. */
  readonly keep?: boolean | undefined;
  /** Keep the namespace in a directory, or in etcd. */
  readonly persistent?: boolean | undefined;
  /** That directory: absolute, or relative to PYRO_STORAGE; or `etcd://host:port[,host:port...]/prefix`. */
  readonly dbdir?: string | undefined;
  /** Who may connect, and do what: see `loadGuards`. */
  readonly guards?: Partial<Guards> | undefined;
  readonly verbose?: boolean | undefined;
  /** Count calls and how long they take: see `calls`. */
  readonly countCalls?: boolean | undefined;
  /** Run as one of a pair. The ports and addresses of a secondary are the PYRO_NS2_* items. */
  readonly role?: TwinRole | undefined;
  /** Where the other one of the pair is; without it, it is looked for. */
  readonly twin?: TwinAddress | undefined;
}

/** What a starter works with; without the configuration and the log, this process's own. */
export interface StarterOptions {
  readonly config?: Config | undefined;
  readonly log?: Log | undefined;
  /** Takes each line that Pyro's starter prints; without it, nobody does. */
  readonly print?: ((line: string) => void) | undefined;
  /** The passphrase that clients must have; without it, everybody is let in. */
  readonly identification?: string | undefined;
}

/** The options, with all that was left out. */
interface Settings extends StarterOptions {
  readonly config: Config;
  readonly log: Log;
  readonly print: (line: string) => void;
}

/**
 * Starts a name server inside a program, as Pyro's class of this name does; `pyro-ns` is made of it.
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
  /** What was asked of the name server, where that is counted. */
  calls: RequestMetrics | undefined;
  private stopping: Promise<void> | undefined;
  private readonly stopRequest = new AbortController();
  private readonly since = Date.now() / 1000;
  private isStarted = false;
  private announceStart: () => void = () => undefined;
  private announceStop: () => void = () => undefined;
  private readonly started = new Promise<void>((resolve) => {
    this.announceStart = resolve;
  });

  /** Resolves when the name server has stopped: by `shutdown`, or because a client asked for it. */
  readonly stopped = new Promise<void>((resolve) => {
    this.announceStop = resolve;
  });

  constructor(options: StarterOptions = {}) {
    const { config = defaultConfig(), log = defaultLog(), print = () => undefined } = options;
    this.options = { ...options, config, log, print };
  }

  /**
   * Starts the name server: once this resolves, clients are answered. A starter starts one, once.
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
      this.announceStart();
      return uri;
    } catch (error) {
      await this.shutdown();
      throw error;
    }
  }

  /** Pyro's `start` without its request loop. There is no such loop in Node, so that the two are one. */
  initialize(options: StartOptions = {}): Promise<PyroURI> {
    return this.start(options);
  }

  /** The sockets that the name server listens on: that of the daemon, then that of the broadcast listener if it runs. */
  getServerSockets(): (Server | Socket)[] {
    const sockets: (Server | Socket)[] = [...(this.daemon?.getServerSockets() ?? [])];
    if (this.broadcastServer) sockets.push(this.broadcastServer.socket);
    return sockets;
  }

  /**
   * Waits for the name server to be ready.
   * @param timeout in seconds; without it, until it is ready or has failed. What Node's timers can't wait, more than 24 days,
   *   is as good as without it.
   * @returns false where it is not ready in time, or never will be
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

  /** How the name server does. @throws DaemonError where it does not run */
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

  /** How the store does; undefined while the name server does not run. */
  get storeStatus(): StoreStatus | undefined {
    return this.namespace?.status();
  }

  /** Why clients are not served as they should be; undefined where all is well. */
  get problem(): string | undefined {
    if (this.stopping) return 'the name server shuts down';
    if (!this.isStarted) return 'the name server is starting';
    return this.storeStatus?.problem;
  }

  /** Stops: requests under way are answered, the port is free, the database is closed. */
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
    // Before it listens: whoever would connect while another's database is waited for, would wait in vain.
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
    // What is being started is not to be left behind.
    await this.starting?.catch(() => undefined);
    await this.broadcastServer?.close();
    this.autoClean?.stop();
    this.nameServer?.close();
    this.finder?.stop();
    await this.twin?.stop();
    await this.daemon?.shutdown();
    await this.namespace?.close();
    this.options.log.msg('NS daemon', 'Shut down gracefully.');
    this.announceStop();
  }

  /** As Pyro 3: the file with the URI, the log and the database are in there, unless the configuration says otherwise. */
  private async makeStorage(): Promise<void> {
    const { PYRO_STORAGE, PYRO_NS_SYNC } = this.options.config;
    await makeDirectory(PYRO_STORAGE, PYRO_NS_SYNC).catch((error: unknown) => {
      this.options.log.warn('NameServer', "Couldn't make PYRO_STORAGE", PYRO_STORAGE, error);
    });
  }

  /**
   * Looks for another name server on the network segment, in Pyro's time.
   * @throws NamingError where there is one, and several aren't allowed
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

  /** Looks for a name server in Pyro's time; by broadcast only, where a port is given. */
  private async locate(options: StartOptions, port?: number): Promise<PyroURI | undefined> {
    const { config, log, identification } = this.options;
    // A copy: what the locator learns on the way is not for the server's own settings.
    const patience = { ...config, PYRO_BC_RETRIES: 1, PYRO_BC_TIMEOUT: 0.7 };
    const locator = new NameServerLocator({ config: patience, log, identification });
    const bcaddr = options.bcaddr ?? broadcastSettings(config, options.role).address;
    return locator.detectNS({ bcaddr, port }).catch((error: unknown) => {
      if (error instanceof PyroError) return undefined;
      throw error;
    });
  }

  /** Looks for the other name server of a pair before our own daemon is started, as Pyro does it. */
  private async locateTwin(options: StartOptions, another: PyroURI | undefined): Promise<void> {
    const { role, twin } = options;
    if (role === undefined) return;
    const database = this.databaseOf(options);
    // Each would be told of changes that it has made already, and a resync would replace the names that both have.
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
      // The reply to the request goes out first.
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
    // The entry of an earlier run gives the object its id again: the URI stays the same over a restart.
    return daemon.connectPersistent(this.calls ?? nameServer, NAMESERVER_NAME);
  }

  /** Another server may have served the database meanwhile: it has left its own entry, and changed what watchers know. */
  private async restoreEntry(): Promise<void> {
    const { daemon, nameServer, changes } = this;
    // A start writes it at its end.
    if (daemon === undefined || nameServer === undefined || !this.isStarted) return;
    try {
      changes?.skip();
      await nameServer.createInitialGroups();
      await daemon.connectPersistent(this.calls ?? nameServer, NAMESERVER_NAME);
    } catch (error) {
      this.options.log.error('NameServer', `${NAMESERVER_NAME} could not be registered again:`, error);
    }
  }

  /** Says which database is served and how much is in it, so that a wrong directory is noticed. */
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

/** What Pyro prints before the name server's own words. */
const titleOf = (role: TwinRole | undefined): string =>
  role === undefined ? '' : role === 'primary' ? 'Primary ' : 'Secondary ';

const protocolOf = ({ ssl }: StartOptions): ObjectProtocol => (ssl ? 'PYROSSL' : 'PYRO');

/** Where a name server of a role is asked by broadcast. */
const broadcastSettings = (config: Config, role: TwinRole | undefined) =>
  role === 'secondary'
    ? { address: config.PYRO_NS2_BC_ADDR, port: config.PYRO_NS2_BC_PORT }
    : { address: config.PYRO_NS_BC_ADDR, port: config.PYRO_NS_BC_PORT };

/** How long a start waits to tell how many names there are. */
const MAX_COUNT_MS = 1000;

const LOOPBACK_WARNING = 'daemon bound on hostname that resolves to loopback address 127.0.x.x';

const MULTIPLE_REFUSAL = refusalText('NAME_SERVER_RUNS');

/** True where what the daemon publishes leads nobody here but those on this very machine. */
async function isOnLoopback({ hostname }: Daemon, config: Config): Promise<boolean> {
  if (hostname === 'localhost') return true;
  try {
    return (await resolveAddress(hostname, { config })).startsWith('127.0.');
  } catch (error) {
    // A name that others know, but not this machine: with PYRO_DNS_URI it is published as it is.
    if (error instanceof URIError) return false;
    throw error;
  }
}

function sizeText({ objects, groups }: NamespaceSize): string {
  if (objects === 0 && groups === 0) return 'new';
  return `${objects} ${objects === 1 ? 'name' : 'names'} in ${groups} ${groups === 1 ? 'group' : 'groups'}`;
}

/** As Python prints a socket's name. */
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

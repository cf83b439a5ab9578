import { resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import writeFileAtomic from 'write-file-atomic';
import type { Config, Log } from '../config/index.js';
import { NAMESERVER_NAME, type PyroURI } from '../names/index.js';
import {
  DirectoryNamespace,
  isEtcdURL,
  MemoryNamespace,
  openEtcdNamespace,
  type Namespace,
} from '../namespace/index.js';
import { Daemon } from '../rpc/index.js';
import { NameServer } from './name-server.js';

const DEFAULT_DATABASE = 'Pyro_NS_database';

/** How a name server is started: the options of `pyro-ns`, by their names in Pyro's `NameServerStarter.start`. */
export interface StartOptions {
  readonly hostname?: string | undefined;
  /** PYRO_NS_PORT by default; 0 lets the system choose. */
  readonly nsport?: number | undefined;
  /** Deny requests to shut down. */
  readonly keep?: boolean | undefined;
  /** Keep the namespace in a directory, or in etcd. */
  readonly persistent?: boolean | undefined;
  /** That directory: absolute, or relative to PYRO_STORAGE; or `etcd://host:port[,host:port...]/prefix`. */
  readonly dbdir?: string | undefined;
  readonly verbose?: boolean | undefined;
}

/** What a starter works with. */
export interface StarterOptions {
  readonly config: Config;
  readonly log: Log;
  /** Takes each line that Pyro's starter prints. */
  readonly print: (line: string) => void;
}

/**
 * Starts a name server inside a program, as Pyro's class of this name does; `pyro-ns` is made of it.
 */
export class NameServerStarter implements AsyncDisposable {
  private daemon: Daemon | undefined;
  private namespace: Namespace | undefined;
  private stopping: Promise<void> | undefined;
  private announceStart: () => void = () => undefined;
  private announceStop: () => void = () => undefined;
  private readonly started = new Promise<void>((resolve) => {
    this.announceStart = resolve;
  });

  /** Resolves when the name server has stopped: by `shutdown`, or because a client asked for it. */
  readonly stopped = new Promise<void>((resolve) => {
    this.announceStop = resolve;
  });

  constructor(private readonly options: StarterOptions) {}

  /**
   * Starts the name server.
   * @returns its URI
   * @throws DaemonError where it can't listen, NamingError where its database can't be used
   */
  async start(options: StartOptions = {}): Promise<PyroURI> {
    const { log, print } = this.options;
    const verbose = (line: string): void => {
      if (options.verbose) print(line);
    };
    try {
      const daemon = await this.startDaemon(options);
      const uri = await this.serve(daemon, options);
      verbose('Not starting broadcast server.');
      verbose(options.keep ? 'Will ignore shutdown requests.' : 'Will accept shutdown requests.');
      const { address, port } = daemon.listening;
      print(`Name server listening on: ('${address}', ${port})`);
      if (isLoopback(daemon.address)) print(`\nWARNING: ${LOOPBACK_WARNING}\n`);
      await this.publish(uri);
      if (options.persistent) verbose(`Persistent mode, database is in ${this.databaseOf(options)}`);
      log.msg('NS daemon', 'This is the Pyro Name Server.');
      log.msg('NS daemon', 'Starting on', daemon.hostname, 'port', port);
      print('Name Server started.');
      this.announceStart();
      return uri;
    } catch (error) {
      await this.shutdown();
      throw error;
    }
  }

  /**
   * Waits for the name server to be ready.
   * @param timeout in seconds; for ever without it
   * @returns false where it is not ready in time
   */
  async waitUntilStarted(timeout?: number): Promise<boolean> {
    const started = this.started.then(() => true);
    if (timeout === undefined) return started;
    const expiry = new AbortController();
    const late = setTimeout(timeout * 1000, false, { signal: expiry.signal }).catch(() => false);
    const result = await Promise.race([started, late]);
    expiry.abort();
    return result;
  }

  /** Stops: requests under way are answered, the port is free, the database is closed. */
  shutdown(): Promise<void> {
    this.stopping ??= this.stop();
    return this.stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  private async stop(): Promise<void> {
    await this.daemon?.shutdown();
    await this.namespace?.close();
    this.options.log.msg('NS daemon', 'Shut down gracefully.');
    this.announceStop();
  }

  private async startDaemon({ hostname, nsport }: StartOptions): Promise<Daemon> {
    const { config, log, print } = this.options;
    const port = nsport ?? config.PYRO_NS_PORT;
    try {
      this.daemon = await Daemon.start({
        config,
        log,
        host: hostname,
        port,
        norange: true,
        exactValues: true,
        maxMessageSize: config.PYRO_NS_MAX_MESSAGE_SIZE,
      });
      return this.daemon;
    } catch (error) {
      print('The Name Server appears to be already running on this host.');
      print(`(or somebody else occupies our port, ${port} )`);
      if (hostname !== undefined) print(`It could also be that the address '${hostname}' is not correct.`);
      print('Name Server was not started!');
      throw error;
    }
  }

  private async serve(daemon: Daemon, options: StartOptions): Promise<PyroURI> {
    const { config, log } = this.options;
    const persistent = options.persistent === true;
    const namespace = persistent ? await this.openDatabase(options) : new MemoryNamespace();
    this.namespace = namespace;
    const nameServer = new NameServer(namespace, {
      config,
      log,
      address: daemon.address,
      className: persistent ? 'PersistentNameServer' : 'NameServer',
      ignoreShutdown: options.keep === true,
      // The reply to the request goes out first.
      onShutdown: () => setImmediate(() => void this.shutdown()),
    });
    await nameServer.createInitialGroups();
    daemon.useNameServer(nameServer);
    // The entry of an earlier run gives the object its id again: the URI stays the same over a restart.
    return daemon.connectPersistent(nameServer, NAMESERVER_NAME);
  }

  private openDatabase(options: StartOptions): Promise<Namespace> {
    const { config, log } = this.options;
    const database = this.databaseOf(options);
    if (isEtcdURL(database)) return openEtcdNamespace(database, { config, log });
    return DirectoryNamespace.open(database, {
      log,
      sync: config.PYRO_NS_SYNC,
      cacheNames: config.PYRO_NS_CACHE_NAMES,
      watch: config.PYRO_NS_WATCH,
    });
  }

  /** An etcd URL, or an absolute path. */
  private databaseOf({ dbdir }: StartOptions): string {
    if (dbdir !== undefined && isEtcdURL(dbdir)) return dbdir;
    return resolve(this.options.config.PYRO_STORAGE, dbdir ?? DEFAULT_DATABASE);
  }

  private async publish(uri: PyroURI): Promise<void> {
    const { config, log, print } = this.options;
    print(`URI is: ${uri.toString()}`);
    try {
      await writeFileAtomic(config.PYRO_NS_URIFILE, `${uri.toString()}\n`);
      print(`URI written to: ${config.PYRO_NS_URIFILE}`);
      log.msg('NameServer', 'URI written to', config.PYRO_NS_URIFILE);
    } catch (error) {
      log.warn('NameServer', "Couldn't write URI to", config.PYRO_NS_URIFILE, error);
    }
  }
}

const LOOPBACK_WARNING = 'daemon bound on hostname that resolves to loopback address 127.0.x.x';

const isLoopback = (address: string): boolean => address === 'localhost' || address.startsWith('127.0.');

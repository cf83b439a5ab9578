import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { hostname } from 'node:os';
import { defaultConfig, defaultLog, printable, type Config, type Log } from '../config/index.js';
import { ConfigError, ConnectionDeniedError, NamingError, ProtocolError, PyroError, URIError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { NAMESERVER_NAME, PyroURI, readPYRONAME } from '../names/index.js';
import { resolveAddress } from '../rpc/index.js';
import { MAX_TIMEOUT_MS, onAbort } from '../sync/index.js';
import type { SystemCommand } from './broadcast.js';
import { NameServerProxy } from './name-server-proxy.js';

const BROADCAST_ADDRESS = '255.255.255.255';

/** How much of an answer to a broadcast is looked at. */
const MAX_ANSWER_SIZE = 1000;

/** What a locator is set up with; the configuration says what is not given here. */
export interface LocatorOptions {
  /** Of this process, by default. It is changed where the second name server is found, and not the first. */
  readonly config?: Config | undefined;
  readonly log?: Log | undefined;
  /** The passphrase that the name server wants. */
  readonly identification?: string | undefined;
  /** Ends the looking and asking, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Where to look for a name server; without anything, as the configuration says. */
export interface Whereabouts {
  /** The name server's host: it is asked directly, without a broadcast. */
  readonly host?: string | undefined;
  /** With a host, the name server's port; without one, the broadcast port. Then nothing else is tried. */
  readonly port?: number | undefined;
  /** The address to broadcast to. */
  readonly bcaddr?: string | undefined;
  /** Ask the host over TLS. What is found by broadcast says itself whether it wants TLS. */
  readonly ssl?: boolean | undefined;
  /** Takes a line about each step. */
  readonly trace?: ((line: string) => void) | undefined;
}

/** The settings of one of the two name servers of a pair. */
interface Role {
  readonly hostname: 'PYRO_NS_HOSTNAME' | 'PYRO_NS2_HOSTNAME';
  readonly port: 'PYRO_NS_PORT' | 'PYRO_NS2_PORT';
  readonly bcport: 'PYRO_NS_BC_PORT' | 'PYRO_NS2_BC_PORT';
  readonly bcaddr: 'PYRO_NS_BC_ADDR' | 'PYRO_NS2_BC_ADDR';
}

const PRIMARY: Role = {
  hostname: 'PYRO_NS_HOSTNAME',
  port: 'PYRO_NS_PORT',
  bcport: 'PYRO_NS_BC_PORT',
  bcaddr: 'PYRO_NS_BC_ADDR',
};
const SECONDARY: Role = {
  hostname: 'PYRO_NS2_HOSTNAME',
  port: 'PYRO_NS2_PORT',
  bcport: 'PYRO_NS2_BC_PORT',
  bcaddr: 'PYRO_NS2_BC_ADDR',
};

interface Destination {
  readonly host: string;
  readonly port: number;
}

/**
 * Finds the name server, as Pyro's class of this name does: directly where its host is known, else by broadcast; then by
 * the second server's settings; then on this machine.
 */
export class NameServerLocator {
  private readonly config: Config;
  private readonly log: Log;
  private readonly identification: string | undefined;
  private readonly signal: AbortSignal | undefined;

  constructor({ config = defaultConfig(), log = defaultLog(), identification, signal }: LocatorOptions = {}) {
    this.signal = signal;
    this.config = config;
    this.log = log;
    this.identification = identification;
  }

  /**
   * Finds the name server and connects to it. The proxy finds it again in the same way if it gets lost.
   * @param where its host, or where else to look
   * @throws NamingError `could not find NameServer`; ConnectionDeniedError where it doesn't let us in
   */
  async getNS(where: string | Whereabouts = {}): Promise<NameServerProxy> {
    const uri = await this.detectNS(where);
    this.log.msg('NameServerLocator', 'Name Server found:', uri);
    const { config, log, identification } = this;
    const proxy = new NameServerProxy(uri, { config, log, identification, find: () => this.detectNS(where) });
    await this.unlessAborted(proxy, () => proxy.connect());
    return proxy;
  }

  /**
   * Finds the name server.
   * @param where its host, or where else to look
   * @throws NamingError `could not find NameServer`
   */
  async detectNS(where: string | Whereabouts = {}): Promise<PyroURI> {
    const whereabouts = typeof where === 'string' ? { host: where } : where;
    return PyroURI.parse(await this.sendSysCommand('location', whereabouts));
  }

  /**
   * Resolves `PYRONAME://[host[:port]/]name`, or `PYRONAMESSL://...`: finds the name server and asks it for the name.
   * @throws URIError where it is no such URI; NamingError where the name server or the name can't be found
   */
  async resolvePYRONAME(uri: string): Promise<PyroURI> {
    const { name, ...where } = readPYRONAME(uri);
    await using nameServer = await this.getNS(where);
    return await this.unlessAborted(nameServer, () => nameServer.resolve(name));
  }

  /**
   * Asks the name server for its location, or to shut down.
   * @returns its answer: the URI, or a text
   * @throws NamingError `could not find NameServer`; PyroError `Name Server not responding` where a port was given
   */
  async sendSysCommand(command: SystemCommand, where: Whereabouts = {}): Promise<string> {
    if (where.bcaddr !== undefined) await this.requireAddress(where.bcaddr);
    try {
      return await this.ask(command, where, PRIMARY);
    } catch (error) {
      if (!meansAbsence(error) || where.port !== undefined) throw error;
      return this.askSecond(command, where, error);
    }
  }

  private async broadcastAddressOf(host: string): Promise<string> {
    try {
      return await resolveAddress(host, { config: this.config, signal: this.signal });
    } catch (error) {
      if (error instanceof URIError) throw new ProtocolError(refusalText('NETWORK'), error.args.join(': '));
      throw error;
    }
  }

  private async requireAddress(address: string): Promise<void> {
    try {
      await resolveAddress(address, { config: this.config, signal: this.signal });
    } catch (error) {
      if (error instanceof URIError) throw new NamingError(refusalText('BROADCAST_ADDRESS_INVALID', address));
      throw error;
    }
  }

  private async askSecond(command: SystemCommand, where: Whereabouts, first: PyroError): Promise<string> {
    // A broadcast has asked both servers already.
    const asked = where.host === undefined && !this.config.PYRO_NS_HOSTNAME && !this.config.PYRO_NS2_HOSTNAME;
    try {
      if (asked) throw first;
      const answer = await this.ask(command, where, SECONDARY);
      this.swapServers();
      return answer;
    } catch (error) {
      if (!meansAbsence(error)) throw error;
      if (where.host === undefined) return this.askThisMachine(command, where);
      // What was wrong with a certificate would not be told else.
      throw where.ssl === true
        ? first
        : new NamingError(refusalText('NAME_SERVER_NOT_FOUND', ` on host ${where.host}`));
    }
  }

  private async askThisMachine(command: SystemCommand, { trace, ssl }: Whereabouts): Promise<string> {
    for (const host of [hostname(), 'localhost']) {
      trace?.(`Trying host ${host}`);
      this.log.msg('NameServerLocator', 'Trying host', host);
      try {
        const answer = await this.ask(command, { host, trace, ssl }, PRIMARY);
        this.config.PYRO_NS_HOSTNAME = host;
        return answer;
      } catch (error) {
        if (!meansAbsence(error)) throw error;
      }
    }
    throw new NamingError(refusalText('NAME_SERVER_NOT_FOUND', ''));
  }

  /** From now on the second server, which was found, is the first one to be tried. */
  private swapServers(): void {
    const { config } = this;
    [config.PYRO_NS_HOSTNAME, config.PYRO_NS2_HOSTNAME] = [config.PYRO_NS2_HOSTNAME, config.PYRO_NS_HOSTNAME];
    [config.PYRO_NS_PORT, config.PYRO_NS2_PORT] = [config.PYRO_NS2_PORT, config.PYRO_NS_PORT];
    [config.PYRO_NS_BC_PORT, config.PYRO_NS2_BC_PORT] = [config.PYRO_NS2_BC_PORT, config.PYRO_NS_BC_PORT];
    [config.PYRO_NS_BC_ADDR, config.PYRO_NS2_BC_ADDR] = [config.PYRO_NS2_BC_ADDR, config.PYRO_NS_BC_ADDR];
  }

  private async ask(command: SystemCommand, where: Whereabouts, role: Role): Promise<string> {
    this.signal?.throwIfAborted();
    const host = where.host ?? this.config[role.hostname];
    if (host !== undefined) {
      where.trace?.('Locator: contacting Pyro Name Server...');
      return this.askDirectly(command, host, where.port ?? this.config[role.port], where.ssl === true);
    }
    try {
      return await this.askByBroadcast(command, where);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.log.warn('NameServerLocator', 'network error:', error);
      where.trace?.(`Locator: ${error.args.join(': ')}`);
      throw error;
    }
  }

  private async askDirectly(command: SystemCommand, host: string, port: number, ssl: boolean): Promise<string> {
    const { config, log, identification } = this;
    const address = config.PYRO_DNS_URI ? host : await resolveAddress(host, { config, signal: this.signal });
    const uri = new PyroURI(ssl ? 'PYROLOCSSL' : 'PYROLOC', address, port, NAMESERVER_NAME);
    await using proxy = new NameServerProxy(uri, { config, log, identification });
    return await this.unlessAborted(proxy, async () => {
      if (command === 'shutdown') return await proxy._shutdown();
      await proxy.ping();
      return proxy.URI.toString();
    });
  }

  /** Asks a name server, and closes the connection to it where the signal says so meanwhile. */
  private async unlessAborted<T>(proxy: NameServerProxy, ask: () => Promise<T>): Promise<T> {
    const { signal } = this;
    signal?.throwIfAborted();
    const forget = onAbort(signal, () => {
      void proxy._release();
    });
    try {
      return await ask();
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      forget();
    }
  }

  private async askByBroadcast(command: SystemCommand, { port, bcaddr, trace }: Whereabouts): Promise<string> {
    const { config, log, signal } = this;
    trace?.('Locator: searching Pyro Name Server...');
    const destinations = await Promise.all(
      [PRIMARY, SECONDARY].map(async (role) => ({
        host: await this.broadcastAddressOf(bcaddr ?? config[role.bcaddr] ?? BROADCAST_ADDRESS),
        port: port ?? config[role.bcport],
      })),
    );
    const isAnswer = (answer: string, { address }: RemoteInfo): boolean => {
      if (command !== 'location' || isURI(answer)) return true;
      const line = `answer of ${address} is no URI: ${printable(answer)}`;
      log.warn('NameServerLocator', line);
      trace?.(`Locator: ${line}`);
      return false;
    };
    await using question = await BroadcastQuestion.open(isAnswer);
    const retries = config.PYRO_BC_RETRIES < 0 ? Infinity : config.PYRO_BC_RETRIES;
    for (let attempt = 0; attempt <= retries; attempt++) {
      if (attempt > 0) trace?.(`Locator: retry ${attempt}`);
      const answer = await question.ask(command, distinct(destinations), config.PYRO_BC_TIMEOUT, signal);
      signal?.throwIfAborted();
      if (answer !== undefined) return answer;
    }
    log.warn('NameServerLocator', 'Name Server not responding to broadcast');
    throw new PyroError(refusalText('NAME_SERVER_SILENT'));
  }
}

/** A socket that sends a question to broadcast addresses, and takes the first answer to it. */
class BroadcastQuestion implements AsyncDisposable {
  private constructor(
    private readonly socket: Socket,
    private readonly isAnswer: (text: string, sender: RemoteInfo) => boolean,
  ) {}

  static async open(isAnswer: (text: string, sender: RemoteInfo) => boolean): Promise<BroadcastQuestion> {
    const socket = createSocket('udp4');
    socket.bind();
    await once(socket, 'listening');
    socket.setBroadcast(true);
    return new BroadcastQuestion(socket, isAnswer);
  }

  /**
   * @param timeout in seconds; negative for ever
   * @returns undefined where no answer comes in time, or the signal ends the waiting
   * @throws ProtocolError `network error` where it can't be sent
   */
  async ask(
    text: string,
    destinations: readonly Destination[],
    timeout: number,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const { socket } = this;
    let timer: NodeJS.Timeout | undefined;
    let forget = (): void => undefined;
    try {
      signal?.throwIfAborted();
      return await new Promise<string | undefined>((resolve, reject) => {
        forget = onAbort(signal, () => {
          resolve(undefined);
        });
        const fail = (error: Error): void => {
          reject(new ProtocolError(refusalText('NETWORK'), error.message));
        };
        socket.on('error', fail).on('message', (datagram, sender) => {
          const answer = datagram.toString('latin1', 0, MAX_ANSWER_SIZE);
          if (this.isAnswer(answer, sender)) resolve(answer);
        });
        for (const { host, port } of destinations) {
          socket.send(text, port, host, (error) => {
            if (error) fail(error);
          });
        }
        if (timeout < 0) return;
        timer = setTimeout(resolve, Math.min(timeout * 1000, MAX_TIMEOUT_MS), undefined);
      });
    } finally {
      clearTimeout(timer);
      forget();
      socket.removeAllListeners('error').removeAllListeners('message');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.socket, 'close');
    this.socket.close();
    await closed;
  }
}

const distinct = (destinations: readonly Destination[]): Destination[] => [
  ...new Map(destinations.map((destination) => [`${destination.host}:${destination.port}`, destination])).values(),
];

/** Whether this is where a name server can be: whatever else answers broadcasts is none. */
function isURI(text: string): boolean {
  try {
    const { protocol } = PyroURI.parse(text);
    return protocol === 'PYRO' || protocol === 'PYROSSL';
  } catch {
    return false;
  }
}

/**
 * True where an error says that nobody is there: then somebody may be elsewhere. Whoever denies the connection or refuses what
 * is asked is the name server that was meant, and another one must not be asked in its place.
 */
function meansAbsence(error: unknown): error is PyroError {
  if (error instanceof ConnectionDeniedError || error instanceof NamingError || error instanceof ConfigError)
    return false;
  return error instanceof PyroError;
}

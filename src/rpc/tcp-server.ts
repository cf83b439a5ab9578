import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Config, Log } from '../config/index.js';
import { DaemonError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { FailureDelay, MemoryBudget } from '../sync/index.js';
import {
  certificateProblem,
  createTLSServer,
  DeniedReason,
  failureReason,
  ServerConnection,
  type Certificates,
  type FrameLimits,
  type RequestHandler,
  type ServerConnectionOptions,
} from '../wire/index.js';
import { Admission } from './admission.js';
import { BasicSSLValidator, DefaultConnValidator, isFull } from './validators.js';

/** How many ports there are. */
const PORTS = 65536;

export interface TCPServerOptions {
  readonly config: Config;
  readonly log: Log;
  /** Speak TLS with these; plain TCP without. */
  readonly certificates: Certificates | undefined;
  /** The most bytes that a message may have, as sent and decompressed. */
  readonly limits: FrameLimits;
  /** The most bytes that large messages may have together while they arrive. */
  readonly maxIncomingSize: number;
  /** Answers the body of a request. */
  readonly handler: RequestHandler;
}

/** How many connections a daemon has and had. */
export interface ConnectionCounts {
  /** Open now, those among them that are just being judged, or agree on TLS still. */
  readonly open: number;
  /** Since the start. */
  readonly accepted: number;
  /** Since the start: by the validator, or because what came was no handshake. */
  readonly refused: number;
}

/**
 * Listens, lets a validator judge who connects, and hands on the requests of those let in.
 */
export class TCPServer {
  /** Judges new connections. */
  validator: DefaultConnValidator;
  readonly server: Server;
  /** Of all that have connected, those among them that agree on TLS still. */
  private readonly sockets = new Set<Socket>();
  private readonly connections = new Set<ServerConnection>();
  private readonly admission: Admission;
  /** By address: of those whose passphrases were wrong. */
  private readonly denialDelay = new FailureDelay();
  private readonly memoryBudget: MemoryBudget;
  private readonly config: Config;
  private readonly log: Log;
  private bound: AddressInfo | undefined;
  private accepted = 0;
  private refused = 0;

  constructor(private readonly options: TCPServerOptions) {
    this.config = options.config;
    this.log = options.log;
    this.admission = new Admission(this.config);
    this.memoryBudget = new MemoryBudget(options.maxIncomingSize, this.config.PYRO_STALL_TIMEOUT * 1000);
    this.validator = options.certificates ? new BasicSSLValidator() : new DefaultConnValidator();
    const accept = (socket: Socket): void => void this.accept(socket);
    this.server = options.certificates
      ? createTLSServer(options.certificates, accept, this.config.PYRO_HANDSHAKE_TIMEOUT * 1000)
      : createServer({ noDelay: true }, accept);
    // Before `accept`, which lets it in.
    this.server.prependListener('connection', (socket: Socket) => {
      this.sockets.add(socket);
      this.admission.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    });
    if (options.certificates) this.countTLSFailures();
  }

  /** Where the server listens. @throws DaemonError where it does not */
  get listening(): AddressInfo {
    if (this.bound === undefined) throw new DaemonError(refusalText('DAEMON_NOT_LISTENING'));
    return this.bound;
  }

  get connectionCount(): number {
    return this.sockets.size;
  }

  get connectionCounts(): ConnectionCounts {
    return { open: this.sockets.size, accepted: this.accepted, refused: this.refused };
  }

  /**
   * Listens on the first free port of so many from `first` upwards; 0 lets the system choose.
   * @param host an IPv4 address
   * @throws DaemonError where none of them is free
   */
  async listen(host: string, first: number, tries: number): Promise<void> {
    const last = Math.min(first + tries, PORTS) - 1;
    for (let port = first; this.bound === undefined; port++) {
      try {
        this.bound = await this.listenOn(host, port);
      } catch (error) {
        if (port < last) continue;
        const reason = error instanceof Object && 'message' in error ? String(error.message) : String(error);
        throw new DaemonError(refusalText('DAEMON_NOT_STARTED', reason));
      }
    }
    this.server.on('error', (error) => {
      this.log.error('TCPServer', 'accepting a connection failed:', error);
    });
  }

  /**
   * No new connections; requests under way are answered; then connections are closed, and the port is free.
   * @param caller whose call asks for this, and would wait for itself: its connection is closed when it is answered
   */
  async close(caller: ServerConnection | undefined): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.server.close(() => {
        resolve();
      });
    });
    const isWithinCall = caller !== undefined && this.connections.has(caller);
    const others = [...this.connections].filter((connection) => connection !== caller);
    await Promise.all(others.map((connection) => connection.end()));
    const ended = (isWithinCall ? caller.end() : Promise.resolve()).then(() => {
      // What is left agrees on TLS still, or has just done so.
      for (const socket of this.sockets) socket.destroy();
    });
    if (isWithinCall) return;
    await ended;
    await closed;
  }

  private countTLSFailures(): void {
    this.server.on('tlsClientError', (error: Error, socket: Socket) => {
      this.refused += 1;
      this.log.warn(
        'TCPServer',
        'TLS connection refused:',
        socket.remoteAddress ?? 'who has gone',
        failureReason(error),
      );
      // Node says so where the time is over, and leaves it at that.
      socket.destroy();
    });
  }

  private async listenOn(host: string, port: number): Promise<AddressInfo> {
    const { server } = this;
    server.listen({ host, port, backlog: this.config.PYRO_TCP_LISTEN_BACKLOG });
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new DaemonError(refusalText('DAEMON_NOT_TCP'));
    return address;
  }

  private async accept(socket: Socket): Promise<void> {
    const { log, options, connections, memoryBudget } = this;
    const { limits } = options;
    const connection = new ServerConnection(socket, { ...connectionOptions(this.config, log), limits, memoryBudget });
    connections.add(connection);
    void connection.closed.then(() => {
      connections.delete(connection);
      log.msg('TCPServer', 'removed connection', connection, '#conns=', connections.size);
    });
    if (await this.admit(connection)) {
      this.accepted += 1;
      log.msg('TCPServer', 'new connection', connection, '#conns=', connections.size);
      connection.serve(options.handler);
    } else {
      this.refused += 1;
      log.warn('TCPServer', 'connection not accepted:', connection);
    }
  }

  private admit(connection: ServerConnection): Promise<boolean> {
    const { validator, admission } = this;
    // A validator may let in one more than there is room for: it is asked again only by itself.
    let hadRoom = false;
    return connection.open({
      acceptHost: () => {
        // Not the validator's to decide, which is the program's.
        const problem = certificateProblem(connection.socket);
        if (problem === undefined) {
          const counts = admission.countsWith(connection);
          hadRoom = !isFull(counts);
          return validator.acceptHost(counts, connection);
        }
        this.log.warn('TCPServer', 'certificate refused:', connection, problem);
        return DeniedReason.Security;
      },
      createAuthChallenge: () => validator.createAuthChallenge(admission.countsWith(connection), connection),
      acceptIdentification: async (_connection, token, challenge) => {
        const counts = admission.countsWith(connection);
        const refused = await validator.acceptIdentification(counts, connection, token, challenge);
        await this.delayVerdict(connection, refused);
        if (refused !== undefined) return refused;
        // Others were let in meanwhile: the room is for those who got here first.
        if (hadRoom && isFull(admission.countsWith(connection))) return DeniedReason.ServerTooBusy;
        admission.admit(connection);
        return undefined;
      },
    });
  }

  /**
   * Makes it slow to try passphrases. A right one is delayed as a wrong one is: else who gets no answer at once would know, and
   * try the next.
   */
  private async delayVerdict(connection: ServerConnection, refused: DeniedReason | undefined): Promise<void> {
    const { remoteAddress = '' } = connection;
    const delayMs = this.denialDelay.delayOf(remoteAddress, this.config.PYRO_DENIAL_DELAY * 1000);
    // Before the wait: who gives up during it has failed, too.
    if (refused === DeniedReason.Security) this.denialDelay.fail(remoteAddress);
    if (delayMs > 0) await wait(delayMs, connection);
  }
}

/** Waits, unless the connection is closed before. */
function wait(milliseconds: number, connection: ServerConnection): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    void connection.closed.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** The configuration items that are about connections, in the wire's terms. */
function connectionOptions(config: Config, log: Log): Partial<ServerConnectionOptions> {
  return {
    compression: config.PYRO_COMPRESSION,
    checksum: config.PYRO_CHECKSUM,
    keepAlive: config.PYRO_SOCK_KEEPALIVE,
    handshakeTimeoutMs: config.PYRO_HANDSHAKE_TIMEOUT * 1000,
    stallTimeoutMs: config.PYRO_STALL_TIMEOUT * 1000,
    idleTimeoutMs: config.PYRO_IDLE_TIMEOUT * 1000,
    maxUnsentReplies: config.PYRO_MAX_UNSENT_SIZE,
    onError: (error, connection) => {
      log.error('TCPServer', 'error while answering', connection, error);
    },
  };
}

import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { PeerLog, type Config, type Log } from '../config/index.js';
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
import { OpenFilesMonitor, saysTooManyFiles } from './open-files.js';
import { BasicSSLValidator, DefaultConnValidator, isFull } from './validators.js';

/** How many ports there are. */
const PORTS = 65536;

export interface TCPServerOptions {
  readonly config: Config;
  readonly log: Log;
  /** Certificates for TLS; undefined for plain TCP. */
  readonly certificates: Certificates | undefined;
  /** The most bytes of a message, as sent and after decompression. */
  readonly limits: FrameLimits;
  /** The memory budget, in bytes, for all large messages while they arrive. */
  readonly maxIncomingSize: number;
  /** Handles a request: from the body of the request to the body of the reply. */
  readonly handler: RequestHandler;
}

/** The numbers of a daemon's connections. */
export interface ConnectionCounts {
  /** Open now, including those in the handshake. */
  readonly open: number;
  /** Accepted since the start. */
  readonly accepted: number;
  /** Refused since the start: by the validator, or because the handshake was not valid. */
  readonly refused: number;
}

/**
 * A daemon's TCP or TLS server: listens, has a validator decide about new connections, and serves the accepted ones.
 */
export class TCPServer {
  /** Decides about new connections. */
  validator: DefaultConnValidator;
  readonly server: Server;
  /** The sockets of all connections, including those in the TLS handshake. */
  private readonly sockets = new Set<Socket>();
  private readonly connections = new Set<ServerConnection>();
  private readonly admission: Admission;
  /** Back-off for wrong passphrases, by the client's address. */
  private readonly denialDelay = new FailureDelay();
  private readonly memoryBudget: MemoryBudget;
  private readonly config: Config;
  private readonly log: Log;
  private readonly openFiles: OpenFilesMonitor;
  private readonly peerLog: PeerLog;
  private bound: AddressInfo | undefined;
  private accepted = 0;
  private refused = 0;

  constructor(private readonly options: TCPServerOptions) {
    this.config = options.config;
    this.log = options.log;
    this.openFiles = new OpenFilesMonitor(this.log);
    this.peerLog = new PeerLog(options.log);
    this.admission = new Admission(this.config);
    this.memoryBudget = new MemoryBudget(options.maxIncomingSize, this.config.PYRO_STALL_TIMEOUT * 1000);
    this.validator = options.certificates ? new BasicSSLValidator() : new DefaultConnValidator();
    const accept = (socket: Socket): void => void this.accept(socket);
    this.server = options.certificates
      ? createTLSServer(options.certificates, accept, this.config.PYRO_HANDSHAKE_TIMEOUT * 1000)
      : createServer({ noDelay: true }, accept);
    // Prepended, because it has to run before `accept`.
    this.server.prependListener('connection', (socket: Socket) => {
      this.openFiles.check();
      this.sockets.add(socket);
      this.admission.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    });
    if (options.certificates) this.countTLSFailures();
  }

  /** The address and port that the server listens on. @throws DaemonError if it does not listen */
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
   * Listens on the first free port from `first` upwards.
   * @param host an IPv4 address
   * @param first the first port to try; 0 lets the system choose
   * @param tries how many ports to try
   * @throws DaemonError if none of them is free
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
      if (saysTooManyFiles(error)) this.openFiles.report(error);
      else this.log.error('TCPServer', 'accepting a connection failed:', error);
    });
  }

  /**
   * Graceful shutdown: accepts no new connections, finishes the requests in progress, closes all connections, and frees
   * the port.
   * @param caller the connection whose request asks for this, if one does. It is not awaited, which would be a
   *   deadlock: it is closed when that request has its reply
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
      // The remaining sockets are in the TLS handshake, or have just completed it.
      for (const socket of this.sockets) socket.destroy();
    });
    if (isWithinCall) return;
    await ended;
    await closed;
    this.peerLog.flush();
  }

  private countTLSFailures(): void {
    this.server.on('tlsClientError', (error: Error, socket: Socket) => {
      this.refused += 1;
      const { remoteAddress } = socket;
      this.peerLog.warn(
        remoteAddress,
        'TCPServer',
        'TLS connection refused:',
        remoteAddress ?? 'who has gone',
        failureReason(error),
      );
      // After a handshake timeout Node emits the event, and leaves the socket open.
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
    const { peerLog, options, connections, memoryBudget } = this;
    const { limits } = options;
    const connection = new ServerConnection(socket, {
      ...connectionOptions(this.config, peerLog),
      limits,
      memoryBudget,
    });
    const { remoteAddress } = connection;
    connections.add(connection);
    void connection.closed.then(() => {
      connections.delete(connection);
      peerLog.msg(remoteAddress, 'TCPServer', 'removed connection', connection, '#conns=', connections.size);
    });
    if (await this.admit(connection)) {
      this.accepted += 1;
      peerLog.msg(remoteAddress, 'TCPServer', 'new connection', connection, '#conns=', connections.size);
      connection.serve(options.handler);
    } else {
      this.refused += 1;
      peerLog.warn(remoteAddress, 'TCPServer', 'connection not accepted:', connection);
    }
  }

  private admit(connection: ServerConnection): Promise<boolean> {
    const { validator, admission } = this;
    // A validator may admit a connection above the limit on purpose. The limit is only checked again if it was not full
    // before.
    let hadRoom = false;
    return connection.open({
      acceptHost: () => {
        // Checked here, because a program's own validator might not check it.
        const problem = certificateProblem(connection.socket);
        if (problem === undefined) {
          const counts = admission.countsWith(connection);
          hadRoom = !isFull(counts);
          return validator.acceptHost(counts, connection);
        }
        this.peerLog.warn(connection.remoteAddress, 'TCPServer', 'certificate refused:', connection, problem);
        return DeniedReason.Security;
      },
      createAuthChallenge: () => validator.createAuthChallenge(admission.countsWith(connection), connection),
      acceptIdentification: async (_connection, token, challenge) => {
        const counts = admission.countsWith(connection);
        const refused = await validator.acceptIdentification(counts, connection, token, challenge);
        await this.delayVerdict(connection, refused);
        if (refused !== undefined) return refused;
        // Others may have been admitted meanwhile.
        if (hadRoom && isFull(admission.countsWith(connection))) return DeniedReason.ServerTooBusy;
        admission.admit(connection);
        return undefined;
      },
    });
  }

  /**
   * Slows down guessing passphrases. A right one is delayed as long as a wrong one: otherwise a client without an
   * immediate reply would know that its guess was wrong, and could try the next one at once.
   */
  private async delayVerdict(connection: ServerConnection, refused: DeniedReason | undefined): Promise<void> {
    const { remoteAddress = '' } = connection;
    const delayMs = this.denialDelay.delayOf(remoteAddress, this.config.PYRO_DENIAL_DELAY * 1000);
    // Counted before the delay, so that closing the connection during it does not avoid the count.
    if (refused === DeniedReason.Security) this.denialDelay.fail(remoteAddress);
    if (delayMs > 0) await wait(delayMs, connection);
  }
}

/** Waits; ends early if the connection is closed. */
function wait(milliseconds: number, connection: ServerConnection): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    void connection.closed.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** The options of a server connection, from the configuration. */
function connectionOptions(config: Config, log: PeerLog): Partial<ServerConnectionOptions> {
  return {
    compression: config.PYRO_COMPRESSION,
    checksum: config.PYRO_CHECKSUM,
    keepAlive: config.PYRO_SOCK_KEEPALIVE,
    handshakeTimeoutMs: config.PYRO_HANDSHAKE_TIMEOUT * 1000,
    stallTimeoutMs: config.PYRO_STALL_TIMEOUT * 1000,
    idleTimeoutMs: config.PYRO_IDLE_TIMEOUT * 1000,
    maxUnsentReplies: config.PYRO_MAX_UNSENT_SIZE,
    onError: (error, connection) => {
      log.error(connection.remoteAddress, 'TCPServer', 'error while answering', connection, error);
    },
  };
}

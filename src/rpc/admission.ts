import type { Socket } from 'node:net';
import type { Config } from '../config/index.js';
import type { ServerConnection } from '../wire/index.js';
import type { GuardedDaemon } from './validators.js';

/** A connection whose handshake is not done. */
interface Pending {
  readonly socket: Socket;
  readonly host: string | undefined;
}

/** The part of the connections that is reserved for other hosts: one host may have all but these. */
const RESERVE = 1 / 4;

/** How many of so many connections one host may have, where nothing else is configured: 3 of 4. */
const withoutReserve = (connections: number): number => connections - Math.floor(connections * RESERVE);

/** How many connections may wait to be let in. */
const maxPending = ({ PYRO_MAX_HANDSHAKES, PYRO_MAXCONNECTIONS }: Config): number =>
  PYRO_MAX_HANDSHAKES === 0 ? withoutReserve(PYRO_MAXCONNECTIONS) : PYRO_MAX_HANDSHAKES;

/** How many connections a daemon may have at a time, those among them that are not let in yet. */
export const maxSockets = (config: Config): number => config.PYRO_MAXCONNECTIONS + maxPending(config);

/**
 * Admission control for connections. Two limits: PYRO_MAXCONNECTIONS connections that were admitted, of which one host
 * may have a share; and separately PYRO_MAX_HANDSHAKES pending ones, whose handshake (and that of TLS) is not done. So
 * silent connections take no place from admitted ones. If there are too many pending ones, the oldest of the host with
 * the most is closed.
 */
export class Admission {
  /** By the peer's address and port, which a TLS socket shares with the socket below it. The oldest is first. */
  private readonly pending = new Map<string, Pending>();
  private readonly admitted = new Set<ServerConnection>();
  private readonly admittedOfHost = new Map<string | undefined, number>();

  constructor(private readonly config: Config) {}

  /** Counts a new connection as pending, until it is admitted or closed. */
  add(socket: Socket): void {
    const { remoteAddress: host } = socket;
    const peer = peerOf(socket);
    const pending = { socket, host };
    this.pending.set(peer, pending);
    socket.once('close', () => {
      if (this.pending.get(peer) === pending) this.pending.delete(peer);
    });
    if (this.pending.size > maxPending(this.config)) this.closeOne();
  }

  /** The counts by which a validator decides about a connection: of the admitted connections and this one. */
  countsWith({ remoteAddress }: ServerConnection): GuardedDaemon {
    const { PYRO_MAXCONNECTIONS, PYRO_MAXCONNECTIONS_PER_HOST } = this.config;
    return {
      connectionCount: this.admitted.size + 1,
      maxConnections: PYRO_MAXCONNECTIONS,
      hostConnectionCount: (this.admittedOfHost.get(remoteAddress) ?? 0) + 1,
      maxHostConnections:
        PYRO_MAXCONNECTIONS_PER_HOST === 0 ? withoutReserve(PYRO_MAXCONNECTIONS) : PYRO_MAXCONNECTIONS_PER_HOST,
    };
  }

  /** Counts a connection as admitted, until it is closed. */
  admit(connection: ServerConnection): void {
    const { remoteAddress: host, socket } = connection;
    this.pending.delete(peerOf(socket));
    this.admitted.add(connection);
    this.admittedOfHost.set(host, (this.admittedOfHost.get(host) ?? 0) + 1);
    void connection.closed.then(() => {
      this.admitted.delete(connection);
      const left = (this.admittedOfHost.get(host) ?? 1) - 1;
      if (left === 0) this.admittedOfHost.delete(host);
      else this.admittedOfHost.set(host, left);
    });
  }

  private closeOne(): void {
    const counts = new Map<string | undefined, number>();
    for (const { host } of this.pending.values()) counts.set(host, (counts.get(host) ?? 0) + 1);
    const most = Math.max(...counts.values());
    for (const [peer, { socket, host }] of this.pending) {
      if (counts.get(host) !== most) continue;
      this.pending.delete(peer);
      socket.destroy();
      return;
    }
  }
}

const peerOf = ({ remoteAddress = '', remotePort = 0 }: Socket): string => `${remoteAddress}:${remotePort}`;

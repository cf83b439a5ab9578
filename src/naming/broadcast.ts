import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { PeerLog, printable, type Config, type Log } from '../config/index.js';
import { NamingError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { PyroURI } from '../names/index.js';
import { isAcceptance, type BCReqValidator } from './security-plugins.js';

/** What can be asked by broadcast; Pyro's NS_SYSCMD_LOCATION and NS_SYSCMD_SHUTDOWN. */
export type SystemCommand = 'location' | 'shutdown';

/** What a name server answers to a request to shut down, by broadcast or by call. */
export const WILL_SHUT_DOWN = 'Will shut down shortly';
export const SHUTDOWN_DENIED = 'Shutdown request denied';

/** Bound one after the other until one works: the limited broadcast address as Pyro binds it, else all addresses. */
const DEFAULT_ADDRESSES = ['255.255.255.255', '0.0.0.0'];

/** How much of an invalid command is logged. */
const MAX_SHOWN_LENGTH = 80;

const RATE_WINDOW_MS = 1000;

/** How many addresses are answered within a second: the sender's address is easily forged. */
const MAX_ADDRESSES = 10_000;

export interface BroadcastServerOptions {
  readonly config: Config;
  readonly log: Log;
  /** The address to listen on, such as the broadcast address of one network; 255.255.255.255 without it. */
  readonly address?: string | undefined;
  readonly port: number;
  /** What `location` is answered with. */
  readonly uri: PyroURI;
  /** With -k: requests to shut down are denied. */
  readonly ignoreShutdown: boolean;
  readonly requestValidator?: BCReqValidator | undefined;
  /** Called when somebody asked for a shutdown, may have it, and has been answered. */
  readonly onShutdown: () => void;
}

/** Answers those who look for the name server by UDP broadcast, as Pyro's class of this name does. */
export class BroadcastServer {
  private readonly rate: RateLimit;
  private readonly peerLog: PeerLog;

  private constructor(
    readonly socket: Socket,
    private readonly options: BroadcastServerOptions,
  ) {
    this.peerLog = new PeerLog(options.log);
    this.rate = new RateLimit(options.config.PYRO_NS_BC_RATE);
    socket.on('message', (datagram, sender) => {
      this.handle(datagram.toString('latin1'), sender);
    });
    socket.on('error', (error) => {
      options.log.error('BroadcastServer', 'network error:', error);
    });
  }

  /**
   * Starts listening.
   * @throws NamingError `cannot start broadcast server`, with what the system said of each address tried
   */
  static async start(options: BroadcastServerOptions): Promise<BroadcastServer> {
    const reasons: string[] = [];
    for (const address of options.address === undefined ? DEFAULT_ADDRESSES : [options.address]) {
      const socket = createSocket('udp4');
      try {
        socket.bind({ address, port: options.port, exclusive: true });
        await once(socket, 'listening');
        return new BroadcastServer(socket, options);
      } catch (error) {
        socket.close();
        reasons.push(error instanceof Error ? error.message : String(error));
      }
    }
    throw new NamingError(refusalText('BROADCAST_NOT_STARTED'), ...reasons);
  }

  /** Where it listens: address and port. */
  get listening(): AddressInfo {
    return this.socket.address();
  }

  async close(): Promise<void> {
    const closed = once(this.socket, 'close');
    this.socket.close();
    await closed;
    this.peerLog.flush();
  }

  private handle(command: string, sender: RemoteInfo): void {
    const { peerLog } = this;
    const { address } = sender;
    // What nobody is answered fills no log either.
    if (!this.rate.allows(sender.address)) return;
    if (command !== 'location' && command !== 'shutdown') {
      const shown = printable(command, MAX_SHOWN_LENGTH);
      peerLog.warn(address, 'BroadcastServer', 'Invalid command ignored:', shown, 'from', address);
      return;
    }
    peerLog.msg(address, 'BroadcastServer', 'incoming request from', address);
    if (!this.accepts(command, sender)) {
      peerLog.warn(address, 'BroadcastServer', 'request refused by the security plugin:', command, 'from', address);
    } else if (command === 'location') {
      this.reply(this.options.uri.toString(), sender);
    } else {
      this.answerShutdown(sender);
    }
  }

  private accepts(command: SystemCommand, sender: RemoteInfo): boolean {
    const { requestValidator } = this.options;
    if (requestValidator === undefined) return true;
    requestValidator.addr = [sender.address, sender.port];
    requestValidator.reply = (message) => {
      this.reply(message, sender);
    };
    try {
      const verdict =
        command === 'location' ? requestValidator.acceptLocationCmd() : requestValidator.acceptShutdownCmd();
      return isAcceptance(verdict);
    } catch (error) {
      this.peerLog.error(
        sender.address,
        'BroadcastServer',
        'the security plugin failed, so the request is refused:',
        error,
      );
      return false;
    }
  }

  private answerShutdown(sender: RemoteInfo): void {
    const { ignoreShutdown, onShutdown } = this.options;
    if (ignoreShutdown) {
      this.peerLog.msg(sender.address, 'BroadcastServer', 'Shutdown ignored.');
      this.reply(SHUTDOWN_DENIED, sender);
      return;
    }
    this.peerLog.msg(sender.address, 'BroadcastServer', 'Shutdown received.');
    this.reply(WILL_SHUT_DOWN, sender, onShutdown);
  }

  private reply(text: string, { address, port }: RemoteInfo, sent: () => void = () => undefined): void {
    this.socket.send(text, port, address, (error) => {
      if (error) this.peerLog.warn(address, 'BroadcastServer', 'reply to', address, 'failed:', error);
      sent();
    });
  }
}

/** So many a second for each address, so that nobody gets flooded by answers to questions sent in his name. */
class RateLimit {
  private readonly counts = new Map<string, number>();
  private windowStart = 0;

  constructor(private readonly perSecond: number) {}

  allows(address: string): boolean {
    const now = performance.now();
    if (now - this.windowStart >= RATE_WINDOW_MS) {
      this.windowStart = now;
      this.counts.clear();
    }
    const count = this.counts.get(address) ?? 0;
    if (count >= this.perSecond || (count === 0 && this.counts.size >= MAX_ADDRESSES)) return false;
    this.counts.set(address, count + 1);
    return true;
  }
}

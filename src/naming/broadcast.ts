import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { PeerLog, printable, type Config, type Log } from '../config/index.js';
import { NamingError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { PyroURI } from '../names/index.js';
import { isAcceptance, type BCReqValidator } from './security-plugins.js';

/** The requests by broadcast: Pyro's NS_SYSCMD_LOCATION and NS_SYSCMD_SHUTDOWN. */
export type SystemCommand = 'location' | 'shutdown';

/** The replies to a shutdown request, by broadcast or by call. The texts are Pyro's. */
export const WILL_SHUT_DOWN = 'Will shut down shortly';
export const SHUTDOWN_DENIED = 'Shutdown request denied';

/**
 * The addresses to bind; the first that works is used. Pyro binds the limited broadcast address; else all addresses.
 */
const DEFAULT_ADDRESSES = ['255.255.255.255', '0.0.0.0'];

/** The most characters of an invalid command that are logged. */
const MAX_SHOWN_LENGTH = 80;

const RATE_WINDOW_MS = 1000;

/** The most addresses that get replies within a second. It bounds memory, as the sender's address is easily forged. */
const MAX_ADDRESSES = 10_000;

export interface BroadcastServerOptions {
  readonly config: Config;
  readonly log: Log;
  /** The address to listen on, such as the broadcast address of one network; see DEFAULT_ADDRESSES. */
  readonly address?: string | undefined;
  readonly port: number;
  /** The name server's URI: the reply to `location`. */
  readonly uri: PyroURI;
  /** True denies shutdown requests (`-k`). */
  readonly ignoreShutdown: boolean;
  readonly requestValidator?: BCReqValidator | undefined;
  /** Called when a shutdown request was accepted, after the reply was sent. */
  readonly onShutdown: () => void;
}

/** Answers UDP broadcasts of clients that search for the name server, like Pyro's class of this name. */
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
   * @throws NamingError `cannot start broadcast server`, with the system's error for each address that was tried
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

  /** The address and port that it listens on. */
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
    // Requests above the rate limit are not logged either, so that they can't fill the log.
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

/** Rate limit per address, so that forged requests can't make us flood somebody with replies (a reflection attack). */
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

import type { Socket } from 'node:net';
import { ConnectionClosedError, ProtocolError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { MemoryBudget } from '../sync/index.js';
import { Connection, defaultConnectionOptions, type ConnectionOptions } from './connection.js';
import { encodeFrame, encodePlainFrame, LARGE_FRAME_BYTES, type Body, type Frame } from './frame.js';
import { CONNECT, encodeDenial, GRANTED, type DeniedReason } from './handshake.js';
import { encodeException, type PickleProtocol } from './message.js';

/** Options of a server connection. Durations are in milliseconds, sizes in bytes. */
export interface ServerConnectionOptions extends ConnectionOptions {
  /** Backpressure: above this many bytes of replies that the client has not read, its requests are not processed. */
  readonly maxUnsentReplies: number;
  /** How long a client may be idle; 0 (default): no limit, because programs keep their proxies for days. */
  readonly idleTimeoutMs: number;
  /** The most bytes in the body of a client's frame before the client is authenticated. */
  readonly maxHandshakeBody: number;
  /** Admission control for large frames: shared by the connections whose total it bounds; undefined: no bound. */
  readonly memoryBudget: MemoryBudget | undefined;
  /** The pickle protocol of the error replies that the connection itself sends. */
  readonly pickleProtocol: PickleProtocol;
  /** Called with an unexpected error of a handler, for the log: the client does not get it. */
  readonly onError: (error: unknown, connection: ServerConnection) => void;
}

export const defaultServerConnectionOptions: ServerConnectionOptions = {
  ...defaultConnectionOptions,
  maxUnsentReplies: 0x100000,
  idleTimeoutMs: 0,
  maxHandshakeBody: 1024,
  memoryBudget: undefined,
  pickleProtocol: 2,
  onError: () => undefined,
};

/** Decides whether a new connection is accepted: the part of Pyro's connection validator that the handshake needs. */
export interface ConnectionAuthenticator {
  /** Called first, before the challenge is sent. @returns why the host is refused; undefined to accept it */
  acceptHost(connection: ServerConnection): DeniedReason | undefined | Promise<DeniedReason | undefined>;
  /** Makes the challenge that the client's token has to answer: exactly CHALLENGE_SIZE bytes. */
  createAuthChallenge(connection: ServerConnection): Buffer;
  /** Checks the client's token. @returns why the client is refused; undefined to accept it */
  acceptIdentification(
    connection: ServerConnection,
    token: Buffer,
    challenge: Buffer,
  ): DeniedReason | undefined | Promise<DeniedReason | undefined>;
}

const NOTHING = new Uint8Array();

/** Time slice: after this long, a connection with more requests yields to the event loop, so that others get served. */
const TIME_SLICE_MS = 5;

/** What a handler returns: the body of the reply, pickled; undefined if none is sent (one-way calls). */
export type Reply = Body | undefined;

/**
 * Handles a request: its body goes in, the reply's body comes out. A ProtocolError that it throws is sent to the
 * client, and ends the connection; any other error ends the connection only (and is given to `onError`).
 */
export type RequestHandler = (body: Buffer, connection: ServerConnection) => Reply | Promise<Reply>;

/**
 * The server side of a connection: first the handshake (`open`), then requests (`serve`), strictly one after another:
 * the next is handled when the reply to the one before is queued. Requests that arrived together and are handled
 * synchronously are handled in one run, and their replies leave in one write.
 */
export class ServerConnection extends Connection {
  private readonly options: ServerConnectionOptions;
  private handler: RequestHandler = () => undefined;
  /** True while a request is handled asynchronously. */
  private isHandling = false;
  /** When the current time slice began, by the monotonic clock; undefined while there is no request. */
  private sliceStart: number | undefined;
  /** True between the end of a time slice and the next. */
  private yielding = false;
  private ending = false;
  /** True while a large frame has memory reserved, or waits for it. */
  private hasReservation = false;
  private timeoutMs = 0;
  /** Resolvers of `replied()` for the request in progress. */
  private repliedWaiters: (() => void)[] = [];
  protected override readonly onSent = (): void => {
    // The client may be idle now: 'drain' does not say so, as it only follows large writes.
    if (this.timeoutMs > 0) this.setTimeout();
  };

  constructor(socket: Socket, options: Partial<ServerConnectionOptions> = {}) {
    const complete = { ...defaultServerConnectionOptions, ...options };
    super(socket, complete);
    this.options = complete;
    socket.on('drain', () => {
      this.consume();
      this.updateReadPause();
    });
    socket.once('close', () => {
      this.resolveReplied(this.repliedWaiters);
      this.reader.abandon();
      if (this.hasReservation) this.releaseMemory();
    });
  }

  /**
   * Resolves when the system has taken the reply to the request in progress, or the connection is closed: then the
   * reply takes no memory in this process any more. Not for one-way calls, which have no reply.
   */
  replied(): Promise<void> {
    return new Promise((resolve) => {
      if (this.socket.destroyed) resolve();
      else this.repliedWaiters.push(resolve);
    });
  }

  /**
   * Runs the server's side of the handshake. Never rejects.
   * @returns true if the client was accepted; if not, it has been told why, and the connection is closing
   */
  async open(authenticator: ConnectionAuthenticator): Promise<boolean> {
    const deadline = setTimeout(() => {
      this.socket.destroy();
    }, this.options.handshakeTimeoutMs);
    try {
      const refused = (await authenticator.acceptHost(this)) ?? (await this.identify(authenticator));
      this.write(refused === undefined ? GRANTED : encodeDenial(refused));
      if (refused === undefined) this.flush();
      else this.lingeringClose();
      return refused === undefined && !this.socket.destroyed;
    } catch (error) {
      this.fail(error);
      return false;
    } finally {
      clearTimeout(deadline);
    }
  }

  /** Handles requests until either side closes. */
  serve(handler: RequestHandler): void {
    this.handler = handler;
    this.consume = () => {
      this.handleRequests();
    };
    this.consume();
    this.updateReadPause();
  }

  /**
   * Graceful close: finishes the request in progress, within `endTimeoutMs`, then closes. Resolves when it is closed.
   */
  async end(): Promise<void> {
    this.ending = true;
    this.flush();
    if (!this.isHandling) this.socket.destroySoon();
    const deadline = setTimeout(() => {
      this.socket.destroy();
    }, this.options.endTimeoutMs);
    await this.closed;
    clearTimeout(deadline);
  }

  private async identify(authenticator: ConnectionAuthenticator): Promise<DeniedReason | undefined> {
    const { limits, maxHandshakeBody } = this.options;
    const challenge = authenticator.createAuthChallenge(this);
    this.write(await encodeFrame(challenge, this.options));
    this.flush();
    this.reader.limits = { maxBodySize: maxHandshakeBody, maxInflatedSize: maxHandshakeBody };
    const body = await this.receive((reader) => reader.next());
    this.reader.limits = limits;
    if (!body.subarray(0, CONNECT.length).equals(CONNECT)) throw new ProtocolError(refusalText('CONNECT_INVALID'));
    return authenticator.acceptIdentification(this, body.subarray(CONNECT.length), challenge);
  }

  /**
   * Handles requests until no complete one is left, one is handled asynchronously, the client reads too slowly
   * (backpressure), or the time slice is over.
   */
  private handleRequests(): void {
    if (this.isHandling || this.yielding || this.socket.destroyed) return;
    try {
      this.blocked = this.isBackpressured;
      this.sliceStart ??= performance.now();
      while (!this.blocked) {
        const body = this.reader.next();
        if (body === undefined) {
          this.sliceStart = undefined;
          if (this.reader.buffered > LARGE_FRAME_BYTES) this.reserveMemory();
          break;
        }
        const waiting = this.reply(body instanceof Promise ? body.then(this.handle) : this.handle(body));
        if (waiting) this.awaitReply(waiting);
        // Backpressure can only have changed if the reply was written to the socket just now, and not only queued.
        else if (this.outgoingSize === 0) this.blocked ||= this.isBackpressured;
        if (!this.blocked && this.isSliceOver) this.yieldToEventLoop();
      }
      if (this.blocked) this.scheduleFlush();
      else this.flush();
      if (this.inputEnded && !this.blocked) this.lingeringClose();
    } catch (error) {
      this.fail(error);
    }
    this.setTimeout();
  }

  /** Reads the clock only if more requests have arrived, which is rare. */
  private get isSliceOver(): boolean {
    return this.reader.buffered > 0 && performance.now() - (this.sliceStart ?? 0) > TIME_SLICE_MS;
  }

  /** Continues in the next iteration of the event loop, with a new time slice. */
  private yieldToEventLoop(): void {
    this.sliceStart = undefined;
    this.yielding = true;
    this.blocked = true;
    setImmediate(() => {
      this.yielding = false;
      if (this.ending) return;
      this.consume();
      this.updateReadPause();
    });
  }

  /** Reserves memory for the large frame that is arriving; the socket is paused until the budget grants it. */
  private reserveMemory(): void {
    const { memoryBudget } = this.options;
    if (this.hasReservation || memoryBudget === undefined) return;
    this.hasReservation = true;
    this.isAwaitingMemory = !memoryBudget.reserve(this, this.reader.announced, () => {
      this.isAwaitingMemory = false;
      this.updateReadPause();
      this.setTimeout();
    });
  }

  private releaseMemory(): void {
    this.hasReservation = false;
    this.isAwaitingMemory = false;
    this.options.memoryBudget?.release(this);
  }

  private readonly handle = (body: Buffer): Reply | Promise<Reply> => {
    // Not earlier: a body that waits to be inflated takes memory too.
    if (this.hasReservation) this.releaseMemory();
    return this.handler(body, this);
  };

  /** Queues a reply for sending: synchronously if possible. @returns undefined, or a promise of that */
  private reply(reply: Reply | Promise<Reply>): Promise<void> | undefined {
    if (reply === undefined) return undefined;
    if ('then' in reply) return reply.then((settled) => this.reply(settled));
    const frame = encodeFrame(reply, this.options);
    if (frame instanceof Promise)
      return frame.then((pieces) => {
        this.send(pieces);
      });
    this.send(frame);
    return undefined;
  }

  private send(frame: Frame): void {
    this.write(frame);
    if (this.repliedWaiters.length > 0) this.notifyWhenSent();
  }

  /**
   * Resolves `replied()`. An empty write is queued behind the reply: its callback comes when the system took the reply.
   */
  private notifyWhenSent(): void {
    const waiting = this.repliedWaiters;
    this.repliedWaiters = [];
    this.flush();
    if (!this.socket.writable) this.resolveReplied(waiting);
    else
      this.socket.write(NOTHING, () => {
        this.resolveReplied(waiting);
      });
  }

  private resolveReplied(waiting: readonly (() => void)[]): void {
    for (const resolve of waiting) resolve();
  }

  private awaitReply(waiting: Promise<void>): void {
    this.isHandling = true;
    this.blocked = true;
    waiting
      .then(() => {
        this.isHandling = false;
        if (this.ending) this.lingeringClose();
        // A handler that only awaits settled promises never lets the event loop run either.
        if (!this.ending && this.isSliceOver) this.yieldToEventLoop();
        this.consume();
        this.updateReadPause();
      })
      .catch((error: unknown) => {
        this.fail(error);
      });
  }

  /** True while the client has too much unread; 'drain' comes when it has taken all of it. */
  private get isBackpressured(): boolean {
    return this.socket.writableNeedDrain && this.socket.writableLength > this.options.maxUnsentReplies;
  }

  /**
   * Sets the socket's timeout: none while we are busy, the stall timeout in the middle of a message, else the idle
   * timeout.
   */
  private setTimeout(): void {
    const { stallTimeoutMs, idleTimeoutMs } = this.options;
    const isInMessage = this.reader.buffered > 0 || this.socket.writableLength > 0;
    const timeoutMs = this.isHandling || this.isAwaitingMemory ? 0 : isInMessage ? stallTimeoutMs : idleTimeoutMs;
    if (timeoutMs === this.timeoutMs || this.isLingering) return;
    this.timeoutMs = timeoutMs;
    this.socket.setTimeout(timeoutMs);
  }

  /** Closes after an error. A ProtocolError is sent to the client first: what follows bad bytes can't be parsed. */
  private fail(error: unknown): void {
    if (this.socket.destroyed) return;
    if (error instanceof ConnectionClosedError) {
      this.socket.destroy();
      return;
    }
    if (!(error instanceof ProtocolError)) {
      this.options.onError(error, this);
      this.socket.destroy();
      return;
    }
    const { checksum, pickleProtocol } = this.options;
    const exception = { module: 'Pyro.errors', className: 'ProtocolError', args: error.args };
    this.write(encodePlainFrame(encodeException(exception, pickleProtocol), checksum));
    this.lingeringClose();
  }
}

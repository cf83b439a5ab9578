import type { Socket } from 'node:net';
import { ConnectionClosedError, ProtocolError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { MemoryBudget } from '../sync/index.js';
import { Connection, defaultConnectionOptions, type ConnectionOptions } from './connection.js';
import { encodeFrame, encodePlainFrame, LARGE_FRAME_BYTES, type Body, type Frame } from './frame.js';
import { CONNECT, encodeDenial, GRANTED, type DeniedReason } from './handshake.js';
import { encodeException, type PickleProtocol } from './message.js';

/** What a server's connection can be told. Times in milliseconds, sizes in bytes. */
export interface ServerConnectionOptions extends ConnectionOptions {
  /** How much a client may leave unread before no more of its requests are looked at. */
  readonly maxUnsentReplies: number;
  /** How long a client may do nothing; 0 for ever, because programs keep their proxies for days. */
  readonly idleTimeoutMs: number;
  /** How large a client's frame may be while the client is not known yet. */
  readonly maxHandshakeBody: number;
  /** Bounds the large frames that arrive at the same time, at all connections that share it; undefined where nothing does. */
  readonly memoryBudget: MemoryBudget | undefined;
  /** The pickle protocol of the errors that the connection itself answers. */
  readonly pickleProtocol: PickleProtocol;
  /** Told of what went wrong here while a request was answered: for the log, not for the client. */
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

/** Who decides about new connections: Pyro's connection validator, as the wire sees it. */
export interface ConnectionAuthenticator {
  /** Undefined lets the host in. */
  acceptHost(connection: ServerConnection): DeniedReason | undefined | Promise<DeniedReason | undefined>;
  /** The bytes that the client's token has to answer: exactly CHALLENGE_SIZE. */
  createAuthChallenge(connection: ServerConnection): Buffer;
  /** Undefined lets the client in. */
  acceptIdentification(
    connection: ServerConnection,
    token: Buffer,
    challenge: Buffer,
  ): DeniedReason | undefined | Promise<DeniedReason | undefined>;
}

const NOTHING = new Uint8Array();

/** How long one connection answers what has arrived before others have their turn. */
const MAX_TURN_MS = 5;

/** What a handler answers: a pickled reply; undefined where there is none to be sent (one-way calls). */
export type Reply = Body | undefined;

/** Answers the body of a request. A ProtocolError it throws is answered, and ends the connection. */
export type RequestHandler = (body: Buffer, connection: ServerConnection) => Reply | Promise<Reply>;

/**
 * The server's end of a connection: first the handshake, then requests, strictly one after another, each answered
 * before the next is looked at. A handler that answers without a promise answers all requests that arrived together
 * in one go, and their replies leave in one write.
 */
export class ServerConnection extends Connection {
  private readonly options: ServerConnectionOptions;
  private handler: RequestHandler = () => undefined;
  /** True while an answer takes its time. */
  private answering = false;
  /** When it began to answer what has arrived; undefined where nothing is left of that. */
  private turnStart: number | undefined;
  /** True while others have their turn. */
  private yielding = false;
  private ending = false;
  /** True while a large frame is arriving, or waits for others. */
  private hasReservation = false;
  private timeout = 0;
  /** Those who wait for the reply to the request that is being answered. */
  private repliedWaiters: (() => void)[] = [];
  protected override readonly onSent = (): void => {
    // Nothing is pending any more, perhaps; and no 'drain' follows where it was little.
    if (this.timeout > 0) this.setTimeout();
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
   * Resolves when the system has taken the reply to the request that is being answered, or the connection is closed: then
   * the reply takes no memory here any more. Not for one-way calls, which have none.
   */
  replied(): Promise<void> {
    return new Promise((resolve) => {
      if (this.socket.destroyed) resolve();
      else this.repliedWaiters.push(resolve);
    });
  }

  /**
   * Runs the server's side of the handshake. Never throws because of the client.
   * @returns true where the client was let in; else it has been told why, and the connection is closed
   */
  async open(authenticator: ConnectionAuthenticator): Promise<boolean> {
    const deadline = setTimeout(() => {
      this.socket.destroy();
    }, this.options.handshakeTimeoutMs);
    try {
      const refused = (await authenticator.acceptHost(this)) ?? (await this.identify(authenticator));
      this.write(refused === undefined ? GRANTED : encodeDenial(refused));
      if (refused === undefined) this.flush();
      else this.finish();
      return refused === undefined && !this.socket.destroyed;
    } catch (error) {
      this.fail(error);
      return false;
    } finally {
      clearTimeout(deadline);
    }
  }

  /** Answers requests until either side closes. */
  serve(handler: RequestHandler): void {
    this.handler = handler;
    this.consume = () => {
      this.answerRequests();
    };
    this.consume();
    this.updateReadPause();
  }

  /** Answers what is under way, if that does not take too long, then closes. */
  async end(): Promise<void> {
    this.ending = true;
    this.flush();
    if (!this.answering) this.socket.destroySoon();
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
   * Answers all that can be answered now: until no whole request is left, or one takes its time, or nobody reads, or this has
   * taken so long that others come first.
   */
  private answerRequests(): void {
    if (this.answering || this.yielding || this.socket.destroyed) return;
    try {
      this.blocked = this.isBackpressured;
      this.turnStart ??= performance.now();
      while (!this.blocked) {
        const body = this.reader.next();
        if (body === undefined) {
          this.turnStart = undefined;
          if (this.reader.buffered > LARGE_FRAME_BYTES) this.reserveMemory();
          break;
        }
        const waiting = this.reply(body instanceof Promise ? body.then(this.handle) : this.handle(body));
        if (waiting) this.answerLater(waiting);
        // Only where replies have just been sent, and not merely put, can there be too much unread.
        else if (this.outgoingSize === 0) this.blocked ||= this.isBackpressured;
        if (!this.blocked && this.isTurnOver) this.yieldTurn();
      }
      if (this.blocked) this.scheduleFlush();
      else this.flush();
      if (this.inputEnded && !this.blocked) this.finish();
    } catch (error) {
      this.fail(error);
    }
    this.setTimeout();
  }

  /** Asks for the time only where more requests have come: most come alone. */
  private get isTurnOver(): boolean {
    return this.reader.buffered > 0 && performance.now() - (this.turnStart ?? 0) > MAX_TURN_MS;
  }

  /** Goes on when the event loop has turned. */
  private yieldTurn(): void {
    this.turnStart = undefined;
    this.yielding = true;
    this.blocked = true;
    setImmediate(() => {
      this.yielding = false;
      if (this.ending) return;
      this.consume();
      this.updateReadPause();
    });
  }

  /** Has the rest of a large frame read when there is room for it. */
  private reserveMemory(): void {
    const { memoryBudget } = this.options;
    if (this.hasReservation || memoryBudget === undefined) return;
    this.hasReservation = true;
    this.isWaiting = !memoryBudget.reserve(this, this.reader.announced, () => {
      this.isWaiting = false;
      this.updateReadPause();
      this.setTimeout();
    });
  }

  private releaseMemory(): void {
    this.hasReservation = false;
    this.isWaiting = false;
    this.options.memoryBudget?.release(this);
  }

  private readonly handle = (body: Buffer): Reply | Promise<Reply> => {
    // Not before: it was held while it waited to be inflated.
    if (this.hasReservation) this.releaseMemory();
    return this.handler(body, this);
  };

  /** Puts a reply behind what is to be sent: at once, where it needs no waiting. */
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
    if (this.repliedWaiters.length > 0) this.followReply();
  }

  /** What is written behind the reply has been taken when the reply has. */
  private followReply(): void {
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
    for (const tell of waiting) tell();
  }

  private answerLater(waiting: Promise<void>): void {
    this.answering = true;
    this.blocked = true;
    waiting
      .then(() => {
        this.answering = false;
        if (this.ending) this.finish();
        // What waits for nothing but promises keeps the event loop from turning, too.
        if (!this.ending && this.isTurnOver) this.yieldTurn();
        this.consume();
        this.updateReadPause();
      })
      .catch((error: unknown) => {
        this.fail(error);
      });
  }

  /** True where the client leaves too much unread; 'drain' comes when it has taken all of it. */
  private get isBackpressured(): boolean {
    return this.socket.writableNeedDrain && this.socket.writableLength > this.options.maxUnsentReplies;
  }

  /** Gives the client its time: to go on with what it has begun, or to begin something. */
  private setTimeout(): void {
    const inTheMiddle = this.reader.buffered > 0 || this.socket.writableLength > 0;
    const timeout =
      this.answering || this.isWaiting ? 0 : inTheMiddle ? this.options.stallTimeoutMs : this.options.idleTimeoutMs;
    if (timeout === this.timeout || this.finishing) return;
    this.timeout = timeout;
    this.socket.setTimeout(timeout);
  }

  /** Tells the client what was wrong with its bytes, and closes: what follows them can't be understood. */
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
    this.finish();
  }
}

import { connect, type Socket } from 'node:net';
import { ConnectionDeniedError, ProtocolError, TimeoutError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { onAbort } from '../sync/index.js';
import { Connection, defaultConnectionOptions, type ConnectionOptions } from './connection.js';
import { encodeFrame, type Body, type FrameReader } from './frame.js';
import { CHALLENGE_SIZE, CONNECT, createAuthToken, decodeDenial, GRANTED, VERDICT_SIZE } from './handshake.js';
import { socketLookup } from './host-resolver.js';
import { connectTLS, failureReason, type ClientTLSOptions } from './tls.js';

/** Options of a client connection. Durations are in milliseconds, sizes in bytes. */
export interface ClientConnectionOptions extends ConnectionOptions {
  /** The digest of the passphrase (`mungeIdentification`); empty where there is none. */
  readonly identification: Uint8Array;
  /** Computes the token that answers the server's challenge. */
  readonly createAuthToken: (identification: Uint8Array, challenge: Buffer) => Uint8Array;
  /** How long looking up the server's host name may take; undefined for the default. */
  readonly lookupTimeoutMs: number | undefined;
  /** Aborts opening the connection; it has no effect on an open connection. */
  readonly signal: AbortSignal | undefined;
  /** Connect with TLS; undefined for plain TCP. */
  readonly tls: ClientTLSOptions | undefined;
}

export const defaultClientConnectionOptions: ClientConnectionOptions = {
  ...defaultConnectionOptions,
  identification: Buffer.alloc(0),
  createAuthToken,
  lookupTimeoutMs: undefined,
  signal: undefined,
  tls: undefined,
};

/** When to stop waiting for the reply to a call. */
export interface CallOptions {
  /** How long to wait for the reply, in milliseconds; 0 or undefined: no limit. */
  readonly timeout?: number | undefined;
  /** Stops waiting for the reply; the server still executes the call. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The read buffer of all connections: a new buffer for each read, as Node's streams have it, costs a tenth of a call.
 */
const SHARED_READ_BUFFER = Buffer.allocUnsafeSlow(0x10000);

/** A call whose reply has not arrived yet. These form a linked list, in the order of the calls. */
interface PendingCall {
  resolve(reply: Buffer | Promise<Buffer>): void;
  reject(error: unknown): void;
  /** Clears its timer, and removes its abort listener. */
  cleanUp: (() => void) | undefined;
  /** True once its signal has aborted it: its reply still arrives, and is dropped. */
  isAbandoned: boolean;
  next: PendingCall | undefined;
}

/**
 * The client side of a connection. Calls are pipelined: they may be made without waiting for earlier ones, calls made
 * together are sent in one write, and their replies come in order. While no call waits for a reply, the connection does
 * not keep the process alive.
 */
export class ClientConnection extends Connection {
  private oldest: PendingCall | undefined;
  private newest: PendingCall | undefined;
  /** How many calls somebody waits for: all pending ones except the abandoned. */
  private pendingReplies = 0;
  /**
   * Settles when the frames that are being compressed are written; frames sent later wait for it, to keep the order.
   */
  private compressing: Promise<void> | undefined;

  private constructor(
    socket: Socket,
    private readonly options: ClientConnectionOptions,
  ) {
    super(socket, options);
  }

  /**
   * Connects, and runs the client's side of the handshake.
   * @throws ConnectionDeniedError with the server's reason; ProtocolError, which is `connection failed` where nobody
   *   listens, or says what is wrong where the server speaks another protocol; TimeoutError after `handshakeTimeoutMs`;
   *   the signal's reason
   */
  static async open(
    host: string,
    port: number,
    options: Partial<ClientConnectionOptions> = {},
  ): Promise<ClientConnection> {
    const complete = { ...defaultClientConnectionOptions, ...options };
    const { signal, handshakeTimeoutMs, lookupTimeoutMs, tls } = complete;
    signal?.throwIfAborted();
    const onread = {
      buffer: SHARED_READ_BUFFER,
      callback: (size: number) => {
        connection.onData(SHARED_READ_BUFFER.subarray(0, size), true);
        return true;
      },
    };
    const lookupEnd = new AbortController();
    const lookup = socketLookup({ timeoutMs: lookupTimeoutMs, signal: lookupEnd.signal });
    const destination = { host, port, family: 4, lookup } as const;
    const socket = tls ? connectTLS(destination, tls) : connect({ ...destination, onread });
    const connection = new ClientConnection(socket, complete);
    let reason: unknown;
    const abort = (why: unknown): void => {
      reason = why;
      connection.destroy();
    };
    const removeListener = onAbort(signal, abort);
    const deadline = setTimeout(abort, handshakeTimeoutMs, new TimeoutError(refusalText('CONNECT_TIMEOUT')));
    try {
      await connection.established();
      await connection.identify();
      return connection;
    } catch (error) {
      connection.destroy();
      throw reason ?? error;
    } finally {
      clearTimeout(deadline);
      lookupEnd.abort();
      removeListener();
    }
  }

  /** True until either side has closed. */
  get isOpen(): boolean {
    return this.socket.writable;
  }

  /**
   * Sends the body of a request, and waits for the body of its reply.
   * @throws TimeoutError; then the connection is closed, so that the late reply can't be taken for that of another
   *   call; ConnectionClosedError `connection lost`; the signal's reason; ProtocolError where the reply is no valid
   *   frame
   */
  call(body: Body, { timeout = 0, signal }: CallOptions = {}): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      this.send(body);
      const call: PendingCall = { resolve, reject, cleanUp: undefined, isAbandoned: false, next: undefined };
      this.cancelAfter(call, timeout, signal);
      this.enqueue(call);
    });
  }

  /**
   * Sends the body of a request that has no reply (Pyro's one-way calls). Nobody learns whether it arrives.
   * @throws ConnectionClosedError `connection lost`
   */
  send(body: Body): void {
    if (!this.isOpen) throw this.connectionLost();
    const frame = encodeFrame(body, this.options);
    if (this.compressing === undefined && !('then' in frame)) {
      this.write(frame);
      this.scheduleFlush();
      return;
    }
    const sent = (this.compressing ?? Promise.resolve())
      .then(async () => {
        this.write(await frame);
        this.flush();
        if (this.compressing === sent) this.compressing = undefined;
      })
      .catch(() => {
        this.destroy();
      });
    this.compressing = sent;
  }

  /**
   * Flushes, and closes. Pending calls reject with ConnectionClosedError. What the server has not taken is given up
   * once it has made no progress for `endTimeoutMs`.
   */
  async close(): Promise<void> {
    await this.compressing;
    this.flush();
    this.socket.destroySoon();
    // A socket's timeout restarts at each progress, so that much data, or a slow server, is no reason to lose any.
    this.socket.setTimeout(this.options.endTimeoutMs);
    await this.closed;
  }

  private established(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.once(this.options.tls ? 'secureConnect' : 'connect', resolve);
      this.socket.once('error', (error) => {
        reject(new ProtocolError(refusalText('CONNECTION_FAILED'), failureReason(error)));
      });
      this.socket.once('close', () => {
        reject(new ProtocolError(refusalText('CONNECTION_FAILED')));
      });
    });
  }

  private async identify(): Promise<void> {
    const { identification, limits, createAuthToken } = this.options;
    this.reader.limits = { maxBodySize: CHALLENGE_SIZE, maxInflatedSize: CHALLENGE_SIZE };
    const challenge = await this.receive((reader) => {
      throwIfDenied(reader);
      return reader.next();
    });
    if (challenge.length !== CHALLENGE_SIZE) throw new ProtocolError(refusalText('CHALLENGE_INVALID'));
    this.reader.limits = limits;
    this.write(await encodeFrame([CONNECT, createAuthToken(identification, challenge)], this.options));
    this.flush();
    const verdict = await this.receive((reader) => {
      throwIfDenied(reader);
      return reader.take(VERDICT_SIZE);
    });
    if (!verdict.equals(GRANTED)) throw new ProtocolError(refusalText('RESPONSE_INVALID'));
    this.consume = () => {
      this.takeReplies();
    };
    this.blocked = false;
    this.socket.unref();
    this.consume();
    this.updateReadPause();
  }

  private enqueue(call: PendingCall): void {
    if (this.newest) this.newest.next = call;
    else this.oldest = call;
    this.newest = call;
    if (this.pendingReplies++ === 0) this.socket.ref();
  }

  /** Called for a call that got its reply or was abandoned. */
  private decrementPending(): void {
    if (--this.pendingReplies === 0) this.socket.unref();
  }

  /** Sets the call's timer, and listens to its signal. */
  private cancelAfter(call: PendingCall, timeout: number, signal: AbortSignal | undefined): void {
    if (timeout <= 0 && signal === undefined) return;
    const onTimeout = (): void => {
      call.reject(new TimeoutError(refusalText('ANSWER_TIMEOUT')));
      this.destroy();
    };
    const timer = timeout > 0 ? setTimeout(onTimeout, timeout) : undefined;
    const removeListener = onAbort(signal, (reason) => {
      call.cleanUp?.();
      call.isAbandoned = true;
      this.decrementPending();
      call.reject(reason);
    });
    call.cleanUp = () => {
      clearTimeout(timer);
      removeListener();
    };
  }

  private takeReplies(): void {
    try {
      for (let body = this.reader.next(); body !== undefined; body = this.reader.next()) {
        const call = this.dequeue();
        if (call === undefined) throw new ProtocolError(refusalText('MESSAGE_UNEXPECTED'));
        // If the call was abandoned, nobody handles the rejection of a body that can't be inflated.
        if ('then' in body) body.catch(() => undefined);
        call.resolve(body);
      }
      if (this.inputEnded) this.fail(this.connectionLost());
    } catch (error) {
      this.fail(error);
    }
  }

  private dequeue(): PendingCall | undefined {
    const call = this.oldest;
    if (call === undefined) return undefined;
    this.oldest = call.next;
    if (this.oldest === undefined) this.newest = undefined;
    if (!call.isAbandoned) {
      call.cleanUp?.();
      this.decrementPending();
    }
    return call;
  }

  private fail(error: unknown): void {
    this.destroy();
    for (let call = this.dequeue(); call !== undefined; call = this.dequeue()) call.reject(error);
  }
}

/**
 * Checks for a refusal, which a server may send instead of either message of the handshake.
 * @throws ConnectionDeniedError with the reason
 */
function throwIfDenied(reader: FrameReader): void {
  const reason = decodeDenial(reader.peek(VERDICT_SIZE));
  if (reason !== undefined) throw new ConnectionDeniedError(reason);
}

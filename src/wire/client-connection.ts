import { connect, type Socket } from 'node:net';
import { ConnectionDeniedError, ProtocolError, TimeoutError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { onAbort } from '../sync/index.js';
import { Connection, defaultConnectionOptions, type ConnectionOptions } from './connection.js';
import { encodeFrame, type Body, type FrameReader } from './frame.js';
import { CHALLENGE_SIZE, CONNECT, createAuthToken, decodeDenial, GRANTED, VERDICT_SIZE } from './handshake.js';
import { connectTLS, failureReason, type ClientTLSOptions } from './tls.js';

/** What opening a client's connection can be told besides. */
export interface ClientConnectionOptions extends ConnectionOptions {
  /** The munged identification; empty where there is none. */
  readonly identification: Uint8Array;
  /** Answers the server's challenge. */
  readonly createAuthToken: (identification: Uint8Array, challenge: Buffer) => Uint8Array;
  /** Gives up opening the connection. */
  readonly signal: AbortSignal | undefined;
  /** Connect by TLS. */
  readonly tls: ClientTLSOptions | undefined;
}

export const defaultClientConnectionOptions: ClientConnectionOptions = {
  ...defaultConnectionOptions,
  identification: Buffer.alloc(0),
  createAuthToken,
  signal: undefined,
  tls: undefined,
};

/** How a call may end early. */
export interface CallOptions {
  /** How long to wait for the reply, in milliseconds; 0 or nothing for ever. */
  readonly timeout?: number | undefined;
  /** Stops waiting for the reply; the call itself can't be taken back. */
  readonly signal?: AbortSignal | undefined;
}

/** What arrives, on any connection, is read into this: a new buffer for each read, as streams have it, costs a tenth of a call. */
const SHARED_READ_BUFFER = Buffer.allocUnsafeSlow(0x10000);

/** A call whose reply is to come; they are linked in the order they were made. */
interface PendingCall {
  resolve(reply: Buffer | Promise<Buffer>): void;
  reject(error: unknown): void;
  /** Stops its clock, and waits for its signal no longer. */
  release: (() => void) | undefined;
  /** True once its signal has ended it: its reply is still to come, and nobody waits for it. */
  isAbandoned: boolean;
  next: PendingCall | undefined;
}

/**
 * The client's end of a connection. Calls may be made without waiting for earlier ones: they are sent in one write,
 * and their replies come in order. A connection by which nobody waits for anything does not keep the process alive.
 */
export class ClientConnection extends Connection {
  private oldest: PendingCall | undefined;
  private newest: PendingCall | undefined;
  /** How many calls are waited for: all under way, but for those that are abandoned. */
  private pendingReplies = 0;
  /** Frames that are still being compressed: what is sent later waits for them. */
  private compressing: Promise<void> | undefined;

  private constructor(
    socket: Socket,
    private readonly options: ClientConnectionOptions,
  ) {
    super(socket, options);
  }

  /**
   * Connects, and runs the client's side of the handshake.
   * @throws ConnectionDeniedError with the server's reason; ProtocolError `connection failed` where nobody listens, or
   *   what listens speaks another protocol; TimeoutError where the server stays silent; the signal's reason
   */
  static async open(
    host: string,
    port: number,
    options: Partial<ClientConnectionOptions> = {},
  ): Promise<ClientConnection> {
    const complete = { ...defaultClientConnectionOptions, ...options };
    const { signal, handshakeTimeoutMs } = complete;
    signal?.throwIfAborted();
    const onread = {
      buffer: SHARED_READ_BUFFER,
      callback: (size: number) => {
        connection.onData(SHARED_READ_BUFFER.subarray(0, size), true);
        return true;
      },
    };
    const socket = complete.tls ? connectTLS(host, port, complete.tls) : connect({ host, port, family: 4, onread });
    const connection = new ClientConnection(socket, complete);
    let reason: unknown;
    const giveUp = (why: unknown): void => {
      reason = why;
      connection.destroy();
    };
    const forget = onAbort(signal, giveUp);
    const deadline = setTimeout(giveUp, handshakeTimeoutMs, new TimeoutError(refusalText('CONNECT_TIMEOUT')));
    try {
      await connection.established();
      await connection.identify();
      return connection;
    } catch (error) {
      connection.destroy();
      throw reason ?? error;
    } finally {
      clearTimeout(deadline);
      forget();
    }
  }

  /** True until either side has closed. */
  get isOpen(): boolean {
    return this.socket.writable;
  }

  /**
   * Sends the body of a request, and waits for the body of its reply.
   * @throws TimeoutError, and closes the connection, so that a late reply can't be taken for that of another call;
   *   ConnectionClosedError `connection lost`; the signal's reason; ProtocolError where the reply is no frame
   */
  call(body: Body, { timeout = 0, signal }: CallOptions = {}): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      this.send(body);
      const call: PendingCall = { resolve, reject, release: undefined, isAbandoned: false, next: undefined };
      this.cancelAfter(call, timeout, signal);
      this.enqueue(call);
    });
  }

  /**
   * Sends the body of a request that has no reply. Pyro's one-way calls: whether it arrives isn't known.
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
   * Sends what is still to be sent, for as long as the server goes on taking it (`endTimeout`), and closes. Calls that wait for a
   * reply get a ConnectionClosedError.
   */
  async close(): Promise<void> {
    await this.compressing;
    this.flush();
    this.socket.destroySoon();
    // Time without progress: what is much, or goes slowly, is not lost.
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
      refuseDenial(reader);
      return reader.next();
    });
    if (challenge.length !== CHALLENGE_SIZE) throw new ProtocolError(refusalText('CHALLENGE_INVALID'));
    this.reader.limits = limits;
    this.write(await encodeFrame([CONNECT, createAuthToken(identification, challenge)], this.options));
    this.flush();
    const verdict = await this.receive((reader) => {
      refuseDenial(reader);
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

  /** A call has had its reply, or nobody waits for it any more. */
  private stopWaiting(): void {
    if (--this.pendingReplies === 0) this.socket.unref();
  }

  /** Makes a call end early. */
  private cancelAfter(call: PendingCall, timeout: number, signal: AbortSignal | undefined): void {
    if (timeout <= 0 && signal === undefined) return;
    const onTimeout = (): void => {
      call.reject(new TimeoutError(refusalText('ANSWER_TIMEOUT')));
      this.destroy();
    };
    const timer = timeout > 0 ? setTimeout(onTimeout, timeout) : undefined;
    const forget = onAbort(signal, (reason) => {
      call.release?.();
      call.isAbandoned = true;
      this.stopWaiting();
      call.reject(reason);
    });
    call.release = () => {
      clearTimeout(timer);
      forget();
    };
  }

  private takeReplies(): void {
    try {
      for (let body = this.reader.next(); body !== undefined; body = this.reader.next()) {
        const call = this.dequeue();
        if (call === undefined) throw new ProtocolError(refusalText('MESSAGE_UNEXPECTED'));
        // Nobody may be waiting any more for a body that turns out to be bad.
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
      call.release?.();
      this.stopWaiting();
    }
    return call;
  }

  private fail(error: unknown): void {
    this.destroy();
    for (let call = this.dequeue(); call !== undefined; call = this.dequeue()) call.reject(error);
  }
}

/**
 * Looks for a refusal, which a server may send instead of either message of the handshake.
 * @throws ConnectionDeniedError with the reason
 */
function refuseDenial(reader: FrameReader): void {
  const reason = decodeDenial(reader.peek(VERDICT_SIZE));
  if (reason !== undefined) throw new ConnectionDeniedError(reason);
}

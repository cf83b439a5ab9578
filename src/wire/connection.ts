import type { Socket } from 'node:net';
import { ConnectionClosedError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { defaultFrameLimits, FrameReader, type Frame, type FrameLimits, type FrameOptions } from './frame.js';

/** Options of a connection, client or server. Durations are in milliseconds, sizes in bytes. */
export interface ConnectionOptions extends FrameOptions {
  readonly limits: FrameLimits;
  /** TCP keep-alive: detects peers that vanished without closing the connection (PYRO_SOCK_KEEPALIVE). */
  readonly keepAlive: boolean;
  /** How long connecting and the handshake may take. */
  readonly handshakeTimeoutMs: number;
  /** How long a peer may make no progress in the middle of sending a message, or of reading what was sent to it. */
  readonly stallTimeoutMs: number;
  /**
   * How long a graceful close may take: to finish the request in progress and to flush what the peer has not read yet.
   */
  readonly endTimeoutMs: number;
  /** Backpressure: above this many bytes of input that can't be processed yet, the socket is not read any more. */
  readonly maxBufferedInput: number;
}

export const defaultConnectionOptions: ConnectionOptions = {
  compression: false,
  checksum: false,
  limits: defaultFrameLimits,
  keepAlive: true,
  handshakeTimeoutMs: 10_000,
  stallTimeoutMs: 60_000,
  endTimeoutMs: 10_000,
  maxBufferedInput: 0x40000,
};

/**
 * Queued output of up to this size is copied together and sent in one write; above, the pieces are written as they are.
 */
const MAX_COALESCED_BYTES = 0x10000;

/** Lingering close: how long we go on reading after our FIN. See `lingeringClose`. */
const LINGER_MS = 1000;

/** What client and server connections have in common: buffered input and output, backpressure, and closing. */
export abstract class Connection {
  /** Resolves when the connection is closed, for whatever reason. */
  readonly closed: Promise<void>;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;

  protected readonly reader: FrameReader;
  /** Processes the input; called whenever there is more of it, and at its end. */
  protected consume: () => void = () => undefined;
  /** True while the input can't be processed: at first, and while a request is in progress. */
  protected blocked = true;
  /** True while the socket is not read because a large frame waits for the memory budget. */
  protected isAwaitingMemory = false;
  protected inputEnded = false;
  /** True once the lingering close has begun: nothing is sent any more. */
  protected isLingering = false;

  private failure: string | undefined;
  private outgoing: Uint8Array[] = [];
  /** How many bytes are queued and not written to the socket yet. */
  protected outgoingSize = 0;
  /** Called when the system has taken what was written. With TLS or a slow peer that is later than the write. */
  protected readonly onSent: (() => void) | undefined;
  private isFlushScheduled = false;

  constructor(
    readonly socket: Socket,
    private readonly commonOptions: ConnectionOptions,
  ) {
    this.reader = new FrameReader(commonOptions.limits);
    this.remoteAddress = socket.remoteAddress;
    this.remotePort = socket.remotePort;
    // A peer may half-close the connection after its last request, and still expects the replies.
    socket.allowHalfOpen = true;
    socket.setNoDelay(true);
    socket.setKeepAlive(commonOptions.keepAlive);
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.ended();
        resolve();
      });
    });
    // 'close' follows every error, and handles the end of the connection.
    socket.on('error', ({ message }) => {
      this.failure = message;
    });
    socket.on('data', (chunk: Buffer) => {
      // Stryker disable next-line BooleanLiteral: a borrowed chunk is only copied once more
      this.onData(chunk, false);
    });
    socket.on('timeout', () => {
      socket.destroy();
    });
    socket.once('end', () => {
      this.ended();
    });
  }

  /** Closes the connection at once, without flushing: what was not sent yet is lost. */
  destroy(): void {
    this.socket.destroy();
  }

  toString(): string {
    return `${this.remoteAddress ?? 'unknown'}:${this.remotePort ?? 0}`;
  }

  /** Takes a chunk of input, and processes what can be processed. @param isBorrowed as of `FrameReader.push` */
  protected onData(chunk: Buffer, isBorrowed: boolean): void {
    this.reader.push(chunk, isBorrowed);
    this.consume();
    this.updateReadPause();
  }

  /** The error for those who wait for more input; with the system's reason, if it gave one. */
  protected connectionLost(): ConnectionClosedError {
    return new ConnectionClosedError(
      refusalText('CONNECTION_LOST'),
      ...(this.failure === undefined ? [] : [this.failure]),
    );
  }

  /** Queues a frame for sending; it leaves with the next flush. */
  protected write(frame: Frame): void {
    if (frame instanceof Uint8Array) this.enqueueOutput(frame);
    else for (const piece of frame) this.enqueueOutput(piece);
    if (this.outgoingSize > MAX_COALESCED_BYTES) this.flush();
  }

  private enqueueOutput(piece: Uint8Array): void {
    this.outgoing.push(piece);
    this.outgoingSize += piece.length;
  }

  /** Flushes on the next tick, so that all that the running code still queues leaves in the same write. */
  protected scheduleFlush(): void {
    if (this.isFlushScheduled || this.outgoingSize === 0) return;
    // Stryker disable next-line BooleanLiteral: a second flush finds nothing to send
    this.isFlushScheduled = true;
    process.nextTick(() => {
      this.isFlushScheduled = false;
      this.flush();
    });
  }

  /** Writes all that is queued to the socket. */
  protected flush(): void {
    const { outgoing, outgoingSize, socket } = this;
    const [first] = outgoing;
    if (first === undefined) return;
    this.outgoing = [];
    this.outgoingSize = 0;
    if (!socket.writable) return;
    if (outgoingSize <= MAX_COALESCED_BYTES) {
      socket.write(outgoing.length === 1 ? first : Buffer.concat(outgoing, outgoingSize), this.onSent);
      return;
    }
    socket.cork();
    for (const piece of outgoing) socket.write(piece, this.onSent);
    socket.uncork();
  }

  /**
   * Waits for input until `take` returns a value, which it looks for in the reader.
   * @throws what `take` throws, or ConnectionClosedError where the input ends first
   */
  protected async receive<T>(take: (reader: FrameReader) => T | undefined): Promise<T> {
    this.blocked = false;
    this.updateReadPause();
    try {
      for (;;) {
        const taken = take(this.reader);
        if (taken !== undefined) return taken;
        if (this.inputEnded) throw this.connectionLost();
        await new Promise<void>((resolve) => {
          this.consume = resolve;
        });
      }
    } finally {
      this.blocked = true;
    }
  }

  /** Backpressure: pauses the socket while too much input is buffered or memory is awaited, else resumes it. */
  protected updateReadPause(): void {
    const isFull = this.blocked && this.reader.buffered > this.commonOptions.maxBufferedInput;
    const shouldPause = isFull || this.isAwaitingMemory;
    if (shouldPause !== this.socket.isPaused()) {
      if (shouldPause) this.socket.pause();
      else this.socket.resume();
    }
  }

  /** Lingering close: flushes, sends FIN, and closes when the peer has closed too, or LINGER_MS later. */
  protected lingeringClose(): void {
    const { socket } = this;
    this.isLingering = true;
    this.consume = () => undefined;
    this.flush();
    // If a socket is closed with unread input, the system sends RST, and the peer may lose the last data that we sent.
    // So the input is read and discarded until then.
    this.blocked = false;
    socket.removeAllListeners('data').resume();
    socket.setTimeout(this.commonOptions.stallTimeoutMs);
    socket.end(() => {
      const timer = setTimeout(() => {
        socket.destroy();
      }, LINGER_MS);
      socket.once('close', () => {
        clearTimeout(timer);
      });
    });
  }

  private ended(): void {
    this.inputEnded = true;
    this.consume();
  }
}

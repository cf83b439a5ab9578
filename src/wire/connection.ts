import type { Socket } from 'node:net';
import { ConnectionClosedError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { defaultFrameLimits, FrameReader, type Frame, type FrameLimits, type FrameOptions } from './frame.js';

/** What a connection of either side can be told. Times in milliseconds, sizes in bytes. */
export interface ConnectionOptions extends FrameOptions {
  readonly limits: FrameLimits;
  /** Notice peers that vanished without a word (PYRO_SOCK_KEEPALIVE). */
  readonly keepAlive: boolean;
  /** How long opening a connection may take. */
  readonly handshakeTimeoutMs: number;
  /** How long a peer may leave a message half sent, or what was sent to it unread. */
  readonly stallTimeoutMs: number;
  /** How long closing may take: an answer that is under way, and what the peer has not taken yet. */
  readonly endTimeoutMs: number;
  /** How much may lie here that has arrived and can't be looked at yet; the socket is not read beyond it. */
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

/** What is gathered up to this size goes out in one write, copied together; larger pieces are written as they are. */
const MAX_COALESCED_BYTES = 0x10000;

/** How long after its last word a connection waits for the peer's, so that unread input doesn't take that word away. */
const LINGER_MS = 1000;

/** What both sides of a connection share: bytes in, bytes out, and the end. */
export abstract class Connection {
  /** Resolves once, when the connection is closed, for whatever reason. */
  readonly closed: Promise<void>;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;

  protected readonly reader: FrameReader;
  /** Looks at what has arrived; called whenever there is more, and at its end. */
  protected consume: () => void = () => undefined;
  /** True while what arrives can't be looked at: from the start, until somebody waits for it. */
  protected blocked = true;
  /** True while the rest of what arrives has to wait for others. */
  protected isWaiting = false;
  protected inputEnded = false;
  /** True once the last word is said. */
  protected finishing = false;

  private failure: string | undefined;
  private outgoing: Uint8Array[] = [];
  /** How many bytes are put and not sent yet. */
  protected outgoingSize = 0;
  /** Called when the system has taken what was sent: through TLS, or where the peer is slow, that is after the write. */
  protected readonly onSent: (() => void) | undefined;
  private flushing = false;

  constructor(
    readonly socket: Socket,
    private readonly commonOptions: ConnectionOptions,
  ) {
    this.reader = new FrameReader(commonOptions.limits);
    this.remoteAddress = socket.remoteAddress;
    this.remotePort = socket.remotePort;
    // A peer that has sent its last request may shut down its sending side, and still wants its replies.
    socket.allowHalfOpen = true;
    socket.setNoDelay(true);
    socket.setKeepAlive(commonOptions.keepAlive);
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.ended();
        resolve();
      });
    });
    // 'close' follows an error, and that is where the end is dealt with.
    socket.on('error', ({ message }) => {
      this.failure = message;
    });
    socket.on('data', (chunk: Buffer) => {
      // Stryker disable next-line BooleanLiteral: what is borrowed is only copied once more
      this.onData(chunk, false);
    });
    socket.on('timeout', () => {
      socket.destroy();
    });
    socket.once('end', () => {
      this.ended();
    });
  }

  /** Closes the connection at once; what was not sent yet is lost. */
  destroy(): void {
    this.socket.destroy();
  }

  toString(): string {
    return `${this.remoteAddress ?? 'unknown'}:${this.remotePort ?? 0}`;
  }

  /** Takes what has arrived, as the reader's `push` does, and looks at it. */
  protected onData(chunk: Buffer, isBorrowed: boolean): void {
    this.reader.push(chunk, isBorrowed);
    this.consume();
    this.updateReadPause();
  }

  /** What those get who wait for more from the peer; it says why, where the system told. */
  protected connectionLost(): ConnectionClosedError {
    return new ConnectionClosedError(
      refusalText('CONNECTION_LOST'),
      ...(this.failure === undefined ? [] : [this.failure]),
    );
  }

  /** Puts a frame behind what is to be sent. */
  protected write(frame: Frame): void {
    if (frame instanceof Uint8Array) this.put(frame);
    else for (const piece of frame) this.put(piece);
    if (this.outgoingSize > MAX_COALESCED_BYTES) this.flush();
  }

  private put(piece: Uint8Array): void {
    this.outgoing.push(piece);
    this.outgoingSize += piece.length;
  }

  /** Sends all that is put until the running code, and the promises that it settled, are done: in one write. */
  protected scheduleFlush(): void {
    if (this.flushing || this.outgoingSize === 0) return;
    // Stryker disable next-line BooleanLiteral: a second flush finds nothing to send
    this.flushing = true;
    process.nextTick(() => {
      this.flushing = false;
      this.flush();
    });
  }

  /** Sends all that was put. */
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
   * Waits until `take` finds what it looks for in the input.
   * @throws what `take` throws, or ConnectionClosedError where the input ends before
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

  /** Stops reading the socket where too much lies here unread, or others come first, and goes on where that is over. */
  protected updateReadPause(): void {
    const isFull = this.blocked && this.reader.buffered > this.commonOptions.maxBufferedInput;
    const hold = isFull || this.isWaiting;
    if (hold !== this.socket.isPaused()) {
      if (hold) this.socket.pause();
      else this.socket.resume();
    }
  }

  /** Sends what was put, says goodbye, and closes. */
  protected finish(): void {
    const { socket } = this;
    this.finishing = true;
    this.consume = () => undefined;
    this.flush();
    // Input that lies unread when a socket is closed makes the system reset the connection, and the peer may lose our
    // last words: so it is read and forgotten until the peer has closed too, or had its time.
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

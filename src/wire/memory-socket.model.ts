import { Socket } from 'node:net';

/**
 * An in-memory socket, for deterministic tests of a connection: a test decides what arrives, when the peer reads, and
 * when a timeout fires, and sees what the connection asked of the socket. No timers, no network.
 */
export class MemorySocket extends Socket {
  /** Each write to the system, as the chunks that were given to it. */
  readonly writes: Buffer[][] = [];
  /** The timeouts that were set, the latest last. */
  readonly timeouts: number[] = [];
  readonly settings: unknown[] = [];
  /** True once the sending side was shut down. */
  hasEnded = false;
  /** False while the peer does not read: a write is pending until `takeWrite`. */
  isTaking = true;
  private untaken: (() => void) | undefined;

  constructor(
    address: { remoteAddress?: string; remotePort?: number } = { remoteAddress: '10.0.0.1', remotePort: 4711 },
  ) {
    super();
    for (const [name, value] of Object.entries(address)) Object.defineProperty(this, name, { value });
  }

  /** All that was sent. */
  get sent(): Buffer {
    return Buffer.concat(this.writes.flat());
  }

  /** Simulates the arrival of these chunks. */
  receive(...chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) this.push(chunk);
  }

  /** Simulates that the peer shuts down its sending side. */
  receiveEnd(): void {
    this.push(null);
  }

  /** Simulates that the peer takes the pending write; the next one is pending then. */
  takeWrite(): void {
    const taken = this.untaken;
    this.untaken = undefined;
    taken?.();
  }

  override setTimeout(milliseconds: number): this {
    this.timeouts.push(milliseconds);
    return this;
  }

  override setNoDelay(isOn?: boolean): this {
    this.settings.push(['noDelay', isOn]);
    return this;
  }

  override setKeepAlive(isOn?: boolean): this {
    this.settings.push(['keepAlive', isOn]);
    return this;
  }

  override _read(): void {
    // What arrives is pushed.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.transmit([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.transmit(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: () => void): void {
    this.hasEnded = true;
    done();
  }

  private transmit(chunks: Buffer[], done: () => void): void {
    this.writes.push(chunks);
    if (this.isTaking) done();
    else this.untaken = done;
  }
}

import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

const HEADER_SIZE = 18;
/** GRANTED, or DENIED and a digit: 7 bytes, no frame. */
const ANSWER_SIZE = 7;

/** The other side ended the connection. */
export class ConnectionEnded extends Error {}

/** A frame as it came. */
export interface RawFrame {
  readonly flags: number;
  readonly checksum: number;
  readonly body: Buffer;
}

/** A frame's bytes; whatever is wrong with it is for the server to find. */
export function rawFrame(body: Uint8Array, flags = 0, checksum = 0): Buffer {
  const header = Buffer.alloc(HEADER_SIZE);
  header.write('PYRO', 'latin1');
  header.writeUInt16BE(5, 4);
  header.writeUInt16BE(HEADER_SIZE, 6);
  header.writeInt32BE(body.length, 8);
  header.writeUInt16BE(flags, 12);
  header.writeInt32BE(checksum, 14);
  return Buffer.concat([header, body]);
}

/** The frame with which a client answers a challenge. */
export function connectFrame(challenge: Uint8Array, identification?: string): Buffer {
  const munged = identification === undefined ? '' : createHash('md5').update(identification).digest();
  return rawFrame(Buffer.concat([Buffer.from('CONNECT'), createHmac('md5', challenge).update(munged).digest()]));
}

/** Who connects. */
export interface Caller {
  readonly localAddress?: string | undefined;
  readonly identification?: string | undefined;
}

/** A client's end of a connection that is read and written byte by byte, with no code of the server's own. */
export class RawConnection {
  private received = Buffer.alloc(0);
  private ended = false;
  private wake: () => void = () => undefined;

  private constructor(private readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.wake();
    });
    // A server may well cut us off: that is seen as the end.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.ended = true;
      this.wake();
    });
  }

  /** Connects, without the handshake. */
  static async open(port: number, host = '127.0.0.1', localAddress?: string): Promise<RawConnection> {
    const socket = connect({ host, port, localAddress, noDelay: true });
    const connection = new RawConnection(socket);
    await once(socket, 'connect');
    return connection;
  }

  /** Connects, from an address of this machine, and does the handshake. */
  static async openGranted(port: number, { localAddress, identification }: Caller = {}): Promise<RawConnection> {
    const connection = await RawConnection.open(port, '127.0.0.1', localAddress);
    const { body } = await connection.readFrame();
    connection.write(connectFrame(body, identification));
    const answer = await connection.readAnswer();
    if (answer !== 'GRANTED') throw new Error(`the server answered ${answer}`);
    return connection;
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Writes, and waits until there is room for more. */
  async send(bytes: Uint8Array): Promise<void> {
    if (!this.socket.write(bytes)) await once(this.socket, 'drain');
  }

  /** @throws ConnectionEnded */
  async read(size: number): Promise<Buffer> {
    while (this.received.length < size) {
      if (this.ended) throw new ConnectionEnded(`after ${this.received.length} of ${size} bytes`);
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    const bytes = this.received.subarray(0, size);
    this.received = this.received.subarray(size);
    return bytes;
  }

  async readFrame(): Promise<RawFrame> {
    const header = await this.read(HEADER_SIZE);
    const body = await this.read(header.readInt32BE(8));
    return { flags: header.readUInt16BE(12), checksum: header.readInt32BE(14), body };
  }

  async readAnswer(): Promise<string> {
    return (await this.read(ANSWER_SIZE)).toString('latin1');
  }

  /** Waits until the server ends the connection; what it sent before that. */
  async readToEnd(): Promise<Buffer> {
    while (!this.ended) await new Promise<void>((resolve) => (this.wake = resolve));
    return this.received;
  }

  /** Stops reading, as a peer does that never takes its answers. */
  pause(): void {
    this.socket.pause();
  }

  /** Says that no more will be sent. */
  end(): void {
    this.socket.end();
  }

  close(): void {
    this.socket.destroy();
  }
}

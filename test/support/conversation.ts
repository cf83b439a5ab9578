import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

const HEADER_SIZE = 18;
const GRANTED = Buffer.from('GRANTED');

/** A frame's flags, as docs/protocol and Pyro 3 have them. */
export const COMPRESSED = 1;
export const CHECKSUM = 2;

/** A frame on its way. */
export interface SeenFrame {
  readonly flags: number;
  readonly checksum: number;
  readonly body: Buffer;
}

/** The frames in these bytes, without the answer of the handshake between them. */
function framesOf(bytes: Buffer): SeenFrame[] {
  const frames: SeenFrame[] = [];
  let at = 0;
  while (bytes.length - at >= HEADER_SIZE) {
    if (bytes.subarray(at, at + GRANTED.length).equals(GRANTED)) {
      at += GRANTED.length;
      continue;
    }
    const end = at + HEADER_SIZE + bytes.readInt32BE(at + 8);
    if (end > bytes.length) break;
    frames.push({
      flags: bytes.readUInt16BE(at + 12),
      checksum: bytes.readInt32BE(at + 14),
      body: bytes.subarray(at + HEADER_SIZE, end),
    });
    at = end;
  }
  return frames;
}

/** Stands between a client and a server, and keeps what they say. */
export class Conversation {
  private readonly said: Buffer[] = [];
  private readonly answered: Buffer[] = [];
  private readonly sockets: Socket[] = [];

  private constructor(
    private readonly server: Server,
    serverPort: number,
  ) {
    server.on('connection', (client: Socket) => {
      const upstream = connect(serverPort, '127.0.0.1');
      for (const socket of [client, upstream]) this.sockets.push(socket.on('error', () => undefined));
      client.on('data', (chunk: Buffer) => this.said.push(chunk)).pipe(upstream);
      upstream.on('data', (chunk: Buffer) => this.answered.push(chunk)).pipe(client);
    });
  }

  /** Clients are to connect to `port`, and are led to the server's. */
  static async with(serverPort: number): Promise<Conversation> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Conversation(server, serverPort);
  }

  get port(): number {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    return address.port;
  }

  /** The client's frames behind its handshake. */
  get requests(): readonly SeenFrame[] {
    return framesOf(Buffer.concat(this.said)).slice(1);
  }

  /** The server's frames behind its challenge. */
  get replies(): readonly SeenFrame[] {
    return framesOf(Buffer.concat(this.answered)).slice(1);
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    const closed = once(this.server, 'close');
    this.server.close();
    await closed;
  }
}

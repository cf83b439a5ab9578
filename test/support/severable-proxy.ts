import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';

/** Which way bytes are held back. Connections stay open, and new ones are accepted: as when a network fails silently. */
export type Held = 'nothing' | 'requests' | 'replies' | 'all';

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

/** A TCP proxy on this machine that can hold back what it forwards. */
export class SeverableProxy {
  private readonly pairs = new Set<Pair>();
  private held: Held = 'nothing';

  private constructor(
    private readonly listener: Server,
    /** `host:port` to connect to. */
    readonly endpoint: string,
  ) {}

  /** @param target `host:port` to forward to */
  static async start(target: string): Promise<SeverableProxy> {
    const [host = '', port = ''] = target.split(':');
    const listener = createServer();
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const address = listener.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const proxy = new SeverableProxy(listener, `127.0.0.1:${address.port}`);
    listener.on('connection', (client) => {
      proxy.forward({ client, server: connect({ host, port: Number(port) }) });
    });
    return proxy;
  }

  /** From now on holds this back; what was held back and is not any more, goes on its way. */
  hold(held: Held): void {
    this.held = held;
    for (const pair of this.pairs) this.apply(pair);
  }

  /** Ends all connections there are: what was held back is lost. New ones are accepted. */
  cut(): void {
    for (const { client, server } of this.pairs) {
      client.destroy();
      server.destroy();
    }
  }

  async close(): Promise<void> {
    this.listener.close();
    this.cut();
    await once(this.listener, 'close');
  }

  private forward(pair: Pair): void {
    const { client, server } = pair;
    this.pairs.add(pair);
    const end = (): void => {
      this.pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    client.on('data', (bytes) => server.write(bytes));
    server.on('data', (bytes) => client.write(bytes));
    for (const socket of [client, server]) socket.on('close', end).on('error', end);
    this.apply(pair);
  }

  private apply({ client, server }: Pair): void {
    if (this.held === 'requests' || this.held === 'all') client.pause();
    else client.resume();
    if (this.held === 'replies' || this.held === 'all') server.pause();
    else server.resume();
  }
}

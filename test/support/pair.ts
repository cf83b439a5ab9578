import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { PythonValue } from '../../src/pickle/index.js';
import { NameServerClient } from './name-server-client.js';
import { NameServerProcess, ours } from './name-server-process.mjs';
import type { Server } from './name-server-process.mjs';

export type Role = 'primary' | 'secondary';

const OWN_ENTRY = ':Pyro.NameServer';

/** Ports that nobody listens on. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** Waits until something holds, or fails with what it was instead. */
export async function until<T>(what: () => Promise<T>, holds: (value: T) => boolean, limit = 20_000): Promise<T> {
  const deadline = performance.now() + limit;
  for (;;) {
    const value = await what();
    if (holds(value)) return value;
    if (performance.now() > deadline) throw new Error(`not so in ${limit} ms: ${JSON.stringify(value)}`);
    await delay(2);
  }
}

/** What `_status` says of a paired server. */
export async function status(client: NameServerClient): Promise<Map<PythonValue, PythonValue>> {
  const answer = await client.call('_status');
  const twin = answer instanceof Map ? answer.get('twin') : undefined;
  if (!(twin instanceof Map)) throw new Error('the server is not paired');
  return twin;
}

/** All names but the server's own. */
export async function names(client: NameServerClient): Promise<Record<string, string>> {
  const all = [...(await client.flatlist())].filter(([name]) => name !== OWN_ENTRY);
  return Object.fromEntries(all.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Two name servers that are each other's twins, each a process of its own. */
export class ServerPair {
  private readonly processes = new Map<Role, NameServerProcess>();
  private readonly clients: NameServerClient[] = [];

  private constructor(
    private readonly ports: Readonly<Record<Role, number>>,
    private readonly kinds: Readonly<Record<Role, Server>>,
    private readonly persistent: boolean,
  ) {}

  /** @param kinds what the servers are: ours, where nothing else is said */
  static async prepare(persistent = false, kinds: Partial<Record<Role, Server>> = {}): Promise<ServerPair> {
    const [primary = 0, secondary = 0] = await freePorts(2);
    return new ServerPair({ primary, secondary }, { primary: ours, secondary: ours, ...kinds }, persistent);
  }

  async start(role: Role, environment: Record<string, string> = {}): Promise<NameServerProcess> {
    const [option, other] = role === 'primary' ? ['-1', this.ports.secondary] : ['-2', this.ports.primary];
    const server = await NameServerProcess.start(this.kinds[role], {
      arguments: [option, `127.0.0.1:${other}`, ...(this.persistent ? ['-d'] : [])],
      lookup: this.kinds[role] !== ours,
      port: this.ports[role],
      environment,
    });
    this.processes.set(role, server);
    return server;
  }

  server(role: Role): NameServerProcess {
    const server = this.processes.get(role);
    if (server === undefined) throw new Error(`the ${role} is not started`);
    return server;
  }

  async client(role: Role): Promise<NameServerClient> {
    const client = await NameServerClient.connect(this.server(role));
    this.clients.push(client);
    return client;
  }

  /** Waits until each of two servers of ours has confirmed what the other one knows. */
  async connected(): Promise<void> {
    for (const role of ['primary', 'secondary'] as const) {
      const client = await this.client(role);
      await until(
        () => status(client),
        (twin) => twin.get('state') === 'connected' && twin.get('unconfirmed') === 0 && twin.get('mergeDue') === false,
      );
    }
  }

  async dispose(): Promise<void> {
    for (const client of this.clients) client.close();
    await Promise.all([...this.processes.values()].map((server) => server.dispose()));
  }
}

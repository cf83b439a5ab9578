import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { PyroURI } from '../../src/names/index.js';
import { systemMetaFromPython, systemMetaToPython } from '../../src/namespace/index.js';
import type { PythonValue } from '../../src/pickle/index.js';
import { uriToPython } from '../../src/rpc/index.js';
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

/** Makes each kind of change at one server, and waits until it is seen at the other. */
export async function changeAndSee(here: NameServerClient, there: NameServerClient): Promise<void> {
  const uri = new PyroURI('PYRO', '10.1.2.3', 7766, 'abc');
  // Pyro 3 lets a file be read that it has not filled yet, and its listings go stale.
  const seen = (name: string): Promise<string | undefined> => there.resolve(name).catch(String);
  const group = (name: string): Promise<PythonValue> => there.call('_getSystemMeta', name).catch(() => null);
  await here.call('createGroup', ':g');
  await until(
    () => group(':g'),
    (meta) => meta !== null,
  );
  await here.call('register', ':g.a/b', uriToPython(uri));
  await until(
    () => seen(':g.a/b'),
    (found) => found === uri.toString(),
  );
  await here.call('setMeta', ':g.a/b', ['user', 1]);
  await until(
    () => there.call('getMeta', ':g.a/b'),
    (meta) => JSON.stringify(meta) === '["user",1]',
  );
  await here.call('_setSystemMeta', ':g', systemMetaToPython({ type: 0, timestamp: 5.5, owner: 'me' }));
  await until(
    async () => systemMetaFromPython(await group(':g')),
    (meta) => meta?.owner === 'me' && meta.timestamp === 5.5,
  );
  await here.call('unregister', ':g.a/b');
  await until(
    () => seen(':g.a/b'),
    (found) => found === undefined,
  );
  await here.call('register', ':g.c', uriToPython(uri));
  await here.call('deleteGroup', ':g');
  await until(
    () => group(':g'),
    (meta) => meta === null,
  );
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
      environment: { ...this.clientEnvironment, ...environment },
    });
    this.processes.set(role, server);
    return server;
  }

  /** The PYRO_* items of a client of both servers. */
  get clientEnvironment(): Record<string, string> {
    return {
      PYRO_NS_HOSTNAME: '127.0.0.1',
      PYRO_NS_PORT: String(this.ports.primary),
      PYRO_NS2_HOSTNAME: '127.0.0.1',
      PYRO_NS2_PORT: String(this.ports.secondary),
    };
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

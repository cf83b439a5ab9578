/**
 * Several name servers over a cluster of three etcds, under load, while members of the cluster and name servers are
 * killed, suspended and cut off: nothing that was acknowledged may be lost, no name be registered twice, and what the
 * clients saw of each name must be linearizable (PYRO_NS_READ=linearizable).
 *
 * One pass by default; ETCD_CAMPAIGN_SECONDS makes it go on, with what happens in random order (scripts/campaigns/etcd.mjs).
 */
import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { EtcdCluster, lacksEtcd, type EtcdMember } from './support/etcd-cluster.mjs';
import { isLinearizable, type Operation, type Outcome } from './support/linearizability.js';
import { ConnectionEnded, NameServerClient, RemoteException } from './support/name-server-client.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';
import { SeverableProxy } from './support/severable-proxy.js';

const CAMPAIGN_SECONDS = Number(process.env['ETCD_CAMPAIGN_SECONDS'] ?? 0);
const SERVERS = 3;
const CLIENTS_PER_SERVER = 3;
const NAMES = 8;
/** How many operations are done while something is wrong, and after. */
const OPERATIONS_PER_STEP = 150;

const describeWithEtcd = lacksEtcd('several name servers over an etcd cluster') ? describe.skip : describe;

/** What a refusal tells of an operation; undefined where it tells that nothing was done. */
const REFUSALS: ReadonlyMap<string, Outcome | 'unknown' | undefined> = new Map([
  ['name already exists', 'taken'],
  ['name not found', 'missing'],
  ['namespace is unavailable', undefined],
  ['namespace is unavailable, nothing was changed', undefined],
  ['namespace is unavailable, the change may have been made', 'unknown'],
  // The server has been started again. It closes the connection.
  ['unknown object ID', undefined],
]);

/** Clients that do at random what can be done with a few names, and write down what they see. */
class Load {
  readonly histories = new Map<string, Operation[]>();
  private readonly clients: Promise<void>[] = [];
  private stopped = false;
  private count = 0;
  private waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(
    readonly group: string,
    private readonly servers: readonly NameServerProcess[],
  ) {
    for (let index = 0; index < NAMES; index += 1) this.histories.set(`${group}.n${index}`, []);
  }

  start(): void {
    for (const server of this.servers) {
      for (let index = 0; index < CLIENTS_PER_SERVER; index += 1) this.clients.push(this.run(server));
    }
  }

  /** Resolves when so many more operations are done. */
  done(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push({ count: this.count + count, resolve });
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.clients);
  }

  /** Reads a name, as one more operation of its history. */
  async read(client: NameServerClient, name: string): Promise<void> {
    await this.perform(client, name, 'resolve');
  }

  private async run(server: NameServerProcess): Promise<void> {
    const names = [...this.histories.keys()];
    let client: NameServerClient | undefined;
    while (!this.stopped) {
      try {
        client ??= await NameServerClient.connect(server);
        const method = (['register', 'unregister', 'resolve', 'resolve'] as const)[randomInt(4)] ?? 'resolve';
        await this.perform(client, names[randomInt(NAMES)] ?? '', method);
      } catch (error) {
        if (!(error instanceof ConnectionEnded) && !isRefusedConnection(error)) throw error;
        client = undefined;
        // The server is down: others go on meanwhile.
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    client?.close();
  }

  private async perform(client: NameServerClient, name: string, method: Operation['method']): Promise<void> {
    const history = this.histories.get(name);
    const uri = `PYRO://127.0.0.1:7766/${method}${this.count}-${randomInt(2 ** 40)}`;
    const from = performance.now();
    // Whatever becomes of it, it may have been done.
    let outcome: Outcome | 'unknown' | undefined = 'unknown';
    try {
      outcome = await outcomeOf(client, method, name, uri);
    } finally {
      if (outcome === 'unknown') history?.push({ method, uri, outcome: undefined, from, to: Infinity });
      else if (outcome !== undefined) history?.push({ method, uri, outcome, from, to: performance.now() });
      this.advance();
    }
  }

  private advance(): void {
    this.count += 1;
    for (const { count, resolve } of this.waiting) if (count <= this.count) resolve();
    this.waiting = this.waiting.filter(({ count }) => count > this.count);
  }
}

async function outcomeOf(
  client: NameServerClient,
  method: Operation['method'],
  name: string,
  uri: string,
): Promise<Outcome | 'unknown' | undefined> {
  try {
    if (method === 'resolve') {
      const found = await client.resolve(name);
      return found === undefined ? 'missing' : { uri: found };
    }
    await (method === 'register' ? client.call(method, name, uri) : client.call(method, name));
    return 'done';
  } catch (error) {
    if (!(error instanceof RemoteException) || !REFUSALS.has(error.text)) throw error;
    return REFUSALS.get(error.text);
  }
}

function isRefusedConnection(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'ECONNREFUSED';
}

describeWithEtcd('name servers over an etcd cluster', () => {
  let cluster: EtcdCluster;
  let proxies: SeverableProxy[] = [];
  const servers: NameServerProcess[] = [];

  const leader = () => cluster.leader();
  const follower = async (): Promise<EtcdMember> => {
    const leading = await leader();
    return cluster.members.find((member) => member !== leading) ?? leading;
  };
  /** The one that reaches etcd through the proxies. */
  const [SEVERED, OTHER] = [0, 1];
  const server = (index: number): NameServerProcess => {
    const found = servers[index];
    if (found === undefined) throw new Error(`no server ${index}`);
    return found;
  };

  /** What goes wrong: `during` says when to put it right. */
  const FAULTS: Record<string, (during: () => Promise<void>) => Promise<void>> = {
    'a member that follows is killed': (during) => killed(follower(), during),
    'the member that leads is killed': (during) => killed(leader(), during),
    'the member that leads is suspended': (during) => suspended(leader(), during),
    'all members are killed, and come back': async (during) => {
      await Promise.all(cluster.members.map((member) => member.kill()));
      await Promise.all(cluster.members.map((member) => member.start()));
      await during();
    },
    'a name server is killed': async (during) => {
      await server(OTHER).stop('SIGKILL');
      await during();
      await server(OTHER).restart();
    },
    'a name server is suspended': async (during) => {
      process.kill(server(OTHER).pid, 'SIGSTOP');
      await during();
      process.kill(server(OTHER).pid, 'SIGCONT');
    },
    'a name server is cut off from etcd': async (during) => {
      for (const proxy of proxies) proxy.hold('all');
      await during();
      for (const proxy of proxies) proxy.hold('nothing');
    },
    'answers to a name server are lost': async (during) => {
      for (const proxy of proxies) proxy.hold('replies');
      await during();
      for (const proxy of proxies) proxy.hold('nothing');
    },
  };

  async function killed(chosen: Promise<EtcdMember>, during: () => Promise<void>): Promise<void> {
    const member = await chosen;
    await member.kill();
    await during();
    await member.start();
  }

  async function suspended(chosen: Promise<EtcdMember>, during: () => Promise<void>): Promise<void> {
    const member = await chosen;
    member.suspend();
    await during();
    member.resume();
  }

  beforeAll(async () => {
    cluster = await EtcdCluster.start({ size: 3 });
    proxies = await Promise.all(cluster.members.map(({ endpoint }) => SeverableProxy.start(endpoint)));
    const severed = `etcd://${proxies.map(({ endpoint }) => endpoint).join(',')}/pyro`;
    const environment = { PYRO_NS_READ: 'linearizable', PYRO_NS_ETCD_TIMEOUT: '3' };
    for (let index = 0; index < SERVERS; index += 1) {
      const url = index === SEVERED ? severed : cluster.url('/pyro');
      servers.push(await NameServerProcess.start(ours, { arguments: ['-d', url], environment }));
    }
  }, 60_000);

  afterAll(async () => {
    await Promise.all(servers.map((running) => running.dispose()));
    await Promise.all(proxies.map((proxy) => proxy.close()));
    await cluster.stop();
  });

  /** Loads the servers while this goes wrong, one after the other, and checks what the clients have seen. */
  async function expectSurvival(group: string, faults: readonly string[]): Promise<void> {
    const admin = await NameServerClient.connect(server(2));
    await admin.call('createGroup', group);
    const load = new Load(group, servers);
    load.start();
    await load.done(OPERATIONS_PER_STEP);
    for (const fault of faults) {
      await FAULTS[fault]?.(() => load.done(OPERATIONS_PER_STEP));
      await load.done(OPERATIONS_PER_STEP);
    }
    await load.stop();

    const clients = await Promise.all(servers.map((running) => NameServerClient.connect(running)));
    for (const name of load.histories.keys()) for (const client of clients) await load.read(client, name);
    for (const [name, history] of load.histories) {
      expect({ name, isLinearizable: isLinearizable(history) }).toEqual({ name, isLinearizable: true });
    }
    const acknowledged = [...load.histories.values()].flat().filter(({ outcome }) => outcome === 'done');
    expect(acknowledged.length).toBeGreaterThan(faults.length * 10);

    const lists = await Promise.all(clients.map((client) => client.flatlist()));
    for (const list of lists) list.delete(':Pyro.NameServer');
    for (const list of lists) expect(list).toEqual(lists[0]);
    await admin.call('deleteGroup', group);
    for (const client of [admin, ...clients]) client.close();
  }

  it(
    'lose nothing, and register nothing twice, whatever goes wrong',
    async () => {
      await expectSurvival(':Pass', Object.keys(FAULTS));
      const until = performance.now() + CAMPAIGN_SECONDS * 1000;
      for (let round = 1; performance.now() < until; round += 1) {
        const faults = Object.keys(FAULTS).sort(() => randomInt(3) - 1);
        process.stderr.write(`round ${round}: ${faults.join(', ')}\n`);
        await expectSurvival(`:Round${round}`, faults);
      }
    },
    90_000 + CAMPAIGN_SECONDS * 1000,
  );
});

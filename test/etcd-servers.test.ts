/** Name servers over one etcd, as their clients and those who run them see them: processes, sockets, logs. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { loadConfig, silentLog } from '../src/config/index.js';
import { NAMESERVER_NAME } from '../src/names/index.js';
import { NameServerLocator } from '../src/naming/index.js';
import { EtcdCluster, lacksEtcd } from './support/etcd-cluster.mjs';
import { NameServerClient } from './support/name-server-client.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';

const describeWithEtcd = lacksEtcd('name servers over one etcd') ? describe.skip : describe;

const uri = 'PYRO://127.0.0.1:7766/7f00000100a1b2c3';

/** Asks again until the answer is there. */
async function until<Answer>(ask: () => Promise<Answer>, isThere: (answer: Answer) => boolean): Promise<void> {
  while (!isThere(await ask())) await new Promise((resolve) => setTimeout(resolve, 50));
}

describeWithEtcd('name servers over one etcd', () => {
  let cluster: EtcdCluster;
  let servers: readonly [NameServerProcess, NameServerProcess];

  const start = (...options: string[]) =>
    NameServerProcess.start(ours, {
      arguments: ['-d', cluster.url('/pyro'), ...options],
      environment: { PYRO_NS_ETCD_TIMEOUT: '1', PYRO_NS_ETCD_STALE_SECONDS: '1', PYRO_TRACELEVEL: '3' },
    });
  const log = (server: NameServerProcess) => readFile(join(server.storage, 'Pyro_log'), 'utf8');

  beforeAll(async () => {
    cluster = await EtcdCluster.start();
    servers = await Promise.all([start(), start()]);
  });
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.dispose()));
    await cluster.stop();
  });

  it('have one namespace, and an entry of their own each', async () => {
    const [one, two] = await Promise.all(servers.map((server) => NameServerClient.connect(server)));
    await one?.call('register', ':shared', uri);
    await until(
      async () => two?.resolve(':shared'),
      (found) => found === uri,
    );
    expect(await one?.resolve(NAMESERVER_NAME)).toBe(servers[0].uri);
    expect(await two?.resolve(NAMESERVER_NAME)).toBe(servers[1].uri);
    for (const client of [one, two]) client?.close();
  });

  it('make no pair', async () => {
    const pairing = start('-1');
    await expect(pairing).rejects.toThrow('ended (1) instead of starting');
    await expect(pairing).rejects.toThrow('servers over etcd share their names, and make no pair (-1, -2)');
  });

  it('serve from memory while etcd is away, say so in the log, refuse changes, and come back by themselves', async () => {
    const [server] = servers;
    const client = await NameServerClient.connect(server);
    /** What a call is refused with; an empty text where it is not. */
    const refusalOf = (method: string, ...args: string[]) =>
      client.call(method, ...args).then(
        () => '',
        (error: unknown) => (error instanceof Error ? error.message : 'no error'),
      );
    await client.call('register', ':kept', uri);
    await cluster.members[0]?.kill();
    expect(await client.resolve(':kept')).toBe(uri);
    expect(await refusalOf('unregister', ':kept')).toMatch('namespace is unavailable');
    await until(
      () => refusalOf('resolve', ':kept'),
      (refusal) => refusal !== '',
    );
    expect(await refusalOf('resolve', ':kept')).toMatch('namespace is unavailable');
    await cluster.members[0]?.start();
    await until(
      () => refusalOf('resolve', ':kept'),
      (refusal) => refusal === '',
    );
    await until(
      () => refusalOf('unregister', ':kept'),
      (refusal) => refusal === '' || refusal.includes('name not found'),
    );
    const lines = await log(server);
    expect(lines).toMatch('no answer from etcd for 5 s: names are served from memory, for 1 s at most');
    expect(lines).toMatch('no answer from etcd for too long: names are no longer served');
    expect(lines).toMatch(/names are up to date again, after \d+\.\d s/);
    client.close();
  });

  it('are found by clients that know of two, when the first is dead', async () => {
    const [dead, alive] = servers;
    await dead.stop('SIGKILL');
    const config = loadConfig({
      environment: {
        ...{ PYRO_NS_HOSTNAME: '127.0.0.1', PYRO_NS_PORT: String(dead.port) },
        ...{ PYRO_NS2_HOSTNAME: '127.0.0.1', PYRO_NS2_PORT: String(alive.port) },
      },
      currentDirectory: alive.storage,
    });
    const proxy = await new NameServerLocator({ config, log: silentLog }).getNS();
    expect(String(await proxy.resolve(NAMESERVER_NAME))).toBe(alive.uri);
    await proxy._release();
  });
});

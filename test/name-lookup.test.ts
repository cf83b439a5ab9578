import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dumps, tuple } from '../src/pickle/index.js';
import { RequestFlag } from '../src/wire/index.js';
import { lacksRoot } from './support/lacks.js';
import { NameServerClient } from './support/name-server-client.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';
import { rawFrame } from './support/raw-connection.js';

/** Where the DNS server is that stays silent. */
const DNS_ADDRESS = '127.0.9.53';
/** What the server uses to look up names. */
const FILES = {
  'resolv.conf': `nameserver ${DNS_ADDRESS}\n`,
  'nsswitch.conf': 'hosts: files dns\n',
  hosts: '127.0.0.1 localhost\n192.0.2.7 known.example\n',
};
/** More than a client may have looked up at the same time, and more than Node has threads. */
const NAMES = 40;

const uriOf = (host: string): string => `PYRO://${host}:1/x`;

(lacksRoot('a name server whose DNS does not answer') ? describe.skip : describe)('pyro-ns, with a silent DNS', () => {
  let directory: string;
  let dns: Socket;
  let server: NameServerProcess;
  let attacker: NameServerClient;
  let client: NameServerClient;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'pyro-ns-dns-'));
    for (const [name, text] of Object.entries(FILES)) await writeFile(join(directory, name), text);
    dns = createSocket('udp4');
    dns.bind(53, DNS_ADDRESS);
    await once(dns, 'listening');
    const mounts = Object.keys(FILES).map((name) => `mount --bind ${join(directory, name)} /etc/${name}`);
    const script = `${mounts.join(' && ')} && exec "$0" "$@"`;
    const command = ['unshare', '--mount', 'sh', '-c', script, ...ours.command] as const;
    // Longer than a test may take.
    const environment = { PYRO_DNS_TIMEOUT: '60' };
    server = await NameServerProcess.start({ ...ours, command }, { environment, arguments: ['-d'] });
    attacker = await NameServerClient.connect(server, { localAddress: '127.0.0.2' });
    client = await NameServerClient.connect(server);
  });

  afterEach(async () => {
    attacker.close();
    client.close();
    await server.dispose();
    dns.close();
    await rm(directory, { recursive: true });
  });

  /** One-way registrations of objects on hosts that have to be looked up. */
  async function attack(hosts: readonly string[]): Promise<void> {
    for (const host of hosts) {
      const args = tuple(':Default.x', uriOf(host));
      attacker.connection.write(rawFrame(dumps(tuple(server.objectID, 'register', RequestFlag.Oneway, args))));
    }
    // All of them are under way.
    await attacker.call('ping');
  }

  const hostsOf = (domain: string): string[] => Array.from({ length: NAMES }, (_, index) => `slow${index}.${domain}`);

  async function expectToBeServed(): Promise<void> {
    await client.call('register', ':known', uriOf('known.example'));
    expect(await client.resolve(':known')).toBe(uriOf('192.0.2.7'));
    await client.call('register', ':numeric', uriOf('192.0.2.8'));
  }

  test('serves others, refuses one client more names than its share, and stops when told to', async () => {
    await attack(hostsOf('example.org'));
    await expect(attacker.call('register', ':Default.y', uriOf('another.example.org'))).rejects.toThrow(
      'too many host names of this client are being looked up: more than a quarter of PYRO_MAX_LOOKUPS, which is 128',
    );
    await expectToBeServed();
    const waiting = client.call('register', ':waiting', uriOf('slow.example.net'));
    const [refused, end] = await Promise.allSettled([waiting, attacker.call('ping').then(() => server.stop())]);
    expect(end).toEqual({ status: 'fulfilled', value: { code: 0, signal: null } });
    expect(refused).toMatchObject({ reason: { text: 'the name server shuts down' } });
  });

  test('serves others, and stops when told to, also where threads look up the names', async () => {
    await attack(hostsOf('local'));
    await expectToBeServed();
    // By the signal: the threads would keep the process.
    expect(await server.stop()).toEqual({ code: null, signal: 'SIGTERM' });
    expect(server.output).toContain('Name Server gracefully stopped.');
  });
});

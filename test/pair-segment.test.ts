import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, expect, test } from '@jest/globals';
import { NameServerProcess, ours } from './support/name-server-process.mjs';
import { until } from './support/pair.js';
import { lacksNamespaces, Segment, type Host } from './support/segment.js';

const NSC = fileURLToPath(new URL('../dist/commands/pyro-nsc.js', import.meta.url));

let segment: Segment;
const servers: NameServerProcess[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.dispose()));
  await segment.dispose();
});

/** Runs `pyro-nsc` on a host, for the name server of that host. @returns what it prints */
async function nsc(host: Host, ...args: readonly string[]): Promise<string> {
  const port = host === segment.alpha ? '9090' : '9091';
  const [program, ...rest] = host.command(process.execPath, NSC, '-h', host.name, '-p', port, ...args);
  return (await promisify(execFile)(program, rest)).stdout;
}

const uriOf = (host: Host): string => `PYRO://10.1.2.3:7766/${host.name}`;
const names = async (host: Host): Promise<string[]> =>
  (await nsc(host, 'listall'))
    .split('\n')
    .filter((line) => line.includes('PYRO://10.1.2.3'))
    .sort();

async function untilBoth(state: 'connected' | 'lost'): Promise<void> {
  for (const host of [segment.alpha, segment.beta]) {
    await until(
      () => nsc(host, 'status'),
      (status) => status.includes(`${state}, 0 changes unconfirmed`) || (state === 'lost' && status.includes('lost')),
      40_000,
    );
  }
}

(lacksNamespaces('a pair whose network splits') ? test.skip : test)(
  'a pair that finds itself by broadcast is merged after its network was split',
  async () => {
    segment = await Segment.create();
    const { alpha, beta } = segment;
    const start = async (host: Host, ...options: string[]): Promise<void> => {
      servers.push(await NameServerProcess.start(host.server(ours), { bare: true, arguments: [...options, '-d'] }));
    };
    await start(alpha, '-n', 'alpha', '-1');
    await start(beta, '-n', 'beta', '-2');
    await untilBoth('connected');
    for (const name of [':both', ':removed', ':kept']) await nsc(alpha, 'register', name, uriOf(alpha));
    await untilBoth('connected');

    segment.part();
    await untilBoth('lost');
    await nsc(alpha, 'register', ':of-alpha', uriOf(alpha));
    await nsc(beta, 'register', ':of-beta', uriOf(beta));
    await nsc(alpha, 'remove', ':both');
    await nsc(beta, 'remove', ':both');
    await nsc(alpha, 'register', ':both', uriOf(alpha));
    await nsc(beta, 'register', ':both', uriOf(beta));
    await nsc(beta, 'remove', ':removed');

    segment.heal();
    await untilBoth('connected');
    expect(await names(alpha)).toEqual(await names(beta));
    const all = (await names(alpha)).join('\n');
    expect(all).toMatch(/:both +--> +PYRO:\/\/10\.1\.2\.3:7766\/beta/);
    for (const name of [':kept', ':of-alpha', ':of-beta']) expect(all).toContain(name);
    expect(all).not.toContain(':removed');
  },
  120_000,
);

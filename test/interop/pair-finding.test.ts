import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { NameServerProcess, ours, real, type Server } from '../support/name-server-process.mjs';
import { until, type Role } from '../support/pair.js';
import { lacksPyro3 } from '../support/pyro3.js';
import { lacksNamespaces, Segment, type Host } from '../support/segment.js';

const NSC = fileURLToPath(new URL('../../dist/commands/pyro-nsc.js', import.meta.url));
const OPTION: Readonly<Record<Role, string>> = { primary: '-1', secondary: '-2' };
const PORT: Readonly<Record<Role, string>> = { primary: '9090', secondary: '9091' };

/** One of the two, on a host of its own. */
interface Side {
  readonly host: Host;
  readonly role: Role;
  readonly kind: Server;
}

function start({ host, role, kind }: Side, persistent: boolean): Promise<NameServerProcess> {
  // Pyro 3 takes what follows -1, -2 or -d for its value.
  const args = ['-n', host.name, ...(persistent ? ['-d', 'names'] : []), OPTION[role]];
  return NameServerProcess.start(host.server(kind), { bare: true, arguments: args });
}

/** Runs `pyro-nsc` for the server of a side. @returns what it prints */
async function nsc({ host, role }: Side, ...args: readonly string[]): Promise<string> {
  const [program, ...rest] = host.command(process.execPath, NSC, '-h', host.name, '-p', PORT[role], ...args);
  return (await promisify(execFile)(program, rest)).stdout;
}

const has = (side: Side, name: string): Promise<string> =>
  until(
    () => nsc(side, 'listall').catch(String),
    (list) => list.includes(`${name} `),
  );

interface Case {
  readonly role: Role;
  readonly first: 'ours' | 'theirs';
  readonly persistent: boolean;
}

/** Starts a pair in a segment of its own, and looks whether each gets what the other had, and what is changed later. */
async function expectToFindEachOther({ role, first, persistent }: Case): Promise<void> {
  const segment = await Segment.create();
  const servers: NameServerProcess[] = [];
  try {
    const mine: Side = { host: segment.alpha, role, kind: ours };
    const other = role === 'primary' ? 'secondary' : 'primary';
    const theirs: Side = { host: segment.beta, role: other, kind: real() };
    const [former, latter] = first === 'ours' ? [mine, theirs] : [theirs, mine];
    servers.push(await start(former, persistent));
    await nsc(former, 'register', ':before', 'PYRO://10.1.2.3:7766/x');
    servers.push(await start(latter, persistent));
    await has(latter, ':before');
    await nsc(theirs, 'register', ':from-theirs', 'PYRO://10.1.2.3:7766/x');
    await has(mine, ':from-theirs');
    await nsc(mine, 'register', ':from-ours', 'PYRO://10.1.2.3:7766/x');
    await has(theirs, ':from-ours');
    expect(await nsc(mine, 'status')).toMatch(/twin +Pyro 3 at PYRO:\/\/10\.77\.0\.2:\S+, connected/);
  } finally {
    await Promise.all(servers.map((server) => server.dispose()));
    await segment.dispose();
  }
}

const isUntested = lacksNamespaces('a pair with Pyro 3 that finds itself') || lacksPyro3('a pair that finds itself');

(isUntested ? describe.skip : describe).each([
  ['in memory', false],
  ['with a database', true],
])('a pair with Pyro 3 that is given no addresses, %s', (_how, persistent) => {
  describe.each<Role>(['primary', 'secondary'])('ours is the %s', (role) => {
    // Each has a segment of its own, and waits most of the time: both at once.
    test.concurrent.each<Case['first']>(['ours', 'theirs'])(
      '%s starts first',
      (first) => expectToFindEachOther({ role, first, persistent }),
      60_000,
    );
  });
});

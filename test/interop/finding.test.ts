import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { createAuthority, createCertificate } from '../support/certificates.js';
import { InteractiveProgram } from '../support/interactive-program.js';
import { NameServerProcess, ours, pyro3, pythonEnvironment, real } from '../support/name-server-process.mjs';
import type { Server } from '../support/name-server-process.mjs';
import { lacksPyro3 } from '../support/pyro3.js';
import { lacksNamespaces, Segment, type Host } from '../support/segment.js';

const skipped = lacksNamespaces('name servers found by broadcast, from host to host');
const lacksReal = lacksPyro3('name servers of both kinds found by locators of both kinds');

const servers: readonly { label: string; kind: () => Server }[] = [
  { label: 'our server', kind: () => ours },
  ...(lacksReal ? [] : [{ label: "Pyro 3.16's server", kind: () => real() }]),
];

/** Short waits: nobody else is on the segment, and nothing gets lost. */
const PATIENCE = { PYRO_BC_TIMEOUT: 0.3, PYRO_BC_RETRIES: 0 };

/** What a locator is asked to do: where nothing is given, by broadcast. */
interface Question {
  readonly command?: 'location' | 'shutdown';
  readonly host?: string;
  readonly port?: number;
  readonly bcaddr?: string;
  readonly items?: Readonly<Record<string, string | number>>;
}

let segment: Segment;
let running: NameServerProcess[];
/** On each host, both our locator and the real one where there is one. */
let locators: Map<Host, InteractiveProgram[]>;

function startLocators(host: Host): InteractiveProgram[] {
  const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
  const own = InteractiveProgram.start(host.command(process.execPath, file('../programs/locator.mjs')));
  if (pyro3 === undefined) return [own];
  const environment = pythonEnvironment();
  return [own, InteractiveProgram.start(host.command(pyro3.python, '-u', file('locator.py')), { environment })];
}

/** Starts a name server with just these options. */
async function start(host: Host, kind: Server, ...options: string[]): Promise<NameServerProcess> {
  const server = await NameServerProcess.start(host.server(kind), { bare: true, arguments: options });
  running.push(server);
  return server;
}

/** What all locators on a host say, one after the other: each its answer, or its error. */
async function ask({ items, command = 'location', ...where }: Question, host = segment.beta): Promise<unknown[]> {
  const question = JSON.stringify({ ...where, command, items: { ...PATIENCE, ...items } });
  const answers: unknown[] = [];
  for (const locator of locators.get(host) ?? []) answers.push(JSON.parse(await locator.ask(question)));
  return answers;
}

const all = (answer: unknown): unknown[] => (locators.get(segment.beta) ?? []).map(() => answer);
const found = (server: NameServerProcess): unknown[] => all({ answer: server.uri });
const NOBODY = { error: 'could not find NameServer' };
const WILL_SHUT_DOWN = { answer: 'Will shut down shortly' };
const DENIED = { answer: 'Shutdown request denied' };

if (!skipped) {
  beforeAll(async () => {
    segment = await Segment.create();
    running = [];
    locators = new Map([segment.alpha, segment.beta].map((host) => [host, startLocators(host)]));
  });

  afterEach(async () => {
    await Promise.all(running.splice(0).map((server) => server.dispose()));
  });

  afterAll(async () => {
    await Promise.all([...locators.values()].flat().map((locator) => locator.stop()));
    await segment.dispose();
  });
}

(skipped ? describe.skip : describe).each(servers)('$label', ({ kind }) => {
  test('is found by broadcast, from its own host and from others, and stopped by one', async () => {
    const server = await start(segment.alpha, kind());
    expect(server.uri).toMatch(/^PYRO:\/\/10\.77\.0\.1:9090\//);
    expect(server.output).toContain("Broadcast server listening on: ('255.255.255.255', 9090)");
    expect(await ask({})).toEqual(found(server));
    expect(await ask({}, segment.alpha)).toEqual(found(server));
    const [stopped] = await ask({ command: 'shutdown' });
    expect(stopped).toEqual(WILL_SHUT_DOWN);
    expect(await server.exited).toEqual({ code: 0, signal: null });
    expect(server.output).toContain('BroadcastServer received shutdown request... will shutdown shortly...');
  });

  test('with -x is found only where its host is known, and stopped by a call', async () => {
    const server = await start(segment.alpha, kind(), '-r', '-x', '-v');
    expect(server.output).toContain('Not starting broadcast server.');
    expect(await ask({})).toEqual(all(NOBODY));
    expect(await ask({ host: 'alpha' })).toEqual(found(server));
    expect(await ask({ items: { PYRO_NS_HOSTNAME: 'alpha' } })).toEqual(found(server));
    expect(await ask({ host: 'beta' })).toEqual(all({ error: 'could not find NameServer on host beta' }));
    const [stopped] = await ask({ host: 'alpha', command: 'shutdown' });
    expect(stopped).toEqual(WILL_SHUT_DOWN);
    expect(await server.exited).toEqual({ code: 0, signal: null });
  });

  test('with -b and -p listens on other ports, and with -k denies to stop', async () => {
    const server = await start(segment.alpha, kind(), '-r', '-b', '9999', '-p', '0', '-k', '-v');
    expect(server.output).toContain('Will ignore shutdown requests.');
    expect(server.port).not.toBe(9090);
    expect(await ask({})).toEqual(all(NOBODY));
    expect(await ask({ port: 9999 })).toEqual(found(server));
    expect(await ask({ port: 9998 })).toEqual(all({ error: 'Name Server not responding' }));
    expect(await ask({ items: { PYRO_NS_BC_PORT: 9999 } })).toEqual(found(server));
    expect(await ask({ items: { PYRO_NS2_BC_PORT: 9999 } })).toEqual(found(server));
    expect(await ask({ port: 9999, command: 'shutdown' })).toEqual(all(DENIED));
    expect(await ask({ host: 'alpha', port: server.port, command: 'shutdown' })).toEqual(all(DENIED));
    expect(await ask({ port: 9999 })).toEqual(found(server));
  });

  test('with -c listens to broadcasts to one network only', async () => {
    const bcaddr = segment.broadcastAddress;
    const server = await start(segment.alpha, kind(), '-r', '-c', bcaddr);
    expect(server.output).toContain(`Broadcast server listening on: ('${bcaddr}', 9090)`);
    expect(await ask({})).toEqual(all(NOBODY));
    expect(await ask({ bcaddr })).toEqual(found(server));
    expect(await ask({ items: { PYRO_NS_BC_ADDR: bcaddr } })).toEqual(found(server));
  });

  test('on loopback is for its own host only', async () => {
    const server = await start(segment.alpha, kind(), '-n', 'localhost', '-v');
    expect(server.output).toContain('Not starting broadcast server.');
    expect(server.output).toContain('daemon bound on hostname that resolves to loopback address 127.0.x.x');
    expect(await ask({})).toEqual(all(NOBODY));
    expect(await ask({ host: 'alpha' })).toEqual(all({ error: 'could not find NameServer on host alpha' }));
    // No answer to the broadcast: at last localhost is tried.
    expect(await ask({}, segment.alpha)).toEqual(found(server));
  });

  test('does not start beside another one, unless it may', async () => {
    const first = await start(segment.alpha, kind(), '-r');
    for (const { kind: another } of servers) {
      const { command, environment } = segment.beta.server(another());
      const refused = await InteractiveProgram.run(command, { environment });
      expect(refused.stdout).toContain('The Name Server appears to be already running on this segment.');
      expect(refused.stdout).toContain('(host: 10.77.0.1  port: 9090 )');
      expect(refused.stdout).toContain('Cannot start multiple Name Servers in the same network segment.');
      const itsStatus = another() === ours ? 1 : 0;
      expect(refused.status).toBe(itsStatus);
    }
    const second = await start(segment.beta, kind(), '-m');
    expect(second.output).toContain('WARNING: starting another Name Server in the same segment!');
    const third = await start(segment.beta, kind(), '-r', '-p', '0', '-b', '9999');
    expect(third.output).not.toContain('already running');
    expect(await ask({ port: 9999 })).toEqual(found(third));
    // Which of the two answers first is chance.
    const either = expect.stringMatching(new RegExp(`^(${first.uri}|${second.uri})$`));
    expect(await ask({})).toEqual(all({ answer: either }));
  });

  test('in the second place of a pair is found by broadcast too', async () => {
    const server = await start(segment.alpha, kind(), '-2');
    expect(server.port).toBe(9091);
    // Pyro 3's looks for its twin once more, for two seconds, before it answers.
    expect(await ask({ items: { PYRO_BC_RETRIES: 10, PYRO_BC_TIMEOUT: 1 } })).toEqual(found(server));
  });
});

(skipped ? describe.skip : describe)('a name server that speaks TLS', () => {
  test('says so by broadcast', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pyro-ns-segment-ssl-'));
    const authority = createAuthority(directory, 'ca');
    createCertificate(authority, 'host', `IP:${segment.alpha.address}`);
    createCertificate(authority, 'client', 'DNS:client');
    const environment = { PYROSSL_CERTDIR: directory };
    const server = await NameServerProcess.start(segment.alpha.server(ours), {
      bare: true,
      arguments: ['-r', '--ssl'],
      environment,
    });
    running.push(server);
    expect(await ask({})).toEqual(found(server));
    expect(server.uri).toMatch(/^PYROSSL:/);
    const nsc = fileURLToPath(new URL('../../dist/commands/pyro-nsc.js', import.meta.url));
    const ping = segment.beta.command(process.execPath, nsc, 'ping');
    const answered = await InteractiveProgram.run(ping, {
      environment: { ...environment, PYROSSL_CERT: 'client.pem' },
    });
    expect(answered).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('NS is at 10.77.0.1 (alpha) port 9090\nNS is up and running!\n'),
    });
    rmSync(directory, { recursive: true });
  });
});

(skipped ? describe.skip : describe)('whoever has lost the name server', () => {
  const program = `
    import { NameServerLocator } from '${new URL('../../dist/index.js', import.meta.url).href}';
    const nameServer = await new NameServerLocator().getNS();
    console.log('found at', nameServer.URI.address);
    process.stdin.once('data', async () => {
      await nameServer.ping();
      console.log('found again at', nameServer.URI.address);
      process.exit();
    });
  `;

  test.each(servers)('finds $label on another host', async ({ kind }) => {
    const first = await start(segment.alpha, kind(), '-r');
    const client = InteractiveProgram.start(
      segment.beta.command(process.execPath, '--input-type=module', '-e', program),
    );
    await client.until(`found at ${segment.alpha.address}\n`);
    await first.stop('SIGKILL');
    await start(segment.beta, kind(), '-r');
    client.say('go on');
    await client.until(`found again at ${segment.beta.address}\n`);
    expect(await client.ended).toMatchObject({ status: 0 });
  });
});

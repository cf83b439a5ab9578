import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { PythonUnicode, tuple, type PythonValue } from '../src/pickle/index.js';
import { NameServerClient } from './support/name-server-client.js';
import { NameServerProcess, ours, real, type Server } from './support/name-server-process.mjs';
import { lacksPyro3 } from './support/pyro3.js';

const PROGRAM = fileURLToPath(new URL('../dist/commands/pyro-nsc.js', import.meta.url));

let directory: string;
const servers: NameServerProcess[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pyro-operations-'));
});

afterEach(async () => {
  for (const server of servers.splice(0)) await server.dispose();
  await rm(directory, { recursive: true });
});

async function start(kind: Server, ...args: string[]): Promise<NameServerProcess> {
  const server = await NameServerProcess.start(kind, { arguments: args });
  servers.push(server);
  return server;
}

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs pyro-nsc, with a name server where one is given. */
async function nsc(server: NameServerProcess | undefined, args: readonly string[], input = ''): Promise<Outcome> {
  const where = server === undefined ? [] : ['-h', '127.0.0.1', '-p', String(server.port)];
  const child = spawn(process.execPath, [PROGRAM, ...where, ...args], {
    env: { PATH: process.env['PATH'], PYRO_STORAGE: directory, PYRO_NS_SYNC: '0' },
  });
  child.stdin.end(input);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const status = child.exitCode ?? (await new Promise<number | null>((resolve) => child.once('close', resolve)));
  return { status, stdout, stderr };
}

const URI = 'PYRO://127.0.0.1:1/0123';
const METADATA: Record<string, PythonValue> = {
  ':Default.text': 'text',
  ':Default.unicode': new PythonUnicode('ascii'),
  ':Default.mixed': [1, 2.5, tuple('a', null), new Map([['k', 10n ** 30n]])],
  ':Lab': 'of a group',
  ':': 'of the root',
};

/** Makes names of all kinds. */
async function populate(server: NameServerProcess): Promise<void> {
  const client = await NameServerClient.connect(server);
  for (const group of [':Lab', ':Lab.inner', ':with/slash']) await client.call('createGroup', group);
  for (const name of [':top', ':Lab.inner.object', ':with/slash.a/b', ...Object.keys(METADATA)]) {
    if (name !== ':' && name !== ':Lab') await client.call('register', name, URI);
  }
  for (const [name, meta] of Object.entries(METADATA)) await client.call('setMeta', name, meta);
  client.close();
}

/** The lines of an export, but for the server's own entry. */
async function exported(server: NameServerProcess): Promise<string[]> {
  const { status, stdout, stderr } = await nsc(server, ['export']);
  expect([status, stderr]).toEqual([0, expect.stringContaining('exported')]);
  const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('{"name":":Pyro.NameServer"'));
  return lines.sort();
}

describe('export and import', () => {
  const kinds = lacksPyro3('that names move from Pyro 3 and back')
    ? [['ours', ours, ours] as const]
    : [['ours', ours, ours] as const, ['Pyro 3', real(), ours] as const, ['ours to Pyro 3', ours, real()] as const];

  test.each(kinds)('move all names from %s, and lose nothing', async (_title, from, to) => {
    const source = await start(from);
    await populate(source);
    const file = join(directory, 'names.jsonl');
    expect(await nsc(source, ['export', file])).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('exported 13'),
    });
    const target = await start(to);
    const { status, stdout } = await nsc(target, ['import', file, '--existing', 'replace']);
    expect([status, stdout]).toEqual([
      0,
      expect.stringMatching(/imported \d+, unchanged \d+, skipped 1, not imported because of errors 0\n$/),
    ]);
    expect(await exported(target)).toEqual(await exported(source));
  });

  test('go offline too: out of a database and into another', async () => {
    const source = await start(ours, '-d');
    await populate(source);
    const online = await exported(source);
    const database = join(source.storage, 'Pyro_NS_database');
    expect((await nsc(undefined, ['export', '--database', database])).stderr).toContain('is in use by process');
    await source.stop();
    const { stdout } = await nsc(undefined, ['export', '--database', database]);
    expect(stdout.split('\n').filter((line) => online.includes(line))).toHaveLength(online.length);
    const outcome = await nsc(undefined, ['import', '--database', 'new', '--existing', 'replace'], stdout);
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
    expect((await nsc(undefined, ['export', '--database', 'new'])).stdout.split('\n').sort()).toEqual(
      stdout.split('\n').sort(),
    );
    expect((await nsc(undefined, ['check', 'new'])).status).toBe(0);
    expect((await nsc(undefined, ['export', '--database', 'nowhere'])).stderr).toContain(
      'there is no database directory',
    );
  });

  test('say which line is wrong', async () => {
    const target = await start(ours);
    const outcome = await nsc(
      target,
      ['import'],
      `nonsense\n{"name":":ok","uri":"${URI}"}\n{"name":":no.group","uri":"${URI}"}`,
    );
    expect(outcome).toMatchObject({
      status: 1,
      stderr: 'line 1: the line is no JSON\nline 3: :no.group: (parent)group not found\n',
    });
    expect(outcome.stdout).toContain('imported 1, ');
    expect((await nsc(target, ['import', join(directory, 'none')])).stderr).toContain('ENOENT');
    expect(await nsc(target, ['import', '--existing', 'maybe'])).toMatchObject({ status: 2 });
  });
});

describe('status', () => {
  test('tells how a name server does', async () => {
    const server = await start(ours, '-d');
    const { stdout } = await nsc(server, ['status']);
    expect(stdout).toMatch(/^names {7}1 objects, 2 groups$/m);
    expect(stdout).toMatch(/^store {7}directory: ok$/m);
    const { stdout: json } = await nsc(server, ['status', '--json']);
    expect(JSON.parse(json)).toMatchObject([{ role: 'single', names: { objects: 1 }, twin: null }]);
  });

  (lacksPyro3('what status says of Pyro 3') ? test.skip : test)('says that Pyro 3 can not tell', async () => {
    const { status, stderr } = await nsc(await start(real()), ['status']);
    expect([status, stderr]).toEqual([1, expect.stringContaining('this name server is no pyro-ns')]);
  });
});

test('prune shows what is dead, and removes it when told to', async () => {
  const server = await start(ours);
  const client = await NameServerClient.connect(server);
  await client.call('register', ':dead', URI);
  await client.call('register', ':gone', `PYRO://127.0.0.1:${server.port}/none`);
  await client.call('register', ':alias', server.uri);
  const shown = await nsc(server, ['prune']);
  expect(shown.stdout).toMatch(/^:dead {2}--> .* closed: [^]*^:gone {2}--> .* gone: [^]*^Nothing was removed; --yes/m);
  expect(await client.resolve(':dead')).toBe(URI);
  const { stdout } = await nsc(server, ['prune', '--yes', '--json']);
  expect(JSON.parse(stdout)).toMatchObject([
    { name: ':dead', status: 'closed', removed: true },
    { name: ':gone', status: 'gone', removed: true },
  ]);
  expect([...(await client.flatlist()).keys()].sort()).toEqual([':Pyro.NameServer', ':alias']);
  client.close();
});

test('check finds damage, and repairs it', async () => {
  const server = await start(ours, '-d');
  await server.stop();
  const database = join(server.storage, 'Pyro_NS_database');
  await writeFile(join(database, 'Default', 'empty'), '');
  expect(await nsc(undefined, ['check', database])).toMatchObject({
    status: 1,
    stdout: expect.stringContaining('Default/empty: empty file.'),
  });
  const { status, stdout } = await nsc(undefined, ['check', database, '--repair', '--json']);
  expect([status, JSON.parse(stdout)]).toMatchObject([1, [{ kind: 'empty file', path: 'Default/empty' }]]);
  expect(await nsc(undefined, ['check', database])).toMatchObject({ status: 0 });
});

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { NameServerProcess, ours } from './support/name-server-process.mjs';
import { NodeProgram } from './support/node-program.js';

const run = promisify(execFile);

const docs = (file: string): URL => new URL(`../docs/${file}`, import.meta.url);

let nameServer: NameServerProcess;

/** So that the programs find the name server of this test. */
const items = (): Record<string, string> => ({ PYRO_NS_PORT: String(nameServer.port) });

/** Starts a server of the documentation, and waits until it serves. */
const start = (program: string, ...args: string[]): Promise<NodeProgram> =>
  NodeProgram.start(docs(`examples/${program}`), args, items());

beforeAll(async () => {
  nameServer = await NameServerProcess.start(ours, { arguments: ['-d'] });
});

afterAll(async () => {
  await nameServer.dispose();
});

test('an object is served, called, and unregistered at the end', async () => {
  const server = await start('thermometer-server.mjs');
  const client = fileURLToPath(docs('examples/thermometer-client.mjs'));
  const environment = { PATH: process.env['PATH'], ...items() };
  const { stdout } = await run(process.execPath, [client], { env: environment });
  expect(stdout.split('\n')).toEqual([
    'it is 20.5',
    'warmer: 22.5',
    'three at once: [ 22.5, 22.5, 22.5 ]',
    'ValueError: this is no refrigerator',
    'set to 5.5',
    '',
  ]);
  await server.stop('SIGTERM');
});

test('an object keeps its URI when its server is killed and started again', async () => {
  const first = await start('counter-server.mjs', '0');
  const [, port = ''] = /:(\d+)\//.exec(first.uri) ?? [];
  await first.stop('SIGKILL');
  const second = await start('counter-server.mjs', port);
  expect(second.uri).toBe(first.uri);
  await second.stop();
});

test('an object is guarded by a passphrase and by certificates, made as the page says', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pyro-certificates-'));
  let server: NodeProgram | undefined;
  try {
    const page = readFileSync(docs('secure-objects.md'), 'utf8');
    const [, commands = ''] = /```sh\n([^]*?)```/.exec(page) ?? [];
    await run('sh', ['-e', '-c', commands], { cwd: directory });
    const certificates = { PYROSSL_CERTDIR: join(directory, 'certs') };
    server = await NodeProgram.start(docs('examples/safe-server.mjs'), [], certificates);
    const uris = server.uri.split(' ');
    const look = async (certificate: string): Promise<string> => {
      const environment = { PATH: process.env['PATH'], ...certificates, PYROSSL_CERT: certificate };
      const client = fileURLToPath(docs('examples/safe-client.mjs'));
      const { stdout } = await run(process.execPath, [client, ...uris], { env: environment });
      return stdout;
    };
    expect((await look('client.pem')).split('\n')).toEqual([
      'ConnectionDeniedError: security reasons',
      'gold, seen from 127.0.0.1',
      'gold, seen from 127.0.0.1',
      '',
    ]);
    // The server's own certificate is of the authority too, but not the client's.
    await expect(look('host.pem')).rejects.toMatchObject({ stderr: expect.stringContaining('security reasons') });
  } finally {
    await server?.stop();
    await rm(directory, { recursive: true });
  }
});

test('a program starts a name server of its own', async () => {
  const program = fileURLToPath(docs('examples/in-a-program.mjs'));
  const { stdout } = await run(process.execPath, [program], { cwd: nameServer.storage });
  expect(stdout).toContain('Name Server started.\nregistered PYRO://127.0.0.1:7766/one\n');
});

describe('pages show what runs', () => {
  test.each([
    ['serve.md', 'thermometer-server.mjs'],
    ['call.md', 'thermometer-client.mjs'],
    ['restart.md', 'counter-server.mjs'],
    ['secure-objects.md', 'safe-server.mjs'],
    ['secure-objects.md', 'safe-client.mjs', 1],
    ['start.md', 'in-a-program.mjs'],
    ['security.md', 'plugins.mjs', 1],
    ['security.md', 'permissions.mjs', 2],
  ])('%s: %s', (page, program, index = 0) => {
    const programs = Array.from(readFileSync(docs(page), 'utf8').matchAll(/```js\n([^]*?)```/g), ([, shown]) => shown);
    const { [index]: shown = '' } = programs;
    const lines = new Set(readFileSync(docs(`examples/${program}`), 'utf8').split('\n'));
    // A page may name the port where the program takes it from its arguments.
    const unknown = shown.split('\n').filter((line) => !lines.has(line.replace('7800', 'Number(port)')));
    expect(unknown).toEqual([]);
  });
});

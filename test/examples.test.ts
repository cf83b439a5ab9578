import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { NameServerProcess, ours } from './support/name-server-process.mjs';
import { NodeProgram } from './support/node-program.js';

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
  const { stdout } = await promisify(execFile)(process.execPath, [client], { env: environment });
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

describe('pages show what runs', () => {
  test.each([
    ['serve.md', 'thermometer-server.mjs'],
    ['call.md', 'thermometer-client.mjs'],
    ['restart.md', 'counter-server.mjs'],
  ])('%s', (page, program) => {
    const [, shown = ''] = /```js\n([^]*?)```/.exec(readFileSync(docs(page), 'utf8')) ?? [];
    const lines = new Set(readFileSync(docs(`examples/${program}`), 'utf8').split('\n'));
    // A page may name the port where the program takes it from its arguments.
    const unknown = shown.split('\n').filter((line) => !lines.has(line.replace('7800', 'Number(port)')));
    expect(unknown).toEqual([]);
  });
});

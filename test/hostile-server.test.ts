/** What `pyro-nsc` does with the names and URIs of a name server that means harm. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { loadConfig, silentLog } from '../src/config/index.js';
import { NAMESERVER_NAME, PyroURI } from '../src/names/index.js';
import { tuple, type PythonValue } from '../src/pickle/index.js';
import { Daemon, uriToPython } from '../src/rpc/index.js';
import { InteractiveProgram, type Outcome } from './support/interactive-program.js';

const PROGRAM = fileURLToPath(new URL('../dist/commands/pyro-nsc.js', import.meta.url));

/** A sequence that commands a terminal, a line break, and controls of eight bits. */
const EVIL = ['evil\u001b[2J', 'evil\nname', 'evil\u009b31m', 'evil\u007f'];
// eslint-disable-next-line no-control-regex -- what must not be printed
const RAW_CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

let daemon: Daemon;

beforeAll(async () => {
  const config = loadConfig({ environment: {}, currentDirectory: '/' });
  daemon = await Daemon.start({ config, log: silentLog, host: '127.0.0.1', port: 0, norange: true });
  const uri = new PyroURI('PYRO', '127.0.0.1', 1, 'a\u009b31m');
  const nameServer = {
    ping: () => null,
    list: (): PythonValue[] => [...EVIL, 'even'].map((name) => tuple(name, 1)),
    flatlist: (): PythonValue[] => [...EVIL, 'even'].map((name) => tuple(`:${name}`, uriToPython(uri))),
    resolve: (): PythonValue => uriToPython(uri),
  };
  await daemon.connect(nameServer, NAMESERVER_NAME);
});

afterAll(async () => {
  await daemon.shutdown();
});

const nsc = (...args: string[]): Promise<Outcome> =>
  InteractiveProgram.run([process.execPath, PROGRAM, ...args], {
    environment: { PYRO_NS_HOSTNAME: '127.0.0.1', PYRO_NS_PORT: String(daemon.port) },
  });

test('completions leave out names with control characters', async () => {
  expect(await nsc('--complete', 'resolve', ':ev')).toEqual({ status: 0, stdout: ':even\n', stderr: '' });
});

test.each([['listall'], ['list', ':'], ['resolve', ':even']])('--json %s %s escapes them', async (...args) => {
  const { stdout, status } = await nsc('--json', ...args);
  expect(status).toBe(0);
  expect(stdout).not.toMatch(RAW_CONTROL);
  expect(JSON.parse(stdout)).not.toEqual([]);
});

test.each([['listall'], ['list', ':'], ['resolve', ':even']])('%s %s prints none', async (...args) => {
  const { stdout } = await nsc(...args);
  expect(stdout).not.toMatch(RAW_CONTROL);
  expect(stdout).toContain('even');
});

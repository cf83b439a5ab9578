import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loadConfig, silentLog } from '../src/config/index.js';
import { getProxyForURI, TimeoutError, type Proxy } from '../src/index.js';
import { NameServerProcess, ours, real, type Server } from './support/name-server-process.mjs';
import { NodeProgram } from './support/node-program.js';
import { lacksPyro3 } from './support/pyro3.js';
import { PythonProcess } from './support/python-process.js';

const SERVER = new URL('programs/persistent-server.mjs', import.meta.url);
const PYTHON_CLIENT = new URL('interop/peer.py', import.meta.url);
const NAME = ':Default.counter';

interface Counter {
  next(): number;
}

interface NameServer {
  resolve(name: string): unknown;
}

const lacksPython = lacksPyro3('Python clients and the real name server, where a server is restarted');

const nameServers: [string, () => Server][] = [['ours', () => ours]];
if (!lacksPython) nameServers.push(['the real Pyro 3.16', () => real()]);

describe.each(nameServers)('a server killed with -9 and started again, with the name server of %s', (_label, kind) => {
  let nameServer: NameServerProcess;
  const cleanUp: (() => Promise<unknown>)[] = [];

  function proxyOf<Remote extends object>(uri: string): Proxy<Remote> {
    const config = loadConfig({ environment: {}, currentDirectory: '/' });
    const proxy = getProxyForURI<Remote>(uri, { config, log: silentLog });
    cleanUp.push(() => proxy._release());
    return proxy;
  }

  async function serve(port: string): Promise<NodeProgram> {
    const server = await NodeProgram.start(SERVER, [nameServer.uri, port]);
    cleanUp.push(() => server.stop());
    return server;
  }

  const portOf = (server: NodeProgram): string => new URL(server.uri.replace('PYRO:', 'http:')).port;

  const registered = async (): Promise<string> => String(await proxyOf<NameServer>(nameServer.uri).resolve(NAME));

  beforeEach(async () => {
    nameServer = await NameServerProcess.start(kind(), { arguments: ['-d'] });
    cleanUp.push(() => nameServer.dispose());
  });

  afterEach(async () => {
    for (const clean of cleanUp.splice(0).reverse()) await clean();
  });

  test('has the same URI, and clients go on with the proxy they have', async () => {
    const server = await serve('0');
    const counter = proxyOf<Counter>(server.uri);
    expect(await counter.next()).toBe(1);
    await server.stop('SIGKILL');
    await expect(counter.adapter.rebindURI(1)).rejects.toBeInstanceOf(TimeoutError);
    expect(await registered()).toBe(server.uri);

    const rebound = counter.adapter.rebindURI(Infinity, 0.05);
    const again = await serve(portOf(server));
    await rebound;
    expect(again.uri).toBe(server.uri);
    expect(await registered()).toBe(server.uri);
    expect([await counter.next(), await counter.next()]).toEqual([1, 2]);
  });

  test('has the same URI where the name server was killed with it', async () => {
    const server = await serve('0');
    await Promise.all([server.stop('SIGKILL'), nameServer.stop('SIGKILL')]);
    await nameServer.restart();
    const again = await serve(portOf(server));
    expect(again.uri).toBe(server.uri);
    expect(await proxyOf<Counter>(await registered()).next()).toBe(1);
  });

  test('on another port replaces what is registered', async () => {
    const server = await serve('0');
    await server.stop('SIGKILL');
    const moved = await serve('0');
    expect(portOf(moved)).not.toBe(portOf(server));
    expect(await registered()).toBe(moved.uri);
    expect(await proxyOf<Counter>(moved.uri).next()).toBe(1);
  });

  (lacksPython ? test.skip : test)('is called again by a Python client that kept its proxy', async () => {
    const server = await serve('0');
    const python = PythonProcess.start(PYTHON_CLIENT, []);
    cleanUp.push(() => python.end());
    const counter = `keeping('${server.uri}')`;
    expect(await python.ask(`${counter}.next()`)).toEqual({ value: '1' });
    await server.stop('SIGKILL');
    expect(await python.ask(`${counter}.next()`)).toMatchObject({ error: 'Pyro.errors.ConnectionClosedError' });
    const rebound = python.ask(`${counter}.adapter.rebindURI(200, 0.05)`);
    await serve(portOf(server));
    expect(await rebound).toEqual({ value: 'None' });
    expect(await python.ask(`${counter}.next()`)).toEqual({ value: '1' });
  });
});

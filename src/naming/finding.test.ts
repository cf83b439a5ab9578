import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { loadConfig, silentLog, type Config } from '../config/index.js';
import { PyroURI } from '../names/index.js';
import { Daemon } from '../rpc/index.js';
import { NameServerLocator } from './locator.js';
import { NameServerProxy } from './name-server-proxy.js';
import { getAttrProxyForURI, getProxyForURI } from './proxies.js';
import { NameServerStarter } from './starter.js';
import { watch } from './watch.js';

let starter: NameServerStarter;
let uri: PyroURI;
let config: Config;

/** Broadcasts go nowhere: to a port of this machine where nobody listens. */
const newConfig = (environment: Record<string, string> = {}): Config =>
  loadConfig({
    environment: {
      PYRO_NS_BC_ADDR: '127.0.0.1',
      PYRO_NS2_BC_ADDR: '127.0.0.1',
      PYRO_BC_TIMEOUT: '0.05',
      ...environment,
    },
    currentDirectory: '/nowhere',
  });

async function start(port = 0, identification?: string): Promise<void> {
  starter = new NameServerStarter({ config, log: silentLog, print: () => undefined, identification });
  uri = await starter.start({ hostname: '127.0.0.1', nsport: port, dontlookupother: true, nobroadcast: true });
}

const locator = (identification?: string): NameServerLocator =>
  new NameServerLocator({ config, log: silentLog, identification });

beforeEach(async () => {
  config = newConfig();
  await start();
});

afterEach(async () => {
  await starter.shutdown();
});

describe('the locator', () => {
  test('asks a host directly', async () => {
    expect(await locator().detectNS({ host: 'localhost', port: uri.port })).toEqual(uri);
  });

  test('asks the configured host', async () => {
    config = newConfig({ PYRO_NS_HOSTNAME: 'localhost', PYRO_NS_PORT: String(uri.port) });
    expect(await locator().detectNS()).toEqual(uri);
  });

  test('tries the second server, and from then on first', async () => {
    config = newConfig({ PYRO_NS_HOSTNAME: 'localhost', PYRO_NS_PORT: '1', PYRO_NS2_HOSTNAME: '127.0.0.1' });
    config.PYRO_NS2_PORT = uri.port;
    expect(await locator().detectNS()).toEqual(uri);
    expect([config.PYRO_NS_HOSTNAME, config.PYRO_NS_PORT]).toEqual(['127.0.0.1', uri.port]);
    expect([config.PYRO_NS2_HOSTNAME, config.PYRO_NS2_PORT]).toEqual(['localhost', 1]);
  });

  test('at last tries this machine, and says each step', async () => {
    config = newConfig({ PYRO_NS_PORT: String(uri.port) });
    const lines: string[] = [];
    expect(await locator().detectNS({ trace: (line) => lines.push(line) })).toMatchObject({ objectID: uri.objectID });
    expect(config.PYRO_NS_HOSTNAME).toBeDefined();
    expect(lines.slice(0, 2)).toEqual(['Locator: searching Pyro Name Server...', 'Locator: retry 1']);
    expect(lines.at(-1)).toBe('Locator: contacting Pyro Name Server...');
  });

  test('looks no longer than its signal lets it', async () => {
    config = newConfig({ PYRO_BC_TIMEOUT: '-1' });
    const controller = new AbortController();
    const { signal } = controller;
    const looking = new NameServerLocator({ config, log: silentLog, signal }).getNS();
    await new Promise((resolve) => setTimeout(resolve, 20));
    controller.abort(new Error('never mind'));
    await expect(looking).rejects.toThrow('never mind');
    await expect(new NameServerLocator({ config, log: silentLog, signal }).getNS('localhost')).rejects.toThrow(
      'never mind',
    );
  });

  test('says that there is none', async () => {
    config = newConfig({ PYRO_NS_PORT: '1' });
    await expect(locator().getNS()).rejects.toThrow('could not find NameServer');
    await expect(locator().getNS({ host: '127.0.0.1' })).rejects.toThrow('could not find NameServer on host 127.0.0.1');
    await expect(locator().getNS('127.0.0.1')).rejects.toThrow('could not find NameServer on host 127.0.0.1');
    await expect(locator().getNS({ bcaddr: 'no.such.host.invalid' })).rejects.toThrow('invalid broadcast address');
  });

  test('asks a name server to shut down', async () => {
    expect(await locator().sendSysCommand('shutdown', { host: 'localhost', port: uri.port })).toBe(
      'Will shut down shortly',
    );
    await starter.stopped;
  });

  test.each(['wrong', undefined])('with the identification %p is not let in', async (identification) => {
    await starter.shutdown();
    await start(0, 's3cret');
    const where = { host: '127.0.0.1', port: uri.port };
    await expect(locator(identification).getNS(where)).rejects.toMatchObject({
      name: 'ConnectionDeniedError',
      message: 'security reasons',
    });
    expect(await locator('s3cret').detectNS(where)).toEqual(uri);
  });

  test('who is not let in is not led to another name server', async () => {
    const other = uri.port;
    await using second = starter;
    await start(0, 's3cret');
    config = newConfig({ PYRO_NS_PORT: String(uri.port), PYRO_NS2_PORT: String(other) });
    for (const ask of [
      () => locator('wrong').getNS('127.0.0.1'),
      () => locator('wrong').sendSysCommand('shutdown', { host: '127.0.0.1' }),
    ]) {
      await expect(ask()).rejects.toMatchObject({ name: 'ConnectionDeniedError' });
    }
    expect(await locator().detectNS({ host: '127.0.0.1', port: other })).toMatchObject({ port: other });
    expect(second).not.toBe(starter);
  });

  test('resolves PYRONAME', async () => {
    await using nameServer = await locator().getNS({ host: '127.0.0.1', port: uri.port });
    await nameServer.register('a', uri);
    expect(await locator().resolvePYRONAME(`PYRONAME://localhost:${uri.port}/a`)).toEqual(uri);
    await expect(locator().resolvePYRONAME('PYRONAME://')).rejects.toThrow('invalid URI format');
    config = newConfig({ PYRO_NS_HOSTNAME: '127.0.0.1', PYRO_NS_PORT: String(uri.port) });
    expect(await locator().resolvePYRONAME('PYRONAME://:Default.a')).toEqual(uri);
  });
});

describe('a proxy by PYRONAME', () => {
  test('finds its object, and finds it again where it has moved', async () => {
    const { port } = uri;
    await using nameServer = await locator().getNS({ host: '127.0.0.1', port });
    const serve = async (greeting: string): Promise<Daemon> => {
      const daemon = await Daemon.start({ config, log: silentLog, host: '127.0.0.1', port: 0, norange: true });
      daemon.useNameServer(nameServer);
      await daemon.connectPersistent({ greet: () => greeting, same: (value: unknown) => value }, 'greeter');
      return daemon;
    };
    const first = await serve('hello');
    await using greeter = getProxyForURI<{ greet(): string; same(value: unknown): unknown }>(
      `PYRONAME://localhost:${port}/greeter`,
      { config, log: silentLog },
    );
    expect(String(greeter.URI)).toBe(`PYRONAME://localhost:${port}/greeter`);
    await expect(greeter.same(greeter._copy())).rejects.toThrow('bind the proxy before it is passed on');
    expect(await greeter.greet()).toBe('hello');
    expect(String(greeter.URI)).toMatch(`PYRO://127.0.0.1:${first.port}/`);
    // What it is given is another proxy, that is not found by this name.
    const own = await greeter.same(getProxyForURI(uri));
    expect(String(own)).toBe(`<DynamicProxy for ${uri.toString()}>`);
    await first.shutdown();
    await using second = await serve('hello from elsewhere');
    expect(await greeter.greet()).toBe('hello from elsewhere');
    expect(greeter.URI.port).toBe(second.port);
    await nameServer.unregister('greeter');
    await expect(greeter._copy().greet()).rejects.toThrow('name not found');
  });

  test('may be made of a PyroURI', async () => {
    config = newConfig({ PYRO_NS_HOSTNAME: '127.0.0.1', PYRO_NS_PORT: String(uri.port) });
    const options = { config, log: silentLog };
    const own = getProxyForURI(PyroURI.parse('PYRONAME://:Pyro.NameServer'), options);
    expect([String(own.URI), await own._invokePYRO('ping')]).toEqual([
      `PYRONAME://*:${uri.port}/:Pyro.NameServer`,
      null,
    ]);
    await own._release();
    // Of the proxy's own URI, too.
    const other = getProxyForURI(getProxyForURI('PYRONAME://:Pyro.NameServer', options).URI, options);
    expect(await other._invokePYRO('ping')).toBeNull();
    await other._release();
    expect(getProxyForURI(PyroURI.parse('PYRONAME://atlantis/x'), options).URI.port).toBe(9090);
  });

  test('asks a silent name server no longer than somebody waits', async () => {
    config = newConfig({ PYRO_HANDSHAKE_TIMEOUT: '600' });
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket.resume())).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const address = silent.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    const proxy = getProxyForURI(`PYRONAME://127.0.0.1:${address.port}/a`, { config, log: silentLog });
    const controller = new AbortController();
    const call = proxy._with({ signal: controller.signal })._invokePYRO('hello');
    await once(silent, 'connection');
    controller.abort(new Error('never mind'));
    await expect(call).rejects.toThrow('never mind');
    // Where the connection is not closed, neither is the server.
    await new Promise((resolve) => silent.close(resolve));
    expect(sockets).toHaveLength(1);
  });

  test('reads attributes, and may lead nowhere', async () => {
    config = newConfig({ PYRO_NS_HOSTNAME: '127.0.0.1', PYRO_NS_PORT: '1' });
    const thing = getAttrProxyForURI('PYRONAME://thing', { config, log: silentLog });
    await expect(thing._getAttribute('colour')).rejects.toThrow('could not find NameServer');
    expect(() => getProxyForURI('PYRONAME://')).toThrow('invalid URI format');
  });
});

describe('the proxy', () => {
  test('does all that the name server does', async () => {
    await using nameServer = await locator().getNS({ host: '127.0.0.1', port: uri.port });
    const one = new PyroURI('PYRO', '127.0.0.1', 7766, 'one');
    await nameServer.ping();
    await nameServer.createGroup(':g');
    await nameServer.register(':g.one', one);
    await nameServer.register('two', 'PYRO://localhost/two');
    expect(await nameServer.resolve(':g.one')).toEqual(one);
    expect(await nameServer.list()).toEqual([{ part: 'two', type: 1 }]);
    expect(await nameServer.list(':')).toContainEqual({ part: 'g', type: 0 });
    expect(await nameServer.flatlist()).toContainEqual([':Default.two', new PyroURI('PYRO', '127.0.0.1', 7766, 'two')]);
    await nameServer.setMeta('two', { colour: 'red' });
    expect(await nameServer.getMeta('two')).toEqual(new Map([['colour', 'red']]));
    const meta = { type: 1, timestamp: 12, owner: null } as const;
    await nameServer._setSystemMeta('two', meta);
    expect(await nameServer._getSystemMeta('two')).toEqual(meta);
    await nameServer.unregister('two');
    await nameServer.deleteGroup(':g');
    await expect(nameServer.resolve('two')).rejects.toMatchObject({ args: ['name not found', ':Default.two'] });
    await expect(nameServer.resync()).rejects.toThrow('NS is not running');
    await expect(nameServer.register('x', 'PYRO://no.such.host.invalid/x')).rejects.toMatchObject({
      args: [
        'invalid URI',
        'PYRO://no.such.host.invalid/x',
        "the name server can't find the host no.such.host.invalid",
      ],
    });
    await expect(nameServer.register('x', 'PYRO:/x')).rejects.toMatchObject({ args: ['invalid URI', 'PYRO:/x'] });
    expect(nameServer.fullName('a')).toBe(':Default.a');
    expect(await nameServer._shutdown()).toBe('Will shut down shortly');
  });

  test('finds a name server again that was lost', async () => {
    const where = { host: '127.0.0.1', port: uri.port };
    await using nameServer = await locator().getNS(where);
    await nameServer.ping();
    await starter.shutdown();
    await expect(nameServer.ping()).rejects.toThrow('connection failed');
    await start(where.port);
    await Promise.all([nameServer.ping(), nameServer.ping()]);
    expect(nameServer.URI).toEqual(uri);
  });
});

describe('watch', () => {
  test.each(['tells of changes by itself', 'has to be asked for all names'])(
    'ends with the reason of its signal, where the name server %s',
    async (kind) => {
      await using daemon = await Daemon.start({ config, log: silentLog, host: '127.0.0.1', port: 0 });
      const asked = jest.fn(() => []);
      const where = kind.startsWith('tells') ? uri : await daemon.connect({ flatlist: asked });
      await using nameServer = new NameServerProxy(where, { config, log: silentLog });
      const controller = new AbortController();
      const { signal } = controller;
      const next = watch(nameServer, { interval: 60, signal }).next();
      const position = jest.spyOn(nameServer, '_changes');
      while (position.mock.calls.length === 0 && asked.mock.calls.length === 0) await new Promise(setImmediate);
      controller.abort();
      await expect(next).rejects.toBe(signal.reason);
      await expect(watch(nameServer, { signal }).next()).rejects.toMatchObject({ name: 'AbortError' });
    },
  );

  test('tells of each change as it happens', async () => {
    const where = { host: '127.0.0.1', port: uri.port };
    await using watched = await locator().getNS(where);
    await using changing = await locator().getNS(where);
    const events = watch(watched);
    const first = events.next();
    let told = false;
    void first.then(() => {
      told = true;
    });
    // What was changed before the watcher knows its position is not told.
    for (let group = 0; !told; group++) await changing.createGroup(`:g${group}`);
    expect((await first).value).toMatchObject({ operation: 'createGroup' });
    await changing.register(':g0.a', uri);
    for await (const event of events) {
      if (event.operation === 'createGroup') continue;
      expect(event).toEqual({ operation: 'register', name: ':g0.a', uri: uri.toString() });
      break;
    }
    const after = watch(watched);
    const next = after.next();
    await starter.shutdown();
    await expect(next).rejects.toThrow('connection');
  });
});

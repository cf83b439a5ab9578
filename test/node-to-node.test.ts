import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadConfig, silentLog, type Config } from '../src/config/index.js';
import * as pyro from '../src/index.js';
import { NodeProgram } from './support/node-program.js';

// The square of clients and servers, Node and Python: here its third side, with the server in a process of its own.

const SERVER = new URL('programs/thing-server.mjs', import.meta.url);
const IMPATIENT_CLIENT = new URL('programs/impatient-client.mjs', import.meta.url);
const IDENTIFICATION = 's3same';
const LARGE = 50 << 20;

interface Thing {
  readonly attribute: unknown;
  readonly noted: unknown[];
  add(first: number, second?: number): number;
  same(value: unknown): unknown;
  note(value: unknown): void;
  sleep(seconds: number): number;
  fail(how: string): never;
  callBack(listener: unknown, ...args: unknown[]): unknown;
  hangUp(): void;
  myself(): unknown;
}

class Listener extends pyro.ObjBase {
  called(...args: unknown[]): unknown {
    return ['called', ...args];
  }
}

const config = loadConfig({ environment: {}, currentDirectory: '/' });
const options = (changes: Partial<Config> = {}): pyro.AdapterOptions => ({
  config: { ...config, ...changes },
  log: silentLog,
});

const thrownBy = (call: Promise<unknown>): Promise<unknown> => call.catch((thrown: unknown) => thrown);

describe('a Node program calls another', () => {
  let server: NodeProgram;
  const released: (() => Promise<unknown>)[] = [];

  function thing(of = server, changes: Partial<Config> = {}): pyro.AttrProxy<Thing> {
    const proxy = pyro.getAttrProxyForURI<Thing>(of.uri, options(changes));
    released.push(() => proxy._release());
    return proxy;
  }

  async function anotherServer(...args: string[]): Promise<NodeProgram> {
    const another = await NodeProgram.start(SERVER, args);
    released.push(() => another.stop());
    return another;
  }

  beforeAll(async () => {
    server = await NodeProgram.start(SERVER, ['0']);
  });

  afterEach(async () => {
    for (const release of released.splice(0).reverse()) await release();
  });

  afterAll(async () => {
    await server.stop();
  });

  test('by position, by name, and many at once', async () => {
    const proxy = thing();
    expect(await proxy.add(1)).toBe(11);
    expect(await proxy.add(1, 2)).toBe(3);
    expect(await proxy.add(1, pyro.keywords({ second: 5 }))).toBe(6);
    expect(await Promise.all([1, 2, 3].map((first) => proxy.add(first)))).toEqual([11, 12, 13]);
  });

  test.each([0, 1, 2] satisfies Config['PYRO_PICKLE_FORMAT'][])(
    'with values of any type, in protocol %d',
    async (PYRO_PICKLE_FORMAT) => {
      const proxy = thing(server, { PYRO_PICKLE_FORMAT, PYRO_CHECKSUM: true });
      const values = [null, true, -1, 2 ** 31, 2n ** 70n, 1.5, 'text', 'téxt', new Uint8Array([0, 255])];
      expect(await proxy.same(values)).toEqual(values);
      const containers = [[1, [2]], pyro.tuple(1, pyro.tuple()), new Map([['a', [1]]]), new Set([1, 'x'])];
      expect(await proxy.same(containers)).toEqual(containers);
      expect(await proxy.same({ a: { b: undefined } })).toEqual(new Map([['a', new Map([['b', null]])]]));
      expect(await proxy.same([new pyro.PythonFloat(2), new pyro.PythonUnicode('text')])).toEqual([2, 'text']);
      const time = await proxy.same(new Date(5));
      expect(time instanceof pyro.PythonInstance && pyro.toDate(time)).toEqual(new Date(5));
      const cyclic: unknown[] = [];
      cyclic.push(cyclic);
      const same = await proxy.same(cyclic);
      expect(Array.isArray(same) && same[0] === same).toBe(true);
    },
  );

  test('and gets its exceptions, with a traceback that tells nothing of the server', async () => {
    const proxy = thing();
    expect(await thrownBy(proxy.fail('pyro'))).toEqual(new pyro.NamingError('name not found', ':x'));
    const error = await thrownBy(proxy.fail('python'));
    expect(error).toMatchObject({
      module: 'client.classes',
      className: 'Refused',
      message: 'no',
      args: ['no', 1],
      attributes: new Map([['extra', 7]]),
      remoteTraceback: ['Refused: no; 1\n'],
    });
    expect(await thrownBy(proxy.fail('own'))).toMatchObject({ className: 'ValueError', message: 'out of range' });
    expect(await thrownBy(proxy._invokePYRO('nothing'))).toMatchObject({ className: 'AttributeError' });
    expect(await proxy.add(1)).toBe(11);
  });

  test('and its attributes', async () => {
    const proxy = thing();
    await proxy._setAttribute('attribute', [7]);
    expect(await proxy.attribute).toEqual([7]);
    expect(await thrownBy(proxy._setAttribute('add', 1))).toMatchObject({ className: 'AttributeError' });
    expect(await thrownBy(proxy._getAttribute('nothing'))).toMatchObject({ className: 'AttributeError' });
  });

  test('one way: in order, and without its errors', async () => {
    const proxy = thing();
    proxy._setOneway(['note', 'fail']);
    await Promise.all([proxy.note(1), thrownBy(proxy.fail('pyro')), proxy.note(2)]);
    expect(await proxy.noted).toEqual([1, 2]);
  });

  test('and is called back', async () => {
    const daemon = await pyro.Daemon.start({ ...options(), host: '127.0.0.1', port: 0, norange: true });
    released.push(() => daemon.shutdown());
    const listener = new Listener();
    await daemon.connect(listener);
    expect(await thing().callBack(listener.getProxy(), 1, 'two')).toEqual(['called', 1, 'two']);
  });

  test('and gets proxies, of that object and by way of it', async () => {
    const myself = await thing().myself();
    if (!(myself instanceof pyro.DynamicProxy)) throw new Error('no proxy');
    released.push(() => myself._release());
    expect(await myself._invokePYRO('add', 1)).toBe(11);
    const passed = await thing().same(pyro.getAttrProxyForURI(server.uri, options()));
    expect(passed instanceof pyro.DynamicProxyWithAttrs && String(passed.URI)).toBe(server.uri);
  });

  test('with 50 MB, compressed or not', async () => {
    const large = Buffer.alloc(LARGE, 'large\xff', 'latin1');
    for (const PYRO_COMPRESSION of [false, true]) {
      const same = await thing(server, { PYRO_COMPRESSION }).same(large);
      expect(same instanceof Uint8Array && large.equals(same)).toBe(true);
    }
  }, 120_000);

  test('in time, or not', async () => {
    const proxy = thing();
    expect(await thrownBy(proxy._with({ timeout: 0.1 }).sleep(10))).toBeInstanceOf(pyro.TimeoutError);
    expect(await proxy._with({ timeout: 20 }).sleep(0.01)).toBe(0.01);
    const reason = new Error('no longer wanted');
    expect(await thrownBy(proxy._with({ signal: AbortSignal.abort(reason) }).sleep(10))).toBe(reason);
  });

  test('and ends, though calls that it waits for no longer have not been answered', async () => {
    const silent = createServer((socket) => socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const address = silent.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    const uris = [server.uri, `PYRO://127.0.0.1:${address.port}/silent`];
    const ending = promisify(execFile)(process.execPath, [fileURLToPath(IMPATIENT_CLIENT), ...uris]);
    released.push(
      () => Promise.resolve(ending.child.kill()),
      () => new Promise((resolve) => silent.close(resolve)),
    );
    expect(await ending).toEqual({ stdout: 'true\n', stderr: '' });
  });

  test('over connections that get lost', async () => {
    const proxy = thing();
    expect(await thrownBy(proxy.hangUp())).toBeInstanceOf(pyro.ConnectionClosedError);
    expect(await proxy.add(1)).toBe(11);
  });

  test('that is killed in the middle of a call, and started again', async () => {
    const mortal = await anotherServer('0');
    const proxy = thing(mortal);
    expect(await proxy.add(1)).toBe(11);
    const calls = [proxy.sleep(60), proxy.sleep(60)].map(thrownBy);
    await mortal.stop('SIGKILL');
    for (const error of await Promise.all(calls)) expect(error).toBeInstanceOf(pyro.ConnectionClosedError);
    expect(await thrownBy(proxy.add(1))).toBeInstanceOf(pyro.ProtocolError);
    expect(await thrownBy(proxy.adapter.rebindURI(2, 0.01))).toEqual(new pyro.TimeoutError('connection lost'));

    const rebound = proxy.adapter.rebindURI(Infinity, 0.05);
    await anotherServer(new URL(mortal.uri.replace('PYRO:', 'http:')).port);
    await rebound;
    expect(await proxy.add(1)).toBe(11);
  });

  test('with an identification, or not', async () => {
    const guarded = await anotherServer('0', 'another', IDENTIFICATION);
    const proxy = thing(guarded);
    expect(await thrownBy(proxy.add(1))).toEqual(new pyro.ConnectionDeniedError('security reasons'));
    proxy._setIdentification('wrong');
    expect(await thrownBy(proxy.add(1))).toBeInstanceOf(pyro.ConnectionDeniedError);
    proxy._setIdentification(IDENTIFICATION);
    expect(await proxy.add(1)).toBe(11);
  });
});

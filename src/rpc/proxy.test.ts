import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { CHECKSUM, COMPRESSED, Conversation } from '../../test/support/conversation.js';
import { loadConfig, silentLog, type Config } from '../config/index.js';
import {
  ConnectionClosedError,
  ConnectionDeniedError,
  NamingError,
  ProtocolError,
  TimeoutError,
  URIError,
} from '../errors.js';
import { PyroURI } from '../names/index.js';
import { dumps, PickleError, PythonFloat, PythonUnicode, tuple } from '../pickle/index.js';
import { mungeIdentification, Pickled } from '../wire/index.js';
import type { AdapterOptions } from './adapter.js';
import { Daemon, type DaemonOptions } from './daemon.js';
import { ObjBase } from './objects.js';
import {
  DynamicProxy,
  DynamicProxyWithAttrs,
  getAttrProxyForURI,
  getProxyForURI,
  keywords,
  receivedProxy,
  type AttrProxy,
  type Proxy,
} from './proxy.js';
import { RemoteError } from './remote-error.js';
import { asPython, proxyFromPython, toPython } from './marshalling.js';
import { DefaultConnValidator } from './validators.js';

interface Hearing {
  hear(what: unknown): number;
}

class Listener extends ObjBase implements Hearing {
  readonly heard: unknown[] = [];

  hear(what: unknown): number {
    return this.heard.push(what);
  }
}

class Calculator {
  counter = 5;
  readonly noted: unknown[] = [];
  private last: DynamicProxy | undefined;

  add(a: number, b: number): number {
    return a + b;
  }

  scale(value: number, { factor = 10 }: { factor?: number } = {}): number {
    return value * factor;
  }

  same(value: unknown): unknown {
    return value;
  }

  async later(value: unknown, milliseconds: number): Promise<unknown> {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    return value;
  }

  note(value: unknown): void {
    this.noted.push(value);
  }

  fail(what: string): never {
    switch (what) {
      case 'pyro':
        throw new NamingError('name not found', ':x');
      case 'python':
        throw new RemoteError('exceptions', 'KeyError', ['no', 1], new Map([['extra', 7]]));
      case 'bytes':
        throw new RemoteError('exceptions', 'ValueError', [Buffer.from('café')]);
      case 'tuple':
        throw new RemoteError('exceptions', 'KeyError', [tuple(1, 'two')]);
      case 'range':
        throw new RangeError('out of range');
      default:
        throw new Error(what);
    }
  }

  async tell(listener: Proxy<Hearing>, what: unknown): Promise<number> {
    this.last = listener;
    return listener.hear(what);
  }

  lastListener(): unknown {
    return this.last;
  }

  toString(): string {
    return 'not to be reached';
  }
}

let config: Config;
let daemon: Daemon;
let uri: PyroURI;
const cleanUp: (() => Promise<void>)[] = [];

const options = (changes: Partial<Config> = {}): AdapterOptions => ({
  config: { ...config, ...changes },
  log: silentLog,
});

async function startDaemon(changes: DaemonOptions = {}): Promise<Daemon> {
  const started = await Daemon.start({ ...options(), host: '127.0.0.1', port: 0, norange: true, ...changes });
  cleanUp.push(() => started.shutdown());
  return started;
}

function proxyOf(of: PyroURI | string = uri): Proxy<Calculator> {
  const proxy = getProxyForURI<Calculator>(of, options());
  cleanUp.push(() => proxy._release());
  return proxy;
}

function attrProxyOf(of: PyroURI | string = uri): AttrProxy<Calculator> {
  const proxy = getAttrProxyForURI<Calculator>(of, options());
  cleanUp.push(() => proxy._release());
  return proxy;
}

/** The same object by a way on which nothing is said until `letGo` is called; `sockets` are those of its clients. */
async function heldUp(): Promise<{ uri: PyroURI; sockets: Socket[]; connected: Promise<unknown>; letGo: () => void }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUp.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  const letGo = (): void => {
    for (const socket of sockets) socket.pipe(connect(daemon.port, '127.0.0.1')).pipe(socket);
  };
  return {
    uri: new PyroURI('PYRO', '127.0.0.1', address.port, uri.objectID),
    sockets,
    connected: once(server, 'connection'),
    letGo,
  };
}

/** Waits until all proxies that nobody has any more are collected, and their connections closed. */
async function collectProxies(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = (): unknown => runInNewContext('gc()');
  while (daemon.connectionCount > 0) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

beforeEach(async () => {
  config = loadConfig({ environment: {}, currentDirectory: '/' });
  daemon = await startDaemon();
  uri = await daemon.connect(new Calculator(), 'calculator');
});

afterEach(async () => {
  for (const clean of cleanUp.splice(0).reverse()) await clean();
});

describe('a proxy', () => {
  test('calls methods, with arguments by position and by name', async () => {
    const proxy = proxyOf();
    expect(await proxy.add(1, 2)).toBe(3);
    expect(await proxy.scale(3)).toBe(30);
    expect(await proxy.scale(3, keywords({ factor: 2 }))).toBe(6);
    expect(await proxy.same([null, 1.5, 'text', 2n ** 70n, tuple('a', true), { a: 1 }])).toEqual([
      null,
      1.5,
      'text',
      2n ** 70n,
      tuple('a', true),
      new Map([['a', 1]]),
    ]);
    expect(await proxy._invokePYRO('add', 1, 2)).toBe(3);
  });

  test('gives results as programs expect them, or exactly', async () => {
    const exactDaemon = await startDaemon({ exactValues: true });
    const calculator = await exactDaemon.connect(new Calculator());
    const value = [new PythonFloat(2), new PythonUnicode('text')];
    const exact = getProxyForURI<Calculator>(calculator, { ...options(), exactValues: true });
    expect(await exact.same(value)).toEqual(value);
    expect(await proxyOf(calculator).same(value)).toEqual([2, 'text']);
    await exact._release();
  });

  test('takes no answer with more memo entries than PYRO_MAX_PICKLE_OBJECTS', async () => {
    const servant = new ObjBase();
    const memoised = (count: number): string =>
      Array.from({ length: count }, (_, entry) => `K\x01q${String.fromCharCode(entry)}0`).join('');
    let count = 0;
    servant.invoke = () => new Pickled(Buffer.from(`\x80\x02${memoised(count)}N.`, 'latin1'));
    const proxy = getProxyForURI(await daemon.connect(servant), options({ PYRO_MAX_PICKLE_OBJECTS: 100 }));
    cleanUp.push(() => proxy._release());
    count = 100;
    expect(await proxy._invokePYRO('anything')).toBeNull();
    count = 101;
    await expect(proxy._invokePYRO('anything')).rejects.toMatchObject({
      args: ['incorrect answer received', expect.stringContaining('limit of 100 (memo)')],
    });
  });

  test.each([
    ['objects', { PYRO_MAX_PICKLE_OBJECTS: 100 }, Array.from({ length: 200 }, () => [])],
    ['stack', { PYRO_MAX_PICKLE_OBJECTS: 100 }, tuple(...Array.from({ length: 200 }, () => 1))],
    ['depth', { PYRO_MAX_PICKLE_DEPTH: 10 }, [[[[[[[[[[[[]]]]]]]]]]]]],
  ])('takes no answer beyond the limit of %s', async (limit, changes, value) => {
    const proxy = getProxyForURI<Calculator>(uri, options(changes));
    cleanUp.push(() => proxy._release());
    await expect(proxy.same(value)).rejects.toMatchObject({
      args: ['incorrect answer received', expect.stringContaining(limit)],
    });
    expect(await proxy.add(1, 2)).toBe(3);
  });

  test('makes calls in their order without waiting, whether connected or not', async () => {
    const proxy = proxyOf();
    const calls = Array.from({ length: 100 }, (_, index) => (index % 7 ? proxy.same(index) : proxy.later(index, 1)));
    expect(await Promise.all(calls)).toEqual(calls.map((_, index) => index));
    proxy._setOneway('note');
    const [, , noted] = await Promise.all([proxy.note(1), proxy.note(2), attrProxyOf().noted]);
    expect(await Promise.all([proxy.note(3), proxy.same(4)])).toEqual([null, 4]);
    expect(noted).toBeInstanceOf(Array);
    expect(await attrProxyOf().noted).toEqual([1, 2, 3]);
  });

  test('makes calls in their order, too, where signals and timeouts may end some of them', async () => {
    const proxy = proxyOf();
    const other = proxyOf();
    const { signal } = new AbortController();
    const afterBinding = proxy.adapter.bindToURI().then(() => proxy.note('bound'));
    await Promise.all([
      proxy._with({ signal }).note(1),
      proxy.note(2),
      proxy._with({ signal, timeout: 60 }).note(3),
      proxy._with({ timeout: 60 }).note(4),
      proxy._with({ signal }).note(5),
      afterBinding,
    ]);
    await Promise.all(Array.from({ length: 50 }, (_, index) => other._with({ signal }).note(index)));
    expect(await attrProxyOf().noted).toEqual([1, 2, 3, 4, 5, 'bound', ...Array(50).keys()]);
  });

  test('sends arguments as they are when it is called', async () => {
    const list = [1];
    const unresolved = proxyOf(new PyroURI('PYROLOC', '127.0.0.1', daemon.port, 'calculator'));
    const called = unresolved.same(list);
    list.push(2);
    expect(await called).toEqual([1]);
  });

  test('throws what the method throws', async () => {
    const proxy = proxyOf();
    const pyro = await proxy.fail('pyro').catch((error: unknown) => error);
    expect(pyro).toBeInstanceOf(NamingError);
    expect(pyro).toMatchObject({
      args: ['name not found', ':x'],
      remoteTraceback: [expect.stringContaining('NamingError')],
    });
    const python = await proxy.fail('python').catch((error: unknown) => error);
    expect(python).toBeInstanceOf(RemoteError);
    expect(python).toMatchObject({ name: 'KeyError', args: ['no', 1], attributes: new Map([['extra', 7]]) });
    // Of a str that isn't ASCII: the message is for people, the arguments are as they came.
    await expect(proxy.fail('bytes')).rejects.toMatchObject({
      message: 'café',
      args: [Buffer.from('café')],
      remoteTraceback: [expect.stringContaining('café')],
    });
    await expect(proxy.fail('tuple')).rejects.toMatchObject({ message: expect.stringContaining("[ 1, 'two' ]") });
    await expect(proxy.fail('range')).rejects.toMatchObject({ className: 'ValueError', message: 'out of range' });
    await expect(proxy.fail('else')).rejects.toMatchObject({ module: 'exceptions', className: 'Exception' });
    await expect(proxy._invokePYRO('nothing')).rejects.toMatchObject({ className: 'AttributeError' });
    await expect(proxy._invokePYRO('toString')).rejects.toMatchObject({ className: 'AttributeError' });
    await expect(proxy.same(() => 1)).rejects.toBeInstanceOf(PickleError);
    expect(await proxy.add(1, 2)).toBe(3);
  });

  test('can be awaited, printed and looked at without calling anything', async () => {
    const proxy = proxyOf('PYRO://127.0.0.1:1/abc');
    const text = '<DynamicProxy for PYRO://127.0.0.1:1/abc>';
    expect(await Promise.resolve(proxy)).toBe(proxy);
    expect([String(proxy), inspect(proxy), JSON.stringify(proxy)]).toEqual([text, text, JSON.stringify(text)]);
    expect(proxy).toBeInstanceOf(DynamicProxy);
    expect(Reflect.get(proxy, '_nothing')).toBeUndefined();
    expect(() => Reflect.set(proxy, 'attribute', 1)).toThrow(new TypeError(`can't assign to 'attribute' of ${text}`));
    expect(inspect({ proxy: attrProxyOf('PYRO://127.0.0.1:1/abc') })).toContain('<DynamicProxyWithAttrs for');
  });

  test('can be had only of what can be called', () => {
    expect(() => getProxyForURI('nonsense')).toThrow(URIError);
    expect(() => getProxyForURI('PYRONAME://localhost/name')).toThrow(new ProtocolError('unsupported protocol'));
  });
});

describe('a proxy of attributes', () => {
  test('reads and sets them, and calls methods', async () => {
    const proxy = attrProxyOf();
    expect(await proxy.counter).toBe(5);
    await proxy._setAttribute('counter', 7);
    expect([await proxy.counter, await proxy._getAttribute('counter'), await proxy.add(1, 2)]).toEqual([7, 7, 3]);
    expect(proxy._copy()).toBeInstanceOf(DynamicProxyWithAttrs);
    await expect(proxy._setAttribute('add', 1)).rejects.toMatchObject({ className: 'AttributeError' });
    await expect(proxy._getAttribute('constructor')).rejects.toMatchObject({ className: 'AttributeError' });
  });
});

describe('a PYROLOC URI', () => {
  test('becomes that of the object by the name', async () => {
    const proxy = proxyOf(`PYROLOC://127.0.0.1:${daemon.port}/calculator`);
    expect(await Promise.all([proxy.add(1, 2), proxy.add(3, 4)])).toEqual([3, 7]);
    expect(String(proxy.URI)).toBe(String(uri));
    expect(proxy.objectID).toBe(uri.objectID);
  });

  test('may lead nowhere', async () => {
    const proxy = proxyOf(`PYROLOC://127.0.0.1:${daemon.port}/nothing`);
    await expect(proxy.add(1, 2)).rejects.toThrow(new NamingError('no object found by this name', 'nothing'));
    expect(proxy.adapter.connected()).toBe(false);
    // Nor is a connection left that nobody has.
    while (daemon.connectionCount > 0) await new Promise(setImmediate);
  });
});

describe('a connection', () => {
  test('is made when it is needed, released, and made again', async () => {
    const proxy = proxyOf();
    expect([proxy.adapter.connected(), daemon.connectionCount]).toEqual([false, 0]);
    await Promise.all([proxy.add(1, 2), proxy.add(1, 2)]);
    expect([proxy.adapter.connected(), daemon.connectionCount]).toEqual([true, 1]);
    await proxy._release();
    expect(proxy.adapter.connected()).toBe(false);
    await proxy._release();
    expect(await proxy.add(1, 2)).toBe(3);
  });

  test('is each copy its own, with the same settings', async () => {
    const proxy = proxyOf();
    proxy._setTimeout(7);
    proxy._setOneway(['note']);
    const copy = proxy._copy();
    cleanUp.push(() => copy._release());
    await Promise.all([proxy.add(1, 2), copy.add(1, 2)]);
    expect(daemon.connectionCount).toBe(2);
    expect([copy.adapter.timeout, [...copy.adapter.onewayMethods]]).toEqual([7, ['note']]);
  });

  test('that is lost fails the calls under way; the next makes a new one', async () => {
    const proxy = proxyOf();
    const first = await startDaemon();
    const { port } = first;
    const calculator = new Calculator();
    const moved = proxyOf(await first.connect(calculator));
    const waiting = moved.later(1, 50);
    await moved.add(1, 2);
    await first.shutdown();
    expect(await waiting).toBe(1);
    while (moved.adapter.connected()) await new Promise(setImmediate);
    await expect(moved.add(1, 2)).rejects.toThrow(new ProtocolError('connection failed'));

    const rebound = moved.adapter.rebindURI(100, 0.02);
    const second = await startDaemon({ port });
    const servant = new ObjBase(calculator);
    servant.setGUID(moved.objectID);
    await second.connect(servant);
    await rebound;
    expect(await moved.add(1, 2)).toBe(3);
    await expect(proxy.add(1, 2)).resolves.toBe(3);
  });

  test('is tried for as often as it is said', async () => {
    const { adapter } = proxyOf('PYRO://127.0.0.1:1/abc');
    await expect(adapter.rebindURI(2, 0.01)).rejects.toThrow(new TimeoutError('connection lost'));
    // Nothing is waited for after the last try.
    await expect(adapter.rebindURI(1, 60)).rejects.toThrow(new TimeoutError('connection lost'));
    const controller = new AbortController();
    const rebinding = adapter.rebindURI(Infinity, 60, controller.signal);
    await new Promise((resolve) => setTimeout(resolve, 50));
    controller.abort(new Error('never mind'));
    await expect(rebinding).rejects.toThrow('never mind');
    await expect(adapter.rebindURI(1, 60, controller.signal)).rejects.toThrow('never mind');
  });

  test('is given up where a signal ends the last call that waits for it', async () => {
    const { uri: silent, sockets, connected } = await heldUp();
    const proxy = proxyOf(silent);
    const controllers = [new AbortController(), new AbortController()] as const;
    const calls = controllers.map(({ signal }) => proxy._with({ signal }).add(1, 2));
    const rebinding = proxyOf(silent).adapter.rebindURI(Infinity, 60, controllers[1].signal);
    await connected;
    while (sockets.length < 2) await new Promise(setImmediate);
    controllers[0].abort(new Error('first'));
    await expect(calls[0]).rejects.toThrow('first');
    expect(sockets.map(({ closed }) => closed)).toEqual([false, false]);
    controllers[1].abort(new Error('second'));
    const next = proxy.add(1, 2);
    await expect(calls[1]).rejects.toThrow('second');
    await expect(rebinding).rejects.toThrow('second');
    for (const socket of sockets.slice(0, 2)) if (!socket.closed) await once(socket.resume(), 'close');
    // A call that is made afterwards is no part of that.
    while (sockets.length < 3) await new Promise(setImmediate);
    await proxy._release();
    await expect(next).rejects.toThrow(new ConnectionClosedError('connection lost'));
  });

  test('is no more waited for where a signal ends that, not even to be closed', async () => {
    const { uri: slow, sockets, letGo } = await heldUp();
    const proxy = proxyOf(slow);
    proxy._setOneway('note');
    const answered = proxy.add(1, 2);
    while (sockets.length < 1) await new Promise(setImmediate);
    letGo();
    expect(await answered).toBe(3);
    sockets[0]?.unpipe().pause();
    // More than the system takes in for a server that takes nothing.
    await proxy.note(new Uint8Array(0x2000000));
    const controller = new AbortController();
    const rebinding = proxy.adapter.rebindURI(1, 0, controller.signal);
    controller.abort(new Error('never mind'));
    await expect(rebinding).rejects.toThrow('never mind');
    expect(sockets).toHaveLength(1);
  });

  test('goes on being opened where one of the calls that wait for it has no more time', async () => {
    const { uri: silent, sockets, letGo } = await heldUp();
    const proxy = proxyOf(silent);
    const hasty = proxy._with({ timeout: 0.05 }).add(1, 2);
    const patient = proxy.add(3, 4);
    await expect(hasty).rejects.toThrow(new TimeoutError('connection timeout'));
    letGo();
    expect(await patient).toBe(7);
    expect(sockets).toHaveLength(1);
    await proxy._release();
    proxy._setTimeout(0.05);
    await expect(proxy.add(1, 2)).rejects.toThrow(new TimeoutError('connection timeout'));
  });

  test.each([0, null, 3e6, Infinity])('is waited for without end with a timeout of %p', async (timeout) => {
    const warned = jest.spyOn(process, 'emitWarning');
    const { uri: silent, letGo, connected } = await heldUp();
    const proxy = proxyOf(silent);
    proxy._setTimeout(timeout);
    const waiting = [proxy.later(1, 20), proxy._with({ timeout }).later(2, 20)];
    await connected;
    await new Promise((resolve) => setTimeout(resolve, 20));
    letGo();
    expect(await Promise.all(waiting)).toEqual([1, 2]);
    expect(await proxy.later(3, 20)).toBe(3);
    expect(warned).not.toHaveBeenCalled();
    warned.mockRestore();
  });

  test('can not be waited for until a time that is past', () => {
    const proxy = proxyOf();
    for (const timeout of [-1, NaN]) {
      const problem = new RangeError(`a timeout is a number of seconds, or null for ever, and not ${timeout}`);
      expect(() => proxy._with({ timeout })).toThrow(problem);
      expect(() => {
        proxy._setTimeout(timeout);
      }).toThrow(problem);
    }
  });

  test('is given up where it is released before it is open', async () => {
    const { uri: silent, connected, sockets } = await heldUp();
    const proxy = proxyOf(silent);
    const waiting = proxy.add(1, 2).catch((error: unknown) => error);
    await connected;
    await proxy._release();
    expect(await waiting).toEqual(new ConnectionClosedError('connection lost'));
    for (const socket of sockets) if (!socket.closed) await once(socket.resume(), 'close');
    expect(proxy.adapter.connected()).toBe(false);
  });

  test('is closed where a call takes too long', async () => {
    const proxy = proxyOf();
    await proxy.add(1, 2);
    proxy._setTimeout(0.05);
    await expect(proxy.later(1, 500)).rejects.toThrow(new TimeoutError('connection timeout receiving'));
    proxy._setTimeout(null);
    expect(await proxy.add(1, 2)).toBe(3);
    await expect(proxy._with({ timeout: 0.05 }).later(1, 500)).rejects.toBeInstanceOf(TimeoutError);
    const patient = proxy._with({ timeout: 10 });
    expect(await patient.later(1, 60)).toBe(1);
    expect(patient.adapter).toBe(proxy.adapter);
  });

  test('outlives a call that nobody waits for any longer', async () => {
    const proxy = proxyOf();
    const controller = new AbortController();
    const { signal } = controller;
    const early = proxy._with({ signal }).add(1, 2);
    const late = proxy.later(1, 50);
    controller.abort(new Error('never mind'));
    await expect(early).rejects.toThrow('never mind');
    await expect(proxy._with({ signal }).add(1, 2)).rejects.toThrow('never mind');
    expect(await late).toBe(1);
    expect(daemon.connectionCount).toBe(1);
  });

  test('does not keep the process alive, unless a call waits for its reply', async () => {
    const sockets = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
    const proxy = proxyOf();
    const others = sockets();
    await proxy.add(1, 2);
    // The daemon's end of the connection.
    expect(sockets() - others).toBe(1);
    const waiting = proxy.later(1, 10);
    await new Promise(setImmediate);
    expect(sockets() - others).toBe(2);
    await waiting;
    expect(sockets() - others).toBe(1);
  });

  test('is closed when nobody has the proxy any more', async () => {
    await getProxyForURI<Calculator>(uri, options()).add(1, 2);
    expect(daemon.connectionCount).toBe(1);
    await collectProxies();
  });

  test('sends one-way calls before it is closed because nobody has the proxy any more', async () => {
    const calculator = new Calculator();
    const other = await daemon.connect(calculator);
    const noteAndForget = async (): Promise<void> => {
      const proxy = getProxyForURI<Calculator>(other, options());
      proxy._setOneway('note');
      await proxy.note(Buffer.alloc(30 << 20));
    };
    await noteAndForget();
    await collectProxies();
    expect(calculator.noted).toHaveLength(1);
  });
});

describe('identification', () => {
  beforeEach(() => {
    daemon.setAllowedIdentifications(['s3same']);
  });

  test('lets in those who know it', async () => {
    const proxy = proxyOf();
    await expect(proxy.add(1, 2)).rejects.toThrow(new ConnectionDeniedError('security reasons'));
    proxy._setIdentification('sesame');
    await expect(proxy.add(1, 2)).rejects.toBeInstanceOf(ConnectionDeniedError);
    proxy._setIdentification('s3same');
    expect(await proxy.add(1, 2)).toBe(3);
    const copy = proxy._copy();
    cleanUp.push(() => copy._release());
    expect(await copy.add(1, 2)).toBe(3);
    copy._setIdentification(null);
    await copy._release();
    await expect(copy.add(1, 2)).rejects.toBeInstanceOf(ConnectionDeniedError);
  });

  test('comes with a proxy from others, and does not leave with one', async () => {
    const proxy = proxyOf();
    proxy._setIdentification('s3same');
    const munged = mungeIdentification('s3same');
    expect(dumps(toPython([proxy, proxy._with({ timeout: 1 })])).includes(munged)).toBe(false);
    expect(inspect(proxy.adapter, { depth: 9, showHidden: true })).not.toMatch(/57 ?cc ?f8|identification/);
    const description = proxyFromPython(proxy[asPython]());
    if (description === undefined) throw new Error('no proxy');
    const received = receivedProxy({ ...description, identification: munged }, options());
    cleanUp.push(() => received._release());
    expect(await received._invokePYRO('add', 1, 2)).toBe(3);
    expect(dumps(toPython(received)).includes(munged)).toBe(false);
  });

  test('comes with the timeout and the one-way methods of a proxy from others', () => {
    const description = { kind: 'DynamicProxy', uri, identification: new Uint8Array() } as const;
    const { adapter } = receivedProxy({ ...description, timeout: 5, onewayMethods: ['note', 'tell'] }, options());
    expect([adapter.timeout, [...adapter.onewayMethods]]).toEqual([5, ['note', 'tell']]);
  });

  test('is answered by a validator of the program', async () => {
    class Reversing extends DefaultConnValidator {
      override createAuthToken(authID: Buffer, challenge: Buffer): Buffer {
        return Buffer.from(super.createAuthToken(authID, challenge)).reverse();
      }
    }
    const validator = new Reversing();
    validator.setAllowedIdentifications(['s3same']);
    daemon.setNewConnectionValidator(validator);
    const proxy = proxyOf();
    proxy._setIdentification('s3same');
    await expect(proxy.add(1, 2)).rejects.toBeInstanceOf(ConnectionDeniedError);
    proxy._setNewConnectionValidator(new Reversing());
    expect(await proxy.add(1, 2)).toBe(3);
  });
});

describe('proxies and URIs as values', () => {
  test('arrive as such', async () => {
    const proxy = proxyOf();
    const given = await proxy.same([proxy, proxy.URI, attrProxyOf()]);
    if (!Array.isArray(given)) throw new Error('no list');
    expect(given[0] instanceof DynamicProxy && !(given[0] instanceof DynamicProxyWithAttrs)).toBe(true);
    expect(given[1]).toBeInstanceOf(PyroURI);
    expect(given[2] instanceof DynamicProxyWithAttrs).toBe(true);
    expect(String(given)).toBe([proxy, uri, attrProxyOf()].join(','));
  });

  test('can be called back', async () => {
    const own = await startDaemon();
    const listener = new Listener();
    await own.connect(listener);
    const proxy = proxyOf();
    expect(await proxy.tell(listener.getProxy(), 'hello')).toBe(1);
    expect(listener.heard).toEqual(['hello']);
    const last = await proxy.lastListener();
    if (!(last instanceof DynamicProxy)) throw new Error('no proxy');
    cleanUp.push(() => last._release());
    expect(await last._invokePYRO('hear', 'again')).toBe(2);
    expect(String(listener.getAttrProxy())).toBe(`<DynamicProxyWithAttrs for ${String(listener.getURI())}>`);
  });
});

describe('messages', () => {
  const PLAIN = { flags: [0, 0], pickles: ['\x80\x02', '\x80\x02'] };

  // Of a call and its reply, of which the configuration of either side speaks.
  test.each<[Partial<Config>, Partial<Config>, typeof PLAIN]>([
    [{}, {}, PLAIN],
    [{ PYRO_CHECKSUM: true }, {}, { ...PLAIN, flags: [CHECKSUM, 0] }],
    [{}, { PYRO_CHECKSUM: true }, { ...PLAIN, flags: [0, CHECKSUM] }],
    [{ PYRO_COMPRESSION: true }, {}, { flags: [COMPRESSED, 0], pickles: ['x\x9c', '\x80\x02'] }],
    [{}, { PYRO_COMPRESSION: true }, { flags: [0, COMPRESSED], pickles: ['\x80\x02', 'x\x9c'] }],
    [{ PYRO_PICKLE_FORMAT: 0 }, { PYRO_PICKLE_FORMAT: 1 }, { flags: [0, 0], pickles: ['(S', 'T\x88'] }],
    [{ PYRO_PICKLE_FORMAT: 1 }, { PYRO_PICKLE_FORMAT: 0 }, { flags: [0, 0], pickles: ['(U', "S'"] }],
  ])('are sent as configured: %j to %j', async (ofClient, ofDaemon, expected) => {
    const { config: daemonConfig } = options(ofDaemon);
    const other = await startDaemon({ config: daemonConfig });
    const { objectID } = await other.connect(new Calculator());
    const conversation = await Conversation.with(other.port);
    cleanUp.push(() => conversation.close());
    const address = new PyroURI('PYRO', '127.0.0.1', conversation.port, objectID);
    const proxy = getProxyForURI<Calculator>(address, options(ofClient));
    cleanUp.push(() => proxy._release());
    const large = 'large '.repeat(833).padEnd(5000);
    expect(await proxy.same(large)).toBe(large);
    const frames = [...conversation.requests, ...conversation.replies];
    expect({
      flags: frames.map(({ flags }) => flags),
      pickles: frames.map(({ body }) => body.toString('latin1', 0, 2)),
    }).toEqual(expected);
  });

  test('that come in any of these ways at the same time are understood', async () => {
    const proxy = getProxyForURI<Calculator>(uri, options({ PYRO_COMPRESSION: true, PYRO_CHECKSUM: true }));
    cleanUp.push(() => proxy._release());
    const large = 'large '.repeat(100_000);
    expect(await Promise.all([proxy.add(1, 2), proxy.same(large), proxy.same('small')])).toEqual([3, large, 'small']);
  });

  test('that are too large close the connection', async () => {
    const proxy = getProxyForURI<Calculator>(uri, options({ PYRO_MAX_MESSAGE_SIZE: 1000 }));
    cleanUp.push(() => proxy._release());
    await expect(proxy.same('x'.repeat(2000))).rejects.toThrow(new ProtocolError('message too large'));
    expect(await proxy.add(1, 2)).toBe(3);
    await expect(Promise.all([proxy.same('x'.repeat(2000)), proxy.add(1, 2)])).rejects.toBeInstanceOf(ProtocolError);
  });

  test('that are too large once they are decompressed close the connection, at either side', async () => {
    const compressing = await startDaemon({ config: options({ PYRO_COMPRESSION: true }).config });
    const narrow = await startDaemon({ config: options({ PYRO_MAX_INFLATED_SIZE: 1024 }).config });
    const toCompressing = await compressing.connect(new Calculator());
    const toNarrow = await narrow.connect(new Calculator());
    const proxies = [
      getProxyForURI<Calculator>(toCompressing, options({ PYRO_MAX_INFLATED_SIZE: 1024 })),
      getProxyForURI<Calculator>(toNarrow, options({ PYRO_COMPRESSION: true })),
    ];
    for (const proxy of proxies) {
      cleanUp.push(() => proxy._release());
      expect(await proxy.same('x'.repeat(900))).toBe('x'.repeat(900));
      await expect(proxy.same('x'.repeat(1024))).rejects.toBeInstanceOf(ProtocolError);
      await proxy._release();
      expect(await proxy.add(1, 2)).toBe(3);
    }
  });

  test('to an object that is not there are told so', async () => {
    const proxy = proxyOf(new PyroURI('PYRO', '127.0.0.1', daemon.port, 'nobody'));
    await expect(proxy.add(1, 2)).rejects.toThrow(new ProtocolError('unknown object ID'));
  });
});

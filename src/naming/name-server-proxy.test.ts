import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { ConnectionClosedError, NamingError, type ProtocolError } from '../errors.js';
import { PyroURI } from '../names/index.js';
import { tuple, type PythonValue } from '../pickle/index.js';
import { PYROAdapter, uriToPython } from '../rpc/index.js';
import { NameServerProxy, withReason } from './name-server-proxy.js';

const lost = PyroURI.parse('PYRO://192.0.2.1:9090/lost');
const found = PyroURI.parse('PYRO://192.0.2.2:9090/found');
const config = loadConfig({ environment: { PYRO_NS_DEFAULTGROUP: ':Mine' }, currentDirectory: '/nowhere' });
const options = { config, log: silentLog };

/** What each call is answered with, by the host that it goes to: a value, or an error. */
let answers: Map<string, PythonValue | Error>;
/** Calls that were made: host, method and arguments. */
let calls: unknown[][];
let identifications: unknown[];

beforeEach(() => {
  answers = new Map();
  [calls, identifications] = [[], []];
  jest.spyOn(PYROAdapter.prototype, 'setIdentification').mockImplementation((identification) => {
    identifications.push(identification);
  });
  jest.spyOn(PYROAdapter.prototype, 'remoteInvocation').mockImplementation(function (
    this: PYROAdapter,
    method,
    _flags,
    args = [],
  ) {
    calls.push([this.URI.address, method, ...args]);
    const answer = answers.get(this.URI.address) ?? null;
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  });
});

afterEach(() => {
  jest.restoreAllMocks();
});

/** A promise, and what ends it. */
function deferred(): { promise: Promise<PyroURI>; resolve: (uri: PyroURI) => void; reject: (error: Error) => void } {
  let resolve: (uri: PyroURI) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<PyroURI>((yes, no) => {
    [resolve, reject] = [yes, no];
  });
  return { promise, resolve, reject };
}

const connectionLost = (): ProtocolError => new ConnectionClosedError('connection lost');

describe('names', () => {
  test.each<[string, (proxy: NameServerProxy, name: string) => Promise<unknown>]>([
    ['register', (proxy, name) => proxy.register(name, 'PYRO://127.0.0.1/x')],
    ['unregister', (proxy, name) => proxy.unregister(name)],
    ['resolve', (proxy, name) => proxy.resolve(name)],
    ['list', (proxy, name) => proxy.list(name)],
    ['createGroup', (proxy, name) => proxy.createGroup(name)],
    ['deleteGroup', (proxy, name) => proxy.deleteGroup(name)],
    ['getMeta', (proxy, name) => proxy.getMeta(name)],
    ['setMeta', (proxy, name) => proxy.setMeta(name, 'x')],
    ['_getSystemMeta', (proxy, name) => proxy._getSystemMeta(name)],
    ['_setSystemMeta', (proxy, name) => proxy._setSystemMeta(name, { type: 1, timestamp: 1, owner: null })],
  ])("of %s are sent absolute: below this client's default group", async (method, call) => {
    const proxy = new NameServerProxy(found, options);
    // What is answered does not matter here.
    for (const name of ['a.b', ':A.b']) await call(proxy, name).catch(() => undefined);
    expect(calls.map(([, called, name]) => [called, name])).toEqual([
      [method, ':Mine.a.b'],
      [method, ':A.b'],
    ]);
  });

  test('are those of the default group where no group is given to list', async () => {
    answers.set(found.address, [tuple('a', 1)]);
    const proxy = new NameServerProxy(found, options);
    expect(await proxy.list()).toEqual([{ part: 'a', type: 1 }]);
    await proxy.list(null);
    expect(calls).toEqual([
      [found.address, 'list', ':Mine'],
      [found.address, 'list', ':Mine'],
    ]);
  });
});

test('a name without system metadata, as Pyro 3 makes them, has none', async () => {
  expect(await new NameServerProxy(found, options)._getSystemMeta(':a')).toBeUndefined();
});

test('an answer that none of its kind can be is refused, and the connection kept', async () => {
  const release = jest.spyOn(PYROAdapter.prototype, 'release');
  answers.set(found.address, 5);
  await expect(new NameServerProxy(found, options).resolve(':a')).rejects.toMatchObject({ code: 'ANSWER_UNEXPECTED' });
  expect(release).not.toHaveBeenCalled();
});

test.each([
  [undefined, null],
  [7, 7],
])('calls may take %p: its adapter waits for %p seconds', async (timeout, expected) => {
  const timeouts: unknown[] = [];
  jest.spyOn(PYROAdapter.prototype, 'remoteInvocation').mockImplementation(function (this: PYROAdapter) {
    timeouts.push(this.timeout);
    return Promise.resolve(null);
  });
  await new NameServerProxy(found, { ...options, timeout }).ping();
  expect(timeouts).toEqual([expected]);
});

describe('a call that fails', () => {
  const findFound = jest.fn(() => Promise.resolve(found));
  beforeEach(() => {
    findFound.mockReset().mockResolvedValue(found);
  });
  const newProxy = (): NameServerProxy => new NameServerProxy(lost, { ...options, find: findFound });

  test('because of the connection finds the name server again, and is made once more', async () => {
    answers.set(lost.address, connectionLost());
    answers.set(found.address, uriToPython(found));
    const proxy = newProxy();
    expect(await proxy.resolve(':a')).toEqual(found);
    expect(calls).toEqual([
      [lost.address, 'resolve', ':a'],
      [found.address, 'resolve', ':a'],
    ]);
    expect(proxy.URI).toEqual(found);
  });

  test('a second time is not made a third time', async () => {
    for (const { address } of [lost, found]) answers.set(address, connectionLost());
    findFound.mockResolvedValueOnce(found).mockRejectedValue(new Error('looked for twice'));
    await expect(newProxy().ping()).rejects.toThrow('connection lost');
    expect(calls).toHaveLength(2);
    expect(findFound).toHaveBeenCalledTimes(1);
  });

  test('because the name server says so just fails', async () => {
    answers.set(lost.address, new NamingError('name not found', ':a'));
    await expect(newProxy().resolve(':a')).rejects.toThrow('name not found');
    expect(calls).toHaveLength(1);
    expect(findFound).not.toHaveBeenCalled();
  });

  test('just fails where nothing finds the name server', async () => {
    answers.set(lost.address, connectionLost());
    await expect(new NameServerProxy(lost, options).ping()).rejects.toThrow('connection lost');
    expect(calls).toHaveLength(1);
  });

  test('fails as the finding does', async () => {
    answers.set(lost.address, connectionLost());
    findFound.mockRejectedValueOnce(new NamingError('could not find NameServer'));
    await expect(newProxy().ping()).rejects.toThrow('could not find NameServer');
  });

  test('is made again with the passphrase that was set last', async () => {
    answers.set(lost.address, connectionLost());
    const proxy = new NameServerProxy(lost, { ...options, find: findFound, identification: 'first' });
    proxy._setIdentification('second');
    await proxy.ping();
    expect(identifications).toEqual(['first', 'second', 'second']);
  });

  test('together with others has the name server looked for once, and all are made again over one connection', async () => {
    answers.set(lost.address, connectionLost());
    const proxy = newProxy();
    const targets = new Set<unknown>();
    const invocations = jest.spyOn(PYROAdapter.prototype, 'remoteInvocation');
    const { promise, resolve } = deferred();
    findFound.mockImplementation(() => promise);
    const both = [proxy.ping(), proxy.ping()];
    while (findFound.mock.calls.length === 0) await Promise.resolve();
    // Both have failed by then.
    await new Promise(setImmediate);
    resolve(found);
    await Promise.all(both);
    for (const adapter of invocations.mock.contexts.slice(2)) targets.add(adapter);
    expect(findFound).toHaveBeenCalledTimes(1);
    expect(calls.map(([host]) => host)).toEqual([lost.address, lost.address, found.address, found.address]);
    expect(targets.size).toBe(1);
  });

  test('after the name server was found again leads to where it is now', async () => {
    const { promise, reject } = deferred();
    answers.set(lost.address, connectionLost());
    const proxy = newProxy();
    const invocations = jest.spyOn(PYROAdapter.prototype, 'remoteInvocation');
    invocations.mockImplementationOnce(() => promise.then(() => null));
    const late = proxy.ping();
    await proxy.ping();
    reject(connectionLost());
    await late;
    expect(findFound).toHaveBeenCalledTimes(1);
    expect(proxy.URI).toEqual(found);
  });

  test('looks anew where it could not be found before', async () => {
    answers.set(lost.address, connectionLost());
    const proxy = newProxy();
    findFound.mockRejectedValueOnce(new NamingError('could not find NameServer'));
    await expect(proxy.ping()).rejects.toThrow('could not find NameServer');
    await proxy.ping();
    expect(proxy.URI).toEqual(found);
  });
});

describe('the error of a URI that was refused', () => {
  const text = 'PYRO://no.such.host/x';

  test('says that the name server can not find the host, where nothing else is wrong with it', () => {
    const reason = "the name server can't find the host no.such.host";
    expect(withReason(new NamingError('invalid URI', text), text)).toMatchObject({
      name: 'NamingError',
      args: ['invalid URI', text, reason],
    });
  });

  test.each([
    ['an address, which needs not be found', 'PYRO://127.0.0.1/x', new NamingError('invalid URI', 'x')],
    ['no URI', 'PYRO:/x', new NamingError('invalid URI', 'x')],
    ['refused for another reason', text, new NamingError('name already exists', ':x')],
    ['not even looked at', text, new TypeError('a mistake')],
  ])('is as it was where the URI is %s', (_what, refused, error) => {
    expect(withReason(error, refused)).toBe(error);
  });
});

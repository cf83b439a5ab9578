import { Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { loadConfig, silentLog, VERSION } from '../config/index.js';
import { NamingError } from '../errors.js';
import { RemoteError } from '../rpc/index.js';
import { ServerConnection, type CallRequest } from '../wire/index.js';
import { RequestMetrics, DURATION_BOUNDS } from './request-metrics.js';
import { NameServerProxy } from './name-server-proxy.js';
import { NameServerStarter } from './starter.js';

const config = loadConfig({
  environment: { PYRO_NS_URIFILE: '/nowhere/at/all' },
  currentDirectory: '/nowhere',
});
let starter: NameServerStarter;

afterEach(() => starter.shutdown());

async function start(): Promise<NameServerProxy> {
  starter = new NameServerStarter({ config, log: silentLog, print: () => undefined });
  const options = { hostname: '127.0.0.1', nsport: 0, dontlookupother: true, nobroadcast: true, countCalls: true };
  return new NameServerProxy(await starter.start(options), { config, log: silentLog });
}

test('a name server tells how it does', async () => {
  const begun = Date.now() / 1000;
  await using nameServer = await start();
  await nameServer.register('one', 'PYRO://127.0.0.1:1/id');
  const status = await nameServer._status();
  expect(status).toMatchObject({
    version: VERSION,
    role: 'single',
    store: { kind: 'memory', problem: null, endpoint: null, awaySeconds: null },
    // :Pyro.NameServer is the other one.
    names: { groups: 2, objects: 2 },
    connections: { open: 1, accepted: 1, refused: 0 },
    autoCleaned: 0,
    twin: null,
  });
  expect(status.since).toBeGreaterThanOrEqual(begun - 1);
  expect(await starter.status()).toEqual(await nameServer._status());
});

test('a name server counts calls by method and outcome', async () => {
  await using nameServer = await start();
  await nameServer.ping();
  await nameServer.register('one', 'PYRO://127.0.0.1:1/id');
  await Promise.all(Array.from({ length: 100 }, () => nameServer.resolve('one')));
  await expect(nameServer.resolve('none')).rejects.toThrow(NamingError);
  const { calls } = starter;
  const resolve = calls?.methods.get('resolve');
  expect([resolve?.answered, resolve?.failed]).toEqual([100, 1]);
  expect(resolve?.durations.reduce((sum, count) => sum + count, 0)).toBe(101);
  expect([...(calls?.methods.keys() ?? [])]).toEqual(['ping', 'register', 'resolve']);
});

describe('calls that are counted', () => {
  const call = (method: string): CallRequest => ({ objectID: 'id', method, flags: 0, args: [], keywords: new Map() });
  const counted = (invoke: RequestMetrics['invoke']): RequestMetrics =>
    new RequestMetrics({ GUID: () => 'id', setGUID: () => undefined, hasMethod: (name) => name !== 'none', invoke });
  // Handed on, and never looked at.
  const caller = new ServerConnection(new Socket());

  test('are told apart only where there is such a method', () => {
    const counts = counted(() => {
      throw new RemoteError('exceptions', 'AttributeError', []);
    });
    for (let index = 0; index < 3; index += 1) expect(() => counts.invoke(call('none'), caller)).toThrow();
    expect(() => counts.invoke(call('some'), caller)).toThrow();
    expect(counts.other.failed).toBe(3);
    expect([...counts.methods.keys()]).toEqual(['some']);
  });

  test('have their time taken while they wait', async () => {
    const counts = counted(() => new Promise((resolve) => setTimeout(resolve, 60, null)));
    await counts.invoke(call('slow'), caller);
    const slow = counts.methods.get('slow');
    expect(slow?.answered).toBe(1);
    expect(slow?.seconds).toBeGreaterThan(0.05);
    const index = slow?.durations.indexOf(1) ?? -1;
    expect(DURATION_BOUNDS[index] ?? Infinity).toBeGreaterThan(0.05);
  });
});

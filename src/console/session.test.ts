import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { config, startNameServer, type TestServer } from '../../test/console-fixture.js';
import { ConnectionClosedError } from '../errors.js';
import { Name, PyroURI } from '../names/index.js';
import { LivenessProbe, PYROAdapter } from '../rpc/index.js';
import { NameServerSession } from './session.js';

let server: TestServer;
let session: NameServerSession;

beforeEach(async () => {
  server = await startNameServer({ identification: 's3cret' });
  session = new NameServerSession('1', { host: '127.0.0.1', port: server.port, identification: 's3cret' }, config);
});

afterEach(async () => {
  jest.restoreAllMocks();
  await session.close();
  await server[Symbol.asyncDispose]();
});

test.each([
  ['is not told to the daemon of an object', 1, undefined],
  ['is told to the name server, for what is at its own daemon', 0, 's3cret'],
])('the identification %s', async (_what, otherPort, expected) => {
  const own = server.port;
  await session.register(':Default.a', `PYRO://127.0.0.1:${otherPort === 0 ? own : otherPort}/id`);
  const told: unknown[] = [];
  jest.spyOn(LivenessProbe.prototype, 'ask').mockImplementation(function (this: LivenessProbe, uri: PyroURI) {
    const options: unknown = Reflect.get(this, 'options');
    const identificationFor: unknown =
      options instanceof Object ? Reflect.get(options, 'identificationFor') : undefined;
    told.push(typeof identificationFor === 'function' ? Reflect.apply(identificationFor, undefined, [uri]) : 'nothing');
    return Promise.resolve({ status: 'answers', explanation: 'So it is.' });
  });
  expect(await session.objectStatus(':Default.a')).toMatchObject({ status: 'answers' });
  expect(told).toEqual([expected]);
});

test('one that answers nonsense is still there; one that is gone is looked for again', async () => {
  const call = jest.spyOn(PYROAdapter.prototype, 'remoteInvocation');
  call.mockResolvedValueOnce('nonsense');
  await expect(session.resolve(':Pyro.NameServer')).rejects.toMatchObject({ code: 'ANSWER_UNEXPECTED' });
  expect(session.description.state).toBe('connected');
  call.mockRejectedValueOnce(new ConnectionClosedError('connection lost', 'by the test'));
  await expect(session.ping()).rejects.toThrow('connection lost');
  expect(session.description).toMatchObject({ state: 'lost', problem: 'connection lost: by the test' });
  await session.ping();
  expect(session.description).toMatchObject({ state: 'connected', problem: undefined });
});

describe('what is remembered', () => {
  const names = async (): Promise<unknown> => (await session.flatlist({ filter: 'thing', offset: 0, limit: 10 })).total;

  test('is not told any more after a change that the console made', async () => {
    const unchanged = await names();
    await session.register('thing', 'PYRO://127.0.0.1:1/id');
    expect([unchanged, await names()]).toEqual([0, 1]);
    await session.unregister('thing');
    expect(await names()).toBe(0);
  });

  test('is told for a while after a change that others made', async () => {
    expect(await names()).toBe(0);
    await server.namespace.register(Name.parse(':Default.thing'), PyroURI.parse('PYRO://127.0.0.1:1/id'));
    expect(await names()).toBe(0);
  });
});

test('a group of more than 5,000 groups is not counted to its end', async () => {
  const listing = (groups: string[]) => Promise.resolve({ group: ':G', version: '1', groups, objects: ['x'] });
  const list = jest
    .spyOn(session, 'list')
    .mockImplementation((group) =>
      listing(group === ':G' ? Array.from({ length: 5000 }, (_, index) => `g${index}`) : []),
    );
  expect(await session.sizeOf(':G')).toEqual({ objects: 5000, groups: 5000, complete: false });
  expect(list).toHaveBeenCalledTimes(5000);
  list.mockClear();
  list.mockImplementation((group) =>
    listing(group === ':G' ? Array.from({ length: 4999 }, (_, index) => `g${index}`) : []),
  );
  expect(await session.sizeOf(':G')).toEqual({ objects: 5000, groups: 4999, complete: true });
});

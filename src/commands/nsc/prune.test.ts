import { PassThrough } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog } from '../../config/index.js';
import { PyroURI } from '../../names/index.js';
import { NameServerLocator, NameServerStarter, type NameServerProxy } from '../../naming/index.js';
import { LivenessProbe, type ObjectStatus } from '../../rpc/index.js';
import { prune, type PruneOptions } from './operations.js';
import { Output } from './output.js';

type Status = ObjectStatus['status'];

const uri = new PyroURI('PYRO', '127.0.0.1', 7766, 'abc');
const other = new PyroURI('PYRO', '127.0.0.1', 7766, 'other');

let starter: NameServerStarter;
let nameServer: NameServerProxy;
let stderr: PassThrough;
let stdout: PassThrough;
/** What is done when the object is asked for, the first time, the second time and so on, and what that gives. */
let asked: (times: number) => Promise<Status> | Status;

beforeAll(async () => {
  const config = loadConfig({ environment: {}, currentDirectory: '/nowhere' });
  starter = new NameServerStarter({ config, log: silentLog, print: () => undefined });
  const { port } = await starter.start({ hostname: '127.0.0.1', nsport: 0, dontlookupother: true, nobroadcast: true });
  nameServer = await new NameServerLocator({ config, log: silentLog }).getNS({ host: '127.0.0.1', port });
});

afterAll(async () => {
  await nameServer._release();
  await starter.shutdown();
});

beforeEach(async () => {
  stdout = new PassThrough();
  stderr = new PassThrough();
  await nameServer.register('thing', uri);
  let times = 0;
  jest.spyOn(LivenessProbe.prototype, 'ask').mockImplementation(async () => {
    times += 1;
    return { status: await asked(times), explanation: 'So it is.' };
  });
});

afterEach(async () => {
  jest.restoreAllMocks();
  if ((await names()).length > 0) await nameServer.unregister('thing');
});

const names = async (): Promise<string[]> =>
  (await nameServer.flatlist()).map(([name]) => name).filter((name) => name.startsWith(':Default'));

async function registerAnew(): Promise<Status> {
  await nameServer.unregister('thing');
  await nameServer.register('thing', other);
  return 'gone';
}

/** What is told, as results and on stderr. */
async function pruned(options: Partial<PruneOptions> = {}): Promise<[results: unknown, errors: string]> {
  const output = new Output(stdout, stderr, true);
  await prune(nameServer, output, { yes: true, unreachable: false, ...options });
  output.end();
  const results: unknown = JSON.parse(String(stdout.read()));
  const errors = String(stderr.read() ?? '');
  expect(output.failed).toBe(errors !== '');
  return [results, errors];
}

const entry = (status: Status, removed: boolean) => ({ name: ':Default.thing', uri: uri.toString(), status, removed });

describe('prune removes', () => {
  test.each<[Status, Partial<PruneOptions>]>([
    ['gone', {}],
    ['gone', { unreachable: true }],
    ['unreachable', { unreachable: true }],
  ])('what is %s, with %j', async (status, options) => {
    asked = () => status;
    expect(await pruned(options)).toEqual([[entry(status, true)], '']);
    expect(await names()).toEqual([]);
  });
});

describe('prune leaves', () => {
  test.each<[Status, Partial<PruneOptions>]>([
    ['answers', { unreachable: true }],
    ['unknown', { unreachable: true }],
    ['denied', { unreachable: true }],
    ['unreachable', {}],
  ])('what is %s, with %j', async (status, options) => {
    asked = () => status;
    expect(await pruned(options)).toEqual([[], '']);
    expect(await names()).toEqual([':Default.thing']);
  });

  test('all, where nobody said yes', async () => {
    asked = () => 'gone';
    expect(await pruned({ yes: false })).toEqual([[entry('gone', false)], '']);
    expect(await names()).toEqual([':Default.thing']);
  });

  test.each<[string, string, (times: number) => Promise<Status> | Status]>([
    [
      'was registered anew after it was found dead',
      'registered anew in the meantime',
      (times) => (times === 1 ? registerAnew() : 'gone'),
    ],
    [
      'is registered anew while it is asked for again',
      'registered anew in the meantime',
      (times) => (times === 2 ? registerAnew() : 'gone'),
    ],
    ['answers again', 'answers again', (times) => (times === 1 ? 'gone' : 'answers')],
    ['can not be reached now', 'is unreachable now', (times) => (times === 1 ? 'gone' : 'unreachable')],
    ['does not say any more', 'is unknown now', (times) => (times === 1 ? 'gone' : 'unknown')],
  ])('what %s', async (_what, error, happen) => {
    asked = happen;
    expect(await pruned()).toEqual([
      [{ ...entry('gone', false), error, code: 'NAMING_ERROR' }],
      `## can't remove :Default.thing:  ${error}  ##\n`,
    ]);
    expect(await names()).toEqual([':Default.thing']);
  });
});

test('prune leaves alone what can’t be judged, and says so', async () => {
  asked = () => 'unknown';
  const output = new Output(stdout, stderr, false);
  await prune(nameServer, output, { yes: true, unreachable: true });
  stdout.end();
  expect((await stdout.toArray()).join('')).toBe(
    `:Default.thing  -->  ${uri.toString()}  left alone: So it is.\nNo dead objects.\n`,
  );
  expect(await names()).toEqual([':Default.thing']);
});

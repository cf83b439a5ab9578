import { describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { ProtocolError } from '../errors.js';
import { PyroURI } from '../names/index.js';
import { RemoteError } from '../rpc/index.js';
import type { ChangesSince, NameChange } from './change-feed.js';
import { NameServerProxy } from './name-server-proxy.js';
import type { WatchEvent } from './watch.js';

const sleep = jest.fn((_milliseconds: number) => Promise.resolve());

jest.unstable_mockModule('node:timers/promises', () => ({ setTimeout: sleep }));
const { watch } = await import('./watch.js');

const config = loadConfig({ environment: {}, currentDirectory: '/nowhere' });
const uriOf = (id: string): PyroURI => PyroURI.parse(`PYRO://127.0.0.1:7766/${id}`);

/** A proxy that connects to nothing: what it answers is put in its place. */
const newProxy = (): NameServerProxy => new NameServerProxy(uriOf('ns'), { config, log: silentLog });

const change = (name: string): NameChange => ({ operation: 'createGroup', name, uri: undefined });

async function take(events: AsyncIterator<WatchEvent>, count: number): Promise<unknown[]> {
  const taken: unknown[] = [];
  for (let index = 0; index < count; index += 1) taken.push((await events.next()).value);
  return taken;
}

describe('a name server that tells of changes', () => {
  test('is asked from each position to the next; where it does not know, the watcher is told', async () => {
    const answers: ChangesSince[] = [
      { position: 10, changes: undefined },
      { position: 12, changes: [change(':a'), change(':b')] },
      { position: 12, changes: [] },
      { position: 50, changes: undefined },
      { position: 51, changes: [change(':c')] },
    ];
    const nameServer = newProxy();
    const asked = jest.spyOn(nameServer, '_changes').mockImplementation(() => {
      const answer = answers.shift();
      return answer ? Promise.resolve(answer) : Promise.reject(new ProtocolError('connection lost'));
    });
    const events = watch(nameServer);
    expect(await take(events, 4)).toEqual([change(':a'), change(':b'), { operation: 'missed' }, change(':c')]);
    await expect(events.next()).rejects.toThrow('connection lost');
    expect(asked.mock.calls.map(([since]) => since)).toEqual([undefined, 10, 12, 12, 50, 51]);
  });

  test.each([
    new ProtocolError('connection lost'),
    new RemoteError('exceptions', 'TypeError', ['no']),
    new TypeError('a mistake'),
  ])('is not asked for all names where it fails: %p', async (error) => {
    const nameServer = newProxy();
    jest.spyOn(nameServer, '_changes').mockRejectedValue(error);
    const listed = jest.spyOn(nameServer, 'flatlist');
    await expect(watch(nameServer).next()).rejects.toBe(error);
    expect(listed).not.toHaveBeenCalled();
  });
});

describe('a name server that can not tell of changes', () => {
  /** One that has these objects, and others each time it is asked again. */
  function listing(...lists: [name: string, id: string][][]): [NameServerProxy, () => number] {
    const nameServer = newProxy();
    jest.spyOn(nameServer, '_changes').mockRejectedValue(new RemoteError('exceptions', 'AttributeError', ['_changes']));
    const listed = jest.spyOn(nameServer, 'flatlist').mockImplementation(() => {
      const list = lists.shift() ?? [];
      return Promise.resolve(list.map(([name, id]) => [name, uriOf(id)]));
    });
    return [nameServer, () => listed.mock.calls.length];
  }

  test('is compared with itself: what went, what came, and what has another URI, which is both', async () => {
    const [nameServer] = listing(
      [
        [':stays', '1'],
        [':goes', '2'],
        [':moves', '3'],
      ],
      [
        [':comes', '4'],
        [':moves', '5'],
        [':stays', '1'],
      ],
      [
        [':comes', '4'],
        [':stays', '1'],
      ],
    );
    const events = watch(nameServer, { interval: 0 });
    expect(await take(events, 5)).toEqual([
      { operation: 'unregister', name: ':goes' },
      { operation: 'unregister', name: ':moves' },
      { operation: 'register', name: ':comes', uri: uriOf('4').toString() },
      { operation: 'register', name: ':moves', uri: uriOf('5').toString() },
      { operation: 'unregister', name: ':moves' },
    ]);
    await events.return(undefined);
  });

  test.each([
    [undefined, 2000],
    [7, 7000],
  ])('with an interval of %p s is asked every %i ms', async (interval, milliseconds) => {
    sleep.mockClear();
    const [nameServer, asked] = listing([], [], [[':a', '1']]);
    const events = watch(nameServer, { interval });
    expect(await take(events, 1)).toEqual([{ operation: 'register', name: ':a', uri: uriOf('1').toString() }]);
    expect([asked(), sleep.mock.calls.map(([slept]) => slept)]).toEqual([3, [milliseconds, milliseconds]]);
    await events.return(undefined);
  });
});

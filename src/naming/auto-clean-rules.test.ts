import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Log } from '../config/index.js';
import { NamingError } from '../errors.js';
import { Name, NAMESERVER_NAME, PyroURI } from '../names/index.js';
import { MemoryNamespace } from '../namespace/index.js';
import { LivenessProbe, type ObjectStatus } from '../rpc/index.js';
import { AutoClean } from './auto-clean.js';

type Status = ObjectStatus['status'];

const uri = new PyroURI('PYRO', '127.0.0.1', 7766, 'abc');
const other = new PyroURI('PYRO', '127.0.0.1', 7766, 'other');
const name = Name.parse(':a');
const LOOKS = 12;

let namespace: MemoryNamespace;
let autoClean: AutoClean;
let unregister: jest.Mock<(name: string) => Promise<void>>;
let warnings: string[];
let messages: string[];
/** What asking for an object's status gives. */
let ask: jest.Mock<(uri: PyroURI) => Promise<ObjectStatus>>;

const statusOf = (status: Status): ObjectStatus => ({ status, explanation: 'So it is.' });

/** Looks once a second. */
function start(items: Record<string, string> = {}): void {
  const environment = {
    PYRO_NS_AUTOCLEAN: '1',
    PYRO_NS_AUTOCLEAN_FAILURES: '3',
    PYRO_NS_AUTOCLEAN_SECONDS: '2',
    PYRO_NS_AUTOCLEAN_UNREACHABLE: '0',
    ...items,
  };
  const log: Log = {
    ...silentLog,
    warn: (...parts: unknown[]) => warnings.push(parts.map(String).join(' ')),
    msg: (...parts: unknown[]) => messages.push(parts.map(String).join(' ')),
  };
  const config = loadConfig({ environment, currentDirectory: '/' });
  autoClean = new AutoClean({ config, log, nameServerHost: '127.0.0.1', namespace, unregister });
  autoClean.start();
}

async function look(): Promise<void> {
  await jest.advanceTimersByTimeAsync(1000);
  for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
}

beforeEach(async () => {
  jest.useFakeTimers({ now: Date.now() + 1000, doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
  namespace = new MemoryNamespace();
  await namespace.createGroup(Name.parse(':Pyro'));
  await namespace.register(name, uri);
  unregister = jest.fn(async (text) => namespace.unregister(Name.parse(text)));
  warnings = [];
  messages = [];
  ask = jest.fn(() => Promise.resolve(statusOf('gone')));
  jest.spyOn(LivenessProbe.prototype, 'ask').mockImplementation((asked) => ask(asked));
});

afterEach(() => {
  autoClean.stop();
  jest.restoreAllMocks();
  jest.useRealTimers();
});

describe('an entry is removed', () => {
  test.each<[what: string, items: Record<string, string>, statuses: Status[], removedAt: number | undefined]>([
    ['after so many failures', {}, ['gone'], 3],
    ['and after so many seconds', { PYRO_NS_AUTOCLEAN_SECONDS: '5' }, ['gone'], 6],
    ['at once, where that is wanted', { PYRO_NS_AUTOCLEAN_FAILURES: '1', PYRO_NS_AUTOCLEAN_SECONDS: '0' }, ['gone'], 1],
    ['an answer ends the row', {}, ['gone', 'gone', 'answers', 'gone'], 6],
    ['so does a daemon that does not say', {}, ['gone', 'gone', 'unknown', 'gone'], 6],
    ['so does one that refuses', {}, ['gone', 'gone', 'denied', 'gone'], 6],
    ['an answer ends the time too', { PYRO_NS_AUTOCLEAN_SECONDS: '4' }, ['gone', 'gone', 'gone', 'answers', 'gone'], 9],
    [
      'never, where it answers in between',
      {},
      Array.from({ length: 4 }, (): Status[] => ['gone', 'gone', 'answers']).flat(),
      undefined,
    ],
    ['never, where nobody reaches it', {}, ['unreachable'], undefined],
    ['where nobody reaches it, after its own time', { PYRO_NS_AUTOCLEAN_UNREACHABLE: '5' }, ['unreachable'], 6],
    ['time unreachable is not time dead', {}, ['unreachable', 'unreachable', 'unreachable', 'gone'], 6],
    [
      'time dead is not time unreachable',
      { PYRO_NS_AUTOCLEAN_UNREACHABLE: '4', PYRO_NS_AUTOCLEAN_SECONDS: '9' },
      ['gone', 'gone', 'gone', 'unreachable'],
      8,
    ],
  ])('%s', async (_what, items, statuses, removedAt) => {
    let looks = 0;
    ask.mockImplementation(() => Promise.resolve(statusOf(statuses[looks - 1] ?? statuses.at(-1) ?? 'gone')));
    start(items);
    let removed: number | undefined;
    while (looks < LOOKS) {
      looks += 1;
      await look();
      if (unregister.mock.calls.length > 0) removed ??= looks;
    }
    expect(removed).toBe(removedAt);
    expect(unregister.mock.calls).toEqual(removedAt === undefined ? [] : [[':a']]);
    expect(autoClean.removed).toBe(removedAt === undefined ? 0 : 1);
  });

  test('and the log says what it was, how often and how long it was dead, and why', async () => {
    start();
    for (let looks = 0; looks < 3; looks++) await look();
    expect(warnings).toEqual([
      `AutoClean removed :a, which was ${uri.toString()}: dead 3 times in a row, for 2 s. So it is.`,
    ]);
    expect(messages).toEqual(['AutoClean looks for dead objects every 1 s']);
  });
});

describe('an entry stays', () => {
  /** Does something when its status is asked for the last time, before it is removed. */
  const atLast = (happen: () => Promise<unknown>, status: Status = 'gone'): void => {
    ask.mockImplementation(async () => {
      if (ask.mock.calls.length !== 4) return statusOf('gone');
      await happen();
      return statusOf(status);
    });
  };

  test.each<[string, () => Promise<unknown>, Status]>([
    ['answers again', () => Promise.resolve(), 'answers'],
    [
      'is registered anew with another URI',
      async () => {
        await namespace.unregister(name);
        await namespace.register(name, other);
      },
      'gone',
    ],
    [
      'is registered anew with the same URI',
      async () => {
        await namespace.unregister(name);
        await namespace.register(name, uri);
      },
      'gone',
    ],
    ['is unregistered', () => namespace.unregister(name), 'gone'],
  ])('where at the last moment it %s', async (_what, happen, status) => {
    atLast(happen, status);
    start();
    for (let looks = 0; looks < 4; looks++) await look();
    expect(ask.mock.calls.length).toBeGreaterThanOrEqual(4);
    expect(unregister).not.toHaveBeenCalled();
    expect(warnings).toEqual([]);
  });

  test('where another URI came under its name, until that was dead as often', async () => {
    start();
    await look();
    await look();
    await namespace.unregister(name);
    await namespace.register(name, other);
    await look();
    await look();
    expect(unregister).not.toHaveBeenCalled();
    await look();
    expect(unregister.mock.calls).toEqual([[':a']]);
  });

  test("where it is the name server's own", async () => {
    await namespace.register(Name.parse(NAMESERVER_NAME), uri);
    start();
    for (let looks = 0; looks < LOOKS; looks++) await look();
    expect(unregister.mock.calls).toEqual([[':a']]);
  });

  test.each([
    ['PYRO_NS_AUTOCLEAN is 0', { PYRO_NS_AUTOCLEAN: '0' }, false],
    ['it is stopped', {}, true],
  ])('where %s', async (_what, items, isStopped) => {
    start(items);
    if (isStopped) autoClean.stop();
    for (let looks = 0; looks < LOOKS; looks++) await look();
    expect(ask).not.toHaveBeenCalled();
    expect(unregister).not.toHaveBeenCalled();
  });

  test('where it is stopped while it asks', async () => {
    start({ PYRO_NS_AUTOCLEAN_FAILURES: '1', PYRO_NS_AUTOCLEAN_SECONDS: '0' });
    ask.mockImplementation(() => {
      autoClean.stop();
      return Promise.resolve(statusOf('gone'));
    });
    await look();
    await look();
    expect(ask).toHaveBeenCalledTimes(1);
    expect(unregister).not.toHaveBeenCalled();
  });
});

describe('it goes on', () => {
  test('where the store fails, and says so', async () => {
    const flatlist = jest.spyOn(namespace, 'flatlist').mockImplementation(() => {
      throw new Error('lost');
    });
    start();
    await look();
    expect(warnings).toEqual(['AutoClean looking for dead objects failed: Error: lost']);
    flatlist.mockRestore();
    for (let looks = 0; looks < 3; looks++) await look();
    expect(unregister.mock.calls).toEqual([[':a']]);
  });

  test('where an entry can not be removed, and counts it as not removed', async () => {
    unregister.mockImplementationOnce(() => Promise.reject(new NamingError('name not found')));
    start();
    for (let looks = 0; looks < 3; looks++) await look();
    expect(messages.at(-1)).toBe('AutoClean could not remove :a: name not found');
    expect(autoClean.removed).toBe(0);
    for (let looks = 0; looks < 3; looks++) await look();
    expect(autoClean.removed).toBe(1);
  });
});

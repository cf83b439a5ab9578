import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Log } from '../../config/index.js';
import { ConnectionDeniedError, PyroError } from '../../errors.js';
import { PyroURI } from '../../names/index.js';
import { RemoteError } from '../../rpc/index.js';
import { FakeNameServer } from './fake-name-server.model.js';
import { isExpected, TwinFinder, type TwinFinderOptions } from './finder.js';

let lines: string[];
let warned: string[];
let told: string[];
let now: number;

beforeEach(() => {
  lines = [];
  warned = [];
  told = [];
  now = 50_000;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
});

afterEach(() => {
  jest.restoreAllMocks();
});

type Settings = Partial<TwinFinderOptions> & { readonly environment?: Record<string, string> };

function newFinder({ environment = {}, ...options }: Settings = {}): TwinFinder {
  const warn = (...parts: unknown[]): void => {
    warned.push(parts.join(' '));
  };
  const msg = (...parts: unknown[]): void => {
    told.push(parts.map(String).join(' '));
  };
  const log: Log = { ...silentLog, msg, warn };
  return new TwinFinder({
    config: loadConfig({ environment, currentDirectory: '/' }),
    log,
    print: (line) => lines.push(line),
    role: 'primary',
    protocol: 'PYRO',
    address: undefined,
    broadcast: () => Promise.resolve(undefined),
    ...options,
  });
}

const from = (remoteAddress: string | undefined) => ({ remoteAddress });
const uri = (host: string, port = 9091): PyroURI => PyroURI.parse(`PYRO://${host}:${port}/abc`);

/** An address for documentation: no machine has it. */
const TWIN = '192.0.2.1';
const STRANGER = '192.0.2.2';

describe('who may act as the twin', () => {
  test('is who calls from where the twin is, and nobody else, also once the twin is known', async () => {
    const finder = newFinder({ address: { host: TWIN } });
    expect(await finder.trusts(from(STRANGER))).toBe(false);
    expect(await finder.trusts(from(TWIN))).toBe(true);
    expect(await finder.trusts(from(STRANGER))).toBe(false);
    now += 1000;
    expect(await finder.trusts(from(STRANGER))).toBe(false);
    expect(await finder.trusts(from('127.0.0.1'))).toBe(false);
    expect(await finder.trusts(from(undefined))).toBe(false);
    expect(await finder.trusts(from(TWIN))).toBe(true);
  });

  test('with a passphrase, is everybody who was let in', async () => {
    const finder = newFinder({ identification: 'secret' });
    expect(await finder.trusts(from(STRANGER))).toBe(true);
    expect(await finder.trusts(from(undefined))).toBe(true);
  });

  test('of a twin on this machine, is who calls from any of its addresses', async () => {
    const finder = newFinder({ address: { host: '127.0.0.1' } });
    expect(await finder.trusts(from('127.0.0.1'))).toBe(true);
    expect(await finder.trusts(from('::1'))).toBe(await hasAddress('::1'));
    expect(await finder.trusts(from(TWIN))).toBe(false);
  });

  test('is who has told us where it is, or was found by broadcast', async () => {
    const noted = newFinder();
    noted.note(uri(TWIN));
    expect(await noted.trusts(from(TWIN))).toBe(true);
    const found = newFinder({ broadcast: () => Promise.resolve(uri(TWIN)) });
    expect(await found.trusts(from(TWIN))).toBe(true);
    expect(await found.trusts(from(STRANGER))).toBe(false);
  });

  test('is nobody while it is not known where the twin is, and the log says so', async () => {
    expect(await newFinder().trusts(from(TWIN))).toBe(false);
    expect(warned).toEqual(['NameServer twin: where it is, is not known: PyroError: Name Server not responding']);
  });

  test('is looked up once a second at most, and once for all who ask at the same time', async () => {
    const broadcast = jest.fn(() => Promise.resolve(undefined));
    const finder = newFinder({ broadcast });
    await Promise.all([finder.trusts(from(TWIN)), finder.trusts(from(STRANGER))]);
    expect(broadcast).toHaveBeenCalledTimes(1);
    now += 999;
    expect(await finder.trusts(from(TWIN))).toBe(false);
    expect(broadcast).toHaveBeenCalledTimes(1);
    now += 1;
    await finder.trusts(from(TWIN));
    expect(broadcast).toHaveBeenCalledTimes(2);
  });

  test('who asks while it is looked up is answered by that look-up, whenever the last one was', async () => {
    let answer: (found: PyroURI) => void = () => undefined;
    const finder = newFinder({
      broadcast: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    });
    const first = finder.trusts(from(STRANGER));
    const second = finder.trusts(from(TWIN));
    answer(uri(TWIN));
    expect(await Promise.all([first, second])).toEqual([false, true]);
  });
});

describe('the first that calls', () => {
  test('from where it says that it is, is the twin where none is known, and stays it', async () => {
    const finder = newFinder();
    expect([finder.isAddressGiven, await finder.trusts(from(TWIN))]).toEqual([false, false]);
    expect(await finder.acceptFirst(from(TWIN), uri(TWIN))).toBe(true);
    expect(await finder.trusts(from(TWIN))).toBe(true);
    expect(await finder.acceptFirst(from(STRANGER), uri(STRANGER))).toBe(false);
    now += 1000;
    expect([await finder.trusts(from(STRANGER)), await finder.trusts(from(TWIN))]).toEqual([false, true]);
  });

  test.each<[string, string | undefined, PyroURI]>([
    ['from elsewhere', STRANGER, uri(TWIN)],
    ['from nowhere', undefined, uri(TWIN)],
    ['from an unknown host', TWIN, uri('unknown.invalid')],
  ])('%s is not', async (_what, address, told) => {
    const finder = newFinder();
    expect(await finder.acceptFirst(from(address), told)).toBe(false);
    expect(await finder.trusts(from(address))).toBe(false);
  });

  test('on this machine may call from any of its addresses', async () => {
    const finder = newFinder();
    expect(await finder.acceptFirst(from('127.0.0.1'), uri('127.0.1.1'))).toBe(true);
    expect(await finder.trusts(from('127.0.0.1'))).toBe(true);
  });

  test('is not the twin where it is this server, or where one is known already', async () => {
    const own = newFinder();
    own.exclude(uri(TWIN));
    expect(await own.acceptFirst(from(TWIN), uri(TWIN))).toBe(false);
    const noted = newFinder();
    noted.note(uri(STRANGER));
    const given = newFinder({ address: { host: STRANGER } });
    const configured = newFinder({ environment: { PYRO_NS2_HOSTNAME: STRANGER } });
    for (const finder of [noted, given, configured]) {
      expect(await finder.acceptFirst(from(TWIN), uri(TWIN))).toBe(false);
    }
    expect([noted, given, configured].map(({ isAddressGiven }) => isAddressGiven)).toEqual([false, true, true]);
  });

  test('is one: of two at the same time, the other is a stranger', async () => {
    const finder = newFinder();
    const both = [finder.acceptFirst(from(TWIN), uri(TWIN)), finder.acceptFirst(from(STRANGER), uri(STRANGER))];
    expect((await Promise.all(both)).filter(Boolean)).toHaveLength(1);
  });
});

async function hasAddress(address: string): Promise<boolean> {
  const { networkInterfaces } = await import('node:os');
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some((one) => one.address === address));
}

describe('where the twin is', () => {
  const trusted = async (finder: TwinFinder): Promise<boolean> => finder.trusts(from(TWIN));

  test.each([
    ['primary', 'PYRO_NS2_HOSTNAME', true],
    ['primary', 'PYRO_NS_HOSTNAME', false],
    ['secondary', 'PYRO_NS_HOSTNAME', true],
    ['secondary', 'PYRO_NS2_HOSTNAME', false],
  ] as const)('for the %s, %s tells: %s', async (role, item, tells) => {
    const finder = newFinder({ role, environment: { [item]: TWIN } });
    expect(finder.role).toBe(role);
    expect(await trusted(finder)).toBe(tells);
  });

  test('the address that was given counts, whatever the configuration says or anybody tells', async () => {
    const finder = newFinder({ address: { host: TWIN }, environment: { PYRO_NS2_HOSTNAME: STRANGER } });
    finder.note(uri(STRANGER));
    expect(await trusted(finder)).toBe(true);
    expect(await finder.trusts(from(STRANGER))).toBe(false);
  });

  test('what answers a broadcast is not the twin where it is this server', async () => {
    const broadcast = (): Promise<PyroURI> => Promise.resolve(uri(TWIN));
    const own = newFinder({ broadcast });
    own.exclude(uri(TWIN));
    expect(await trusted(own)).toBe(false);
    for (const other of [uri(TWIN, 9090), uri(STRANGER)]) {
      const finder = newFinder({ broadcast });
      finder.exclude(other);
      expect(await trusted(finder)).toBe(true);
    }
  });
});

describe('looking for the twin is told as Pyro does', () => {
  test('where nobody answers', async () => {
    const finder = newFinder();
    await finder.locate('Locating twin NameServer.');
    expect(lines).toEqual([
      'Locating twin NameServer.',
      'WARNING: Cannot find twin NS yet:  Name Server not responding',
    ]);
    expect(finder.takeLocated()).toBeUndefined();
    finder.stop();
  });

  test('what a stranger answers can not command the terminal', async () => {
    const finder = newFinder({ broadcast: () => Promise.reject(new PyroError('\x1b]0;owned\x07')) });
    await finder.locate('Locating twin NameServer.');
    expect(lines).toEqual(['Locating twin NameServer.', 'WARNING: Cannot find twin NS yet:  \\x1b]0;owned\\x07']);
  });

  test('a defect of ours is not taken for a twin that is away', async () => {
    const finder = newFinder({ broadcast: () => Promise.reject(new TypeError('defect')) });
    await expect(finder.locate('Locating twin NameServer.')).rejects.toThrow('defect');
  });
});

describe('the connection to the twin', () => {
  let server: FakeNameServer;

  beforeEach(async () => {
    server = await FakeNameServer.start({}, 'secret');
  });

  afterEach(async () => {
    await server.stop();
  });

  const here = () => ({ host: '127.0.0.1', port: server.port });
  const settings = (more: Settings = {}): Settings => ({ identification: 'secret', ...more });

  test.each<[string, () => Settings]>([
    ['to the address that was given', () => ({ address: here() })],
    ['to where a broadcast is answered from', () => ({ broadcast: () => Promise.resolve(server.uri) })],
    [
      'to the host that is given, and the port of a secondary',
      () => ({ address: { host: '127.0.0.1' }, environment: { PYRO_NS2_PORT: String(server.port) } }),
    ],
    [
      'to the host that is given, and the port of a primary',
      () => ({
        role: 'secondary' as const,
        address: { host: '127.0.0.1' },
        environment: { PYRO_NS_PORT: String(server.port) },
      }),
    ],
  ])('leads %s', async (_where, more) => {
    const finder = newFinder(settings(more()));
    const peer = await finder.connect();
    expect([peer.uri.toString(), peer.isOpen]).toEqual([server.uri.toString(), true]);
    peer.destroy();
  });

  test('leads to where the twin says that it is, or was found before, without asking again', async () => {
    const broadcast = jest.fn(() => Promise.resolve(server.uri));
    const noted = newFinder(settings({ broadcast }));
    noted.note(server.uri);
    (await noted.connect()).destroy();
    expect(broadcast).not.toHaveBeenCalled();
    const found = newFinder(settings({ broadcast }));
    (await found.connect()).destroy();
    (await found.connect()).destroy();
    expect(broadcast).toHaveBeenCalledTimes(1);
  });

  test('is handed over once, while it is open', async () => {
    const finder = newFinder(settings({ address: here() }));
    await finder.locate('Locating twin NameServer.');
    expect(lines).toEqual(['Locating twin NameServer.', `Found twin NameServer at 127.0.0.1 port ${server.port}`]);
    const peer = finder.takeLocated();
    expect([peer?.uri.toString(), finder.takeLocated()]).toEqual([server.uri.toString(), undefined]);
    finder.stop();
    expect(peer?.isOpen).toBe(true);
    peer?.destroy();
    await finder.locate('Again.');
    finder.stop();
    for (const connection of server.connections) await connection.closed;
    expect(finder.takeLocated()).toBeUndefined();
  });

  test('that is refused is an error, and not a twin that is away', async () => {
    const finder = newFinder({ address: here(), identification: 'wrong' });
    await expect(finder.locate('Locating twin NameServer.')).rejects.toThrow(ConnectionDeniedError);
    expect(lines).toEqual(['Locating twin NameServer.']);
  });

  test('is told in the log too', async () => {
    await newFinder(settings({ address: here() })).locate('x');
    await newFinder().locate('x');
    expect(told).toEqual([
      `NameServerStarter Found twin NS at ${server.uri.toString()}`,
      'NameServerStarter Cannot find twin NS yet: Name Server not responding',
    ]);
  });
});

test('what a peer that is no name server can cause is expected, and nothing else', () => {
  const errors = [new PyroError('x'), new RemoteError('exceptions', 'KeyError', []), new TypeError('x'), 'x'];
  expect(errors.map(isExpected)).toEqual([true, true, false, false]);
});

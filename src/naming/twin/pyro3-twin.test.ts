import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Log } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { Name, PyroURI } from '../../names/index.js';
import { GROUP, MemoryNamespace, OBJECT, systemMetaToPython } from '../../namespace/index.js';
import { textOf, tuple, type PythonValue } from '../../pickle/index.js';
import { ObjectConnection, proxyFromPython, proxyToPython, RemoteError, uriToPython } from '../../rpc/index.js';
import { mungeIdentification } from '../../wire/index.js';
import { ChangeFeed } from '../change-feed.js';
import type { Change } from '../change.js';
import { SubtreeLock } from '../../sync/index.js';
import { eventually, FakeNameServer, type FakeAnswer } from './fake-name-server.model.js';
import { openPeer, type PeerLink } from './peer-link.js';
import { readDump, writeDump } from './pyro3-dump.js';
import { Replica } from './merge.js';
import { Pyro3Twin, type Pyro3TwinOptions } from './pyro3-twin.js';
import { Versions } from './versions.js';

const name = (text: string): Name => Name.parse(text);
const uri = (id: string): PyroURI => PyroURI.parse(`PYRO://10.1.2.3:7766/${id}`);
const OWN = PyroURI.parse('PYRO://127.0.0.1:9090/own');

let namespace: MemoryNamespace;
let changes: ChangeFeed;
let lock: SubtreeLock<Name>;
let printed: string[];
let logged: string[];
let options: Pyro3TwinOptions;
let twin: Pyro3Twin;
let server: FakeNameServer;
let peers: PeerLink[];

beforeEach(async () => {
  namespace = new MemoryNamespace();
  await namespace.createGroup(name(':Pyro'));
  await namespace.register(name(':Pyro.NameServer'), OWN);
  await namespace.createGroup(name(':Default'));
  changes = new ChangeFeed();
  lock = new SubtreeLock<Name>();
  printed = [];
  logged = [];
  peers = [];
  const write =
    (level: string) =>
    (...parts: unknown[]): void => {
      logged.push([level, ...parts].map(String).join(' '));
    };
  const log: Log = { ...silentLog, msg: write('msg'), warn: write('warn'), error: write('error') };
  const config = loadConfig({ environment: {}, currentDirectory: '/' });
  const print = (line: string): void => {
    printed.push(line);
  };
  const replica = new Replica({ namespace, lock, changes, log, role: 'primary', versions: new Versions('primary') });
  const finder = { role: 'primary' as const, isAddressGiven: true };
  options = { config, log, print, namespace, lock, changes, replica, finder, protocol: 'PYRO', persistent: false };
  twin = new Pyro3Twin(options);
});

afterEach(async () => {
  jest.restoreAllMocks();
  twin.stop();
  for (const peer of peers) peer.destroy();
  await server.stop();
});

const begin = async (answers: Record<string, FakeAnswer> = {}, passphrase?: string): Promise<void> => {
  server = await FakeNameServer.start(answers, passphrase);
};

async function open(): Promise<PeerLink> {
  const peer = await openPeer({ host: '127.0.0.1', port: server.port }, options);
  peers.push(peer);
  return peer;
}

/** What a Pyro 3 server with these names gives. */
async function dumpOf(names: Readonly<Record<string, string | null>>, persistent = false): Promise<PythonValue> {
  const source = new MemoryNamespace();
  for (const [text, id] of Object.entries(names)) {
    if (id === null) await source.createGroup(name(text));
    else await source.register(name(text), uri(id));
  }
  return writeDump(source.export(), persistent ? 'persistent' : 'memory');
}

async function contents(): Promise<Record<string, unknown>> {
  const all: Record<string, unknown> = {};
  for await (const entry of namespace.export()) {
    if (!entry.name.isRoot) all[entry.name.toString()] = entry.uri?.objectID ?? 'group';
  }
  return all;
}

const FULL = { ':Pyro': null, ':Pyro.NameServer': 'theirs', ':g': null, ':g.x': 'x' };
const NEW = { ':Pyro': 'group', ':Pyro.NameServer': 'own', ':Default': 'group' };

const proxyOf = (one: PyroURI): PythonValue =>
  proxyToPython({
    kind: 'DynamicProxy',
    uri: one,
    identification: new Uint8Array(),
    timeout: null,
    onewayMethods: ['_synccall'],
  });

const register = (text: string): Change => ({ kind: 'register', name: name(text), uri: uri('new') });

/** A twin that is connected, and told our changes from now on. */
async function join(answers: Record<string, FakeAnswer> = {}): Promise<void> {
  const dump = await dumpOf(FULL);
  await begin({ _resync: () => dump, _synccall: () => null, ...answers });
  twin.introduce(OWN);
  await twin.copyFrom(await open());
}

describe('copying', () => {
  test.each([false, true])(
    'takes all names of the twin but its own entry (a persistent twin: %s)',
    async (persistent) => {
      const dump = await dumpOf(FULL, persistent);
      await begin({ _resync: () => dump });
      await namespace.register(name(':Default.old'), uri('old'));
      const skip = jest.spyOn(changes, 'skip');
      twin.introduce(OWN);
      const peer = await open();
      await twin.copyFrom(peer);
      expect(await contents()).toEqual({ ':Pyro': 'group', ':Pyro.NameServer': 'own', ':g': 'group', ':g.x': 'x' });
      expect(skip).toHaveBeenCalledTimes(1);
      expect([twin.twinURI?.toString(), twin.unconfirmed, server.methods]).toEqual([
        server.uri.toString(),
        0,
        ['_resync'],
      ]);
      const where = `other NS at 127.0.0.1 port ${server.port}`;
      expect(printed).toEqual([`Initial Resync with ${where}`, 'Database synchronized.']);
      expect(logged).toEqual([`msg NameServer Initial resync with ${where}`, 'msg NameServer database sync complete.']);
    },
  );

  test('makes the group of our own entry where the twin has none', async () => {
    const dump = tuple([], [tuple(':a', 'PYRO://10.1.2.3:7766/x', null, null)]);
    await begin({ _resync: () => dump });
    twin.introduce(OWN);
    await twin.copyFrom(await open());
    expect(await contents()).toEqual({ ':a': 'x', ':Pyro': 'group', ':Pyro.NameServer': 'own' });
  });

  test('tells the twin where to call us: by a proxy that connects by itself, with the passphrase as it is kept', async () => {
    await join();
    expect(proxyFromPython(server.calls[0]?.args[0])).toEqual({
      kind: 'DynamicProxy',
      uri: OWN,
      identification: new Uint8Array(),
      timeout: null,
      onewayMethods: ['_synccall'],
    });
    await server.stop();
    const dump = await dumpOf(FULL);
    await begin({ _resync: () => dump }, 'secret');
    const config = { ...options.config, PYRO_NS_PYRO3_TWIN: true };
    options = { ...options, config, identification: 'secret' };
    twin = new Pyro3Twin(options);
    twin.introduce(OWN);
    await twin.copyFrom(await open());
    const told = proxyFromPython(server.calls[0]?.args[0]);
    expect(Buffer.from(told?.identification ?? [])).toEqual(mungeIdentification('secret'));
  });

  test('is not possible before we know our own URI', async () => {
    await begin();
    await expect(twin.copyFrom(await open())).rejects.toThrow('the name server is not ready for its twin');
  });

  test('leaves out, and names, what is no name here', async () => {
    const dump = tuple(
      [],
      [tuple('a..b', 'PYRO://10.1.2.3:7766/x', null, null), tuple(':a', 'PYRO://10.1.2.3:7766/x', null, null)],
    );
    await begin({ _resync: () => dump });
    twin.introduce(OWN);
    await twin.copyFrom(await open());
    expect(await contents()).toHaveProperty([':a'], 'x');
    expect(logged).toContain('warn NameServer twin: left out what is no name here: a..b');
  });

  test('waits for the changes under way, and lets none in while it lasts', async () => {
    const dump = await dumpOf(FULL);
    const events: string[] = [];
    let arrive: () => void = () => undefined;
    await begin({
      _resync: async () => {
        events.push('resync');
        await new Promise<void>((resolve) => (arrive = resolve));
        return dump;
      },
    });
    twin.introduce(OWN);
    const copying = twin.copyFrom(await open()).then(() => events.push('copied'));
    const changing = lock.run(name(':a'), () => {
      events.push('changed');
      return Promise.resolve();
    });
    await server.called(1);
    arrive();
    await Promise.all([copying, changing]);
    expect(events.slice(0, 2)).toEqual(['resync', expect.stringMatching(/^c/)]);
    expect(events).toHaveLength(3);
    expect(await contents()).toHaveProperty([':g.x']);
  });

  test.each([
    [
      'what the twin raises',
      () => {
        throw new RemoteError('Pyro.errors', 'NamingError', ['not now']);
      },
      new NamingError('the twin refused: not now'),
    ],
    ['what is no dump', () => 1, new Error('the twin gave something that is no dump of a namespace')],
  ])('fails with %s, and leaves our names', async (_what, answer, error) => {
    await begin({ _resync: answer });
    twin.introduce(OWN);
    await expect(twin.copyFrom(await open())).rejects.toThrow(error.message);
    expect([await contents(), twin.twinURI]).toEqual([NEW, undefined]);
    expect(printed).not.toContain('Database synchronized.');
  });

  test('reads the groups of a twin that can not dump names with a slash', async () => {
    const asked: Record<string, PythonValue> = {
      ':': [tuple('a/b', OBJECT)],
    };
    await begin({
      _resync: () => {
        throw new RemoteError('Pyro.errors', 'NamingError', ['invalid character(s) in name']);
      },
      list: ([group]) => asked[textOf(group) ?? ''] ?? [],
      resolve: () => uriToPython(uri('slash')),
      _getSystemMeta: () => null,
      getMeta: () => null,
    });
    twin.introduce(OWN);
    await twin.copyFrom(await open());
    expect(await contents()).toHaveProperty([':a/b'], 'slash');
    expect(logged).toContain(
      'warn NameServer twin: it has names with a slash, which it can not dump: reading its groups',
    );
  });
});

describe('a twin that was only found by broadcast', () => {
  const found = (): void => {
    options = { ...options, finder: { role: 'primary', isAddressGiven: false } };
    twin = new Pyro3Twin(options);
    twin.introduce(OWN);
  };

  test('replaces nothing: its names are added to ours, and it copies the result', async () => {
    const dump = await dumpOf(FULL);
    await begin({ _resync: () => dump, resync: () => null });
    await namespace.register(name(':Default.mine'), uri('mine'));
    found();
    await twin.copyFrom(await open());
    expect(await contents()).toEqual({ ...NEW, ':Default.mine': 'mine', ':g': 'group', ':g.x': 'x' });
    expect(server.methods).toEqual(['_resync', 'resync']);
    expect(await namespace.resolve(name(':Pyro.NameServer'))).toEqual(OWN);
  });

  test('that has what we have copies nothing', async () => {
    const dump = await dumpOf({ ...FULL, ':Default': null });
    await begin({ _resync: () => dump, resync: () => null });
    found();
    await twin.copyFrom(await open());
    expect([server.methods, await contents()]).toEqual([['_resync'], { ...NEW, ':g': 'group', ':g.x': 'x' }]);
  });

  test.each([
    ['of the older', 0, 'mine'],
    ['of the newer', 5000, 'x'],
    ['that claims to be of the future', 1e12, 'x'],
    ['that claims to be of no time', Infinity, 'mine'],
  ])('does not win for ever: of one name %s', async (_what, time, expected) => {
    const later = systemMetaToPython({ type: OBJECT, timestamp: time, owner: null });
    const dump = tuple([], [tuple(':a', uri('x').toString(), later, null)]);
    await begin({ _resync: () => dump, resync: () => null });
    await namespace.register(name(':a'), uri('mine'));
    await namespace.setSystemMeta(name(':a'), { type: OBJECT, timestamp: 1000, owner: null });
    found();
    await twin.copyFrom(await open());
    expect(await contents()).toHaveProperty([':a'], expected);
    expect((await namespace.getSystemMeta(name(':a'))).timestamp).toBeLessThanOrEqual(Date.now() / 1000);
  });
});

describe('a twin without names', () => {
  const EMPTY = { ':Pyro': null, ':Pyro.NameServer': 'theirs', ':Default': null };

  test('copies ours, where we have some', async () => {
    const dump = await dumpOf(EMPTY);
    await namespace.register(name(':Default.mine'), uri('mine'));
    await begin({ _resync: () => dump, resync: () => null });
    const skip = jest.spyOn(changes, 'skip');
    twin.introduce(OWN);
    await twin.copyFrom(await open());
    expect(server.methods).toEqual(['_resync', 'resync']);
    expect(await contents()).toEqual({ ...NEW, ':Default.mine': 'mine' });
    expect(logged).toContain('warn NameServer twin: it lacks names that are here, and copies ours');
    expect(skip).not.toHaveBeenCalled();
    // The connection that asked for it is closed.
    await server.connections.at(-1)?.closed;
    expect([server.connections.length, peers[0]?.isOpen]).toEqual([2, true]);
  });

  test('is copied where we have none ourselves', async () => {
    const dump = await dumpOf(EMPTY);
    await begin({ _resync: () => dump, resync: () => null });
    twin.introduce(OWN);
    await twin.copyFrom(await open());
    expect([server.methods, await contents()]).toEqual([['_resync'], NEW]);
  });

  test('that refuses to copy ours is an error', async () => {
    const dump = await dumpOf(EMPTY);
    await namespace.register(name(':Default.mine'), uri('mine'));
    await begin({ _resync: () => dump });
    twin.introduce(OWN);
    await expect(twin.copyFrom(await open())).rejects.toThrow('the twin refused: resync');
    await server.connections.at(-1)?.closed;
  });
});

describe('what is told to the twin', () => {
  test.each<[Change, PythonValue[]]>([
    [register(':a'), ['register', ':a', uriToPython(uri('new'))]],
    [{ kind: 'unregister', name: name(':a') }, ['unregister', ':a']],
    [{ kind: 'createGroup', name: name(':g') }, ['createGroup', ':g']],
    [{ kind: 'deleteGroup', name: name(':g') }, ['deleteGroup', ':g']],
    [{ kind: 'setMeta', name: name(':a'), meta: ['m'] }, ['setMeta', ':a', ['m']]],
    [
      { kind: 'setSystemMeta', name: name(':a'), meta: { type: GROUP, timestamp: 5.5, owner: 'me' } },
      ['_setSystemMeta', ':a', systemMetaToPython({ type: GROUP, timestamp: 5.5, owner: 'me' })],
    ],
  ])('%o is a call without an answer', async (change, args) => {
    await join();
    twin.tell(change);
    await server.called(2);
    const [told] = server.calls.slice(1);
    expect([told?.method, told?.flags, JSON.stringify(told?.args)]).toEqual(['_synccall', 5, JSON.stringify(args)]);
  });

  test('is nothing where there is no twin', async () => {
    await begin();
    twin.tell(register(':a'));
    expect([twin.unconfirmed, twin.twinURI, await twin.resync(), logged]).toEqual([0, undefined, false, []]);
  });

  test('ends with its connection: then the twin is forgotten until it calls', async () => {
    await join();
    const [peer] = peers;
    server.dropConnections();
    await peer?.closed;
    await new Promise((resolve) => setImmediate(resolve));
    expect(twin.twinURI).toBeUndefined();
    expect(logged.at(-1)).toBe('warn NameServer twin: removing other NS until it calls again: connection lost');
    expect(await twin.resync()).toBe(false);
  });

  test('ends where it does not take our changes', async () => {
    await join();
    const [peer] = peers;
    const unsent = jest.spyOn(ObjectConnection.prototype, 'unsent', 'get');
    unsent.mockReturnValue(64 * 1024 * 1024);
    twin.tell(register(':a'));
    expect(twin.twinURI).toBeDefined();
    unsent.mockReturnValue(64 * 1024 * 1024 + 1);
    twin.tell(register(':b'));
    expect([twin.twinURI, peer?.isOpen]).toEqual([undefined, false]);
    expect(logged.at(-1)).toBe(
      'warn NameServer twin: removing other NS until it calls again: it does not take our changes',
    );
  });

  test('a defect of ours is not taken for a lost twin', async () => {
    await join();
    jest.spyOn(ObjectConnection.prototype, 'send').mockImplementation(() => {
      throw new TypeError('defect');
    });
    expect(() => {
      twin.tell(register(':a'));
    }).toThrow('defect');
  });
});

describe('giving a copy', () => {
  test('answers with all names, in the shape that servers of our kind have, and connects to the twin', async () => {
    await begin({ _synccall: () => null });
    const dump = readDump(await twin.giveCopy(proxyOf(server.uri)));
    expect(dump.shape).toBe('memory');
    expect(dump.entries.map((entry) => entry.name.toString()).sort()).toEqual([
      ':',
      ':Default',
      ':Pyro',
      ':Pyro.NameServer',
    ]);
    expect(twin.twinURI?.toString()).toBe(server.uri.toString());
    const where = `NS at 127.0.0.1 port ${server.port}`;
    expect([printed, logged]).toEqual([
      [`Resync requested from ${where}`],
      [`msg NameServer resync requested from ${where}`],
    ]);
    const persistent = new Pyro3Twin({ ...options, persistent: true });
    expect(readDump(await persistent.giveCopy(proxyOf(server.uri))).shape).toBe('persistent');
    persistent.stop();
  });

  test('takes the shape that the twin gave its own names', async () => {
    const dump = await dumpOf(FULL, true);
    await begin({ _resync: () => dump });
    twin.introduce(OWN);
    await twin.copyFrom(await open());
    expect(readDump(await twin.giveCopy(proxyOf(server.uri))).shape).toBe('persistent');
  });

  test('needs a proxy', async () => {
    await begin();
    for (const value of [undefined, null, 'x']) {
      await expect(twin.giveCopy(value)).rejects.toThrow('_resync takes a proxy of the twin name server');
    }
  });

  test('is told all that changes after the copy, in order, as soon as the twin takes calls', async () => {
    await begin({ _synccall: () => null });
    await twin.giveCopy(proxyOf(server.uri));
    twin.tell(register(':a'));
    twin.tell(register(':b'));
    expect(twin.unconfirmed).toBe(2);
    await server.called(2);
    twin.tell(register(':c'));
    await server.called(3);
    expect([twin.unconfirmed, server.calls.map(({ args }) => args[1])]).toEqual([0, [':a', ':b', ':c']]);
  });

  test('is given after the changes under way', async () => {
    await begin();
    const changing = lock.run(name(':late'), async () => {
      await new Promise((resolve) => setImmediate(resolve));
      await namespace.register(name(':late'), uri('late'));
    });
    const { entries } = readDump(await twin.giveCopy(proxyOf(server.uri)));
    await changing;
    expect(entries.map((entry) => entry.name.toString())).toContain(':late');
  });

  test('to a twin that can not be reached forgets it', async () => {
    await begin();
    const gone = server.uri;
    await server.stop();
    await twin.giveCopy(proxyOf(gone));
    await eventually(() => twin.twinURI === undefined);
    expect(logged.at(-1)).toBe('warn NameServer twin: removing other NS until it calls again: connection failed');
  });

  test('again while it is being connected to: the earlier connection is dropped', async () => {
    await begin({ _synccall: () => null });
    await twin.giveCopy(proxyOf(server.uri));
    twin.tell(register(':lost'));
    await twin.giveCopy(proxyOf(server.uri));
    twin.tell(register(':a'));
    await server.called(1);
    expect(server.calls.map(({ args }) => args[1])).toEqual([':a']);
    await eventually(() => server.connections.length === 2);
    expect(logged.filter((line) => line.startsWith('warn'))).toEqual([]);
    expect(twin.twinURI).toBeDefined();
  });

  test('more changes than can wait: the twin is forgotten', async () => {
    await begin({ ResolvePYROLOC: () => undefined });
    await twin.giveCopy(proxyOf(server.uri));
    const change = register(':a');
    for (let number = 0; number < 10_000; number += 1) twin.tell(change);
    expect([twin.unconfirmed, twin.twinURI === undefined]).toEqual([10_000, false]);
    twin.tell(change);
    expect([twin.unconfirmed, twin.twinURI]).toEqual([0, undefined]);
    expect(logged.at(-1)).toBe(
      'warn NameServer twin: removing other NS until it calls again: it does not take our changes',
    );
  });
});

describe('resync', () => {
  test('copies the names of the twin again', async () => {
    await join();
    await namespace.register(name(':mine'), uri('mine'));
    expect(await twin.resync()).toBe(true);
    expect([server.methods, await contents()]).toEqual([
      ['_resync', '_resync'],
      { ':Pyro': 'group', ':Pyro.NameServer': 'own', ':g': 'group', ':g.x': 'x' },
    ]);
    expect(peers[0]?.isOpen).toBe(true);
  });

  test('by another connection closes the earlier one, and the twin stays', async () => {
    await join();
    const [earlier] = peers;
    await twin.copyFrom(await open());
    await earlier?.closed;
    await new Promise((resolve) => setImmediate(resolve));
    expect(twin.twinURI?.toString()).toBe(server.uri.toString());
    twin.tell(register(':a'));
    await server.called(3);
    expect(server.methods).toEqual(['_resync', '_resync', '_synccall']);
  });
});

describe('what the twin tells', () => {
  beforeEach(async () => {
    await begin();
    await namespace.createGroup(name(':g'));
    await namespace.register(name(':g.x'), uri('x'));
  });

  const meta = { type: OBJECT, timestamp: 9, owner: 'me' };

  test.each<[string, PythonValue[], Record<string, unknown>]>([
    ['register with a URI', ['register', ':a', uriToPython(uri('a'))], { ':a': 'a' }],
    ['register with the text of one', ['register', ':a', 'PYRO://10.1.2.3:7766/a'], { ':a': 'a' }],
    ['register in the default group', ['register', 'a', uriToPython(uri('a'))], { ':Default.a': 'a' }],
    ['register of what is here already', ['register', ':g.x', uriToPython(uri('x'))], { ':g.x': 'x' }],
    ['register with another URI', ['register', ':g.x', uriToPython(uri('y'))], { ':g.x': 'y' }],
    ['createGroup', ['createGroup', ':h'], { ':h': 'group' }],
  ])('is made: %s', async (_what, args, expected) => {
    const append = jest.spyOn(changes, 'append');
    await twin.takeSyncCall(args);
    expect(await contents()).toMatchObject(expected);
    expect([append.mock.calls.length, logged]).toEqual([1, []]);
    expect(append.mock.calls[0]?.[0]).toMatchObject({ kind: args[0], name: name(Object.keys(expected)[0] ?? '') });
  });

  test('is made: removals and metadata', async () => {
    await twin.takeSyncCall(['setMeta', ':g.x', ['m']]);
    expect(await namespace.getMeta(name(':g.x'))).toEqual(['m']);
    await twin.takeSyncCall(['setMeta', ':g.x']);
    expect(await namespace.getMeta(name(':g.x'))).toBeNull();
    await twin.takeSyncCall(['_setSystemMeta', ':g.x', systemMetaToPython({ ...meta, type: OBJECT })]);
    expect(await namespace.getSystemMeta(name(':g.x'))).toEqual(meta);
    await twin.takeSyncCall(['unregister', ':g.x']);
    await twin.takeSyncCall(['deleteGroup', ':g']);
    expect([await contents(), logged]).toEqual([NEW, []]);
  });

  test.each<[PythonValue[], string]>([
    [['destroy', ':g'], "destroy PyroError: a twin can't call destroy"],
    [[], " PyroError: a twin can't call "],
    [['_setSystemMeta', ':g.x', 1], '_setSystemMeta PyroError: system meta info must be NameSpaceSystemMeta object'],
    [['register', ':a', 1], 'register URIError: invalid URI'],
    [['unregister', ':none'], 'unregister NamingError: name not found'],
    [['register', ':none.a', uriToPython(uri('a'))], 'register NamingError: (parent)group not found'],
    [['createGroup', ':g'], 'createGroup NamingError: group already exists'],
  ])('is not made, and named, where it can not be: %o', async (args, line) => {
    const before = await contents();
    const append = jest.spyOn(changes, 'append');
    await twin.takeSyncCall(args);
    expect([await contents(), append.mock.calls]).toEqual([before, []]);
    const start = `warn NameServer twin: a change of the twin could not be made here: ${line}`;
    expect(logged.map((text) => text.replace('undefined', '').slice(0, start.length))).toEqual([start]);
  });

  test.each<[PythonValue[]]>([
    [['unregister', ':Pyro.NameServer']],
    [['register', ':Pyro.NameServer', uriToPython(uri('theirs'))]],
    [['deleteGroup', ':Pyro']],
    [['deleteGroup', ':Pyro.NameServer']],
  ])('leaves our own entry as it is: %o', async (args) => {
    const before = await contents();
    const append = jest.spyOn(changes, 'append');
    await twin.takeSyncCall(args);
    expect([await contents(), append.mock.calls, logged]).toEqual([before, [], []]);
  });

  test('is made in its order, each after the one before, and after changes of the same name here', async () => {
    let release: () => void = () => undefined;
    const held = lock.run(name(':g'), () => new Promise<void>((resolve) => (release = resolve)));
    const made: string[] = [];
    jest.spyOn(changes, 'append').mockImplementation((change) => made.push(change.name.toString()));
    const first = twin.takeSyncCall(['unregister', ':g.x']);
    const second = twin.takeSyncCall(['createGroup', ':later']);
    await new Promise((resolve) => setImmediate(resolve));
    expect(made).toEqual([]);
    release();
    await Promise.all([held, first, second]);
    expect(made).toEqual([':g.x', ':later']);
  });
});

test('stopping closes the connection, and forgets the twin without a word', async () => {
  await join();
  logged.length = 0;
  const [peer] = peers;
  twin.stop();
  await peer?.closed;
  await new Promise((resolve) => setImmediate(resolve));
  expect([twin.twinURI, twin.unconfirmed, await twin.resync(), logged]).toEqual([undefined, 0, false, []]);
});

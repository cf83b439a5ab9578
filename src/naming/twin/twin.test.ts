import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Log } from '../../config/index.js';
import { ConnectionDeniedError, NamingError } from '../../errors.js';
import { Name, PyroURI } from '../../names/index.js';
import { MemoryNamespace } from '../../namespace/index.js';
import { tuple, type PythonValue, type PythonWritable } from '../../pickle/index.js';
import { ObjectConnection, proxyToPython, RemoteError } from '../../rpc/index.js';
import { ClientConnection, mungeIdentification, type ServerConnection } from '../../wire/index.js';
import { ChangeFeed } from '../change-feed.js';
import { eventually, FakeNameServer, type FakeAnswer } from './fake-name-server.model.js';
import { TwinFinder } from './finder.js';
import { writeDump } from './pyro3-dump.js';
import { Twin, type TwinOptions } from './twin.js';

const name = (text: string): Name => Name.parse(text);
const OWN = PyroURI.parse('PYRO://127.0.0.1:9090/own');

let server: FakeNameServer;
let namespace: MemoryNamespace;
let printed: string[];
let logged: string[];
let twin: Twin;

afterEach(async () => {
  jest.restoreAllMocks();
  await twin.stop();
  await server.stop();
});

interface Settings {
  readonly environment?: Record<string, string>;
  /** Whether it was said where the twin is. */
  readonly isGiven?: boolean;
}

/** A server whose twin answers so. */
async function begin(
  answers: Record<string, FakeAnswer>,
  { environment = {}, isGiven = true, ...options }: Partial<TwinOptions> & Settings = {},
): Promise<void> {
  server = await FakeNameServer.start(answers, options.identification);
  const address = isGiven ? { host: '127.0.0.1', port: server.port } : undefined;
  printed = [];
  logged = [];
  const write =
    (level: string) =>
    (...parts: unknown[]): void => {
      logged.push([level, ...parts].map(String).join(' '));
    };
  const log: Log = { ...silentLog, msg: write('msg'), warn: write('warn'), error: write('error') };
  const config = loadConfig({ environment, currentDirectory: '/' });
  const print = (line: string): void => {
    printed.push(line);
  };
  const { identification } = options;
  const common = { config, log, print, protocol: 'PYRO' as const, identification };
  namespace = new MemoryNamespace();
  await namespace.createGroup(name(':Pyro'));
  await namespace.register(name(':Pyro.NameServer'), OWN);
  const broadcast = (): Promise<undefined> => Promise.resolve(undefined);
  const finder = new TwinFinder({ ...common, role: 'primary', address, broadcast });
  twin = new Twin({ ...common, namespace, persistent: false, finder, changes: new ChangeFeed(), ...options });
}

/** The connection of a caller from this machine, where the twin is. */
async function caller(): Promise<ServerConnection> {
  if (server.connections.length === 0) {
    const connection = await ClientConnection.open('127.0.0.1', server.port);
    connection.destroy();
  }
  const [connection] = server.connections;
  if (connection === undefined) throw new Error('nobody has connected');
  return connection;
}

async function invoke(method: string, ...args: PythonValue[]): Promise<PythonWritable> {
  return twin.invoke({ objectID: 'own', method, flags: 0, args, keywords: new Map() }, await caller());
}

const asMap = (fields: Record<string, PythonValue>): Map<PythonValue, PythonValue> => new Map(Object.entries(fields));

const record = (text: string, id: string): PythonValue =>
  tuple(text, 5, 'secondary', true, tuple(`PYRO://10.1.2.3:7766/${id}`, null, null, false));

/** A twin of ours, which sends all that it has (`:theirs`) when it is greeted, and `held` before that. */
function ofOurs(held: () => Promise<void> = () => Promise.resolve()): Record<string, FakeAnswer> {
  const now = Date.now() / 1000;
  const introduction = { instance: 'run', role: 'secondary', uri: 'PYRO://127.0.0.1:9091/x', time: now, merge: false };
  const sendAll = async (): Promise<void> => {
    await held();
    await invoke('_twinHello', asMap(introduction));
    await invoke('_twinMerge', 'run', 1, [record(':theirs', 'theirs')], true);
  };
  return {
    _r_ha: ([method]) => (method === '_twinHello' ? 1 : 2),
    _twinHello: () => {
      setImmediate(() => void sendAll());
      return asMap({ instance: 'run', role: 'secondary', time: now, received: null });
    },
    _twinMerge: () => null,
    _twinChanges: () => null,
    _twinConfirmed: () => null,
  };
}

/** A Pyro 3 server, which has `:theirs`. */
function ofPyro3(more: Record<string, FakeAnswer> = {}): Record<string, FakeAnswer> {
  const source = new MemoryNamespace();
  return {
    _r_ha: () => 2,
    _resync: async () => {
      await source.register(name(':theirs'), PyroURI.parse('PYRO://10.1.2.3:7766/theirs')).catch(() => undefined);
      return writeDump(source.export(), 'memory');
    },
    _synccall: () => null,
    ...more,
  };
}

const NOBODY: Record<string, FakeAnswer> = {
  ResolvePYROLOC: () => {
    throw new RemoteError('exceptions', 'KeyError', ['no such object']);
  },
};

const holds = (text: string): Promise<boolean> =>
  namespace.getSystemMeta(name(text)).then(
    () => true,
    () => false,
  );
const holdsTheirs = (): Promise<boolean> => holds(':theirs');

describe('with a twin of ours', () => {
  test('clients wait until all its names are here', async () => {
    let release: () => void = () => undefined;
    const isHeld = new Promise<void>((resolve) => {
      release = resolve;
    });
    await begin(ofOurs(() => isHeld));
    expect(twin.role).toBe('primary');
    expect(logged).toEqual(['msg NameServer Running in primary mode']);
    const { unsettled } = twin;
    const starting = twin.start(OWN);
    let isOver = false;
    void unsettled?.then(() => {
      isOver = true;
    });
    await eventually(() => server.methods.includes('_twinHello'));
    expect([isOver, twin.unsettled === undefined, await holdsTheirs()]).toEqual([false, false, false]);
    release();
    await starting;
    expect([twin.unsettled, await holdsTheirs()]).toEqual([undefined, true]);
    await unsettled;
    expect(printed).toEqual([
      'Locating twin NameServer again.',
      `Found twin NameServer at 127.0.0.1 port ${server.port}`,
    ]);
  });

  test('the status says so, and how many changes it has not confirmed', async () => {
    await begin(ofOurs());
    await twin.start(OWN);
    await eventually(() => twin.status().state === 'connected');
    const connected = {
      uri: server.uri.toString(),
      software: 'pyro-ns',
      state: 'connected',
      unconfirmed: 0,
      mergeDue: false,
      problem: null,
    };
    expect(twin.status()).toEqual(connected);
    await twin.perform({ kind: 'createGroup', name: name(':g') });
    expect(twin.status()).toEqual({ ...connected, unconfirmed: 1 });
    await eventually(() => server.methods.includes('_twinChanges'));
    const [instance = null] = server.calls.find(({ method }) => method === '_twinChanges')?.args ?? [];
    await invoke('_twinConfirmed', instance, 1, false);
    expect(twin.status()).toEqual(connected);
    expect(await invoke('_twinChanges', 'run', 1, [record(':more', 'more')])).toBeNull();
    await eventually(() => server.methods.includes('_twinConfirmed'));
    expect(await holds(':more')).toBe(true);
  });

  test('resync has both send all, by whoever asks', async () => {
    await begin(ofOurs());
    await twin.start(OWN);
    await eventually(() => twin.status().state === 'connected');
    const before = server.methods.filter((method) => method === '_twinMerge').length;
    expect(await invoke('resync')).toBeNull();
    expect(server.methods.filter((method) => method === '_twinMerge').length).toBeGreaterThan(before);
    const greetings = server.calls.filter(({ method }) => method === '_twinHello').map(({ args }) => args[0]);
    expect(greetings.map((greeting) => greeting instanceof Map && greeting.get('merge'))).toEqual([false, true]);
  });
});

describe('with a Pyro 3 server as the twin', () => {
  test('its names are copied, and it is told what changes', async () => {
    await begin(ofPyro3());
    await twin.start(OWN);
    expect([await holdsTheirs(), twin.unsettled]).toEqual([true, undefined]);
    expect(twin.status()).toEqual({
      uri: server.uri.toString(),
      software: 'Pyro 3',
      state: 'connected',
      unconfirmed: 0,
      mergeDue: false,
      problem: null,
    });
    await twin.perform({ kind: 'createGroup', name: name(':g') });
    await eventually(() => server.methods.includes('_synccall'));
    expect(server.calls.at(-1)?.args).toEqual(['createGroup', ':g']);
    await invoke('resync');
    expect(server.methods.filter((method) => method === '_resync')).toHaveLength(2);
    expect(await holds(':g')).toBe(false);
  });

  test('resync is refused where it is lost meanwhile, or refuses; a defect of ours is not hidden', async () => {
    await begin(ofPyro3());
    await twin.start(OWN);
    server.answers['_resync'] = () => {
      throw new RemoteError('Pyro.errors', 'NamingError', ['no']);
    };
    await expect(invoke('resync')).rejects.toEqual(new NamingError('cannot resync: twin NS is unknown or unreachable'));
    expect(logged.at(-1)).toBe('warn NameServer cannot resync: NamingError: the twin refused: no');
    jest.spyOn(ObjectConnection.prototype, 'call').mockRejectedValue(new TypeError('defect'));
    await expect(invoke('resync')).rejects.toThrow('defect');
  });

  test('that dies while its names are copied: ours are served', async () => {
    await begin(
      ofPyro3({
        _resync: () => {
          server.dropConnections();
          return null;
        },
      }),
    );
    await twin.start(OWN);
    expect([twin.unsettled, twin.status().state, await holdsTheirs()]).toEqual([undefined, 'lost', false]);
    expect(printed.at(-1)).toBe('WARNING: Cannot resync with twin NS:  connection lost');
    expect(logged).toContain(
      'warn NameServer twin: lost while its names were copied: ConnectionClosedError: connection lost',
    );
  });

  test.each([
    ['a refusal to let us in', new ConnectionDeniedError('security reasons')],
    ['any other failure', new NamingError('no dump')],
  ])('start fails by %s, and nobody is served', async (_what, error) => {
    await begin(ofPyro3());
    const call = jest.spyOn(ObjectConnection.prototype, 'call');
    const { unsettled } = twin;
    call.mockResolvedValueOnce(2).mockRejectedValueOnce(error);
    await expect(twin.start(OWN)).rejects.toBe(error);
    await expect(unsettled).rejects.toBe(error);
    await expect(twin.unsettled).rejects.toBe(error);
  });

  test('it is given our names, and what it tells is made here', async () => {
    await begin({ ...NOBODY });
    await twin.start(OWN);
    const description = {
      kind: 'DynamicProxy' as const,
      uri: server.uri,
      identification: new Uint8Array(),
      timeout: null,
      onewayMethods: [],
    };
    expect(await invoke('_resync', proxyToPython(description))).not.toBeNull();
    expect(twin.status()).toMatchObject({ uri: server.uri.toString(), software: 'Pyro 3', unconfirmed: 0 });
    await twin.perform({ kind: 'createGroup', name: name(':h') });
    expect(twin.status()).toMatchObject({ state: 'connected', unconfirmed: 1, problem: null });
    expect(await invoke('_synccall', 'createGroup', ':g')).toBeNull();
    expect(await holds(':g')).toBe(true);
  });
});

describe('with a passphrase, where a peer says that it is a Pyro 3 server', () => {
  const proxy = () =>
    proxyToPython({
      kind: 'DynamicProxy' as const,
      uri: server.uri,
      identification: new Uint8Array(),
      timeout: null,
      onewayMethods: [],
    });

  test('it is not told the hash of the passphrase, and its names replace nothing', async () => {
    await begin(ofPyro3(), { identification: 'secret' });
    await namespace.register(name(':ours'), OWN);
    await twin.start(OWN);
    await eventually(() => twin.status().problem !== null);
    expect([await holds(':ours'), await holdsTheirs()]).toEqual([true, false]);
    expect(new Set(server.methods)).toEqual(new Set(['_r_ha']));
    const hash = mungeIdentification('secret');
    expect(server.bodies.some((body) => body.includes(hash))).toBe(false);
    expect(printed.at(-1)).toMatch(/^WARNING: Cannot resync with twin NS: .* PYRO_NS_PYRO3_TWIN=1$/);
    expect(logged.at(-1)).toContain('PYRO_NS_PYRO3_TWIN=1');
    await expect(invoke('_resync', proxy())).rejects.toThrow('PYRO_NS_PYRO3_TWIN=1');
    await expect(invoke('_synccall', 'createGroup', ':g')).rejects.toThrow('PYRO_NS_PYRO3_TWIN=1');
    expect(await holds(':g')).toBe(false);
  });

  test('it is the twin where the configuration allows it', async () => {
    await begin(ofPyro3(), { identification: 'secret', environment: { PYRO_NS_PYRO3_TWIN: '1' } });
    await twin.start(OWN);
    expect([await holdsTheirs(), twin.status().software]).toEqual([true, 'Pyro 3']);
    await invoke('_synccall', 'createGroup', ':g');
    expect(await holds(':g')).toBe(true);
  });
});

describe('where nobody has said where the twin is', () => {
  const proxyOf = (uri: PyroURI): PythonValue =>
    proxyToPython({ kind: 'DynamicProxy', uri, identification: new Uint8Array(), timeout: null, onewayMethods: [] });

  test('it is the first Pyro 3 server that calls from where it says that it is, and then nobody else', async () => {
    await begin(ofPyro3(), { isGiven: false });
    await expect(invoke('_synccall', 'createGroup', ':g')).rejects.toThrow('is for the twin name server');
    const elsewhere = PyroURI.parse('PYRO://192.0.2.1:9091/x');
    await expect(invoke('_resync', proxyOf(elsewhere))).rejects.toThrow('is for the twin name server');
    await expect(invoke('_resync', 'no proxy')).rejects.toThrow('is for the twin name server');
    await invoke('_resync', proxyOf(server.uri));
    await invoke('_synccall', 'createGroup', ':g');
    expect([await holds(':g'), twin.status().uri]).toEqual([true, server.uri.toString()]);
    expect(logged).toContain(`warn NameServer twin: taken for it, as the first that has called: ${String(server.uri)}`);
  });
});

describe('without its twin', () => {
  test('a server starts, and looks for it', async () => {
    await begin(NOBODY);
    await twin.start(OWN);
    expect(twin.unsettled).toBeUndefined();
    expect(printed).toEqual(['Locating twin NameServer again.', 'WARNING: Cannot find twin NS yet:  no such object']);
    await eventually(() => twin.status().problem !== null);
    expect(twin.status()).toEqual({
      uri: null,
      software: null,
      state: 'lost',
      unconfirmed: 0,
      mergeDue: true,
      problem: 'no such object',
    });
    await expect(invoke('resync')).rejects.toThrow('cannot resync: twin NS is unknown or unreachable');
  });

  test('a change that the namespace refuses is refused, and told to nobody', async () => {
    await begin(NOBODY);
    await expect(twin.perform({ kind: 'unregister', name: name(':none') })).rejects.toThrow('name not found');
    expect(twin.status().unconfirmed).toBe(0);
  });
});

describe('the calls that only the twin makes', () => {
  const METHODS = ['_resync', '_synccall', '_twinHello', '_twinChanges', '_twinConfirmed', '_twinMerge'];

  test('are these, and resync', async () => {
    await begin(NOBODY);
    expect([...METHODS, 'resync'].map((method) => twin.has(method))).toEqual(Array(7).fill(true));
    expect(['register', '_r_ha', ''].map((method) => twin.has(method))).toEqual([false, false, false]);
  });

  test.each(METHODS)('%s is refused to anybody else, and the log says who it was', async (method) => {
    await begin(NOBODY);
    jest.spyOn(TwinFinder.prototype, 'trusts').mockResolvedValue(false);
    const greet = jest.spyOn(namespace, 'createGroup');
    await expect(invoke(method, 'createGroup', ':g')).rejects.toEqual(
      new NamingError(`${method} is for the twin name server: this is not where it is known to be`),
    );
    expect(greet).not.toHaveBeenCalled();
    expect(logged.at(-1)).toBe(`warn NameServer twin: refused ${method} of ${String(await caller())}`);
  });

  test('resync is not refused to anybody', async () => {
    await begin(ofPyro3());
    await twin.start(OWN);
    const trusts = jest.spyOn(TwinFinder.prototype, 'trusts').mockResolvedValue(false);
    expect(await invoke('resync')).toBeNull();
    expect(trusts).not.toHaveBeenCalled();
  });

  test.each([
    ['_twinHello', [], 'invalid introduction of a twin'],
    ['_twinChanges', ['run', 1, []], 'a twin introduces itself first'],
    ['_twinChanges', ['run'], 'invalid number of a change'],
    ['_twinMerge', ['run', 1, [], true], 'a twin introduces itself first'],
    ['_twinConfirmed', [], 'a twin introduces itself first'],
    ['_twinConfirmed', ['run', 1, true], 'a twin introduces itself first'],
    ['_resync', [], '_resync takes a proxy of the twin name server'],
  ])('%s %j', async (method, args, message) => {
    await begin(NOBODY);
    await expect(invoke(method, ...args)).rejects.toThrow(message);
  });

  test('without what they need are answered as with nothing', async () => {
    await begin(NOBODY);
    expect(await invoke('_none')).toBeNull();
  });
});

describe('stopping', () => {
  test('lets no client wait any longer', async () => {
    await begin(NOBODY);
    const { unsettled } = twin;
    await twin.stop();
    await expect(unsettled).rejects.toEqual(new NamingError('the name server shuts down'));
  });

  test('closes the connection to a Pyro 3 twin', async () => {
    await begin(ofPyro3());
    await twin.start(OWN);
    await twin.stop();
    for (const connection of server.connections) await connection.closed;
    expect(twin.status().uri).toBeNull();
  });
});

test('a change is written to the connection to the twin before its client is answered', async () => {
  await begin(ofPyro3());
  await twin.start(OWN);
  const events: string[] = [];
  jest.spyOn(ObjectConnection.prototype, 'send').mockImplementation(() => {
    process.nextTick(() => events.push('written'));
  });
  await twin.perform({ kind: 'createGroup', name: name(':g') });
  events.push('answered');
  expect(events).toEqual(['written', 'answered']);
});

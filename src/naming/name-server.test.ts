import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { loadConfig, silentLog, type Log } from '../config/index.js';
import { NamingError } from '../errors.js';
import { Name, PyroURI } from '../names/index.js';
import { MemoryNamespace, systemMetaToPython } from '../namespace/index.js';
import { loads, PythonUnicode, tuple, type PythonValue } from '../pickle/index.js';
import { uriToPython } from '../rpc/index.js';
import { Pickled, RequestFlag, ServerConnection } from '../wire/index.js';
import { ChangeFeed } from './change-feed.js';
import type { OperationGuard } from './security-plugins.js';
import { NameServer } from './name-server.js';
import { Twin, TwinFinder } from './twin/index.js';

const uri = new PyroURI('PYRO', '127.0.0.1', 7766, 'abc');

const caller = new ServerConnection(new Socket());

let namespace: MemoryNamespace;
let shutdowns: number;

const config = loadConfig({ environment: {}, currentDirectory: '/' });

function nameServer(
  ignoreShutdown = false,
  operationGuard?: OperationGuard,
  twin?: Twin,
  log: Log = silentLog,
): NameServer {
  return new NameServer(namespace, {
    config,
    log,
    address: '127.0.0.1',
    className: 'NameServer',
    ignoreShutdown,
    onShutdown: () => {
      shutdowns += 1;
    },
    operationGuard,
    twin,
  });
}

/** A twin that nobody finds. */
function lostTwin(): Twin {
  const options = { config, log: silentLog, print: () => undefined, protocol: 'PYRO' } as const;
  const broadcast = () => Promise.resolve(undefined);
  const finder = new TwinFinder({ ...options, role: 'primary', address: undefined, broadcast });
  return new Twin({ ...options, namespace, persistent: false, finder, changes: new ChangeFeed() });
}

let server: NameServer;

/** What a client gets for a call: the value, or the error it raises. */
async function call(method: string, args: readonly PythonValue[] = [], keywords: Record<string, PythonValue> = {}) {
  const request = { objectID: server.GUID(), method, flags: 0, args, keywords: new Map(Object.entries(keywords)) };
  const answer = await server.invoke(request, caller);
  if (!(answer instanceof Pickled)) return answer;
  const { body } = answer;
  return loads(body instanceof Uint8Array ? body : Buffer.concat(body));
}

beforeEach(async () => {
  namespace = new MemoryNamespace();
  shutdowns = 0;
  server = nameServer();
  await server.createInitialGroups();
});

describe('names', () => {
  test('a relative name is below the default group', async () => {
    await call('register', ['a', uriToPython(uri)]);
    expect(await namespace.resolve(Name.parse(':Default.a'))).toEqual(uri);
  });

  test('may be unicode, as Jython sends them', async () => {
    await call('register', [new PythonUnicode(':a'), new PythonUnicode('PYRO://127.0.0.1:7766/abc')]);
    expect(await call('resolve', [new PythonUnicode(':a')])).toEqual(await call('resolve', [':a']));
  });

  test.each<[PythonValue, string]>([
    ['', 'invalid name'],
    [5, 'invalid name'],
    [null, 'invalid name'],
    [tuple(':a'), 'invalid name'],
    ['a..b', 'invalid name'],
    [':a b', 'invalid character(s) in name'],
    [new Uint8Array([0x3a, 0xe9]), 'invalid character(s) in name'],
  ])('%p is no name: %s', async (name, message) => {
    await expect(call('unregister', [name])).rejects.toThrow(message);
    await expect(async () => call('resolve', [name])).rejects.toThrow(message);
  });

  test('new ones have no colon in a part', async () => {
    await expect(call('register', [':a:b', uriToPython(uri)])).rejects.toThrow('invalid character(s) in name');
    await expect(call('createGroup', [':a:b'])).rejects.toThrow('invalid character(s) in name');
  });
});

test('what an error says again of a text is cut', async () => {
  const long = 'x'.repeat(1_000_000);
  for (const request of [
    () => call(long),
    () => call('register', [':a', long]),
    () => call('ping', [], { [long]: 1 }),
  ]) {
    const error: unknown = await (async () => request())().catch((reason: unknown) => reason);
    expect(JSON.stringify(error).length).toBeLessThan(10_000);
  }
});

describe('URIs', () => {
  test('come as PyroURI objects or as text, whose host is resolved', async () => {
    await call('register', [':a', uriToPython(uri)]);
    await call('register', [':b', 'PYRO://localhost/x']);
    expect(await namespace.resolve(Name.parse(':b'))).toEqual(new PyroURI('PYRO', '127.0.0.1', 7766, 'x'));
    expect(await namespace.resolve(Name.parse(':a'))).toEqual(uri);
  });

  test.each(['a\u009b31m', 'a\u001b', '\u007f'])('new ones have no control characters: %j', async (objectID) => {
    const hostile = new PyroURI('PYRO', '127.0.0.1', 1, objectID);
    await expect(call('register', [':a', hostile.toString()])).rejects.toThrow('invalid URI');
    await expect(call('register', [':a', uriToPython(hostile)])).rejects.toThrow('invalid URI');
    await namespace.register(Name.parse(':old'), hostile);
    expect(await call('resolve', [':old'])).toEqual(uriToPython(hostile));
    await call('unregister', [':old']);
  });

  test.each<PythonValue>(['', 'x', 'PYRO://no.such.host.invalid/x', 7, null])('%p is none', async (value) => {
    await expect(call('register', [':a', value])).rejects.toMatchObject({ args: ['invalid URI', expect.anything()] });
  });

  test.each<PythonValue>([
    'PYRONAME://x',
    'PYRONAME://localhost/x',
    'PYRONAMESSL://localhost:1/x',
    uriToPython(new PyroURI('PYRONAME', 'localhost', 1, 'x')),
  ])('%p leads to no object', async (value) => {
    await expect(call('register', [':a', value])).rejects.toMatchObject({ args: ['invalid URI', expect.anything()] });
  });

  test('of hosts that are not found are told of in the log', async () => {
    const lines: string[] = [];
    const log = { ...silentLog, msg: (...parts: unknown[]) => lines.push(parts.join(' ')) };
    server = nameServer(false, undefined, undefined, log);
    await expect(call('register', [':a', 'PYRO://no.such.host.invalid/x'])).rejects.toThrow('invalid URI');
    expect(lines).toContain(
      'NameServer refused the URI PYRO://no.such.host.invalid/x - unknown host: no.such.host.invalid',
    );
  });
});

describe('arguments', () => {
  test('may be given by keyword', async () => {
    await call('register', [], { URI: 'PYRO://127.0.0.1/x', name: ':a' });
    expect(await call('list', [], { groupname: '' })).toContainEqual(tuple('a', 1));
  });

  test.each<[string, PythonValue[], Record<string, PythonValue>, string]>([
    ['resolve', [], {}, 'resolve() takes exactly 2 arguments (1 given)'],
    ['ping', [1], {}, 'ping() takes exactly 1 argument (2 given)'],
    ['register', [':a'], {}, 'register() takes exactly 3 arguments (2 given)'],
    ['resolve', [':a'], { name: ':a' }, "resolve() got multiple values for keyword argument 'name'"],
    ['resolve', [], { nome: ':a' }, "resolve() got an unexpected keyword argument 'nome'"],
  ])('%s(%p, %p): Python would say %s', async (method, args, keywords, message) => {
    const failing = async () => call(method, args, keywords);
    await expect(failing).rejects.toMatchObject({ className: 'TypeError', message });
  });
});

describe('methods', () => {
  test.each(['GUID', 'setGUID', 'publishURI', 'constructor', '__proto__', '_dosynccall', 'invoke'])(
    '%s is none of them',
    async (method) => {
      await expect(async () => call(method)).rejects.toMatchObject({
        className: 'AttributeError',
        message: `'NameServer' object has no attribute '${method}'`,
      });
      expect(await call('_r_ha', [method])).toBe(2);
    },
  );

  test('an attribute proxy finds resolve', async () => {
    expect(await call('_r_ha', ['resolve'])).toBe(1);
  });

  test('listings hold tuples of a part and its type', async () => {
    await call('register', [':Default.a', uriToPython(uri)]);
    expect(await call('list', [null])).toEqual(expect.arrayContaining([tuple('Pyro', 0), tuple('Default', 0)]));
    expect(await call('flatlist')).toEqual([tuple(':Default.a', uriToPython(uri))]);
  });

  test('nothing is listed where nobody gets it', async () => {
    const listed = jest.spyOn(namespace, 'flatlist');
    const request = { objectID: server.GUID(), method: 'flatlist', args: [], keywords: new Map<string, PythonValue>() };
    await server.invoke({ ...request, flags: RequestFlag.Oneway }, caller);
    expect(listed).not.toHaveBeenCalled();
  });

  test('system metadata is an object of its class, and only such is taken', async () => {
    const meta = systemMetaToPython({ type: 0, timestamp: 5.5, owner: null });
    await call('_setSystemMeta', [':Pyro', meta]);
    expect(await call('_getSystemMeta', [':Pyro'])).toEqual(meta);
    await expect(call('_setSystemMeta', [':Pyro', 'text'])).rejects.toMatchObject({ className: 'TypeError' });
  });

  test('user metadata is null where unset, and any value', async () => {
    expect(await call('getMeta', [':Default'])).toBeNull();
    const meta = new Map<PythonValue, PythonValue>([['a', tuple(1, 'b')]]);
    await call('setMeta', [':Default', meta]);
    expect(await call('getMeta', [':Default'])).toEqual(meta);
  });

  test('a server that is not paired refuses to synchronise', async () => {
    const text = "NS is not running in 'primary' or 'secondary' mode";
    await expect(async () => call('resync')).rejects.toThrow(text);
    await expect(async () => call('_resync', [null])).rejects.toThrow(`The (other) ${text}`);
  });

  test('shutdown is granted, or denied with -k', async () => {
    expect(await call('_shutdown')).toBe('Will shut down shortly');
    expect(shutdowns).toBe(1);
    server = nameServer(true);
    expect(await call('_shutdown')).toBe('Shutdown request denied');
    expect(shutdowns).toBe(1);
  });

  const fault = new Error('EACCES: /srv/secret');

  test.each<[string, Partial<MemoryNamespace>]>([
    ['getMeta', { getMeta: () => Promise.reject(fault) }],
    ['list', { list: () => Promise.reject(fault) }],
    ['resolve', { resolveNow: () => undefined, resolve: () => Promise.reject(fault) }],
    [
      'resolve',
      {
        resolveNow: () => {
          throw fault;
        },
      },
    ],
  ])('an error of %s that is no answer stays here', async (method, store) => {
    Object.assign(namespace, store);
    await expect((async () => call(method, [':Default']))()).rejects.toMatchObject({
      name: 'NamingError',
      message: 'internal error of the name server; its log says more',
    });
  });
});

describe('changes', () => {
  test('are told once they are made, and not where they are refused', async () => {
    const changes = new ChangeFeed();
    const append = jest.spyOn(changes, 'append').mockImplementation(({ name }) => {
      seen.push([name.toString(), namespace.resolveNow(name)?.toString()]);
    });
    const seen: unknown[] = [];
    const options = { address: '127.0.0.1', className: 'NameServer', ignoreShutdown: false } as const;
    server = new NameServer(namespace, { ...options, config, log: silentLog, onShutdown: () => undefined, changes });
    await call('register', [':a', uriToPython(uri)]);
    expect(seen).toEqual([[':a', uri.toString()]]);
    await expect(call('register', [':a', uriToPython(uri)])).rejects.toThrow('name already exists');
    expect(append).toHaveBeenCalledTimes(1);
  });

  test('to system metadata of a name that is not there fail for that, whatever the metadata are', async () => {
    await expect(call('_setSystemMeta', [':none', 7])).rejects.toThrow('name not found');
  });
});

test('a name that is not absolute is below the group that is configured', async () => {
  const options = { address: '127.0.0.1', className: 'NameServer', ignoreShutdown: false } as const;
  const own = { ...config, PYRO_NS_DEFAULTGROUP: ':Mine' };
  server = new NameServer(namespace, { ...options, config: own, log: silentLog, onShutdown: () => undefined });
  await server.createInitialGroups();
  await call('register', ['a', uriToPython(uri)]);
  expect((await namespace.resolve(Name.parse(':Mine.a'))).equals(uri)).toBe(true);
});

describe('what the name server itself needs', () => {
  const own = ':Pyro.NameServer';
  const refusal = "the name server's own entry can't be changed or removed";
  const needed = "a group that the name server needs can't be deleted";

  beforeEach(async () => {
    await server.register(own, uri);
  });

  test.each<[string, PythonValue[], string]>([
    ['unregister', [], refusal],
    ['register', [uriToPython(new PyroURI('PYRO', '127.0.0.1', 7766, 'mine'))], 'name already exists'],
    ['createGroup', [], 'group already exists'],
    ['deleteGroup', [], 'is no group'],
    ['setMeta', ['mine'], refusal],
    ['_setSystemMeta', [systemMetaToPython({ type: 1, timestamp: 5.5, owner: 'me' })], refusal],
  ])('clients can not %s its entry', async (method, args, text) => {
    const before = await namespace.getSystemMeta(Name.parse(own));
    await expect(call(method, [own, ...args])).rejects.toStrictEqual(new NamingError(text, own));
    expect(await namespace.resolve(Name.parse(own))).toEqual(uri);
    expect(await namespace.getMeta(Name.parse(own))).toBeNull();
    expect(await namespace.getSystemMeta(Name.parse(own))).toEqual(before);
  });

  test.each<[string, PythonValue[], string]>([
    ['register', [uriToPython(uri)], 'name already exists'],
    ['createGroup', [], 'group already exists'],
  ])(
    'clients can not %s in the place of its entry that somebody removed from the database',
    async (method, args, text) => {
      await server.unregister(own);
      await expect(call(method, [own, ...args])).rejects.toStrictEqual(new NamingError(text, own));
      await server.register(own, uri);
      expect(await namespace.resolve(Name.parse(own))).toEqual(uri);
    },
  );

  test.each([
    [':Default', [':Pyro', ':Default']],
    [':A.B.C', [':Pyro', ':A.B.C', ':A.B', ':A']],
    [':', [':Pyro']],
  ])('clients can not delete the groups that it, or the default group %s, is in', async (group, groups) => {
    for (const above of [':A', ':A.B']) await namespace.createGroup(Name.parse(above));
    const options = { address: '127.0.0.1', className: 'NameServer', ignoreShutdown: false } as const;
    const set = { ...config, PYRO_NS_DEFAULTGROUP: group };
    server = new NameServer(namespace, { ...options, config: set, log: silentLog, onShutdown: () => undefined });
    await server.createInitialGroups();
    for (const one of groups) {
      await expect(call('deleteGroup', [one])).rejects.toStrictEqual(new NamingError(needed, one));
    }
    await expect(call('deleteGroup', [':'])).rejects.toThrow('not allowed to delete root group');
    expect(await namespace.resolve(Name.parse(own))).toEqual(uri);
    expect(await namespace.list(Name.parse(group))).toBeDefined();
  });

  test('clients can delete groups that are named nearly like these, and those within them', async () => {
    for (const group of [':Py', ':Default2', ':Default.x', ':Pyro.x']) {
      await call('createGroup', [group]);
      await call('deleteGroup', [group]);
      await expect(namespace.list(Name.parse(group))).rejects.toThrow('group not found');
    }
  });

  test('clients can set the metadata of these groups', async () => {
    await call('setMeta', [':Pyro', 'ours']);
    expect(await call('getMeta', [':Pyro'])).toBe('ours');
  });
});

describe('an operation guard', () => {
  const asked: unknown[] = [];

  /** Lets nobody change what is below `:Pyro`. */
  const guard: OperationGuard = {
    acceptOperation(operation, name, connection) {
      asked.push([operation, name, connection === caller]);
      if (operation === 'getMeta') throw new Error('no idea');
      return Promise.resolve(!(operation === 'register' && name?.startsWith(':Pyro') === true));
    },
  };

  beforeEach(() => {
    asked.length = 0;
    server = nameServer(false, guard);
  });

  test('is asked with the absolute name and the connection, however the name is given', async () => {
    await call('register', ['a', uriToPython(uri)]);
    await call('resolve', [], { name: 'a' });
    await call('list', [null]);
    await call('ping');
    expect(asked).toEqual([
      ['register', ':Default.a', true],
      ['resolve', ':Default.a', true],
      ['list', ':', true],
      ['ping', undefined, true],
    ]);
  });

  test('refuses, and nothing is done', async () => {
    await expect(call('register', [':Pyro.a', uriToPython(uri)])).rejects.toMatchObject({
      name: 'NamingError',
      args: ['permission denied: register', ':Pyro.a'],
    });
    await expect(namespace.resolve(Name.parse(':Pyro.a'))).rejects.toThrow('name not found');
  });

  test('that fails refuses', async () => {
    await expect(call('getMeta', [':Pyro'])).rejects.toThrow('permission denied: getMeta');
  });

  test('is not asked about methods that are none', async () => {
    await expect(call('setGUID', ['a'])).rejects.toMatchObject({ className: 'AttributeError' });
    expect(asked).toEqual([]);
  });
});

/** The remote methods, from the object's own table: a method added later can't be forgotten here. */
function remoteMethodsOf(object: NameServer | Twin): string[] {
  const methods: unknown = Reflect.get(object, 'methods');
  if (!(methods instanceof Map)) throw new Error('there is no table of methods');
  return [...methods.keys()].map(String).sort();
}

describe('an operation guard, by table', () => {
  const meta = systemMetaToPython({ type: 0, timestamp: 5.5, owner: null });

  /** For each remote method: what it is called with, and the name that the guard is told. */
  const OPERATIONS: Readonly<Record<string, readonly [args: readonly PythonValue[], name: string | undefined]>> = {
    ping: [[], undefined],
    register: [['new', uriToPython(uri)], ':Default.new'],
    unregister: [['a'], ':Default.a'],
    resolve: [['a'], ':Default.a'],
    list: [[':Default'], ':Default'],
    flatlist: [[], undefined],
    createGroup: [['group'], ':Default.group'],
    deleteGroup: [[':G'], ':G'],
    getMeta: [['a'], ':Default.a'],
    setMeta: [['a', 'meta'], ':Default.a'],
    _getSystemMeta: [['a'], ':Default.a'],
    _setSystemMeta: [['a', meta], ':Default.a'],
    _r_ha: [['resolve'], undefined],
    resync: [[], undefined],
    _resync: [[null], undefined],
    _changes: [[null], undefined],
    _status: [[], undefined],
    _shutdown: [[], undefined],
  };

  /** What a call is answered, or the error that it fails with. */
  const outcomeOf = (answer: Promise<unknown>): Promise<unknown> => answer.catch((error: unknown) => error);

  let asked: unknown[];
  let decide: (verdict: boolean) => void;
  let used: string[];

  /** Decides when it is told to. */
  const guard: OperationGuard = {
    acceptOperation(operation, name, connection) {
      asked.push([operation, name, connection]);
      return new Promise((resolve) => {
        decide = resolve;
      });
    },
  };

  /** The store, the feed and the status, which note what of them is used. */
  function noted<T extends object>(object: T): T {
    return new Proxy(object, {
      get(target, property) {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          used.push(String(property));
          return Reflect.apply(value, target, args);
        };
      },
    });
  }

  function guarded(twin?: Twin): NameServer {
    return new NameServer(noted(namespace), {
      config,
      log: silentLog,
      address: '127.0.0.1',
      className: 'NameServer',
      ignoreShutdown: false,
      onShutdown: () => used.push('onShutdown'),
      operationGuard: guard,
      changes: noted(new ChangeFeed()),
      status: () => Promise.reject(new NamingError(`status: ${used.push('status')}`)),
      twin,
    });
  }

  beforeEach(async () => {
    await call('register', ['a', uriToPython(uri)]);
    await call('createGroup', [':G']);
    asked = [];
    used = [];
    server = guarded();
  });

  /** Waits until nothing goes on without the guard's verdict. */
  const turn = () => new Promise(setImmediate);

  test('the table has every remote method', () => {
    expect(Object.keys(OPERATIONS).sort()).toEqual(remoteMethodsOf(server));
  });

  describe.each(Object.entries(OPERATIONS))('%s', (method, [args, name]) => {
    test('asks the guard once, waits for it, and does nothing where it refuses', async () => {
      const outcome = outcomeOf(call(method, args));
      await turn();
      expect(asked).toEqual([[method, name, caller]]);
      decide(false);
      const details = name === undefined ? [] : [name];
      expect(await outcome).toStrictEqual(new NamingError(`permission denied: ${method}`, ...details));
      await turn();
      expect(used).toEqual([]);
      expect(asked).toHaveLength(1);
    });

    test('is done where the guard allows it', async () => {
      const request = { objectID: server.GUID(), method, flags: 0, args, keywords: new Map<string, PythonValue>() };
      const outcome = outcomeOf(Promise.resolve(server.invoke(request, caller)));
      await turn();
      expect(used).toEqual([]);
      decide(true);
      if (method === '_changes') server.close();
      expect(String(await outcome)).not.toContain('permission denied');
      const usesNothing = ['ping', '_r_ha', 'resync', '_resync'].includes(method);
      expect(used.length > 0).toBe(!usesNothing);
    });

    test('asks for a one-way call too', async () => {
      const flags = RequestFlag.Oneway;
      const request = { objectID: server.GUID(), method, flags, args, keywords: new Map<string, PythonValue>() };
      const outcome = outcomeOf(Promise.resolve(server.invoke(request, caller)));
      await turn();
      expect(asked).toEqual([[method, name, caller]]);
      decide(false);
      expect(String(await outcome)).toContain(`permission denied: ${method}`);
      expect(used).toEqual([]);
    });
  });

  test('every method that only paired servers have asks, and the twin hears of no call that is refused', async () => {
    const twin = lostTwin();
    const heard = jest.spyOn(twin, 'invoke');
    server = guarded(twin);
    const methods = remoteMethodsOf(twin);
    expect(methods).toEqual(expect.arrayContaining(['_resync', '_twinHello', 'resync']));
    for (const method of methods) {
      const outcome = outcomeOf(call(method, [null]));
      await turn();
      expect(heard).not.toHaveBeenCalled();
      decide(false);
      expect(await outcome).toStrictEqual(new NamingError(`permission denied: ${method}`));
    }
    expect(asked).toEqual(methods.map((method) => [method, undefined, caller]));
    expect(heard).not.toHaveBeenCalled();
    expect(used).toEqual([]);
    await twin.stop();
  });

  test("a pair's other methods ask too, those that wait for the twin and those that don't", async () => {
    const twin = lostTwin();
    await twin.start(uri);
    server = guarded(twin);
    for (const [method, [args, name]] of Object.entries(OPERATIONS)) {
      if (twin.has(method)) continue;
      asked = [];
      const outcome = outcomeOf(call(method, args));
      await turn();
      expect(asked).toEqual([[method, name, caller]]);
      decide(false);
      expect(String(await outcome)).toContain(`permission denied: ${method}`);
    }
    expect(used).toEqual([]);
    await twin.stop();
  });
});

describe('one of a pair', () => {
  test('lets clients wait from the beginning, until it has looked for its twin', async () => {
    const twin = lostTwin();
    server = nameServer(false, undefined, twin);
    const answered = jest.fn();
    const answer = call('list', [':Pyro']).finally(answered);
    await new Promise(setImmediate);
    expect(await call('_r_ha', ['_twinHello'])).toBe(1);
    expect(answered).not.toHaveBeenCalled();
    await twin.start(uri);
    expect(await answer).toEqual([]);
    expect(await call('list', [':Pyro'])).toEqual([]);
    await twin.stop();
  });

  test('lets nobody wait where it is stopped before', async () => {
    const twin = lostTwin();
    server = nameServer(false, undefined, twin);
    const answer = call('ping');
    await twin.stop();
    await expect(answer).rejects.toThrow('the name server shuts down');
  });

  test("keeps nothing of its twin's calls, where a guard is asked about them", async () => {
    setFlagsFromString('--expose-gc');
    server = nameServer(false, { acceptOperation: () => Promise.resolve(false) }, lostTwin());
    const refusal = async (): Promise<WeakRef<Error>> => {
      const error: unknown = await call('_twinHello').catch((reason: unknown) => reason);
      if (!(error instanceof Error)) throw new Error('it was let in');
      return new WeakRef(error);
    };
    const first = await refusal();
    await refusal();
    await new Promise(setImmediate);
    runInNewContext('gc()');
    expect(first.deref()).toBeUndefined();
  });
});

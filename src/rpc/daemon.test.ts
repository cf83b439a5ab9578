import { Socket } from 'node:net';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { rawFrame } from '../../test/support/raw-connection.js';
import { loadConfig, silentLog, type Config } from '../config/index.js';
import { DaemonError, NamingError, ProtocolError } from '../errors.js';
import { INTERNAL_DAEMON_GUID, PyroURI } from '../names/index.js';
import { PythonFloat, PythonUnicode, tuple, type PythonWritable } from '../pickle/index.js';
import {
  ClientConnection,
  decodeReply,
  encodeRequest,
  RequestFlag,
  ServerConnection,
  type CallReply,
} from '../wire/index.js';
import { Daemon, type DaemonOptions, type NameServerObject } from './daemon.js';
import { getCaller, ObjBase, SynchronizedObjBase } from './objects.js';
import { RemoteError } from './remote-error.js';

let config: Config;
let daemon: Daemon;
const opened: ClientConnection[] = [];

const startDaemon = (options: DaemonOptions = {}): Promise<Daemon> =>
  Daemon.start({ config, log: silentLog, host: '127.0.0.1', port: 0, norange: true, ...options });

async function connect(to: Daemon = daemon): Promise<ClientConnection> {
  const connection = await ClientConnection.open('127.0.0.1', to.port);
  opened.push(connection);
  return connection;
}

interface CallOptions {
  readonly keywords?: ReadonlyMap<string, PythonWritable>;
  readonly connection?: ClientConnection;
}

/** What a remote call returns or raises. */
async function call(uri: PyroURI, method: string, args: PythonWritable[] = [], options: CallOptions = {}) {
  const { keywords = new Map<string, PythonWritable>(), connection = await connect() } = options;
  const flags = RequestFlag.Varargs | RequestFlag.Keywords;
  const reply = await connection.call(encodeRequest({ objectID: uri.objectID, method, flags, args, keywords }));
  return decodeReply(reply);
}

/** A request that reaches no method. */
const ping = (objectID: string): Parameters<typeof encodeRequest>[0] => ({
  objectID,
  method: 'ping',
  flags: 0,
  args: [],
  keywords: new Map(),
});

/** A name server of a few lines. */
class Names implements NameServerObject {
  readonly entries = new Map<string, PyroURI>();

  register(name: string, uri: PyroURI): Promise<void> {
    if (this.entries.has(name)) return Promise.reject(new NamingError('name already exists', name));
    this.entries.set(name, uri);
    return Promise.resolve();
  }

  unregister(name: string): Promise<void> {
    return this.entries.delete(name) ? Promise.resolve() : Promise.reject(new NamingError('name not found', name));
  }

  resolve(name: string): Promise<PyroURI> {
    const uri = this.entries.get(name);
    return uri ? Promise.resolve(uri) : Promise.reject(new NamingError('name not found', name));
  }
}

class Thermometer {
  degrees = 20.5;
  _secret = 'x';

  read(): number {
    return this.degrees;
  }

  warm(by: number, options: { times?: number } = {}): number {
    this.degrees += by * (options.times ?? 1);
    return this.degrees;
  }

  async later(): Promise<string> {
    await Promise.resolve();
    return 'later';
  }

  echo(value: unknown): unknown {
    return value;
  }

  caller(): string | undefined {
    return getCaller()?.remoteAddress;
  }

  fail(): never {
    throw new RangeError('too warm');
  }

  async failLater(): Promise<never> {
    await Promise.resolve();
    throw new RangeError('too warm');
  }

  failAsPython(): never {
    throw new RemoteError('exceptions', 'KeyError', ['k']);
  }

  /** Throws what it is a wonder to throw. */
  failOddly(kind: string): never {
    const odd: Record<string, unknown> = {
      nothing: Object.create(null),
      unsendable: Object.assign(new RemoteError('exceptions', 'ValueError', []), { args: [() => 1] }),
      'no text': Object.defineProperty(new Error(), 'message', {
        get: () => {
          throw new RangeError();
        },
      }),
    };
    throw odd[kind];
  }

  _private(): string {
    return this._secret;
  }
}

beforeEach(async () => {
  config = loadConfig({ environment: {}, currentDirectory: '/' });
  daemon = await startDaemon();
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((connection) => connection.close()));
  await daemon.shutdown();
});

describe('objects', () => {
  test('answer calls, with values as programs expect them', async () => {
    const uri = await daemon.connect(new Thermometer());
    expect(await call(uri, 'read')).toEqual({ value: 20.5 });
    expect(await call(uri, 'warm', [new PythonFloat(1)])).toEqual({ value: 21.5 });
    expect(await call(uri, 'later')).toEqual({ value: 'later' });
    expect(await call(uri, 'caller')).toEqual({ value: '127.0.0.1' });
    expect(await call(uri, 'echo', [[tuple(1, 'a'), new Map([['k', null]])]])).toEqual({
      value: [tuple(1, 'a'), new Map([['k', null]])],
    });
    expect(await call(uri, 'echo', [new PythonUnicode('u')])).toEqual({ value: 'u' });
  });

  test('get keyword arguments as one object', async () => {
    const uri = await daemon.connect(new Thermometer());
    expect(await call(uri, 'warm', [1], { keywords: new Map([['times', 3]]) })).toEqual({ value: 23.5 });
  });

  test.each(['_private', '_secret', 'constructor', 'toString', 'hasOwnProperty', '__proto__', 'nothing', 'degrees'])(
    'have no method %s',
    async (method) => {
      const uri = await daemon.connect(new Thermometer());
      const message = `'Thermometer' object has no attribute '${method}'`;
      expect(await call(uri, method)).toMatchObject({ exception: { className: 'AttributeError', args: [message] } });
    },
  );

  test('have no method of ObjBase, where they extend it', async () => {
    class Extended extends ObjBase {
      hello(): string {
        return 'hello';
      }
    }
    const uri = await daemon.connect(new Extended());
    expect(await call(uri, 'hello')).toEqual({ value: 'hello' });
    for (const method of ['setGUID', 'invoke', 'delegateTo', 'getDaemon']) {
      expect(await call(uri, method)).toMatchObject({ exception: { className: 'AttributeError' } });
    }
  });

  test('keep the state of ObjBase to themselves, where they extend it', async () => {
    class Extended extends SynchronizedObjBase {
      constructor() {
        super(undefined, { methods: ['hello'] });
      }
      hello(): string {
        return 'hello';
      }
      secret(): string {
        return 'secret';
      }
    }
    const servant = new Extended();
    const uri = await daemon.connect(servant);
    expect(Object.keys(servant)).toEqual([]);
    for (const attribute of ['guid', 'daemon', 'target', 'access', 'lastUsed', 'last', '#access']) {
      for (const [method, ...args] of [['_r_ga', attribute] as const, ['_r_sa', attribute, null] as const]) {
        expect(await call(uri, method, args)).toMatchObject({ exception: { className: 'AttributeError' } });
      }
    }
    expect(await call(uri, 'secret')).toMatchObject({ exception: { className: 'AttributeError' } });
    expect(await call(uri, 'hello')).toEqual({ value: 'hello' });
  });

  test('may have methods of any public name, whatever ObjBase is made of', async () => {
    class Inbox extends ObjBase {
      receive(letter: string): string {
        return `got ${letter}`;
      }
      findMethod(): string {
        return 'found';
      }
    }
    const extended = await daemon.connect(new Inbox());
    expect(await call(extended, 'receive', ['x'])).toEqual({ value: 'got x' });
    expect(await call(extended, 'findMethod')).toEqual({ value: 'found' });
    const delegating = await daemon.connect(new ObjBase({ invoke: () => 'invoked', delegateTo: () => 'elsewhere' }));
    expect(await call(delegating, 'invoke')).toEqual({ value: 'invoked' });
    expect(await call(delegating, 'delegateTo')).toEqual({ value: 'elsewhere' });
  });

  test('may be of no class, and answer by promises of any kind', async () => {
    const bare = { foreign: (): unknown => runInNewContext('Promise.resolve(5)') };
    Object.setPrototypeOf(bare, null);
    const uri = await daemon.connect(bare);
    expect(await call(uri, 'foreign')).toEqual({ value: 5 });
    expect(await call(uri, 'nothing')).toMatchObject({
      exception: { className: 'AttributeError', args: ["'object' object has no attribute 'nothing'"] },
    });
  });

  test('have no attribute set that is not there or not listed', async () => {
    const target = { degrees: 20.5, other: 1 };
    const uri = await daemon.connect(new ObjBase(target, { attributes: ['degrees', 'missing'] }));
    for (const attribute of ['missing', 'other', '_hidden', '', 'toString']) {
      expect(await call(uri, '_r_sa', [attribute, 3])).toMatchObject({ exception: { className: 'AttributeError' } });
    }
    expect(await call(uri, '_r_sa', ['degrees', 3])).toEqual({ value: null });
    expect(target).toEqual({ degrees: 3, other: 1 });
  });

  test('say so where an attribute can not be set', async () => {
    const computed = Object.defineProperty({}, 'degrees', { get: () => 20.5 });
    for (const object of [computed, Object.freeze({ degrees: 20.5 })]) {
      const uri = await daemon.connect(object);
      expect(await call(uri, '_r_sa', ['degrees', 3])).toMatchObject({
        exception: { className: 'AttributeError', args: ["can't set attribute"] },
      });
      expect(await call(uri, '_r_ga', ['degrees'])).toEqual({ value: 20.5 });
    }
  });

  test('may say what is remote', async () => {
    const uri = await daemon.connect(new ObjBase(new Thermometer(), { methods: ['read'], attributes: [] }));
    expect(await call(uri, 'read')).toEqual({ value: 20.5 });
    expect(await call(uri, 'warm', [1])).toMatchObject({ exception: { className: 'AttributeError' } });
    expect(await call(uri, '_r_ga', ['degrees'])).toMatchObject({ exception: { className: 'AttributeError' } });
  });

  test('let attribute proxies read and write what is public', async () => {
    const thermometer = new Thermometer();
    const uri = await daemon.connect(thermometer);
    expect(await call(uri, '_r_ha', ['read'])).toEqual({ value: 1 });
    expect(await call(uri, '_r_ha', ['degrees'])).toEqual({ value: 2 });
    expect(await call(uri, '_r_ga', ['degrees'])).toEqual({ value: 20.5 });
    expect(await call(uri, '_r_sa', ['degrees', 3])).toEqual({ value: null });
    expect(thermometer.degrees).toBe(3);
    for (const attribute of ['_secret', 'read', '__proto__', 'constructor']) {
      expect(await call(uri, '_r_sa', [attribute, 'y'])).toMatchObject({ exception: { className: 'AttributeError' } });
    }
  });

  test('answer what the promises of their attributes come to', async () => {
    let reads = 0;
    const uri = await daemon.connect({
      degrees: Promise.resolve(20.5),
      get failing(): Promise<never> {
        reads += 1;
        return Promise.reject(new RemoteError('exceptions', 'ValueError', ['too warm']));
      },
    });
    expect(await call(uri, '_r_ga', ['degrees'])).toEqual({ value: 20.5 });
    expect(await call(uri, '_r_ga', ['failing'])).toMatchObject({
      exception: { className: 'ValueError', args: ['too warm'] },
    });
    expect(reads).toBe(1);
    // What comes of a promise that was only looked at concerns nobody: it must not end the process.
    expect(await call(uri, '_r_ha', ['failing'])).toEqual({ value: 2 });
    expect(await call(uri, 'failing')).toMatchObject({ exception: { className: 'AttributeError' } });
    expect(await call(uri, '_r_sa', ['failing', 1])).toMatchObject({ exception: { className: 'AttributeError' } });
  });

  test('raise what Python knows', async () => {
    const uri = await daemon.connect(new Thermometer());
    expect(await call(uri, 'fail')).toMatchObject({
      exception: { module: 'exceptions', className: 'ValueError', args: ['too warm'] },
    });
    expect(await call(uri, 'failAsPython')).toMatchObject({ exception: { className: 'KeyError', args: ['k'] } });
    expect(JSON.stringify(await call(uri, 'fail'))).not.toContain('.ts');
  });

  test.each([
    ['nothing', "the exception can't be sent: it has no text"],
    ['no text', "the exception can't be sent: it has no text"],
    ['unsendable', "the exception can't be sent: can't pickle"],
  ])('say that they failed, whatever they throw: %s', async (kind, why) => {
    const uri = await daemon.connect(new Thermometer());
    expect(await call(uri, 'failOddly', [kind])).toMatchObject({
      exception: { module: 'Pyro.errors', className: 'PyroError', args: [expect.stringContaining(why)] },
    });
    expect(await call(uri, 'read')).toEqual({ value: 20.5 });
  });

  test('that are synchronized answer one call at a time', async () => {
    let running = 0;
    let most = 0;
    const slow = new SynchronizedObjBase({
      async work() {
        most = Math.max(most, ++running);
        await new Promise(setImmediate);
        running -= 1;
      },
    });
    const uri = await daemon.connect(slow);
    await Promise.all(Array.from({ length: 5 }, () => call(uri, 'work')));
    expect(most).toBe(1);
  });

  test('that are synchronized answer the next call after one that failed', async () => {
    const uri = await daemon.connect(new SynchronizedObjBase(new Thermometer()));
    for (const method of ['fail', 'failLater']) {
      expect(await call(uri, method)).toMatchObject({ exception: { className: 'ValueError', args: ['too warm'] } });
    }
    expect(await call(uri, 'read')).toEqual({ value: 20.5 });
  });

  test('are the same object, with the same id, each time that they are named', async () => {
    const thermometer = new Thermometer();
    const uri = await daemon.connect(thermometer);
    expect(daemon.uriOf(thermometer)).toEqual(uri);
    expect(await daemon.connect(thermometer)).toEqual(uri);
    expect(daemon.uriOf(new Thermometer()).objectID).not.toBe(uri.objectID);
    await daemon.disconnect(thermometer);
    expect([...daemon.getRegistered().keys()]).toEqual([INTERNAL_DAEMON_GUID]);
    await daemon.disconnect(INTERNAL_DAEMON_GUID);
    expect([...daemon.getRegistered().keys()]).toEqual([INTERNAL_DAEMON_GUID]);
  });

  test('without a name are dropped when nobody calls them', async () => {
    const reaped = new Promise<void>((resolve) => {
      class Transient extends ObjBase {
        override _gotReaped(): void {
          resolve();
        }
      }
      void daemon.connect(new Transient());
    });
    daemon.setTransientsCleanupAge(0.02);
    await reaped;
    expect(daemon.getRegistered().size).toBe(1);
  });
});

test('a remote method may shut its daemon down, and is answered', async () => {
  const uri = await daemon.connect({
    async stop() {
      await daemon.shutdown(true);
      return 'bye';
    },
  });
  const other = await connect();
  const connection = await connect();
  expect(await call(uri, 'stop', [], { connection })).toEqual({ value: 'bye' });
  await Promise.all([connection.closed, other.closed]);
  await expect(connect()).rejects.toThrow('connection failed');
});

describe('a daemon that has just started', () => {
  const idle: NameServerObject = {
    register: () => Promise.resolve(),
    resolve: () => Promise.reject(new NamingError('name not found')),
    unregister: () => Promise.resolve(),
  };

  test('lets calls wait for objects that are still to be connected', async () => {
    const [first, second] = [new ObjBase({ hello: () => 1 }), new ObjBase({ hello: () => 2 })];
    const calls = [first, second].map((object) => call(daemon.uriOf(object), 'hello'));
    const resolved = call(new PyroURI('PYRO', '127.0.0.1', daemon.port, INTERNAL_DAEMON_GUID), 'ResolvePYROLOC', ['b']);
    await connect();
    daemon.useNameServer({ ...idle, register: () => new Promise((resolve) => setTimeout(resolve, 20)) });
    await daemon.connectPersistent(first, 'a');
    await daemon.connectPersistent(second, 'b');
    expect(await Promise.all(calls)).toEqual([{ value: 1 }, { value: 2 }]);
    expect(await resolved).toEqual({ value: second.GUID() });
  });

  test('lets calls wait no longer once all are connected, or could not be', async () => {
    let refuse: () => void = () => undefined;
    const register = (): Promise<never> =>
      new Promise((_, reject) => {
        refuse = () => {
          reject(new NamingError('name already exists'));
        };
      });
    daemon.useNameServer({ ...idle, register });
    const object = new ObjBase({ hello: () => 1 });
    const [connection, other] = [await connect(), await connect()];
    const connecting = daemon.connect(object, 'a');
    const called = call(daemon.uriOf(object), 'hello', [], { connection });
    // By when another connection was served several times, the call has come here, too.
    const internal = encodeRequest({ ...ping(INTERNAL_DAEMON_GUID), method: 'getRegistered' });
    for (let asked = 0; asked < 3; asked++) await other.call(internal);
    refuse();
    await expect(connecting).rejects.toThrow('name already exists');
    await connection.closed;
    expect(await called).toMatchObject({ exception: { args: ['unknown object ID'] } });
    expect(await call(daemon.uriOf(object), 'hello')).toMatchObject({ exception: { args: ['unknown object ID'] } });
  });
});

describe('the internal object', () => {
  const internal = (): PyroURI => new PyroURI('PYRO', '127.0.0.1', daemon.port, INTERNAL_DAEMON_GUID);

  test('tells what is registered, and resolves names', async () => {
    const uri = await daemon.connect(new Thermometer(), 'thermometer');
    expect(await call(internal(), 'ResolvePYROLOC', ['thermometer'])).toEqual({ value: uri.objectID });
    expect(await call(internal(), 'getRegistered')).toEqual({
      value: new Map([
        [INTERNAL_DAEMON_GUID, '__PYRO_Internal_Daemon'],
        [uri.objectID, 'thermometer'],
      ]),
    });
  });

  test('has nothing else, and does not know other names', async () => {
    await daemon.connect(new Thermometer(), 'thermometer');
    expect(await call(internal(), 'shutdown')).toMatchObject({ exception: { className: 'AttributeError' } });
    expect(await call(internal(), 'ResolvePYROLOC', ['x'])).toMatchObject({
      exception: { className: 'NamingError', args: ['no object found by this name', 'x'] },
    });
  });

  test('is not what an unknown id leads to', async () => {
    await daemon.connect(new Thermometer());
    const connection = await connect();
    const unknown = new PyroURI('PYRO', '127.0.0.1', daemon.port, 'unknown');
    expect(await call(unknown, 'ping', [], { connection })).toMatchObject({
      exception: { className: 'ProtocolError', args: ['unknown object ID'] },
    });
    await connection.closed;
  });
});

describe('names', () => {
  test('connect registers, disconnect unregisters, a taken name is an error', async () => {
    const names = new Names();
    daemon.useNameServer(names);
    const thermometer = new Thermometer();
    const uri = await daemon.connect(thermometer, ':a');
    expect(names.entries.get(':a')).toEqual(uri);
    await expect(daemon.connect(new Thermometer(), ':a')).rejects.toThrow('name already exists');
    await daemon.disconnect(thermometer);
    expect(names.entries.size).toBe(0);
    expect(await call(uri, 'read')).toMatchObject({ exception: { args: ['unknown object ID'] } });
  });

  test('connectPersistent takes over the id that is registered for this address and port', async () => {
    const names = new Names();
    daemon.useNameServer(names);
    const registered = new PyroURI('PYRO', '127.0.0.1', daemon.port, 'earlier-id');
    names.entries.set(':a', registered);
    expect(await daemon.connectPersistent(new Thermometer(), ':a')).toEqual(registered);
    expect(await call(registered, 'read')).toEqual({ value: 20.5 });
  });

  test.each([
    ['another port', (port: number) => new PyroURI('PYRO', '127.0.0.1', port + 1, 'earlier-id')],
    ['another address', (port: number) => new PyroURI('PYRO', '127.0.0.2', port, 'earlier-id')],
    ['another protocol', (port: number) => new PyroURI('PYROSSL', '127.0.0.1', port, 'earlier-id')],
  ])('connectPersistent replaces a registration that leads to %s', async (_where, registered) => {
    const names = new Names();
    daemon.useNameServer(names);
    names.entries.set(':a', registered(daemon.port));
    const uri = await daemon.connectPersistent(new Thermometer(), ':a');
    expect(uri).toEqual(new PyroURI('PYRO', '127.0.0.1', daemon.port, uri.objectID));
    expect(uri.objectID).not.toBe('earlier-id');
    expect(names.entries.get(':a')).toEqual(uri);
    expect(await call(uri, 'read')).toEqual({ value: 20.5 });
    expect(await call(registered(daemon.port), 'read')).toMatchObject({ exception: { args: ['unknown object ID'] } });
  });

  test.each<[string, (bank: string) => string, string]>([
    ['of another object', (bank) => bank, 'another object of this daemon has it'],
    ['of the daemon itself', () => INTERNAL_DAEMON_GUID, 'another object of this daemon has it'],
    ['that is too long', () => 'x'.repeat(101), 'it is no usable object id'],
    ['with a control character', () => 'a\x9b31m', 'it is no usable object id'],
    ['that is empty', () => '', 'it is no usable object id'],
  ])('connectPersistent takes over no id %s', async (_which, idFor, reason) => {
    const warnings: unknown[][] = [];
    await using own = await startDaemon({ log: { ...silentLog, warn: (...parts) => warnings.push(parts) } });
    const names = new Names();
    own.useNameServer(names);
    const bank = await own.connect({ answer: () => 'bank' }, ':bank');
    const id = idFor(bank.objectID);
    names.entries.set(':chat', new PyroURI('PYRO', '127.0.0.1', own.port, id));
    const chat = await own.connectPersistent({ answer: () => 'chat' }, ':chat');
    const connection = await connect(own);
    expect(await call(bank, 'answer', [], { connection })).toEqual({ value: 'bank' });
    expect(await call(chat, 'answer', [], { connection })).toEqual({ value: 'chat' });
    expect([chat.objectID === id, names.entries.get(':chat')]).toEqual([false, chat]);
    const internal = new PyroURI('PYRO', '127.0.0.1', own.port, INTERNAL_DAEMON_GUID);
    expect(await call(internal, 'ResolvePYROLOC', [':bank'], { connection })).toEqual({ value: bank.objectID });
    const text = 'the object gets a new id, not the one registered:';
    expect(warnings).toEqual([['Daemon', text, ':chat', id, `(${reason})`]]);
  });

  test('connectPersistent takes over an id of the greatest length, and the one that the object has already', async () => {
    const names = new Names();
    daemon.useNameServer(names);
    const registered = new PyroURI('PYRO', '127.0.0.1', daemon.port, 'x'.repeat(100));
    names.entries.set(':a', registered);
    const object = new Thermometer();
    expect(await daemon.connectPersistent(object, ':a')).toEqual(registered);
    expect(await daemon.connectPersistent(object, ':a')).toEqual(registered);
  });

  test('of two names that are registered with one id, connectPersistent gives it to one object only', async () => {
    const names = new Names();
    daemon.useNameServer(names);
    const registered = new PyroURI('PYRO', '127.0.0.1', daemon.port, 'one-id');
    for (const name of [':a', ':b']) names.entries.set(name, registered);
    const connected = [':a', ':b'].map((name) => daemon.connectPersistent({ name: () => name }, name));
    const [a, b] = await Promise.all(connected);
    if (a === undefined || b === undefined) throw new Error('two objects are connected');
    expect([a.objectID, b.objectID === 'one-id']).toEqual(['one-id', false]);
    expect([await call(a, 'name'), await call(b, 'name')]).toEqual([{ value: ':a' }, { value: ':b' }]);
  });

  test('shutdown unregisters, but not what was connected persistently', async () => {
    const names = new Names();
    daemon.useNameServer(names);
    names.entries.set(':old', new PyroURI('PYRO', '127.0.0.1', daemon.port, 'earlier-id'));
    const changing = new Thermometer();
    await daemon.connectPersistent(changing, ':was persistent');
    await daemon.disconnect(changing);
    await daemon.connect(changing, ':is no more');
    await daemon.connect(new Thermometer(), ':plain');
    await daemon.connectPersistent(new Thermometer(), ':new');
    await daemon.connectPersistent(new Thermometer(), ':old');
    expect([...names.entries.keys()].sort()).toEqual([':is no more', ':new', ':old', ':plain']);
    await daemon.shutdown(true);
    expect([...names.entries.keys()].sort()).toEqual([':new', ':old']);
    daemon = await startDaemon();
  });

  test('are unregistered at the end of an `await using`', async () => {
    const names = new Names();
    {
      await using own = await startDaemon();
      own.useNameServer(names);
      await own.connect(new Thermometer(), ':a');
      expect([...names.entries.keys()]).toEqual([':a']);
    }
    expect([...names.entries.keys()]).toEqual([]);
  });

  test('that are gone already are as good as unregistered', async () => {
    const names = new Names();
    daemon.useNameServer(names);
    const object = new ObjBase(new Thermometer());
    const uri = await daemon.connect(object, ':a');
    names.entries.clear();
    await daemon.disconnect(object);
    expect(daemon.getRegistered().has(uri.objectID)).toBe(false);
    expect(() => object.getDaemon()).toThrow(new DaemonError('the object is not connected to a daemon'));
  });

  test('of a name server that fails are not taken for missing ones', async () => {
    const lost = (): Promise<never> => Promise.reject(new ProtocolError('connection lost'));
    const names = new Names();
    daemon.useNameServer(names);
    const [object, other] = [new Thermometer(), new Thermometer()];
    const uri = await daemon.connect(object, ':a');
    names.unregister = lost;
    await expect(daemon.disconnect(object)).rejects.toThrow(new ProtocolError('connection lost'));
    // It can be disconnected later.
    expect(await call(uri, 'read')).toEqual({ value: 20.5 });
    names.resolve = lost;
    await expect(daemon.connectPersistent(other, ':b')).rejects.toThrow(new ProtocolError('connection lost'));
    expect([...names.entries.keys()]).toEqual([':a']);
    expect(await call(daemon.uriOf(other), 'read')).toMatchObject({ exception: { args: ['unknown object ID'] } });
  });

  test('that can not be unregistered do not keep the daemon from its end, and are logged', async () => {
    const warnings: unknown[] = [];
    const log = { ...silentLog, warn: (...parts: unknown[]) => warnings.push(parts) };
    const names = new Names();
    const lost = new ProtocolError('connection lost');
    names.unregister = () => Promise.reject(lost);
    const own = await startDaemon({ log });
    own.useNameServer(names);
    const objects = [new ObjBase(), new ObjBase()];
    await own.connect(objects[0] ?? {}, ':a');
    await own.connect(objects[1] ?? {}, ':b');
    await own.shutdown(true);
    expect(warnings).toEqual(
      [':a', ':b'].map((name) => ['Daemon', 'unregistering an object at shutdown failed:', name, lost]),
    );
    for (const object of objects) expect(() => object.getDaemon()).toThrow(DaemonError);
    await expect(connect(own)).rejects.toThrow('connection failed');
  });

  test('are warned of where there is no name server', async () => {
    const warnings: unknown[] = [];
    await using own = await startDaemon({ log: { ...silentLog, warn: (...parts) => warnings.push(parts) } });
    await own.connect({});
    expect(warnings).toEqual([]);
    await own.connect({}, ':a');
    expect(warnings).toEqual([['Daemon', 'connecting object without name server specified:', ':a']]);
  });
});

describe('objects without a name', () => {
  const reaped: string[] = [];

  class Labelled extends ObjBase {
    constructor(private readonly label: string) {
      super({ ping: () => null });
    }

    override _gotReaped(): void {
      reaped.push(this.label);
    }
  }

  beforeEach(() => {
    reaped.length = 0;
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance'] });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  const ids = (): string[] => [...daemon.getRegistered().keys()];

  test('are dropped, and told so, once they were not called for longer than the clean-up age', async () => {
    const [quiet, busy, named] = [new Labelled('quiet'), new Labelled('busy'), new Labelled('named')];
    await daemon.connect(quiet);
    await daemon.connect(busy);
    await daemon.connect(named, ':named');
    const caller = new ServerConnection(new Socket());
    daemon.setTransientsCleanupAge(10);
    jest.advanceTimersByTime(9000);
    await busy.invoke({ objectID: busy.GUID(), method: 'ping', flags: 0, args: [], keywords: new Map() }, caller);
    caller.destroy();
    jest.advanceTimersByTime(1000);
    expect(ids()).toEqual([INTERNAL_DAEMON_GUID, quiet.GUID(), busy.GUID(), named.GUID()]);
    jest.advanceTimersByTime(2000);
    expect(ids()).toEqual([INTERNAL_DAEMON_GUID, busy.GUID(), named.GUID()]);
    expect(reaped).toEqual(['quiet']);
    expect(() => quiet.getDaemon()).toThrow(DaemonError);
    jest.advanceTimersByTime(100_000);
    expect(ids()).toEqual([INTERNAL_DAEMON_GUID, named.GUID()]);
    expect(reaped).toEqual(['quiet', 'busy']);
  });

  test.each([
    ['the latest age counts', 1000, 20],
    ['an age of 0 keeps them', 0, 1000],
  ])('are dropped by one age only: %s', async (_what, age, kept) => {
    const object = new Labelled('object');
    await daemon.connect(object);
    daemon.setTransientsCleanupAge(10);
    daemon.setTransientsCleanupAge(age);
    jest.advanceTimersByTime(kept * 1000);
    expect(ids()).toEqual([INTERNAL_DAEMON_GUID, object.GUID()]);
  });

  test('are dropped no more after the shutdown', async () => {
    const own = await startDaemon();
    await own.connect(new Labelled('object'));
    own.setTransientsCleanupAge(10);
    await own.shutdown();
    jest.advanceTimersByTime(100_000);
    expect(reaped).toEqual([]);
  });
});

describe('ports', () => {
  test('a taken one is passed over in a range, and an error without', async () => {
    const { port } = daemon;
    await using next = await startDaemon({ port, norange: false });
    expect(next.port).toBeGreaterThan(port);
    const [server] = next.getServerSockets();
    expect([server?.listenerCount('error'), server?.listenerCount('listening')]).toEqual([1, 0]);
    await expect(startDaemon({ port })).rejects.toThrow("Couldn't start Pyro daemon");
  });

  test('are PYRO_PORT_RANGE from PYRO_PORT upwards', async () => {
    const within = (range: number): Promise<Daemon> =>
      Daemon.start({
        config: { ...config, PYRO_PORT: daemon.port, PYRO_PORT_RANGE: range },
        log: silentLog,
        host: '127.0.0.1',
      });
    await expect(within(1)).rejects.toThrow(/^Couldn't start Pyro daemon: .*EADDRINUSE/);
    await using next = await within(50);
    expect(next.port - daemon.port).toBeGreaterThan(0);
    expect(next.port - daemon.port).toBeLessThan(50);
  });

  test.each([
    ['PYRO_HOST', { PYRO_HOST: '127.0.0.1' }, '127.0.0.1', '127.0.0.1'],
    ['all addresses', { PYRO_HOST: '', PYRO_PUBLISHHOST: '10.1.2.3' }, '0.0.0.0', '10.1.2.3'],
    ['PYRO_PUBLISHHOST', { PYRO_HOST: '127.0.0.1', PYRO_PUBLISHHOST: '10.1.2.3' }, '127.0.0.1', '10.1.2.3'],
    ['a name by PYRO_DNS_URI', { PYRO_HOST: 'localhost', PYRO_DNS_URI: true }, '127.0.0.1', 'localhost'],
    ['an address by default', { PYRO_HOST: 'localhost', PYRO_DNS_URI: false }, '127.0.0.1', '127.0.0.1'],
  ])('and addresses are as configured: %s', async (_what, items, listening, published) => {
    const own = { ...config, ...items };
    await using started = await Daemon.start({ config: own, log: silentLog, port: 0, norange: true });
    expect([started.listening.address, started.uriOf({}).address]).toEqual([listening, published]);
  });

  test('the published host is the one in URIs', async () => {
    await using published = await startDaemon({ publishHost: '10.1.2.3' });
    expect((await published.connect(new Thermometer())).address).toBe('10.1.2.3');
  });
});

describe('clients', () => {
  test('one more than PYRO_MAXCONNECTIONS is refused', async () => {
    config.PYRO_MAXCONNECTIONS = 2;
    await connect();
    await connect();
    await expect(connect()).rejects.toThrow('server too busy');
  });

  test('need the identification that is asked for', async () => {
    daemon.setAllowedIdentifications(['secret']);
    const identification = (text: string): Buffer => daemon.getNewConnectionValidator().mungeIdent(text);
    const open = (text: string) =>
      ClientConnection.open('127.0.0.1', daemon.port, { identification: identification(text) });
    await expect(connect()).rejects.toThrow('security reasons');
    await expect(open('wrong')).rejects.toThrow('security reasons');
    opened.push(await open('secret'));
  });

  test('that send nonsense hear so, and others are served', async () => {
    const uri = await daemon.connect(new Thermometer());
    const bad = await connect();
    const reply = decodeReply(await bad.call(Buffer.from('nonsense')));
    expect(reply).toMatchObject({ exception: { className: 'ProtocolError' } });
    await bad.closed;
    expect(await call(uri, 'read')).toEqual({ value: 20.5 });
  });

  test('wait with large messages for others, where both are more than PYRO_MAX_INCOMING_SIZE', async () => {
    await using narrow = await startDaemon({ maxIncomingSize: 1024 });
    const uri = await narrow.connect(new Thermometer());
    const text = 'x'.repeat(1_000_000);
    let read = (): number => 0;
    narrow.getServerSockets()[0]?.once('connection', (socket: Socket) => (read = () => socket.bytesRead));
    const half = await connect(narrow);
    half.socket.write(rawFrame(Buffer.from(text)).subarray(0, 500_000));
    while (read() < 500_000) await new Promise(setImmediate);
    const [whole, small] = [await connect(narrow), await connect(narrow)];
    let isAnswered = false;
    const answered = call(uri, 'echo', [text], { connection: whole }).finally(() => (isAnswered = true));
    for (let asked = 0; asked < 5; asked++) await call(uri, 'read', [], { connection: small });
    expect(isAnswered).toBe(false);
    half.destroy();
    expect(await answered).toEqual({ value: text });
  });

  test.each([true, false])('get no answer to one-way calls, whatever they come to: threaded %s', async (threaded) => {
    config.PYRO_ONEWAY_THREADED = threaded;
    const { objectID } = await daemon.connect(new Thermometer());
    const connection = await connect();
    const request = (method: string, flags: number, args: PythonWritable[] = []): Buffer =>
      encodeRequest({ objectID, method, flags: flags | RequestFlag.Varargs, args, keywords: new Map() });
    for (const method of ['read', 'later', 'fail', 'failLater', 'nothing']) {
      connection.send(request(method, RequestFlag.Oneway));
    }
    expect(decodeReply(await connection.call(request('echo', 0, ['answered'])))).toEqual({ value: 'answered' });
    expect(decodeReply(await connection.call(request('echo', 0, ['too'])))).toEqual({ value: 'too' });
  });

  test.each([true, false])('wait for their one-way calls unless PYRO_ONEWAY_THREADED: %s', async (threaded) => {
    config.PYRO_ONEWAY_THREADED = threaded;
    const events: string[] = [];
    let end: () => void = () => undefined;
    const { objectID } = await daemon.connect({
      work: async () => {
        await new Promise<void>((resolve) => (end = resolve));
        events.push('work done');
      },
      note: () => events.push('noted'),
    });
    const connection = await connect();
    const request = (method: string, flags: number): Buffer =>
      encodeRequest({ objectID, method, flags, args: [], keywords: new Map() });
    connection.send(request('work', RequestFlag.Oneway));
    const noted = connection.call(request('note', 0));
    if (threaded) await noted;
    // By when another connection was served several times, the call has come here, too.
    const other = await connect();
    for (let asked = 0; asked < 3; asked++) await other.call(encodeRequest(ping(objectID)));
    expect(events).toEqual(threaded ? ['noted'] : []);
    end();
    await noted;
    while (events.length < 2) await new Promise(setImmediate);
    expect(events).toEqual(threaded ? ['noted', 'work done'] : ['work done', 'noted']);
  });

  test.each([0, 1, 2] as const)('get results and exceptions as PYRO_PICKLE_FORMAT says: %d', async (format) => {
    config.PYRO_PICKLE_FORMAT = format;
    const { objectID } = await daemon.connect(new Thermometer());
    const connection = await connect();
    const request = (method: string): Buffer =>
      encodeRequest({ objectID, method, flags: 0, args: [], keywords: new Map() });
    const replies = [await connection.call(request('read')), await connection.call(request('fail'))];
    // Only protocol 2 begins with its number; only protocol 0 is text.
    const isText = (body: Buffer): boolean => /^[ -~\n]*$/.test(body.toString('latin1'));
    expect(replies.map((body) => [body[0] === 0x80, isText(body)])).toEqual(
      replies.map(() => [format === 2, format === 0]),
    );
  });

  test('have no more than PYRO_MAX_ONEWAY_CALLS one-way calls under way, and are read on when one is done', async () => {
    config.PYRO_MAX_ONEWAY_CALLS = 3;
    const ends: (() => void)[] = [];
    let started = 0;
    const work = (): Promise<void> => {
      started += 1;
      return new Promise((resolve) => ends.push(resolve));
    };
    const uri = await daemon.connect({ work, done: () => started });
    const { objectID } = uri;
    const connection = await connect();
    const request = (method: string, flags: number): Buffer =>
      encodeRequest({ objectID, method, flags, args: [], keywords: new Map() });
    const sendWork = (count: number): void => {
      for (let sent = 0; sent < count; sent++) connection.send(request('work', RequestFlag.Oneway));
    };
    const done = async (): Promise<CallReply> => decodeReply(await connection.call(request('done', 0)));
    sendWork(2);
    expect(await done()).toEqual({ value: 2 });
    sendWork(3);
    const answered = done();
    while (started < 3) await new Promise(setImmediate);
    // Another connection is served meanwhile, and its answers take longer than the rest of what came here would.
    for (let asked = 0; asked < 3; asked++) await call(uri, 'done');
    expect(started).toBe(3);
    for (let ended = 0; ended < 3; ended++) {
      while (ends.length === 0) await new Promise(setImmediate);
      ends.shift()?.();
    }
    expect(await answered).toEqual({ value: 5 });
    for (const end of ends.splice(0)) end();
  });
});

/**
 * Each configuration item has an effect, and each limit among them holds: at the bound, and not one beyond. A new item has to
 * get its row here, or a test fails.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import {
  CONFIG_GROUPS,
  createLog,
  createUserLog,
  loadConfig,
  readIdentification,
  silentLog,
  type Config,
  type ConfigItemName,
} from '../src/config/index.js';
import { ITEM_NAMES } from '../src/config/items.js';
import { NamingError } from '../src/errors.js';
import { Name, NAMESERVER_NAME, PyroURI } from '../src/names/index.js';
import { EtcdNamespace } from '../src/namespace/etcd/etcd-namespace.js';
import { databaseOf, MemoryNamespace, openNamespace } from '../src/namespace/index.js';
import { AutoClean } from '../src/naming/auto-clean.js';
import { BroadcastServer } from '../src/naming/broadcast.js';
import { ChangeFeed } from '../src/naming/change-feed.js';
import { NameServerLocator } from '../src/naming/locator.js';
import { NameServer } from '../src/naming/name-server.js';
import { NameServerStarter } from '../src/naming/starter.js';
import { SubtreeLock } from '../src/sync/index.js';
import { Outbox } from '../src/naming/twin/outbox.js';
import { openPeer } from '../src/naming/twin/peer-link.js';
import { Replica } from '../src/naming/twin/merge.js';
import { Pyro3Twin } from '../src/naming/twin/pyro3-twin.js';
import { Versions } from '../src/naming/twin/versions.js';
import { dumps, type PythonWritable } from '../src/pickle/index.js';
import { readCertificates, readClientTLS } from '../src/rpc/certificates.js';
import { Daemon, getProxyForURI, LivenessProbe, resolveAddress } from '../src/rpc/index.js';
import { HostResolver } from '../src/wire/host-resolver.js';
import {
  ClientConnection,
  decodeReply,
  encodeRequest,
  hostResolver,
  RequestFlag,
  ServerConnection,
} from '../src/wire/index.js';
import { CHECKSUM, COMPRESSED, Conversation } from './support/conversation.js';
import { rawFrame, RawConnection } from './support/raw-connection.js';

type Items = Partial<Record<ConfigItemName, string | number>>;

/** What an item does: with each of its values, something else is to be observed. */
interface Effect {
  /** The other items that are needed to see it. */
  readonly with?: () => Items;
  readonly observe: (config: Config) => unknown;
  /** Values, as in the environment, and what comes of each. */
  readonly values: () => readonly (readonly [value: string | number, observed: unknown])[];
}

let directory: string;
/** A TCP port of 127.0.0.1 where a name server listens. */
let nameServerPort: number;
let nameServer: NameServerStarter;
/** Sockets that note who asks, and answer each with a URI of their own. */
let answering: DatagramSocket[];
const cleanUp: (() => unknown)[] = [];

/** A TCP port where nobody listens. */
const CLOSED_PORT = 1;

const configOf = (items: Items): Config =>
  loadConfig({
    environment: {
      PYRO_STORAGE: directory,
      PYRO_NS_PORT: String(CLOSED_PORT),
      PYRO_NS2_PORT: String(CLOSED_PORT),
      PYRO_NS_BC_ADDR: '127.0.0.1',
      PYRO_NS2_BC_ADDR: '127.0.0.1',
      PYRO_BC_TIMEOUT: '0.01',
      PYRO_BC_RETRIES: '0',
      PYRO_HOST: '127.0.0.1',
      PYRO_PORT: '0',
      ...Object.fromEntries(Object.entries(items).map(([name, value]) => [name, String(value)])),
    },
    currentDirectory: directory,
  });

/** What an action comes to, or the text of its error. */
const outcome = async (action: () => Promise<unknown>): Promise<unknown> => {
  try {
    return await action();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return text.includes('EADDRINUSE') ? 'the port is taken' : text;
  }
};

async function answeringSocket(uri: string): Promise<DatagramSocket> {
  const socket = createSocket('udp4');
  socket.on('message', (_question, { address, port }) => {
    socket.send(uri, port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-items-'));
  answering = await Promise.all(['PYRO://127.0.0.1:1/a', 'PYRO://127.0.0.1:1/b'].map(answeringSocket));
  nameServer = newStarter(configOf({}));
  nameServerPort = (await nameServer.start({ ...QUIET, nsport: 0 })).port;
});

/** Ends what an observation has begun. */
async function restore(): Promise<void> {
  jest.useRealTimers();
  jest.restoreAllMocks();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
}

afterEach(restore);

afterAll(async () => {
  await nameServer.shutdown();
  for (const socket of answering) socket.close();
  rmSync(directory, { recursive: true });
});

const QUIET = { hostname: '127.0.0.1', dontlookupother: true, nobroadcast: true };

const newStarter = (config: Config): NameServerStarter => new NameServerStarter({ config, log: silentLog });

/** Starts a name server, and gives its daemon's port. */
async function startNameServer(config: Config): Promise<PyroURI> {
  const starter = newStarter(config);
  cleanUp.push(() => starter.shutdown());
  return starter.start({ ...QUIET, nsport: 0 });
}

/** An object that answers, and may be held. */
class Target {
  /** The names of the calls that have begun. */
  readonly calls: string[] = [];
  letGo: () => void = () => undefined;

  echo(value: unknown): unknown {
    this.calls.push('echo');
    return value;
  }

  big(): string {
    this.calls.push('big');
    return 'x'.repeat(16 << 20);
  }

  hold(): Promise<void> {
    this.calls.push('hold');
    return new Promise((resolve) => (this.letGo = resolve));
  }

  nothing(): void {
    // Only its answer counts.
  }
}

interface Served {
  readonly daemon: Daemon;
  readonly target: Target;
  readonly uri: PyroURI;
  /** The daemon's ends of its connections, in their order. */
  readonly sockets: readonly Socket[];
}

async function serve(config: Config, log = silentLog): Promise<Served> {
  const daemon = await Daemon.start({ config, log });
  const target = new Target();
  cleanUp.push(() => daemon.shutdown());
  cleanUp.push(() => {
    target.letGo();
  });
  const sockets: Socket[] = [];
  daemon.getServerSockets()[0]?.on('connection', (socket: Socket) => sockets.push(socket));
  return { daemon, target, uri: await daemon.connect(target), sockets };
}

async function listen(port: number): Promise<Server> {
  const server = new Server().listen(port, '127.0.0.1');
  await once(server, 'listening');
  cleanUp.push(() => {
    server.close();
  });
  return server;
}

/** Takes a port, the next of which is free. */
async function takePortBeforeFreeOne(): Promise<number> {
  for (;;) {
    const address = (await listen(0)).address();
    if (typeof address !== 'object' || address === null) throw new TypeError('a server without an address');
    try {
      const next = await listen(address.port + 1);
      next.close();
      await once(next, 'close');
      return address.port;
    } catch {
      // Another program has it: a pair of ports that is free is looked for.
    }
  }
}

async function open(port: number, compression = false): Promise<ClientConnection> {
  const connection = await ClientConnection.open('127.0.0.1', port, { compression });
  cleanUp.push(() => {
    connection.destroy();
  });
  return connection;
}

async function openRaw(port: number): Promise<RawConnection> {
  const connection = await RawConnection.openGranted(port);
  cleanUp.push(() => {
    connection.close();
  });
  return connection;
}

/** How many of so many connections are closed that come one after the other, and say nothing. */
async function observeSilent(config: Config, count: number): Promise<number> {
  const { daemon, sockets } = await serve(config);
  for (let opened = 0; opened < count; opened += 1) {
    const silent = await RawConnection.open(daemon.port);
    cleanUp.push(() => {
      silent.close();
    });
    await silent.readFrame();
  }
  return sockets.filter(({ destroyed }) => destroyed).length;
}

const request = ({ objectID }: PyroURI, method: string, flags = 0, args: readonly PythonWritable[] = []): Buffer =>
  encodeRequest({ objectID, method, flags, args, keywords: new Map() });

/** Calls of another client: when they are answered, the daemon has looked at all that came to it before. */
async function roundTrips(uri: PyroURI, count = 3): Promise<void> {
  const connection = await open(uri.port);
  for (let made = 0; made < count; made += 1) await connection.call(request(uri, 'nothing'));
}

/** The reply to a call, or what it raised. */
async function call(
  uri: PyroURI,
  method: string,
  arg: PythonWritable,
  connection?: ClientConnection,
): Promise<unknown> {
  const reply = decodeReply(await (connection ?? (await open(uri.port))).call(request(uri, method, 0, [arg])));
  return 'exception' in reply ? reply.exception.args[0] : 'taken';
}

/** Whether the daemon takes a second large message while another is half there. */
async function observeLarge(uri: PyroURI, server: Server | undefined): Promise<string> {
  const sockets: Socket[] = [];
  server?.on('connection', (socket: Socket) => sockets.push(socket));
  const body = request(uri, 'ping', 0, ['x'.repeat(500_000)]);
  const half = await openRaw(uri.port);
  half.write(rawFrame(body).subarray(0, 200_000));
  while ((sockets[0]?.bytesRead ?? 0) < 200_000) await new Promise(setImmediate);
  const second = await open(uri.port);
  const answers: string[] = [];
  const answered = second.call(body).then(
    () => answers.push('taken'),
    () => undefined,
  );
  while (answers.length === 0 && sockets[1]?.isPaused() !== true) await new Promise(setImmediate);
  const [observed = 'waits'] = answers;
  second.destroy();
  await answered;
  return observed;
}

/** The requests that a daemon looks at of a client that reads nothing. */
async function observeUnread(config: Config): Promise<readonly string[]> {
  const { uri, target } = await serve(config);
  const connection = await openRaw(uri.port);
  connection.pause();
  const frames = [request(uri, 'big'), request(uri, 'echo', 0, [1])].map((body) => rawFrame(body));
  connection.write(Buffer.concat(frames));
  while (target.calls.length === 0) await new Promise(setImmediate);
  await roundTrips(uri);
  return target.calls;
}

/** The time that a connection of a client who has got an answer, and of one in the middle of a request, is given. */
async function observeTimeouts(config: Config): Promise<readonly unknown[]> {
  const { uri, sockets } = await serve(config);
  await (await open(uri.port)).call(request(uri, 'nothing'));
  const half = await openRaw(uri.port);
  half.write(Buffer.from('PYRO'));
  while ((sockets[1]?.timeout ?? 0) === (sockets[0]?.timeout ?? 0)) await new Promise(setImmediate);
  return sockets.map(({ timeout = 0 }) => timeout);
}

/** What one call, and its reply, look like on the wire. */
async function observeWire(config: Config): Promise<Conversation> {
  const { uri } = await serve(config);
  const conversation = await Conversation.with(uri.port);
  cleanUp.push(() => conversation.close());
  const proxy = getProxyForURI<Target>(new PyroURI('PYRO', '127.0.0.1', conversation.port, uri.objectID), {
    config,
    log: silentLog,
  });
  cleanUp.push(() => proxy._release());
  await proxy.echo('text '.repeat(1000));
  return conversation;
}

const observeFlag =
  (flag: number) =>
  async (config: Config): Promise<unknown> => {
    const { requests, replies } = await observeWire(config);
    return [...requests, ...replies].map(({ flags }) => (flags & flag) !== 0);
  };

/** Where a name server is found by broadcast. */
const observeBroadcast = async (config: Config): Promise<unknown> =>
  outcome(async () => (await new NameServerLocator({ config, log: silentLog }).detectNS()).objectID);

/** Whether a name server is found on this machine, and whether another one can start, with the same ports. */
const observeNameServerPort =
  (role?: 'secondary') =>
  async (config: Config): Promise<unknown> => {
    // Where the second one is found, the configuration is changed.
    const locator = new NameServerLocator({ config: { ...config }, log: silentLog });
    const found = await outcome(async () => (await locator.detectNS({ host: '127.0.0.1' })).port === nameServerPort);
    const starter = newStarter(config);
    cleanUp.push(() => starter.shutdown());
    const pair = role && { role, twin: { host: '127.0.0.1', port: CLOSED_PORT } };
    const started = await outcome(() => starter.start({ ...QUIET, ...pair }).then(() => 'starts'));
    return [found, started];
  };

/** The broadcast listener's address. */
async function observeListener(config: Config, role?: 'secondary'): Promise<string | undefined> {
  const starter = newStarter(config);
  cleanUp.push(() => starter.shutdown());
  const pair = role && { role, twin: { host: '127.0.0.1', port: CLOSED_PORT } };
  await starter.start({ ...QUIET, nsport: 0, nobroadcast: false, ...pair });
  const [, listener] = starter.getServerSockets();
  const address = listener?.address();
  return typeof address === 'object' ? address?.address : undefined;
}

/** After how many seconds the entry of an object that is found dead each time is removed. */
const observeCleaning =
  (status: 'closed' | 'unreachable') =>
  async (config: Config): Promise<number | undefined> => {
    jest.useFakeTimers();
    jest.spyOn(LivenessProbe.prototype, 'ask').mockResolvedValue({ status, explanation: '' });
    const namespace = new MemoryNamespace();
    await namespace.register(Name.parse(':dead'), new PyroURI('PYRO', '127.0.0.1', 1, 'id'));
    const start = Date.now();
    let removedAfter: number | undefined;
    const unregister = (): Promise<void> => {
      removedAfter = (Date.now() - start) / 1000;
      return Promise.resolve();
    };
    const autoClean = new AutoClean({ config, log: silentLog, nameServerHost: '127.0.0.1', namespace, unregister });
    autoClean.start();
    for (let passed = 0; passed < 100 && removedAfter === undefined; passed += 5) {
      await jest.advanceTimersByTimeAsync(5000);
    }
    autoClean.stop();
    return removedAfter;
  };

/** What the store in etcd is opened with. */
const observeEtcd =
  <Observed>(look: (options: Parameters<typeof EtcdNamespace.open>[0]) => Observed) =>
  async (config: Config): Promise<Observed | undefined> => {
    const opening = jest.spyOn(EtcdNamespace, 'open').mockRejectedValue(new NamingError('not opened'));
    await outcome(() => openNamespace('etcd://127.0.0.1:1/names', { config, log: silentLog }));
    const [options] = opening.mock.calls[0] ?? [];
    return options && look(options);
  };

/** A database directory with some names, all of which were asked for. */
async function observeDirectory(
  config: Config,
  names: readonly string[] = [':a', ':b', ':c'],
): Promise<Awaited<ReturnType<typeof openNamespace>>> {
  const path = mkdtempSync(join(directory, 'database-'));
  const namespace = await openNamespace(path, { config, log: silentLog });
  cleanUp.push(() => namespace.close());
  for (const name of names.map((text) => Name.parse(text))) {
    await namespace.register(name, new PyroURI('PYRO', '127.0.0.1', 1, 'id'));
    await namespace.resolve(name);
  }
  return namespace;
}

/** The lines that a log has, by the severities of what was written. */
function observeLog(create: typeof createLog, file: 'PYRO_LOGFILE' | 'PYRO_USER_LOGFILE') {
  return (config: Config): readonly string[] => {
    rmSync(config[file], { force: true });
    const log = create(config);
    log.error('test', 'error');
    log.warn('test', 'warning');
    log.msg('test', 'note');
    log.reopen();
    if (!existsSync(config[file])) return [];
    const words = readFileSync(config[file], 'utf8').match(/(error|warning|note)(?="?\}?$)/gm);
    return words ?? [];
  };
}

const levels = (): Effect['values'] => () => [
  [0, []],
  [1, ['error']],
  [2, ['error', 'warning']],
  [3, ['error', 'warning', 'note']],
];

const textFile = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};

const certificates = (): Items => {
  mkdirSync(join(directory, 'certs'), { recursive: true });
  mkdirSync(join(directory, 'others'), { recursive: true });
  for (const name of ['ca', 'host', 'other']) textFile(`certs/${name}.pem`, name);
  for (const name of ['ca', 'host']) textFile(`others/${name}.pem`, `another ${name}`);
  return {};
};

const observeCertificates = async (config: Config): Promise<unknown> => {
  const { ca, cert, key } = await readCertificates(config);
  return [ca, cert, key].map(String);
};

/** Lets a test decide when the time of `setTimeout` has passed. */
const fakeTimeouts = (): void => {
  jest.useFakeTimers({
    doNotFake: ['Date', 'hrtime', 'nextTick', 'performance', 'queueMicrotask', 'setImmediate', 'setInterval'],
  });
};

/**
 * Asks by broadcast where one listens who answers at last.
 * @param beforeAnswer called when the question is there
 */
async function observeQuestion(
  config: Config,
  beforeAnswer?: () => void,
): Promise<{ readonly steps: readonly string[]; readonly answer: unknown }> {
  const socket = createSocket('udp4');
  if (beforeAnswer) {
    socket.on('message', (_question, { address, port }) => {
      beforeAnswer();
      socket.send('PYRO://127.0.0.1:1/late', port, address);
    });
  }
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  cleanUp.push(() => socket.close());
  const steps: string[] = [];
  const where = { bcaddr: '127.0.0.1', port: socket.address().port, trace: (line: string) => steps.push(line) };
  const locator = new NameServerLocator({ config, log: silentLog });
  return { answer: await outcome(() => locator.sendSysCommand('location', where)), steps };
}

/** What a locator does first. */
async function observeFirstStep(config: Config): Promise<unknown> {
  const controller = new AbortController();
  const { signal } = controller;
  const steps: string[] = [];
  const trace = (line: string): void => {
    steps.push(line);
    controller.abort(new Error('seen enough'));
  };
  await outcome(() => new NameServerLocator({ config, log: silentLog, signal }).detectNS({ trace }));
  return steps[0];
}

const newNameServer = (config: Config, namespace: MemoryNamespace): NameServer =>
  new NameServer(namespace, {
    config,
    log: silentLog,
    address: '127.0.0.1',
    className: 'NameServer',
    ignoreShutdown: true,
    onShutdown: () => undefined,
  });

/** What comes of the last of some registrations. */
async function observeRegistrations(config: Config, names: readonly string[]): Promise<unknown> {
  const nameServer = newNameServer(config, new MemoryNamespace());
  const register = (name: string) => () =>
    nameServer.register(name, new PyroURI('PYRO', '127.0.0.1', 1, 'id')).then(() => 'made');
  let last: unknown;
  for (const name of names) last = await outcome(register(name));
  return last;
}

const observeNames = (config: Config, count: number): Promise<unknown> =>
  observeRegistrations(
    config,
    Array.from({ length: count }, (_, index) => `:${index}`),
  );

/** What comes of a registration whose name and URI have so many bytes. */
const observeTotal = (config: Config, size: number): Promise<unknown> =>
  observeRegistrations(config, [`:${'x'.repeat(size - ':PYRO://127.0.0.1:1/id'.length)}`]);

/** What comes of a call of a client. */
async function observeCall(config: Config, method: string, ...args: string[]): Promise<unknown> {
  const nameServer = newNameServer(config, new MemoryNamespace());
  const call = { objectID: nameServer.GUID(), method, flags: 0, args, keywords: new Map() };
  const connection = new ServerConnection(new Socket());
  cleanUp.push(() => {
    connection.destroy();
  });
  return outcome(async () => (await nameServer.invoke(call, connection)) === null && 'made');
}

/** What comes of metadata whose pickle has so many bytes. */
const observeMeta = (config: Config, size: number): Promise<unknown> =>
  observeCall(config, 'setMeta', ':', 'x'.repeat(size - dumps('x'.repeat(1000)).length + 1000));

/** How many names DNS is asked for, which doesn't answer, where each client sends one. */
async function observeLookups(config: Config, clients: number): Promise<number> {
  let asked = 0;
  const silent = { resolve4: () => new Promise<string[]>(() => (asked += 1)), cancel: () => undefined };
  const resolver = new HostResolver({ createResolver: () => silent });
  const end = new AbortController();
  const lookups = Array.from({ length: clients }, (_, index) => {
    const client = { address: `192.0.2.${index}`, maxLookups: config.PYRO_MAX_LOOKUPS };
    return outcome(() => resolver.addressesOf(`host${index}.example`, { client, signal: end.signal }));
  });
  // Those that are refused have looked into the hosts file before.
  while (asked < config.PYRO_MAX_LOOKUPS) await new Promise(setImmediate);
  if (clients > config.PYRO_MAX_LOOKUPS) await Promise.race(lookups);
  end.abort();
  await Promise.all(lookups);
  return asked;
}

/** The files that are there once a log has been written to. */
function observeFiles(create: typeof createLog) {
  return (config: Config): readonly string[] => {
    const names = ['log-a', 'log-b'];
    for (const name of names) rmSync(join(directory, name), { force: true });
    const log = create(config);
    log.error('test', 'error');
    log.reopen();
    return names.filter((name) => existsSync(join(directory, name)));
  };
}

/** How many of so many questions, all at the same time from the same address, are answered. */
async function observeAnswers(config: Config, questions: number): Promise<number> {
  const server = await BroadcastServer.start({
    config,
    log: silentLog,
    address: '127.0.0.1',
    port: 0,
    uri: new PyroURI('PYRO', '127.0.0.1', 1, 'id'),
    ignoreShutdown: true,
    onShutdown: () => undefined,
  });
  cleanUp.push(() => server.close());
  const send = jest.spyOn(server.socket, 'send').mockReturnValue();
  for (let asked = 0; asked < questions; asked += 1) {
    server.socket.emit('message', Buffer.from('location'), { address: '127.0.0.1', family: 'IPv4', port: 9, size: 8 });
  }
  return send.mock.calls.length;
}

/** How many of two long listings are made, where their clients take none. */
async function observeLists(config: Config): Promise<number> {
  const namespace = new MemoryNamespace();
  const uri = new PyroURI('PYRO', '127.0.0.1', 1, 'id');
  for (let index = 0; index < 3000; index += 1) await namespace.register(Name.parse(`:name${index}`), uri);
  const nameServer = newNameServer(config, namespace);
  const listing = { objectID: nameServer.GUID(), method: 'flatlist', flags: 0, args: [], keywords: new Map() };
  let made = 0;
  cleanUp.push(() => Promise.allSettled(ended));
  const ended = Array.from({ length: 2 }, async () => {
    const connection = new ServerConnection(new Socket());
    cleanUp.push(() => {
      connection.destroy();
    });
    await nameServer.invoke(listing, connection);
    made += 1;
  });
  // Each turn of the event loop makes a thousand items of one list: far more than are needed.
  for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
  return made;
}

/** After each of some changes that a twin doesn't confirm: whether all names have to be merged. */
/** A Pyro 3 server as the twin of one that has a passphrase. */
function pyro3TwinOf(config: Config): Pyro3Twin {
  const common = { namespace: new MemoryNamespace(), lock: new SubtreeLock<Name>(), changes: new ChangeFeed() };
  const role = 'primary' as const;
  const replica = new Replica({ ...common, log: silentLog, role, versions: new Versions(role) });
  return new Pyro3Twin({
    ...common,
    config,
    log: silentLog,
    print: () => undefined,
    replica,
    finder: { role, isAddressGiven: true },
    protocol: 'PYRO',
    identification: 'secret',
    persistent: false,
  });
}

async function observeQueue(config: Config): Promise<readonly boolean[]> {
  const daemon = await Daemon.start({ config, log: silentLog });
  cleanUp.push(() => daemon.shutdown());
  const twin = { GUID: () => 'twin', setGUID: () => undefined, invoke: () => null };
  await daemon.connect(twin, NAMESERVER_NAME);
  const peer = await openPeer({ host: '127.0.0.1', port: daemon.port }, { config, protocol: 'PYRO' });
  cleanUp.push(() => {
    peer.destroy();
  });
  const replica = new Replica({
    namespace: new MemoryNamespace(),
    versions: new Versions('primary'),
    lock: new SubtreeLock<Name>(),
    changes: new ChangeFeed(),
    log: silentLog,
    role: 'primary',
  });
  const outbox = new Outbox({ instance: 'this', replica, config, log: silentLog, onAttention: () => undefined });
  await outbox.merge(peer);
  return [1, 2, 3].map((time) => {
    outbox.add({
      name: Name.parse(`:name${time}`),
      timestamp: { time, role: 'primary' },
      observed: true,
      state: undefined,
    });
    return outbox.isBehind;
  });
}

/** Whether what was read is still believed half a second later, though nobody looked. */
async function observeTrust(config: Config): Promise<boolean> {
  const namespace = await observeDirectory(config);
  const now = performance.now.bind(performance);
  let later = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => now() + later);
  const name = Name.parse(':a');
  // The kernel may still tell of how the names were made.
  for (let attempt = 0; attempt < 20; attempt += 1) {
    await namespace.resolve(name);
    later += 500;
    if (namespace.resolveNow(name) !== undefined) return true;
  }
  return false;
}

/** How many of so many one-way calls are begun, where none of them ends. */
async function observeOnewayCalls(config: Config, calls: number): Promise<number> {
  const { uri, target } = await serve(config);
  const connection = await openRaw(uri.port);
  const frame = rawFrame(request(uri, 'hold', RequestFlag.Oneway));
  connection.write(Buffer.concat(Array.from({ length: calls }, () => frame)));
  while (target.calls.length === 0) await new Promise(setImmediate);
  await roundTrips(uri);
  return target.calls.length;
}

const nested = (depth: number): PythonWritable => (depth === 0 ? [] : [nested(depth - 1)]);

const EFFECTS: Readonly<Partial<Record<ConfigItemName, Effect>>> = {
  PYRO_CONFIG_FILE: {
    observe: (config) => config.PYRO_MAXCONNECTIONS,
    values: () => [
      [textFile('one.conf', 'PYRO_MAXCONNECTIONS = 1'), 1],
      [textFile('two.conf', 'PYRO_MAXCONNECTIONS = 2'), 2],
    ],
  },
  PYRO_STORAGE: {
    observe: (config) => [databaseOf(undefined, config), config.PYRO_LOGFILE],
    values: () => ['/one', '/two'].map((path) => [path, [`${path}/Pyro_NS_database`, `${path}/Pyro_log`]]),
  },
  PYRO_HOST: {
    with: () => ({ PYRO_PUBLISHHOST: '127.0.0.1' }),
    observe: async (config) => (await serve(config)).daemon.listening.address,
    values: () => [
      ['localhost', '127.0.0.1'],
      ['0.0.0.0', '0.0.0.0'],
    ],
  },
  PYRO_PUBLISHHOST: {
    observe: async (config) => (await serve(config)).uri.address,
    values: () => [
      ['', '127.0.0.1'],
      ['192.0.2.1', '192.0.2.1'],
    ],
  },
  PYRO_PORT: {
    with: () => ({ PYRO_PORT_RANGE: 1 }),
    observe: (config) => outcome(async () => (await serve(config)).daemon.port > 0),
    values: () => [
      [0, true],
      [nameServerPort, 'the port is taken'],
    ],
  },
  PYRO_PORT_RANGE: {
    with: () => ({ PYRO_PORT: nameServerPort }),
    observe: (config) => outcome(async () => (await serve(config)).daemon.port > nameServerPort),
    values: () => [
      [1, 'the port is taken'],
      [100, true],
    ],
  },
  PYRO_NS_HOSTNAME: {
    with: () => ({ PYRO_NS_PORT: nameServerPort }),
    observe: observeFirstStep,
    values: () => [
      ['', 'Locator: searching Pyro Name Server...'],
      ['127.0.0.1', 'Locator: contacting Pyro Name Server...'],
    ],
  },
  PYRO_NS2_HOSTNAME: {
    with: () => ({ PYRO_NS_HOSTNAME: '127.0.0.1', PYRO_NS2_PORT: nameServerPort, PYRO_NS_BC_PORT: CLOSED_PORT }),
    observe: async (config) => {
      await outcome(() => new NameServerLocator({ config, log: silentLog }).detectNS());
      // Where the second one was found, it is the first one from then on.
      return [config.PYRO_NS_HOSTNAME, config.PYRO_NS_PORT === nameServerPort];
    },
    values: () => [
      ['', ['127.0.0.1', false]],
      ['localhost', ['localhost', true]],
    ],
  },
  PYRO_NS_PORT: {
    observe: observeNameServerPort(),
    values: () => [
      [nameServerPort, [true, 'the port is taken']],
      [0, ['could not find NameServer on host 127.0.0.1', 'starts']],
    ],
  },
  PYRO_NS2_PORT: {
    observe: observeNameServerPort('secondary'),
    values: () => [
      [nameServerPort, [true, 'the port is taken']],
      [0, ['could not find NameServer on host 127.0.0.1', 'starts']],
    ],
  },
  PYRO_NS_BC_ADDR: {
    with: () => ({ PYRO_PUBLISHHOST: '192.0.2.1', PYRO_NS_BC_PORT: 0 }),
    observe: (config) => observeListener(config),
    values: () => ['127.0.0.1', '0.0.0.0'].map((address) => [address, address]),
  },
  PYRO_NS2_BC_ADDR: {
    with: () => ({ PYRO_PUBLISHHOST: '192.0.2.1', PYRO_NS2_BC_PORT: 0 }),
    observe: (config) => observeListener(config, 'secondary'),
    values: () => ['127.0.0.1', '0.0.0.0'].map((address) => [address, address]),
  },
  PYRO_NS_BC_PORT: {
    with: () => ({ PYRO_NS2_BC_PORT: CLOSED_PORT, PYRO_BC_TIMEOUT: -1 }),
    observe: observeBroadcast,
    values: () => answering.map((socket, index) => [socket.address().port, 'ab'[index]]),
  },
  PYRO_NS2_BC_PORT: {
    with: () => ({ PYRO_NS_BC_PORT: CLOSED_PORT, PYRO_BC_TIMEOUT: -1 }),
    observe: observeBroadcast,
    values: () => answering.map((socket, index) => [socket.address().port, 'ab'[index]]),
  },
  PYRO_NS_URIFILE: {
    observe: async (config) => {
      const uri = await startNameServer(config);
      return ['one', 'two'].filter((name) => {
        const path = join(directory, name);
        return existsSync(path) && readFileSync(path, 'utf8') === `${uri.toString()}\n`;
      });
    },
    values: () => ['one', 'two'].map((name) => [join(directory, name), [name]]),
  },
  PYRO_NS_DEFAULTGROUP: {
    observe: async (config) => {
      const namespace = new MemoryNamespace();
      const object = newNameServer(config, namespace);
      await object.createInitialGroups();
      await object.register('thing', new PyroURI('PYRO', '127.0.0.1', 1, 'id'));
      const names: string[] = [];
      for await (const objects of namespace.flatlist()) names.push(...objects.map(([name]) => name.toString()));
      return names;
    },
    values: () => [':Default', ':Other'].map((group) => [group, [`${group}.thing`]]),
  },
  PYRO_BC_RETRIES: {
    observe: async (config) => (await observeQuestion(config)).steps,
    values: () => [
      [0, ['Locator: searching Pyro Name Server...']],
      [2, ['Locator: searching Pyro Name Server...', 'Locator: retry 1', 'Locator: retry 2']],
    ],
  },
  PYRO_BC_TIMEOUT: {
    observe: async (config) => {
      fakeTimeouts();
      const { answer } = await observeQuestion(config, () => {
        jest.advanceTimersByTime(2000);
      });
      return answer;
    },
    values: () => [
      [1, 'Name Server not responding'],
      [3, 'PYRO://127.0.0.1:1/late'],
    ],
  },
  PYRO_PICKLE_FORMAT: {
    observe: async (config) => {
      const { requests, replies } = await observeWire(config);
      return [...requests, ...replies].map(({ body }) => body.subarray(0, 2).toString('latin1'));
    },
    values: () => [
      [0, ['(S', "S'"]],
      [1, ['(U', 'T\x88']],
      [2, ['\x80\x02', '\x80\x02']],
    ],
  },
  PYRO_TRACELEVEL: { observe: observeLog(createLog, 'PYRO_LOGFILE'), values: levels() },
  PYRO_USER_TRACELEVEL: { observe: observeLog(createUserLog, 'PYRO_USER_LOGFILE'), values: levels() },
  PYRO_LOGFILE: {
    with: () => ({ PYRO_TRACELEVEL: 1 }),
    observe: observeFiles(createLog),
    values: () => ['log-a', 'log-b'].map((name) => [name, [name]]),
  },
  PYRO_USER_LOGFILE: {
    with: () => ({ PYRO_USER_TRACELEVEL: 1 }),
    observe: observeFiles(createUserLog),
    values: () => ['log-a', 'log-b'].map((name) => [name, [name]]),
  },
  PYRO_STDLOGGING: {
    with: () => ({ PYRO_TRACELEVEL: 1 }),
    observe: (config) => {
      rmSync(config.PYRO_LOGFILE, { force: true });
      createLog(config).error('test', 'error');
      return readFileSync(config.PYRO_LOGFILE, 'utf8').startsWith('{"level":"error"');
    },
    values: () => [
      [0, false],
      [1, true],
    ],
  },
  PYRO_MAXCONNECTIONS: {
    observe: async (config) => {
      const { uri } = await serve(config);
      await open(uri.port);
      return outcome(async () => (await open(uri.port)).isOpen);
    },
    values: () => [
      [1, 'server too busy'],
      [2, true],
    ],
  },
  PYRO_TCP_LISTEN_BACKLOG: {
    observe: async (config) => {
      const listen = jest.spyOn(Server.prototype, 'listen');
      await serve(config);
      return listen.mock.calls;
    },
    values: () => [1, 5].map((backlog) => [backlog, [[{ host: '127.0.0.1', port: 0, backlog }]]]),
  },
  PYRO_COMPRESSION: {
    observe: observeFlag(COMPRESSED),
    values: () => [
      [0, [false, false]],
      [1, [true, true]],
    ],
  },
  PYRO_CHECKSUM: {
    observe: async (config) => {
      const { requests, replies } = await observeWire(config);
      return [...requests, ...replies].map(({ flags, checksum }) => (flags & CHECKSUM) !== 0 && checksum !== 0);
    },
    values: () => [
      [0, [false, false]],
      [1, [true, true]],
    ],
  },
  PYRO_DNS_URI: {
    with: () => ({ PYRO_HOST: 'localhost' }),
    observe: async (config) => (await serve(config)).uri.address,
    values: () => [
      [0, '127.0.0.1'],
      [1, 'localhost'],
    ],
  },
  PYRO_SOCK_KEEPALIVE: {
    observe: async (config) => {
      const keepAlive = jest.spyOn(Socket.prototype, 'setKeepAlive');
      const { uri } = await serve(config);
      const proxy = getProxyForURI<Target>(uri, { config, log: silentLog });
      cleanUp.push(() => proxy._release());
      await proxy.echo(1);
      return keepAlive.mock.calls;
    },
    values: () => [
      [0, [[false], [false]]],
      [1, [[true], [true]]],
    ],
  },
  PYRO_ONEWAY_THREADED: {
    observe: async (config) => {
      const { uri, target } = await serve(config);
      const connection = await openRaw(uri.port);
      const bodies = [request(uri, 'hold', RequestFlag.Oneway), request(uri, 'echo', 0, [1])];
      connection.write(Buffer.concat(bodies.map((body) => rawFrame(body))));
      while (target.calls.length === 0) await new Promise(setImmediate);
      await roundTrips(uri);
      return [...target.calls];
    },
    values: () => [
      [0, ['hold']],
      [1, ['hold', 'echo']],
    ],
  },
  PYROSSL_CERTDIR: {
    with: certificates,
    observe: observeCertificates,
    values: () => [
      [join(directory, 'certs'), ['ca', 'host', 'host']],
      [join(directory, 'others'), ['another ca', 'another host', 'another host']],
    ],
  },
  PYROSSL_CA_CERT: {
    with: certificates,
    observe: observeCertificates,
    values: () => [
      ['ca.pem', ['ca', 'host', 'host']],
      ['other.pem', ['other', 'host', 'host']],
    ],
  },
  PYROSSL_CERT: {
    with: certificates,
    observe: observeCertificates,
    values: () => [
      ['host.pem', ['ca', 'host', 'host']],
      ['other.pem', ['ca', 'other', 'other']],
    ],
  },
  PYROSSL_KEY: {
    with: certificates,
    observe: observeCertificates,
    values: () => [
      ['', ['ca', 'host', 'host']],
      ['other.pem', ['ca', 'host', 'other']],
    ],
  },
  PYROSSL_POSTCONNCHECK: {
    with: certificates,
    observe: async (config) => (await readClientTLS(config)).checkHost,
    values: () => [
      [0, false],
      [1, true],
    ],
  },
  PYRO_NS_SYNC: {
    observe: async (config) => {
      const status = (await observeDirectory(config)).status();
      return 'directorySyncs' in status && [status.isDurable, status.directorySyncs > 0];
    },
    values: () => [
      [0, [false, false]],
      [1, [true, true]],
    ],
  },
  PYRO_NS_CACHE_NAMES: {
    observe: async (config) => {
      const status = (await observeDirectory(config)).status();
      return 'cachedNames' in status && status.cachedNames;
    },
    values: () => [
      [1, 1],
      [3, 3],
    ],
  },
  PYRO_NS_WATCH: {
    observe: observeTrust,
    values: () => [
      ['polling', false],
      ['native', true],
    ],
  },
  PYRO_NS_READ: {
    observe: observeEtcd(({ read }) => read),
    values: () => ['cached', 'linearizable'].map((read) => [read, read]),
  },
  PYRO_NS_ETCD_CA: {
    observe: observeEtcd(({ tls }) => tls && String(tls.ca)),
    values: () => [
      ['', undefined],
      [textFile('etcd-ca', 'authority'), 'authority'],
    ],
  },
  PYRO_NS_ETCD_CERT: {
    with: () => ({ PYRO_NS_ETCD_CA: textFile('etcd-ca', 'authority'), PYRO_NS_ETCD_KEY: textFile('etcd-key', 'key') }),
    observe: observeEtcd(({ tls }) => String(tls?.cert)),
    values: () => ['one', 'two'].map((text) => [textFile(`etcd-${text}`, text), text]),
  },
  PYRO_NS_ETCD_KEY: {
    with: () => ({ PYRO_NS_ETCD_CA: textFile('etcd-ca', 'authority'), PYRO_NS_ETCD_CERT: textFile('etcd-cert', 'c') }),
    observe: observeEtcd(({ tls }) => String(tls?.key)),
    values: () => ['one', 'two'].map((text) => [textFile(`etcd-${text}`, text), text]),
  },
  PYRO_NS_ETCD_USER: {
    with: () => ({ PYRO_NS_ETCD_PASSWORD_FILE: textFile('etcd-password', 'secret\n') }),
    observe: observeEtcd(({ user }) => user),
    values: () => ['pyro', 'other'].map((name) => [name, { name, password: 'secret' }]),
  },
  PYRO_NS_ETCD_PASSWORD_FILE: {
    with: () => ({ PYRO_NS_ETCD_USER: 'pyro' }),
    observe: observeEtcd(({ user }) => user),
    values: () => ['one', 'two'].map((word) => [textFile(`etcd-${word}`, word), { name: 'pyro', password: word }]),
  },
  PYRO_NS_ETCD_TIMEOUT: {
    observe: observeEtcd(({ timeoutSeconds }) => timeoutSeconds),
    values: () => [1, 2.5].map((seconds) => [seconds, seconds]),
  },
  PYRO_NS_ETCD_STALE_SECONDS: {
    observe: observeEtcd(({ staleSeconds }) => staleSeconds),
    values: () => [0, 60].map((seconds) => [seconds, seconds]),
  },
  PYRO_NS_AUTOCLEAN: {
    with: () => ({ PYRO_NS_AUTOCLEAN_FAILURES: 1, PYRO_NS_AUTOCLEAN_SECONDS: 0 }),
    observe: observeCleaning('closed'),
    values: () => [
      [0, undefined],
      [5, 5],
      [20, 20],
    ],
  },
  PYRO_NS_AUTOCLEAN_FAILURES: {
    with: () => ({ PYRO_NS_AUTOCLEAN: 10, PYRO_NS_AUTOCLEAN_SECONDS: 0 }),
    observe: observeCleaning('closed'),
    values: () => [
      [1, 10],
      [3, 30],
    ],
  },
  PYRO_NS_AUTOCLEAN_SECONDS: {
    with: () => ({ PYRO_NS_AUTOCLEAN: 10, PYRO_NS_AUTOCLEAN_FAILURES: 1, PYRO_NS_AUTOCLEAN_UNREACHABLE: 0 }),
    observe: observeCleaning('closed'),
    values: () => [
      [10, 20],
      [11, 30],
    ],
  },
  PYRO_NS_AUTOCLEAN_UNREACHABLE: {
    with: () => ({ PYRO_NS_AUTOCLEAN: 10, PYRO_NS_AUTOCLEAN_FAILURES: 1, PYRO_NS_AUTOCLEAN_SECONDS: 0 }),
    observe: observeCleaning('unreachable'),
    values: () => [
      [0, undefined],
      [10, 20],
      [11, 30],
    ],
  },
  PYRO_NS_IDENTIFICATION_FILE: {
    observe: readIdentification,
    values: () => ['one', 'two'].map((word) => [textFile(`passphrase-${word}`, `${word}\n`), word]),
  },
  PYRO_NS_IDENTIFICATION: {
    with: () => ({ PYRO_NS_IDENTIFICATION_FILE: textFile('passphrase', 'of the file') }),
    observe: readIdentification,
    values: () => [
      ['', 'of the file'],
      ['itself', 'itself'],
    ],
  },
  PYRO_NS_METRICS_HOSTS: {
    observe: (config) => config.PYRO_NS_METRICS_HOSTS,
    values: () => [
      ['a.example', 'a.example'],
      ['a.example,b.example', 'a.example,b.example'],
    ],
  },
  PYRO_NS_BC_RATE: {
    observe: (config) => observeAnswers(config, 4),
    values: () => [
      [1, 1],
      [3, 3],
      [5, 4],
    ],
  },
  PYRO_MAXCONNECTIONS_PER_HOST: {
    with: () => ({ PYRO_MAXCONNECTIONS: 8 }),
    observe: async (config) => {
      const { daemon } = await serve(config);
      let letIn = 0;
      while ((await outcome(async () => (await open(daemon.port)).isOpen)) === true) letIn += 1;
      return letIn;
    },
    values: () => [
      [0, 6],
      [2, 2],
      [8, 8],
    ],
  },
  PYRO_MAX_HANDSHAKES: {
    with: () => ({ PYRO_MAXCONNECTIONS: 4 }),
    observe: (config) => observeSilent(config, 5),
    values: () => [
      [0, 2],
      [4, 1],
      [5, 0],
    ],
  },
  PYRO_DENIAL_DELAY: {
    observe: async (config) => {
      const { daemon } = await serve(config);
      daemon.setAllowedIdentifications(['right']);
      const timers = jest.spyOn(globalThis, 'setTimeout');
      for (let count = 0; count < 6; count += 1) await outcome(() => open(daemon.port));
      return timers.mock.calls.filter(([, delay]) => delay === 77).length;
    },
    values: () => [
      [0, 0],
      [0.077, 2],
    ],
  },
  PYRO_DNS_TIMEOUT: {
    observe: async (config) => {
      const lookups = jest.spyOn(hostResolver, 'addressesOf').mockResolvedValue(['127.0.0.1']);
      await resolveAddress('a.example', { config });
      return lookups.mock.lastCall?.[1]?.timeoutMs;
    },
    values: () => [
      [0.5, 500],
      [7, 7000],
    ],
  },
  PYRO_MAX_LOOKUPS: {
    observe: async (config) => {
      const lookups = jest.spyOn(hostResolver, 'addressesOf').mockResolvedValue(['127.0.0.1']);
      await observeCall(config, 'register', ':x', 'PYRO://a.example:1/x');
      return lookups.mock.lastCall?.[1]?.client?.maxLookups;
    },
    values: () => [
      [1, 1],
      [200, 200],
    ],
  },
  PYRO_HANDSHAKE_TIMEOUT: {
    observe: async (config) => {
      fakeTimeouts();
      const { daemon, sockets } = await serve(config);
      const silent = await RawConnection.open(daemon.port);
      cleanUp.push(() => {
        silent.close();
      });
      await silent.readFrame();
      jest.advanceTimersByTime(1000);
      return sockets.map(({ destroyed }) => destroyed);
    },
    values: () => [
      [0.5, [true]],
      [2, [false]],
    ],
  },
  PYRO_STALL_TIMEOUT: {
    with: () => ({ PYRO_IDLE_TIMEOUT: 80 }),
    observe: observeTimeouts,
    values: () => [
      [20, [80_000, 20_000]],
      [50, [80_000, 50_000]],
    ],
  },
  PYRO_IDLE_TIMEOUT: {
    with: () => ({ PYRO_STALL_TIMEOUT: 80 }),
    observe: observeTimeouts,
    values: () => [
      [0, [0, 80_000]],
      [50, [50_000, 80_000]],
    ],
  },
  PYRO_MAX_MESSAGE_SIZE: {
    observe: async (config) => call((await serve(config)).uri, 'echo', 'x'.repeat(2000)),
    values: () => [
      [1500, 'message too large'],
      [2500, 'taken'],
    ],
  },
  PYRO_MAX_INFLATED_SIZE: {
    observe: async (config) => {
      const { uri } = await serve(config);
      return call(uri, 'echo', 'x'.repeat(2000), await open(uri.port, true));
    },
    values: () => [
      [1500, 'message too large'],
      [2500, 'taken'],
    ],
  },
  PYRO_NS_MAX_MESSAGE_SIZE: {
    observe: async (config) => call(await startNameServer(config), 'resolve', `:${'x'.repeat(2000)}`),
    values: () => [
      [1500, 'message too large'],
      [2500, 'name not found'],
    ],
  },
  PYRO_MAX_INCOMING_SIZE: {
    observe: async (config) => {
      const { uri, daemon } = await serve(config);
      return observeLarge(uri, daemon.getServerSockets()[0]);
    },
    values: () => [
      [1024, 'waits'],
      [10_000_000, 'taken'],
    ],
  },
  PYRO_NS_MAX_INCOMING_SIZE: {
    observe: async (config) => {
      const starter = newStarter(config);
      cleanUp.push(() => starter.shutdown());
      const uri = await starter.start({ ...QUIET, nsport: 0 });
      const [server] = starter.getServerSockets();
      return observeLarge(uri, server instanceof Server ? server : undefined);
    },
    values: () => [
      [1024, 'waits'],
      [10_000_000, 'taken'],
    ],
  },
  PYRO_NS_MAX_LISTS_SIZE: {
    observe: observeLists,
    values: () => [
      [1024, 1],
      [10_000_000, 2],
    ],
  },
  PYRO_NS_MAX_NAMES: {
    observe: (config) => observeNames(config, 3),
    values: () => [
      [2, 'too many names: PYRO_NS_MAX_NAMES is 2'],
      [5, 'made'],
    ],
  },
  PYRO_NS_MAX_META_SIZE: {
    observe: (config) => observeMeta(config, 2000),
    values: () => [
      [1500, 'metadata too large: 2000 bytes, PYRO_NS_MAX_META_SIZE is 1500'],
      [2500, 'made'],
    ],
  },
  PYRO_NS_MAX_TOTAL_SIZE: {
    observe: (config) => observeTotal(config, 2000),
    values: () => [
      [1500, 'no room for more: PYRO_NS_MAX_TOTAL_SIZE is 1500'],
      [2500, 'made'],
    ],
  },
  PYRO_NS_PYRO3_TWIN: {
    observe: (config) => outcome(() => pyro3TwinOf(config).takeSyncCall(['createGroup', ':g'])),
    values: () => [
      [
        0,
        "a Pyro 3 server can't prove that it has the passphrase: with -i, it is a twin only where PYRO_NS_PYRO3_TWIN=1",
      ],
      [1, undefined],
    ],
  },
  PYRO_NS_TWIN_QUEUE: {
    observe: observeQueue,
    values: () => [
      [1, [false, true, true]],
      [2, [false, false, true]],
      [3, [false, false, false]],
    ],
  },
  PYRO_MAX_PICKLE_DEPTH: {
    observe: async (config) => call((await serve(config)).uri, 'echo', nested(20)),
    values: () => [
      [15, 'invalid request data format'],
      [40, 'taken'],
    ],
  },
  PYRO_MAX_PICKLE_OBJECTS: {
    observe: async (config) =>
      call(
        (await serve(config)).uri,
        'echo',
        Array.from({ length: 30 }, () => []),
      ),
    values: () => [
      [20, 'invalid request data format'],
      [100, 'taken'],
    ],
  },
  PYRO_NS_MAX_PICKLE_OBJECTS: {
    observe: async (config) =>
      call(
        await startNameServer(config),
        'resolve',
        Array.from({ length: 30 }, () => []),
      ),
    values: () => [
      [20, 'invalid request data format'],
      [100, 'invalid name'],
    ],
  },
  PYRO_MAX_ONEWAY_CALLS: {
    observe: (config) => observeOnewayCalls(config, 4),
    values: () => [
      [1, 1],
      [3, 3],
      [5, 4],
    ],
  },
  PYRO_MAX_UNSENT_SIZE: {
    observe: observeUnread,
    values: () => [
      [1024, ['big']],
      [2 ** 31 - 1, ['big', 'echo']],
    ],
  },
};

/** Accepted, so that a Pyro.conf may be shared with Pyro 3: what they are about is in Python only. */
const WITHOUT_EFFECT: readonly ConfigItemName[] = [
  'PYRO_MULTITHREADED',
  'PYRO_MOBILE_CODE',
  'PYRO_XML_PICKLE',
  'PYRO_GNOSIS_PARANOIA',
  'PYRO_BROKEN_MSGWAITALL',
  'PYRO_STDLOGGING_CFGFILE',
  'PYRO_DETAILED_TRACEBACK',
  'PYRO_ES_QUEUESIZE',
  'PYRO_ES_BLOCKQUEUE',
];

describe('an item that has an effect', () => {
  const rows = ITEM_NAMES.flatMap((name) => {
    const effect = EFFECTS[name];
    return effect === undefined ? [] : [{ name, effect }];
  });

  test.each(rows)('$name', async ({ name, effect }) => {
    const values = effect.values();
    const observed: unknown[] = [];
    for (const [value] of values) {
      observed.push(await effect.observe(configOf({ ...effect.with?.(), [name]: value })));
      await restore();
    }
    expect(observed).toEqual(values.map(([, expected]) => expected));
    // A row that expects the same of each value would show no effect.
    expect(new Set(values.map(([, expected]) => JSON.stringify(expected))).size).toBe(values.length);
  });
});

/** A limit: what comes of just as much as it allows, and of one more. */
interface Limit {
  readonly bound: number;
  readonly with?: () => Items;
  readonly observe: (config: Config, amount: number) => unknown;
  readonly at: unknown;
  readonly beyond: unknown;
}

/** What is answered to a request whose body has so many bytes. */
async function callOfSize(uri: PyroURI, method: string, size: number, compression = false): Promise<unknown> {
  const overhead = request(uri, method, 0, ['x'.repeat(1000)]).length - 1000;
  return call(uri, method, 'x'.repeat(size - overhead), await open(uri.port, compression));
}

// A request is a tuple with a tuple of arguments in it, so that it is two deep itself; it counts as three objects.
const REQUEST_DEPTH = 2;
const REQUEST_OBJECTS = 3;

const containers = (count: number): PythonWritable => Array.from({ length: count - 1 }, () => []);

const LIMITS: Readonly<Partial<Record<ConfigItemName, Limit>>> = {
  PYRO_MAX_MESSAGE_SIZE: {
    bound: 2000,
    observe: async (config, size) => callOfSize((await serve(config)).uri, 'echo', size),
    at: 'taken',
    beyond: 'message too large',
  },
  PYRO_MAX_INFLATED_SIZE: {
    bound: 2000,
    observe: async (config, size) => callOfSize((await serve(config)).uri, 'echo', size, true),
    at: 'taken',
    beyond: 'message too large',
  },
  PYRO_NS_MAX_MESSAGE_SIZE: {
    bound: 2000,
    observe: async (config, size) => callOfSize(await startNameServer(config), 'resolve', size),
    at: 'name not found',
    beyond: 'message too large',
  },
  PYRO_MAX_PICKLE_DEPTH: {
    bound: 20,
    observe: async (config, depth) => call((await serve(config)).uri, 'echo', nested(depth - REQUEST_DEPTH - 1)),
    at: 'taken',
    beyond: 'invalid request data format',
  },
  PYRO_MAX_PICKLE_OBJECTS: {
    bound: 30,
    observe: async (config, count) => call((await serve(config)).uri, 'echo', containers(count - REQUEST_OBJECTS)),
    at: 'taken',
    beyond: 'invalid request data format',
  },
  PYRO_NS_MAX_PICKLE_OBJECTS: {
    bound: 30,
    observe: async (config, count) =>
      call(await startNameServer(config), 'resolve', containers(count - REQUEST_OBJECTS)),
    at: 'invalid name',
    beyond: 'invalid request data format',
  },
  PYRO_MAXCONNECTIONS: {
    bound: 3,
    observe: async (config, count) => {
      const { daemon } = await serve(config);
      for (let opened = 1; opened < count; opened += 1) await open(daemon.port);
      return outcome(async () => (await open(daemon.port)).isOpen);
    },
    at: true,
    beyond: 'server too busy',
  },
  PYRO_MAXCONNECTIONS_PER_HOST: {
    bound: 3,
    observe: async (config, count) => {
      const { daemon } = await serve(config);
      for (let opened = 1; opened < count; opened += 1) await open(daemon.port);
      return outcome(async () => (await open(daemon.port)).isOpen);
    },
    at: true,
    beyond: 'server too busy',
  },
  PYRO_MAX_HANDSHAKES: { bound: 3, observe: observeSilent, at: 0, beyond: 1 },
  PYRO_MAX_LOOKUPS: { bound: 3, observe: observeLookups, at: 3, beyond: 3 },
  PYRO_MAX_ONEWAY_CALLS: { bound: 3, observe: observeOnewayCalls, at: 3, beyond: 3 },
  PYRO_NS_BC_RATE: { bound: 3, observe: observeAnswers, at: 3, beyond: 3 },
  PYRO_NS_CACHE_NAMES: {
    bound: 2,
    observe: async (config, count) => {
      const status = (await observeDirectory(config, [':a', ':b', ':c'].slice(0, count))).status();
      return 'cachedNames' in status && status.cachedNames;
    },
    at: 2,
    beyond: 2,
  },
  PYRO_NS_MAX_NAMES: {
    bound: 3,
    observe: observeNames,
    at: 'made',
    beyond: 'too many names: PYRO_NS_MAX_NAMES is 3',
  },
  PYRO_NS_MAX_META_SIZE: {
    bound: 2000,
    observe: observeMeta,
    at: 'made',
    beyond: 'metadata too large: 2001 bytes, PYRO_NS_MAX_META_SIZE is 2000',
  },
  PYRO_NS_MAX_TOTAL_SIZE: {
    bound: 2000,
    observe: observeTotal,
    at: 'made',
    beyond: 'no room for more: PYRO_NS_MAX_TOTAL_SIZE is 2000',
  },
  PYRO_NS_TWIN_QUEUE: {
    bound: 2,
    observe: async (config, count) => (await observeQueue(config))[count - 1],
    at: false,
    beyond: true,
  },
  PYRO_PORT_RANGE: {
    bound: 1,
    // The first port of the range is taken: with one more, there is a port to be found.
    observe: async (config, tries) => {
      const taken = await takePortBeforeFreeOne();
      Object.assign(config, { PYRO_PORT: taken, PYRO_PORT_RANGE: tries });
      return outcome(async () => (await serve(config)).daemon.port > taken);
    },
    at: 'the port is taken',
    beyond: true,
  },
};

/** In bytes, and no bound for a single message: beyond, others wait. What waits is tested where it is done. */
const BYTES_THAT_MAKE_OTHERS_WAIT: readonly ConfigItemName[] = [
  'PYRO_MAX_INCOMING_SIZE',
  'PYRO_NS_MAX_INCOMING_SIZE',
  'PYRO_NS_MAX_LISTS_SIZE',
  'PYRO_MAX_UNSENT_SIZE',
];

describe('a limit', () => {
  const rows = ITEM_NAMES.flatMap((name) => {
    const limit = LIMITS[name];
    return limit === undefined ? [] : [{ name, limit }];
  });

  test.each(rows)('holds at the bound, and one beyond: $name', async ({ name, limit }) => {
    const observed: unknown[] = [];
    for (const amount of [limit.bound, limit.bound + 1]) {
      observed.push(await limit.observe(configOf({ ...limit.with?.(), [name]: limit.bound }), amount));
      await restore();
    }
    expect(observed).toEqual([limit.at, limit.beyond]);
  });

  test('has a row here, whichever it is', () => {
    const limits = ITEM_NAMES.filter((name) => /_MAX|_RATE$|_RANGE$|_QUEUE$|_CACHE_NAMES$/.test(name));
    expect([...Object.keys(LIMITS), ...BYTES_THAT_MAKE_OTHERS_WAIT].sort()).toEqual([...limits].sort());
  });
});

describe('an item without effect', () => {
  test.each(WITHOUT_EFFECT)('%s takes any value', (name) => {
    expect(configOf({ [name]: 'anything' })[name]).toBe('anything');
  });

  test('is documented as such', () => {
    const group = CONFIG_GROUPS.find(({ title }) => title === 'About Python: accepted, without effect here');
    expect(group?.items).toEqual(WITHOUT_EFFECT);
  });
});

test('each item has an effect that is shown here, or none', () => {
  expect([...Object.keys(EFFECTS), ...WITHOUT_EFFECT].sort()).toEqual([...ITEM_NAMES].sort());
});

import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { INTERNAL_DAEMON_GUID, PyroURI } from '../names/index.js';
import { isSameEverywhere } from './address.js';
import { Daemon } from './daemon.js';
import { isDead, LivenessProbe, type ObjectStatus } from './liveness-probe.js';
import { RemoteError } from './remote-error.js';

const config = loadConfig({ environment: {}, currentDirectory: '/' });
/** For those who never answer. */
const hasty = loadConfig({ environment: { PYRO_HANDSHAKE_TIMEOUT: '0.3' }, currentDirectory: '/' });
/** At a loopback address: so all that is registered there is on this machine. */
const nameServerHost = '127.0.0.1';
const opened: AsyncDisposable[] = [];

afterEach(async () => {
  for (const resource of opened.splice(0)) await resource[Symbol.asyncDispose]();
});

async function startDaemon(): Promise<Daemon> {
  const daemon = await Daemon.start({ config, log: silentLog, host: '127.0.0.1', port: 0, norange: true });
  opened.push(daemon);
  return daemon;
}

/** A server that is no daemon; gives its port. */
async function startServer(onConnection: (socket: Socket) => void, address = '127.0.0.1'): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, address);
  await once(server, 'listening');
  opened.push({
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}

const ask = async (uri: PyroURI | string, identification?: string, by = config): Promise<string> => {
  const livenessProbe = new LivenessProbe({ config: by, nameServerHost, identificationFor: () => identification });
  return (await livenessProbe.ask(typeof uri === 'string' ? PyroURI.parse(uri) : uri)).status;
};

describe('an object', () => {
  test('answers while its daemon has it', async () => {
    const daemon = await startDaemon();
    const uri = await daemon.connect({});
    expect(await ask(uri)).toBe('answers');
    await daemon.disconnect(uri.objectID);
    expect(await ask(uri)).toBe('gone');
  });

  test('is closed when nothing listens any more', async () => {
    const daemon = await startDaemon();
    const uri = await daemon.connect({});
    await daemon.shutdown();
    expect(await ask(uri)).toBe('closed');
  });

  test('may be named in its URI', async () => {
    const daemon = await startDaemon();
    await daemon.connect({}, 'named');
    expect(await ask(`PYROLOC://127.0.0.1:${daemon.port}/named`)).toBe('answers');
    expect(await ask(`PYROLOC://127.0.0.1:${daemon.port}/other`)).toBe('gone');
  });

  test('is of a daemon that may refuse to be asked', async () => {
    const daemon = await startDaemon();
    daemon.setAllowedIdentifications(['secret']);
    const uri = await daemon.connect({});
    expect(await ask(uri)).toBe('denied');
    expect(await ask(uri, 'secret')).toBe('answers');
  });

  test.each([
    ['speaks another protocol', (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), 'unknown', config],
    ['closes at once', (socket: Socket) => socket.end(), 'unreachable', config],
    ['is silent', () => undefined, 'unreachable', hasty],
  ])('is not taken for gone where what listens %s', async (_what, onConnection, status, by) => {
    const port = await startServer(onConnection);
    expect(await ask(`PYRO://127.0.0.1:${port}/id`, undefined, by)).toBe(status);
  });

  test('is not taken for one that answers where its daemon says more than a name server may be told', async () => {
    const daemon = await startDaemon();
    const internal = daemon.getLocalObject(INTERNAL_DAEMON_GUID);
    const narrow = { ...config, PYRO_NS_MAX_PICKLE_OBJECTS: 100 };
    const many = Array.from({ length: 101 }, () => []);
    if (internal !== undefined) internal.invoke = () => new Map([['id', many]]);
    const uri = new PyroURI('PYRO', '127.0.0.1', daemon.port, 'id');
    expect(await ask(uri, undefined, narrow)).toBe('unknown');
    expect(await ask(uri)).toBe('answers');
  });

  test.each([
    ['as it comes', false],
    ['once it is decompressed', true],
  ])('is of a daemon whose answer is no larger than a name server may be told, %s', async (_what, compression) => {
    const daemon = await Daemon.start({
      config: { ...config, PYRO_COMPRESSION: compression },
      log: silentLog,
      host: '127.0.0.1',
      port: 0,
      norange: true,
    });
    opened.push(daemon);
    const internal = daemon.getLocalObject(INTERNAL_DAEMON_GUID);
    if (internal !== undefined) internal.invoke = () => new Map([['id', 'x'.repeat(2000)]]);
    const uri = new PyroURI('PYRO', '127.0.0.1', daemon.port, 'id');
    expect(await ask(uri, undefined, { ...config, PYRO_NS_MAX_MESSAGE_SIZE: 4000 })).toBe('answers');
    expect(await ask(uri, undefined, { ...config, PYRO_NS_MAX_MESSAGE_SIZE: 1024 })).toBe('unknown');
  });

  test('is not waited for for ever where its daemon lets in, and does not answer', async () => {
    const daemon = await startDaemon();
    const internal = daemon.getLocalObject(INTERNAL_DAEMON_GUID);
    let answer: (value: Map<string, null>) => void = () => undefined;
    if (internal !== undefined) internal.invoke = () => new Promise((resolve) => (answer = resolve));
    const uri = new PyroURI('PYRO', '127.0.0.1', daemon.port, 'id');
    expect(await new LivenessProbe({ config: hasty, nameServerHost }).ask(uri)).toEqual({
      status: 'unreachable',
      explanation: 'No daemon answers: connection timeout receiving.',
    });
    answer(new Map());
  });

  test('leaves no connection to its daemon', async () => {
    const daemon = await startDaemon();
    expect(await ask(await daemon.connect({}))).toBe('answers');
    expect(daemon.connectionCounts.accepted).toBe(1);
    while (daemon.connectionCount > 0) await new Promise(setImmediate);
  });

  test('can not be asked for where the URI leads to no daemon', async () => {
    expect(await ask('HTTP://127.0.0.1:80/id')).toBe('unknown');
  });
});

test.each<[ObjectStatus['status'], boolean]>([
  ['answers', false],
  ['gone', true],
  ['closed', true],
  ['unreachable', true],
  ['denied', false],
  ['unknown', false],
])('an object of the status %s is dead: %s', (status, expected) => {
  expect(isDead({ status, explanation: '' })).toBe(expected);
});

describe('what is said to people', () => {
  const explain = (uri: string): Promise<ObjectStatus> =>
    new LivenessProbe({ config, nameServerHost }).ask(PyroURI.parse(uri));

  test('tells what the daemon has, and what it has not', async () => {
    const daemon = await startDaemon();
    const uri = await daemon.connect({}, 'named');
    const of = `127.0.0.1:${daemon.port}`;
    expect(await explain(uri.toString())).toEqual({
      status: 'answers',
      explanation: 'The daemon has this object.',
    });
    expect(await explain(`PYRO://${of}/other`)).toEqual({
      status: 'gone',
      explanation: 'The daemon is there, but does not have this object any more.',
    });
    expect(await explain(`PYROLOC://${of}/named`)).toEqual({
      status: 'answers',
      explanation: 'The daemon has an object of this name.',
    });
    expect(await explain(`PYROLOC://${of}/other`)).toEqual({
      status: 'gone',
      explanation: 'The daemon is there, but has no object of this name.',
    });
  });

  test('tells why the daemon could not say', async () => {
    const daemon = await startDaemon();
    const internal = daemon.getLocalObject(INTERNAL_DAEMON_GUID);
    if (internal === undefined) throw new Error('no internal object');
    const uri = `PYRO://127.0.0.1:${daemon.port}/id`;
    internal.invoke = () => ['no', 'mapping'];
    expect(await explain(uri)).toEqual({ status: 'unknown', explanation: 'What listens there is no daemon.' });
    internal.invoke = () => {
      throw new RemoteError('exceptions', 'ValueError', ['out of order']);
    };
    expect(await explain(uri)).toEqual({
      status: 'unknown',
      explanation: "The daemon can't say: ValueError: out of order.",
    });
    daemon.setAllowedIdentifications(['secret']);
    expect(await explain(uri)).toEqual({
      status: 'denied',
      explanation: 'The daemon is there, and refuses to be asked: security reasons.',
    });
    await daemon.shutdown();
    expect(await explain(uri)).toEqual({
      status: 'closed',
      explanation: expect.stringMatching(/^No daemon answers: connection failed: .*ECONNREFUSED.*\.$/),
    });
  });

  test('tells that a URI leads nowhere', async () => {
    expect(await explain('HTTP://127.0.0.1:80/id')).toEqual({
      status: 'unknown',
      explanation: 'A URI of protocol HTTP leads to no daemon.',
    });
  });
});

test('a passphrase is told only to the daemon that may have it', async () => {
  const [trusted, other] = [await startDaemon(), await startDaemon()];
  for (const daemon of [trusted, other]) daemon.setAllowedIdentifications(['secret']);
  const asked: string[] = [];
  const livenessProbe = new LivenessProbe({
    nameServerHost,
    config,
    identificationFor: (uri) => {
      asked.push(uri.toString());
      return uri.port === trusted.port ? 'secret' : undefined;
    },
  });
  const uris = [await trusted.connect({}), await other.connect({})];
  const statuses = await Promise.all(uris.map((uri) => livenessProbe.ask(uri)));
  expect(statuses.map(({ status }) => status)).toEqual(['answers', 'denied']);
  expect(asked).toEqual([trusted, other].map(({ port }) => `PYRO://127.0.0.1:${port}/${INTERNAL_DAEMON_GUID}`));
});

test('a daemon is asked once for all of its objects', async () => {
  const daemon = await startDaemon();
  let connections = 0;
  daemon.getServerSockets()[0]?.on('connection', () => (connections += 1));
  const uris = await Promise.all(Array.from({ length: 50 }, () => daemon.connect({})));
  const livenessProbe = new LivenessProbe({ config, nameServerHost });
  const statuses = await Promise.all(uris.map((uri) => livenessProbe.ask(uri)));
  expect(new Set(statuses.map(({ status }) => status))).toEqual(new Set(['answers']));
  expect(connections).toBe(1);
});

test('so many daemons are asked at the same time, and the others afterwards', async () => {
  const sockets: Socket[] = [];
  const port = await startServer((socket) => sockets.push(socket), '0.0.0.0');
  const livenessProbe = new LivenessProbe({ config, nameServerHost });
  const addresses = Array.from({ length: 33 }, (_, index) => `127.0.0.${index + 1}`);
  const asked = addresses.map((address) => livenessProbe.ask(new PyroURI('PYRO', address, port, 'id')));
  while (sockets.length < 32) await new Promise(setImmediate);
  // Who comes now is let in after all that came before.
  const last = connect(port, '127.0.0.1').on('error', () => undefined);
  await once(last, 'connect');
  while (!sockets.some(({ remotePort }) => remotePort === last.localPort)) await new Promise(setImmediate);
  expect(sockets).toHaveLength(33);
  last.destroy();
  for (const socket of sockets) socket.end();
  while (sockets.length < 34) await new Promise(setImmediate);
  sockets.at(-1)?.end();
  expect((await Promise.all(asked)).map(({ status }) => status)).toEqual(addresses.map(() => 'unreachable'));
});

describe('an address that means another machine elsewhere', () => {
  const askFrom = (host: string, uri: string): Promise<ObjectStatus> =>
    new LivenessProbe({ config: hasty, nameServerHost: host }).ask(PyroURI.parse(uri));

  test.each([
    ['192.0.2.7', 'PYRO://127.0.1.1:1/id', 'unknown'],
    ['192.0.2.7', 'PYRO://localhost:1/id', 'unknown'],
    ['192.0.2.7', 'PYROLOC://127.0.0.1:1/name', 'unknown'],
    ['169.254.1.1', 'PYRO://127.0.0.1:1/id', 'unknown'],
    ['127.0.0.1', 'PYRO://127.0.1.1:1/id', 'closed'],
    ['localhost', 'PYRO://localhost:1/id', 'closed'],
  ])('is judged only from the same scope: name server at %s, %s', async (host, uri, status) => {
    expect(await askFrom(host, uri)).toMatchObject({ status });
  });

  test('is said to be one', async () => {
    const { explanation } = await askFrom('192.0.2.7', 'PYRO://127.0.0.1:1/id');
    expect(explanation).toBe(
      'Its address means another machine elsewhere, so it can only be asked from the machine that registered it.',
    );
  });

  test('answers all the same where the object is there: ids are unique', async () => {
    const daemon = await startDaemon();
    const uri = await daemon.connect({});
    expect(await askFrom('192.0.2.7', uri.toString())).toMatchObject({ status: 'answers' });
    await daemon.disconnect(uri.objectID);
    expect(await askFrom('192.0.2.7', uri.toString())).toMatchObject({ status: 'unknown' });
  });

  test.each([
    ['127.0.0.1', '192.0.2.7', false],
    ['169.254.3.4', '192.0.2.7', false],
    ['169.254.3.4', '127.0.0.1', false],
    ['169.254.3.4', '169.254.1.1', true],
    ['127.0.1.1', '127.0.0.1', true],
    ['192.0.2.8', '127.0.0.1', true],
    ['10.127.0.1', '192.0.2.7', true],
    ['10.169.254.1', '192.0.2.7', true],
  ])('%s beside a name server at %s: %s', (address, nameServer, same) => {
    expect(isSameEverywhere(address, nameServer)).toBe(same);
  });
});

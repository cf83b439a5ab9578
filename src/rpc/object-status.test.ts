import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { INTERNAL_DAEMON_GUID, PyroURI } from '../names/index.js';
import { Daemon } from './daemon.js';
import { ObjectInquiry } from './object-status.js';

const config = loadConfig({ environment: { PYRO_HANDSHAKE_TIMEOUT: '0.5' }, currentDirectory: '/' });
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
async function startServer(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  opened.push({
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const ask = async (uri: PyroURI | string, identification?: string): Promise<string> => {
  const inquiry = new ObjectInquiry({ config, identificationFor: () => identification });
  return (await inquiry.ask(typeof uri === 'string' ? PyroURI.parse(uri) : uri)).status;
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
    ['speaks another protocol', (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), 'unknown'],
    ['closes at once', (socket: Socket) => socket.end(), 'unreachable'],
    ['is silent', () => undefined, 'unreachable'],
  ])('is not taken for gone where what listens %s', async (_what, onConnection, status) => {
    const port = await startServer(onConnection);
    expect(await ask(`PYRO://127.0.0.1:${port}/id`)).toBe(status);
  });

  test('is not taken for one that answers where its daemon says more than a name server may be told', async () => {
    const daemon = await startDaemon();
    const internal = daemon.getLocalObject(INTERNAL_DAEMON_GUID);
    const many = Array.from({ length: config.PYRO_NS_MAX_PICKLE_OBJECTS + 1 }, () => []);
    if (internal !== undefined) internal.invoke = () => new Map([['id', many]]);
    expect(await ask(new PyroURI('PYRO', '127.0.0.1', daemon.port, 'id'))).toBe('unknown');
  });

  test('can not be asked for where the URI leads to no daemon', async () => {
    expect(await ask('HTTP://127.0.0.1:80/id')).toBe('unknown');
  });
});

test('a daemon is asked once for all of its objects', async () => {
  const daemon = await startDaemon();
  let connections = 0;
  daemon.getServerSockets()[0]?.on('connection', () => (connections += 1));
  const uris = await Promise.all(Array.from({ length: 50 }, () => daemon.connect({})));
  const inquiry = new ObjectInquiry({ config });
  const statuses = await Promise.all(uris.map((uri) => inquiry.ask(uri)));
  expect(new Set(statuses.map(({ status }) => status))).toEqual(new Set(['answers']));
  expect(connections).toBe(1);
});

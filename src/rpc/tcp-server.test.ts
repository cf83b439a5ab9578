import { once } from 'node:events';
import { createServer, Server, Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { CHECKSUM, COMPRESSED, Conversation } from '../../test/support/conversation.js';
import { rawFrame, RawConnection } from '../../test/support/raw-connection.js';
import { loadConfig, silentLog, type Config, type Log } from '../config/index.js';
import { DaemonError } from '../errors.js';
import { ClientConnection, defaultFrameLimits, DeniedReason, type RequestHandler } from '../wire/index.js';
import { TCPServer } from './tcp-server.js';
import { DefaultConnValidator } from './validators.js';

let config: Config;
let handler: RequestHandler;
let server: TCPServer;
/** What was logged, without the ports of clients. */
let lines: string[];
/** The server's ends of its connections, in their order. */
let sockets: Socket[];
/** Of those that were given up because of it. */
let timeouts: (number | undefined)[];
const cleanUp: (() => unknown)[] = [];

const note =
  (severity: string) =>
  (source: string, ...parts: unknown[]): void => {
    lines.push([severity, source, ...parts].join(' ').replace(/127\.0\.0\.1:\d+/g, 'CLIENT'));
  };
const log: Log = { ...silentLog, msg: note('note'), warn: note('warning'), error: note('error') };

function newServer(): TCPServer {
  const created = new TCPServer({
    config,
    log,
    certificates: undefined,
    limits: defaultFrameLimits,
    maxIncomingSize: 1 << 20,
    handler: (body, connection) => handler(body, connection),
  });
  created.server.on('connection', (socket: Socket) => {
    sockets.push(socket);
    socket.on('timeout', () => timeouts.push(socket.timeout));
  });
  cleanUp.push(() => created.close(undefined).catch(() => undefined));
  return created;
}

const start = (): Promise<void> => server.listen('127.0.0.1', 0, 1);

async function open(): Promise<ClientConnection> {
  const connection = await ClientConnection.open('127.0.0.1', server.listening.port);
  cleanUp.push(() => {
    connection.destroy();
  });
  return connection;
}

async function openRaw(): Promise<RawConnection> {
  const connection = await RawConnection.openGranted(server.listening.port);
  cleanUp.push(() => {
    connection.close();
  });
  return connection;
}

beforeEach(() => {
  config = loadConfig({ environment: {}, currentDirectory: '/' });
  handler = (body) => body;
  lines = [];
  sockets = [];
  timeouts = [];
  server = newServer();
});

afterEach(async () => {
  jest.restoreAllMocks();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

describe('a client that does nothing', () => {
  test('is closed after PYRO_IDLE_TIMEOUT, without a word', async () => {
    Object.assign(config, { PYRO_IDLE_TIMEOUT: 0.05, PYRO_STALL_TIMEOUT: 60 });
    await start();
    const client = await open();
    const { bytesRead } = client.socket;
    await client.closed;
    expect(timeouts).toEqual([50]);
    expect(client.socket.bytesRead).toBe(bytesRead);
  });

  test('may stay where PYRO_IDLE_TIMEOUT is 0, however short PYRO_STALL_TIMEOUT is', async () => {
    Object.assign(config, { PYRO_IDLE_TIMEOUT: 0, PYRO_STALL_TIMEOUT: 0.1 });
    await start();
    await (await open()).call(Buffer.from('hello'));
    expect(sockets.map(({ timeout = 0 }) => timeout)).toEqual([0]);
  });

  test('in the middle of a message is closed after PYRO_STALL_TIMEOUT, without a word', async () => {
    Object.assign(config, { PYRO_IDLE_TIMEOUT: 0, PYRO_STALL_TIMEOUT: 0.1 });
    await start();
    const client = await openRaw();
    client.write(Buffer.from('PYRO'));
    expect(String(await client.readToEnd())).toBe('');
    expect(timeouts).toEqual([100]);
  });
});

describe('a client that reads no replies', () => {
  test.each([
    ['no more, where they are more than PYRO_MAX_UNSENT_SIZE', 1024, ['big']],
    ['the next one, where they are less', 2 ** 31 - 1, ['big', 'next']],
  ])('has of its requests looked at %s', async (_what, limit, looked) => {
    config.PYRO_MAX_UNSENT_SIZE = limit;
    const seen: string[] = [];
    handler = (body) => {
      const word = body.toString();
      if (word === 'big' || word === 'next') seen.push(word);
      return word === 'big' ? Buffer.alloc(16 << 20) : body;
    };
    await start();
    const client = await openRaw();
    client.pause();
    client.write(Buffer.concat(['big', 'next'].map((word) => rawFrame(Buffer.from(word)))));
    while (seen.length === 0) await new Promise(setImmediate);
    // When another client has its answers, all that came before is looked at.
    const other = await open();
    for (let asked = 0; asked < 3; asked += 1) await other.call(Buffer.from('other'));
    expect(seen).toEqual(looked);
  });
});

describe('wrong passphrases', () => {
  let delays: number[];

  beforeEach(async () => {
    await start();
    server.validator.setAllowedIdentifications(['right']);
    // The delays are noted, and over at once.
    delays = [];
    const { setTimeout: original } = globalThis;
    jest.spyOn(globalThis, 'setTimeout').mockImplementation((callback, delay = 0) => {
      // A connection that was denied lingers for 1000.
      const isDenial = delay < 5000 && delay > 50 && delay !== 1000;
      if (isDenial) delays.push(delay);
      return original(callback, isDenial ? 0 : delay);
    });
  });

  const attempt = async (passphrase: string): Promise<string> => {
    const identification = server.validator.mungeIdent(passphrase);
    try {
      const connection = await ClientConnection.open('127.0.0.1', server.listening.port, { identification });
      connection.destroy();
      return 'let in';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };

  test('are answered more and more slowly, and right ones of that address no more slowly', async () => {
    for (let count = 0; count < 10; count++) expect(await attempt('wrong')).toBe('security reasons');
    expect(delays).toEqual([100, 200, 400, 800, 1600, 2000]);
    expect(await attempt('right')).toBe('let in');
    expect(delays).toHaveLength(7);
    expect(delays.at(-1)).toBe(2000);
  });

  test('are answered at once where PYRO_DENIAL_DELAY is 0', async () => {
    config.PYRO_DENIAL_DELAY = 0;
    for (let count = 0; count < 10; count++) expect(await attempt('wrong')).toBe('security reasons');
    expect(delays).toEqual([]);
  });

  test('hold up nobody who mistyped', async () => {
    for (let count = 0; count < 3; count++) await attempt('wrong');
    expect(await attempt('right')).toBe('let in');
    expect(delays).toEqual([]);
  });

  test('whose answer is waited for keep the server from its end no longer', async () => {
    jest.restoreAllMocks();
    config.PYRO_DENIAL_DELAY = 5;
    for (let count = 0; count < 3; count++) await attempt('wrong');
    // The next ones wait longer and longer: they are under way when the server stops.
    const attempts = Array.from({ length: 10 }, () => attempt('wrong'));
    while (sockets.length < 13) await new Promise(setImmediate);
    await server.close(undefined);
    for (const outcome of await Promise.all(attempts)) expect(outcome).not.toBe('let in');
  });
});

describe('what is sent', () => {
  test.each([
    { compression: false, checksum: false },
    { compression: true, checksum: false },
    { compression: false, checksum: true },
    { compression: true, checksum: true },
  ])('is as PYRO_COMPRESSION and PYRO_CHECKSUM say: $compression, $checksum', async ({ compression, checksum }) => {
    Object.assign(config, { PYRO_COMPRESSION: compression, PYRO_CHECKSUM: checksum });
    await start();
    const conversation = await Conversation.with(server.listening.port);
    cleanUp.push(() => conversation.close());
    const client = await ClientConnection.open('127.0.0.1', conversation.port);
    cleanUp.push(() => {
      client.destroy();
    });
    await client.call(Buffer.alloc(5000, 'x'));
    const [reply] = conversation.replies;
    if (reply === undefined) throw new Error('no reply was seen');
    expect(reply.flags).toBe((compression ? COMPRESSED : 0) | (checksum ? CHECKSUM : 0));
  });

  test.each([true, false])('keeps the connection alive as PYRO_SOCK_KEEPALIVE says: %s', async (keepAlive) => {
    config.PYRO_SOCK_KEEPALIVE = keepAlive;
    await start();
    const set = jest.spyOn(Socket.prototype, 'setKeepAlive');
    await openRaw();
    expect(set.mock.calls).toEqual([[keepAlive]]);
  });
});

describe('the log and the counts', () => {
  test('tell who came, who went, and how many are there', async () => {
    await start();
    const [first, second] = [await open(), await open()];
    expect(server.connectionCounts).toEqual({ open: 2, accepted: 2, refused: 0 });
    await first.close();
    while (server.connectionCount > 1) await new Promise(setImmediate);
    await second.close();
    while (server.connectionCount > 0) await new Promise(setImmediate);
    expect(lines).toEqual([
      'note TCPServer new connection CLIENT #conns= 1',
      'note TCPServer new connection CLIENT #conns= 2',
      'note TCPServer removed connection CLIENT #conns= 1',
      'note TCPServer removed connection CLIENT #conns= 0',
    ]);
    expect(server.connectionCounts).toEqual({ open: 0, accepted: 2, refused: 0 });
  });

  test('tell who was refused', async () => {
    class Refusing extends DefaultConnValidator {
      override acceptHost = () => DeniedReason.Security;
    }
    server.validator = new Refusing();
    await start();
    await expect(open()).rejects.toThrow('security reasons');
    while (server.connectionCount > 0) await new Promise(setImmediate);
    expect(lines).toEqual([
      'warning TCPServer connection not accepted: CLIENT',
      'note TCPServer removed connection CLIENT #conns= 0',
    ]);
    expect(server.connectionCounts).toEqual({ open: 0, accepted: 0, refused: 1 });
  });

  test('tell what went wrong here, and not the client', async () => {
    handler = () => {
      throw new RangeError('a mistake of ours');
    };
    await start();
    const client = await openRaw();
    client.write(rawFrame(Buffer.from('hello')));
    expect(String(await client.readToEnd())).toBe('');
    expect(lines).toContain('error TCPServer error while answering CLIENT RangeError: a mistake of ours');
  });

  test('tell that a connection could not be accepted, and others still can', async () => {
    await start();
    server.server.emit('error', new Error('too many open files'));
    expect(lines).toEqual(['error TCPServer accepting a connection failed: Error: too many open files']);
    expect(String(await (await open()).call(Buffer.from('hello')))).toBe('hello');
  });
});

describe('the port', () => {
  const taken = async (): Promise<number> => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    cleanUp.push(() => other.close());
    const address = other.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  };

  test('is not known before the server listens', () => {
    expect(() => server.listening).toThrow(new DaemonError('the daemon is not listening'));
  });

  test('is the first free one of the range', async () => {
    const first = await taken();
    await expect(server.listen('127.0.0.1', first, 1)).rejects.toThrow(/^Couldn't start Pyro daemon: .*EADDRINUSE/);
    await server.listen('127.0.0.1', first, 50);
    expect(server.listening.port - first).toBeGreaterThan(0);
    expect(server.listening.port - first).toBeLessThan(50);
  });

  test.each([
    { first: 7766, tries: 1, tried: [7766] },
    { first: 7766, tries: 3, tried: [7766, 7767, 7768] },
    // There are no ports beyond.
    { first: 65534, tries: 100, tried: [65534, 65535] },
  ])('is looked for from $first, $tries times at most', async ({ first, tries, tried }) => {
    const asked: unknown[] = [];
    jest.spyOn(Server.prototype, 'listen').mockImplementation(function (this: Server, options: unknown) {
      asked.push(options);
      process.nextTick(() => this.emit('error', new Error('taken')));
      return this;
    });
    await expect(server.listen('127.0.0.1', first, tries)).rejects.toThrow("Couldn't start Pyro daemon: taken");
    expect(asked).toEqual(tried.map((port) => ({ host: '127.0.0.1', port, backlog: 200 })));
  });
});

describe('the end', () => {
  test('comes when requests under way are answered, and frees the port', async () => {
    const answers: ((body: Buffer) => void)[] = [];
    handler = () => new Promise((resolve) => answers.push(resolve));
    await start();
    const { port } = server.listening;
    const [busy, idle] = [await open(), await open()];
    const replied = busy.call(Buffer.from('slow'));
    while (answers.length === 0) await new Promise(setImmediate);
    const events: string[] = [];
    void idle.closed.then(() => events.push('idle closed'));
    const closed = server.close(undefined).then(() => events.push('server closed'));
    await idle.closed;
    expect(events).toEqual(['idle closed']);
    answers[0]?.(Buffer.from('answered'));
    expect(String(await replied)).toBe('answered');
    await closed;
    expect(events).toEqual(['idle closed', 'server closed']);
    await expect(ClientConnection.open('127.0.0.1', port)).rejects.toThrow('connection failed');
    expect(server.connectionCount).toBe(0);
  });
});

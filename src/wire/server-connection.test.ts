import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { ProtocolError } from '../errors.js';
import { MemoryBudget } from '../sync/index.js';
import { defaultConnectionOptions } from './connection.js';
import { encodeFrame, encodePlainFrame, FrameReader } from './frame.js';
import { DeniedReason } from './handshake.js';
import { MemorySocket } from './memory-socket.model.js';
import { decodeReply } from './message.js';
import {
  defaultServerConnectionOptions,
  ServerConnection,
  type ConnectionAuthenticator,
  type Reply,
  type RequestHandler,
  type ServerConnectionOptions,
} from './server-connection.js';

const CHALLENGE = Buffer.from('0123456789abcdef');
const LETTING_IN: ConnectionAuthenticator = {
  acceptHost: () => undefined,
  createAuthChallenge: () => CHALLENGE,
  acceptIdentification: () => undefined,
};
const TOKEN = 'x'.repeat(16);

const echo: RequestHandler = (body) => Buffer.from(body);
const frame = (body: string | Buffer): Buffer => Buffer.concat(encodePlainFrame(Buffer.from(body), false));

/** A compressed frame of a body that is not large. */
function compressed(body: Buffer): Buffer {
  const pieces = encodeFrame([body], { compression: true, checksum: false });
  if (pieces instanceof Promise) throw new Error('unexpectedly large');
  return Buffer.concat(pieces);
}

/** Until all is done that waits for nothing but the event loop. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}

/** The bodies of the frames in these bytes. */
function bodiesIn(bytes: Uint8Array): Buffer[] {
  const reader = new FrameReader();
  reader.push(Buffer.from(bytes));
  const bodies = [];
  for (let body = reader.next(); body !== undefined; body = reader.next()) {
    if (body instanceof Promise) throw new Error('unexpectedly large');
    bodies.push(body);
  }
  return bodies;
}

const textsIn = (bytes: Uint8Array): string[] => bodiesIn(bytes).map(String);

/** The error that these bytes tell a client, as the last thing. */
function problemIn(bytes: Uint8Array): unknown {
  const reply = decodeReply(bodiesIn(bytes).at(-1) ?? Buffer.alloc(0));
  if (!('exception' in reply)) return undefined;
  const { module, className, args } = reply.exception;
  return [`${module}.${className}`, ...args];
}

const protocolError = (...args: string[]): string[] => ['Pyro.errors.ProtocolError', ...args];

/** A handler whose replies the test gives, in the order of the requests. */
function slowHandler(): { handler: RequestHandler; asked: string[]; give: (reply: Reply) => void } {
  const asked: string[] = [];
  const waiting: ((reply: Reply) => void)[] = [];
  const handler: RequestHandler = (body) => {
    asked.push(String(body));
    return new Promise<Reply>((resolve) => waiting.push(resolve));
  };
  return { handler, asked, give: (reply) => waiting.shift()?.(reply) };
}

const sockets: MemorySocket[] = [];

/** A connection whose client has connected. */
function connected(options: Partial<ServerConnectionOptions> = {}) {
  const socket = new MemorySocket();
  sockets.push(socket);
  return { socket, connection: new ServerConnection(socket, options) };
}

/** A connection that is served, as if its handshake was over; `sent` has nothing of that. */
function served(handler: RequestHandler, options: Partial<ServerConnectionOptions> = {}) {
  const { socket, connection } = connected(options);
  connection.serve(handler);
  return { socket, connection };
}

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await settled();
  // A connection that is closed leaves no timer running.
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

describe('a connection', () => {
  test('says by default what is documented', () => {
    expect(defaultServerConnectionOptions).toEqual({
      compression: false,
      checksum: false,
      limits: { maxBodySize: 0x10000000, maxInflatedSize: 0x10000000 },
      keepAlive: true,
      handshakeTimeoutMs: 10_000,
      stallTimeoutMs: 60_000,
      endTimeoutMs: 10_000,
      maxBufferedInput: 262_144,
      maxUnsentReplies: 1_048_576,
      idleTimeoutMs: 0,
      maxHandshakeBody: 1024,
      memoryBudget: undefined,
      pickleProtocol: 2,
      onError: expect.any(Function),
    });
    expect(defaultServerConnectionOptions).toMatchObject(defaultConnectionOptions);
  });

  test.each([true, false])('is told what it needs of the system, keep-alive: %s', (keepAlive) => {
    const { socket, connection } = connected({ keepAlive });
    expect(socket.settings).toEqual([
      ['noDelay', true],
      ['keepAlive', keepAlive],
    ]);
    expect(socket.allowHalfOpen).toBe(true);
    expect([connection.remoteAddress, connection.remotePort, String(connection)]).toEqual([
      '10.0.0.1',
      4711,
      '10.0.0.1:4711',
    ]);
  });

  test('whose client is gone already has no address', () => {
    const socket = new MemorySocket({});
    sockets.push(socket);
    expect(String(new ServerConnection(socket))).toBe('unknown:0');
  });

  test('is closed at once when it is destroyed', async () => {
    const { socket, connection } = served(echo);
    connection.destroy();
    expect(socket.destroyed).toBe(true);
    await connection.closed;
  });

  test('is closed when its time is over, and when it breaks', async () => {
    const onError = jest.fn();
    const [late, broken] = [served(echo, { onError }), served(echo, { onError })];
    late.socket.emit('timeout');
    broken.socket.destroy(new Error('read ECONNRESET'));
    await Promise.all([late.connection.closed, broken.connection.closed]);
    expect(onError).not.toHaveBeenCalled();
  });

  test.each([
    ['as much as it may hold', 100, false],
    ['a byte more', 101, true],
  ])('reads on while nobody looks at what arrives, up to a bound: %s', async (_what, size, isHeld) => {
    const { socket, connection } = connected({ maxBufferedInput: 100 });
    socket.receive(Buffer.concat([frame('1'), frame('2'), Buffer.alloc(size - 38, frame('3'))]));
    await settled();
    expect(socket.isPaused()).toBe(isHeld);
    connection.serve(echo);
    await settled();
    expect(socket.isPaused()).toBe(false);
    expect(textsIn(socket.sent).slice(0, 2)).toEqual(['1', '2']);
  });
});

describe('the handshake', () => {
  test('asks the host, then the client; then requests are answered that came meanwhile', async () => {
    const asked: unknown[] = [];
    const authenticator: ConnectionAuthenticator = {
      acceptHost: (...args) => void asked.push(['host', ...args]),
      createAuthChallenge: (...args) => {
        asked.push(['challenge', ...args]);
        return CHALLENGE;
      },
      acceptIdentification: (...args) => void asked.push(['identification', ...args]),
    };
    const { socket, connection } = connected();
    const opened = connection.open(authenticator);
    await settled();
    expect(socket.sent).toEqual(frame(CHALLENGE));
    socket.receive(Buffer.concat([frame('CONNECT' + TOKEN), frame('hello')]));
    expect(await opened).toBe(true);
    expect(socket.sent).toEqual(Buffer.concat([frame(CHALLENGE), Buffer.from('GRANTED')]));
    expect(asked).toEqual([
      ['host', connection],
      ['challenge', connection],
      ['identification', connection, Buffer.from(TOKEN), CHALLENGE],
    ]);
    connection.serve(echo);
    expect(socket.sent).toEqual(Buffer.concat([frame(CHALLENGE), Buffer.from('GRANTED'), frame('hello')]));
    expect(socket.destroyed).toBe(false);
    expect(jest.getTimerCount()).toBe(0);
  });

  test.each([
    ['host', { acceptHost: () => DeniedReason.ServerTooBusy }, 'DENIED1'],
    ['host, unspecified', { acceptHost: () => Promise.resolve(DeniedReason.Unspecified) }, 'DENIED0'],
    ['client', { acceptIdentification: () => Promise.resolve(DeniedReason.Security) }, 'DENIED3'],
  ] satisfies [string, Partial<ConnectionAuthenticator>, string][])(
    'refuses a %s, and closes',
    async (_who, refusal, verdict) => {
      const { socket, connection } = connected();
      socket.receive(frame('CONNECT' + TOKEN));
      expect(await connection.open({ ...LETTING_IN, ...refusal })).toBe(false);
      await settled();
      expect(String(socket.sent.subarray(-7))).toBe(verdict);
      expect(socket.hasEnded).toBe(true);
      // It waits for the client's end, so that unread input does not take the verdict away; but not for long.
      expect(socket.destroyed).toBe(false);
      jest.advanceTimersByTime(999);
      expect(socket.destroyed).toBe(false);
      jest.advanceTimersByTime(1);
      expect(socket.destroyed).toBe(true);
    },
  );

  test('reads what it waits for, however little may lie here unread; what comes after it has to wait', async () => {
    const { socket, connection } = connected({ maxBufferedInput: 0 });
    const opened = connection.open(LETTING_IN);
    await settled();
    const answer = frame('CONNECT' + TOKEN);
    for (const chunk of [answer.subarray(0, 20), answer.subarray(20, 30), answer.subarray(30)]) {
      expect(socket.isPaused()).toBe(false);
      socket.receive(chunk);
      await settled();
    }
    expect(await opened).toBe(true);
    socket.receive(frame('1'));
    await settled();
    expect(socket.isPaused()).toBe(true);
    connection.serve(echo);
    await settled();
    expect(socket.isPaused()).toBe(false);
    expect(socket.sent.subarray(-19)).toEqual(frame('1'));
  });

  test('is over in time, or the client is gone', async () => {
    const { socket, connection } = connected({ handshakeTimeoutMs: 70_000 });
    const opened = connection.open(LETTING_IN);
    await settled();
    jest.advanceTimersByTime(69_999);
    expect(socket.destroyed).toBe(false);
    jest.advanceTimersByTime(1);
    expect(socket.destroyed).toBe(true);
    expect(await opened).toBe(false);
    expect(socket.sent).toEqual(frame(CHALLENGE));
  });

  test('does not let in who has gone while it was thought about', async () => {
    const { socket, connection } = connected();
    socket.receive(frame('CONNECT' + TOKEN));
    const acceptIdentification = (): undefined => void socket.destroy();
    expect(await connection.open({ ...LETTING_IN, acceptIdentification })).toBe(false);
  });

  test('ends when the client does, without a word', async () => {
    const onError = jest.fn();
    const { socket, connection } = connected({ onError });
    const opened = connection.open(LETTING_IN);
    socket.receive(frame('CONNECT' + TOKEN).subarray(0, -1));
    socket.receiveEnd();
    expect(await opened).toBe(false);
    expect(socket.sent).toEqual(frame(CHALLENGE));
    expect(socket.destroyed).toBe(true);
    expect(onError).not.toHaveBeenCalled();
  });

  test.each([
    ['invalid connect message', frame('CONNECX' + TOKEN)],
    ['message too large', frame(Buffer.alloc(41))],
    ['message too large', compressed(Buffer.alloc(41))],
    ['invalid header', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ])('answers what is none: %s', async (message, bytes) => {
    const { socket, connection } = connected({ maxHandshakeBody: 40 });
    const opened = connection.open(LETTING_IN);
    socket.receive(bytes);
    expect(await opened).toBe(false);
    await settled();
    expect(problemIn(socket.sent)).toEqual(protocolError(message));
    expect(socket.hasEnded).toBe(true);
  });

  test('has its own limits, and those of requests hold afterwards', async () => {
    const limits = { maxBodySize: 50, maxInflatedSize: 50 };
    const { socket, connection } = connected({ maxHandshakeBody: 23, limits });
    const opened = connection.open(LETTING_IN);
    socket.receive(frame('CONNECT' + TOKEN));
    expect(await opened).toBe(true);
    connection.serve(() => Buffer.from('1'));
    socket.writes.length = 0;
    socket.receive(frame(Buffer.alloc(50)));
    await settled();
    expect(textsIn(socket.sent)).toEqual(['1']);
    socket.receive(frame(Buffer.alloc(51)));
    await settled();
    expect(problemIn(socket.sent)).toEqual(protocolError('message too large'));
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('a bug');
      },
    ],
    ['rejects', () => Promise.reject(new Error('a bug'))],
  ] satisfies [string, ConnectionAuthenticator['acceptHost']][])(
    'reports a authenticator that %s, and lets nobody in',
    async (_how, acceptHost) => {
      const onError = jest.fn();
      const { socket, connection } = connected({ onError });
      expect(await connection.open({ ...LETTING_IN, acceptHost })).toBe(false);
      expect(onError.mock.calls).toEqual([[new Error('a bug'), connection]]);
      expect([socket.destroyed, socket.sent]).toEqual([true, Buffer.alloc(0)]);
    },
  );

  test('shows the challenge as frames are sent: with a checksum', async () => {
    const { socket, connection } = connected({ checksum: true });
    void connection.open(LETTING_IN);
    await settled();
    expect(socket.sent).toEqual(Buffer.concat(encodePlainFrame(CHALLENGE, true)));
  });
});

describe('requests', () => {
  test('are answered in their order, one after another, however long each takes', async () => {
    const { handler, asked, give } = slowHandler();
    const { socket } = served(handler);
    socket.receive(frame('1'), frame('2'));
    await settled();
    expect(asked).toEqual(['1']);
    give(Buffer.from('one'));
    await settled();
    expect([asked, textsIn(socket.sent)]).toEqual([['1', '2'], ['one']]);
    give(undefined);
    socket.receive(frame('3'));
    await settled();
    give([Buffer.from('th'), Buffer.from('ree')]);
    await settled();
    expect([asked, textsIn(socket.sent)]).toEqual([
      ['1', '2', '3'],
      ['one', 'three'],
    ]);
  });

  test('are given to the handler with their connection', async () => {
    const handler = jest.fn<RequestHandler>(() => undefined);
    const { socket, connection } = served(handler);
    socket.receive(frame('1'));
    await settled();
    expect(handler.mock.calls).toEqual([[Buffer.from('1'), connection]]);
    expect(socket.writes).toEqual([]);
  });

  test.each([
    ['at once', echo],
    ['in promises', (body) => Promise.resolve(body)],
  ] satisfies [string, RequestHandler][])(
    'that came together have their replies in one write: made %s',
    async (_how, handler) => {
      const { socket } = served(handler);
      socket.receive(Buffer.concat([frame('1'), frame('2'), frame('3')]));
      await settled();
      expect(socket.writes).toEqual([[Buffer.concat([frame('1'), frame('2'), frame('3')])]]);
    },
  );

  test('have small replies gathered up to 64 kB; larger ones are not copied', async () => {
    const reply = Buffer.alloc(65_536 - 18, 'r');
    const { socket } = served((body) => [reply.subarray(0, Number(String(body)))]);
    socket.receive(frame(String(reply.length)));
    await settled();
    expect(socket.writes.map((chunks) => chunks.map((chunk) => chunk.equals(frame(reply))))).toEqual([[true]]);

    const large = Buffer.alloc(65_536 - 17, 'l');
    const other = served((body) => (String(body) === 'large' ? large : body));
    other.socket.receive(Buffer.concat([frame('1'), frame('large'), frame('2')]));
    await settled();
    expect(other.socket.sent.equals(Buffer.concat([frame('1'), frame(large), frame('2')]))).toBe(true);
    // The first chunk of a corked write goes out alone or with the others, as Node likes it; nothing waits for the last reply.
    expect(other.socket.writes.at(-1)).toEqual([frame('2')]);
    expect(other.socket.writes.flat().some((chunk) => chunk.buffer === large.buffer)).toBe(true);
    expect(other.socket.writes).toHaveLength(2);
  });

  test('are compressed and checked as the options say', async () => {
    for (const options of [
      { compression: true, checksum: false },
      { compression: true, checksum: true },
      { compression: false, checksum: true },
    ]) {
      const body = Buffer.alloc(1000, 'compressible ');
      const { socket } = served(() => body, options);
      socket.receive(frame('1'));
      await settled();
      expect(socket.sent).toEqual(Buffer.concat(await encodeFrame([body], options)));
    }
  });

  test('whose reply is compressed in a thread come before the next, too', async () => {
    const body = Buffer.alloc(100_000, 'compressible ');
    const options = { compression: true, checksum: false };
    const handler = jest.fn<RequestHandler>((request) => (String(request) === '1' ? body : request));
    const { socket } = served(handler, options);
    socket.receive(Buffer.concat([frame('1'), frame('2')]));
    await settledAt(() => socket.sent.length > 0);
    await settled();
    expect(socket.sent).toEqual(Buffer.concat([...(await encodeFrame([body], options)), frame('2')]));
  });

  test('that are inflated in a thread are answered in their order', async () => {
    const body = randomBytes(6000);
    const large = compressed(Buffer.concat([body, Buffer.alloc(6000)]));
    const { socket } = served((request) => Buffer.from(String(request.length)));
    socket.receive(Buffer.concat([large, frame('2')]));
    await settledAt(() => socket.sent.length > 0);
    await settled();
    expect(textsIn(socket.sent)).toEqual(['12000', '1']);
  });

  test('are answered when the client has finished sending, then it is over', async () => {
    const { handler, give } = slowHandler();
    const { socket, connection } = served(handler);
    socket.receive(frame('1'), frame('2'), frame('half').subarray(0, -1));
    socket.receiveEnd();
    await settled();
    expect([socket.hasEnded, socket.sent.length]).toEqual([false, 0]);
    give(Buffer.from('one'));
    await settled();
    expect([socket.hasEnded, textsIn(socket.sent)]).toEqual([false, ['one']]);
    give(Buffer.from('two'));
    await settled();
    expect([socket.hasEnded, textsIn(socket.sent)]).toEqual([true, ['one', 'two']]);
    await connection.closed;
  });

  test('that end right away are answered too, and the connection is closed', async () => {
    const { socket, connection } = served(echo);
    socket.receive(frame('1'));
    socket.receiveEnd();
    await connection.closed;
    expect([socket.hasEnded, textsIn(socket.sent)]).toEqual([true, ['1']]);
  });

  test.each([
    ['a handler that throws', frame('bad'), ['invalid request data format', 'the details']],
    ['a handler that rejects', frame('later'), ['later']],
    ['what is no frame', Buffer.alloc(18, 'x'), ['invalid header']],
  ])('have the ProtocolError of %s as the last reply', async (_what, bytes, args) => {
    const onError = jest.fn();
    const handler = jest.fn<RequestHandler>((body) => {
      if (String(body) === 'bad') throw new ProtocolError('invalid request data format', 'the details');
      return String(body) === 'later' ? Promise.reject(new ProtocolError('later')) : body;
    });
    const { socket } = served(handler, { onError, pickleProtocol: 0, checksum: true, stallTimeoutMs: 70_000 });
    socket.receive(Buffer.concat([frame('1'), bytes, frame('2')]));
    await settled();
    const [first, , none] = bodiesIn(socket.sent);
    expect([String(first), none]).toEqual(['1', undefined]);
    expect(problemIn(socket.sent)).toEqual(protocolError(...args));
    const error = bodiesIn(socket.sent)[1] ?? Buffer.alloc(0);
    expect(String(error)).toMatch(/^\(iPyro\.errors\nPyroExceptionCapsule\n/);
    expect(socket.sent.subarray(-error.length - 18)).toEqual(Buffer.concat(encodePlainFrame(error, true)));
    expect(onError).not.toHaveBeenCalled();
    // What arrives now is forgotten, and the client has its time to take the rest.
    socket.receive(frame('3'));
    await settled();
    expect(handler.mock.calls.map(([body]) => String(body))).not.toContain('3');
    expect([socket.hasEnded, socket.timeouts.at(-1)]).toEqual([true, 70_000]);
    expect(socket.readableLength).toBe(0);
    socket.receiveEnd();
    await settled();
    expect(socket.destroyed).toBe(true);
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('a bug');
      },
    ],
    ['rejects', () => Promise.reject(new Error('a bug'))],
  ] satisfies [string, RequestHandler][])(
    'end the connection where the handler %s, and that is reported',
    async (_how, handler) => {
      const onError = jest.fn();
      const { socket, connection } = served(handler, { onError });
      socket.receive(frame('1'));
      await connection.closed;
      expect(socket.sent).toHaveLength(0);
      expect(onError.mock.calls).toEqual([[new Error('a bug'), connection]]);
    },
  );

  test('of a client that has gone have no answer, and nothing is reported', async () => {
    const onError = jest.fn();
    const { handler, asked, give } = slowHandler();
    const { socket, connection } = served(handler, { onError });
    socket.receive(frame('1'), frame('2'));
    await settled();
    socket.destroy();
    await connection.closed;
    give(Buffer.from('too late'));
    await settled();
    expect([asked, socket.sent.length]).toEqual([['1'], 0]);
    const fails = served(() => Promise.reject(new Error('a bug')), { onError });
    fails.socket.receive(frame('1'));
    fails.socket.once('data', () => fails.socket.destroy());
    await fails.connection.closed;
    await settled();
    expect(onError).not.toHaveBeenCalled();
  });
});

/** Until this holds; each turn of the event loop it is looked at. */
async function settledAt(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(setImmediate);
}

describe('many requests that come together', () => {
  const requests = Array.from({ length: 10 }, (_, index) => frame(`${index}`));

  test.each([
    ['at once', (body: Buffer): Reply => Buffer.from(body)],
    ['by promises that wait for nothing', (body: Buffer): Promise<Reply> => Promise.resolve(Buffer.from(body))],
  ])('are answered %s, and others have their turn after some milliseconds', async (_how, answer) => {
    const log: string[] = [];
    const { socket } = served((body) => {
      log.push(String(body));
      if (log.length === 1) setImmediate(() => log.push('others'));
      jest.advanceTimersByTime(2);
      return answer(body);
    });
    socket.receive(Buffer.concat(requests));
    await settled();
    await settled();
    expect(log).toEqual(['0', '1', '2', 'others', '3', '4', '5', '6', '7', '8', '9']);
    expect(textsIn(socket.sent)).toEqual(log.filter((entry) => entry !== 'others'));
  });

  test('are not answered any more when the connection ends meanwhile; its end comes after the rest where the client said it', async () => {
    const slow: RequestHandler = (body) => {
      jest.advanceTimersByTime(6);
      return Buffer.from(body);
    };
    const ending = served(slow);
    ending.socket.receive(Buffer.concat(requests.slice(0, 3)));
    await new Promise<void>((resolve) => {
      process.nextTick(resolve);
    });
    void ending.connection.end();
    const finished = served(slow);
    finished.socket.receive(Buffer.concat(requests.slice(0, 3)));
    finished.socket.receiveEnd();
    await settled();
    expect(textsIn(ending.socket.sent)).toEqual(['0']);
    expect(textsIn(finished.socket.sent)).toEqual(['0', '1', '2']);
    expect(finished.socket.hasEnded).toBe(true);
  });
});

describe('backpressure', () => {
  test('no requests are looked at while the client leaves too much unread, and all when it has taken it', async () => {
    const handler = jest.fn<RequestHandler>(() => Buffer.alloc(40_000, 'r'));
    const { socket } = served(handler, { maxUnsentReplies: 200_000 });
    socket.isTaking = false;
    socket.receive(Buffer.concat(Array.from({ length: 100 }, () => frame('x'))));
    await settled();
    // Two replies at a time are sent: after six of them more than 200 000 bytes wait.
    expect([handler.mock.calls.length, socket.writableLength]).toEqual([6, 6 * 40_018]);
    socket.receive(frame('x'));
    await settled();
    expect(handler).toHaveBeenCalledTimes(6);
    socket.isTaking = true;
    socket.takeWrite();
    await settled();
    expect(handler).toHaveBeenCalledTimes(101);
    expect(socket.sent).toHaveLength(101 * 40_018);
    expect(socket.isPaused()).toBe(false);
  });

  test('a client that does not read is not read either, beyond the bound', async () => {
    const { socket } = served(() => Buffer.alloc(70_000), { maxUnsentReplies: 100_000, maxBufferedInput: 100 });
    socket.isTaking = false;
    socket.receive(Buffer.concat(Array.from({ length: 10 }, () => frame('x'))));
    await settled();
    expect([socket.isPaused(), socket.writableLength]).toEqual([true, 140_036]);
    socket.isTaking = true;
    socket.takeWrite();
    await settled();
    expect([socket.isPaused(), socket.sent.length]).toEqual([false, 700_180]);
  });

  test('replied: when the system has taken the reply, not when it is written', async () => {
    const told: string[] = [];
    const { socket } = served((body, connection) => {
      void connection.replied().then(() => told.push(String(body)));
      return body;
    });
    socket.isTaking = false;
    socket.receive(Buffer.concat([frame('1'), frame('2')]));
    await settled();
    expect([textsIn(socket.sent), told]).toEqual([['1'], []]);
    // The second reply is under way then.
    socket.takeWrite();
    await settled();
    expect([textsIn(socket.sent), told]).toEqual([['1', '2'], []]);
    socket.takeWrite();
    await settled();
    expect(told).toEqual(['1', '2']);
  });

  test('replied: when the connection is closed, before or meanwhile', async () => {
    const told = jest.fn();
    const { handler, give } = slowHandler();
    const { socket, connection } = served((body, own) => {
      void own.replied().then(told);
      return handler(body, own);
    });
    socket.receive(frame('1'));
    await settled();
    expect(told).not.toHaveBeenCalled();
    socket.destroy();
    await settled();
    expect(told).toHaveBeenCalledTimes(1);
    give(Buffer.from('too late'));
    await settled();
    await connection.replied();
    expect(socket.sent).toHaveLength(0);
  });

  test('replied: when the reply can not be sent any more', async () => {
    const told = jest.fn();
    const { socket } = served((_body, connection) => {
      void connection.replied().then(told);
      socket.end();
      return Buffer.from('nobody hears it');
    });
    socket.receive(frame('1'));
    await settled();
    expect(told).toHaveBeenCalledTimes(1);
    expect(socket.destroyed).toBe(false);
  });
});

describe('time', () => {
  const times = { idleTimeoutMs: 70_000, stallTimeoutMs: 50_000 };

  test('a client has that for what it does: to begin something, or to go on with it; none while it waits for us', async () => {
    const { handler, give } = slowHandler();
    const { socket } = served(handler, times);
    expect(socket.timeouts).toEqual([70_000]);
    socket.receive(frame('hello').subarray(0, 1));
    await settled();
    socket.receive(frame('hello').subarray(1, -1));
    await settled();
    expect(socket.timeouts).toEqual([70_000, 50_000]);
    socket.receive(frame('hello').subarray(-1));
    await settled();
    expect(socket.timeouts).toEqual([70_000, 50_000, 0]);
    socket.isTaking = false;
    give(Buffer.from('reply'));
    await settled();
    expect(socket.timeouts).toEqual([70_000, 50_000, 0, 50_000]);
    socket.takeWrite();
    await settled();
    expect(socket.timeouts).toEqual([70_000, 50_000, 0, 50_000, 70_000]);
  });

  test('a client that is told goodbye has that of one that goes on', async () => {
    const handler: RequestHandler = () => {
      throw new ProtocolError('goodbye');
    };
    const { socket } = served(handler, times);
    socket.receive(frame('hello').subarray(0, 1));
    await settled();
    socket.receive(frame('hello').subarray(1));
    await settled();
    expect(problemIn(socket.sent)).toEqual(protocolError('goodbye'));
    expect(socket.timeouts.at(-1)).toBe(50_000);
  });

  test('is without end by default', async () => {
    const { socket } = served(echo);
    socket.receive(frame('1'));
    await settled();
    expect(socket.timeouts).toEqual([]);
  });

  test('a client whose request waits for nothing but us is not dropped when an earlier reply is taken', async () => {
    const { handler, give } = slowHandler();
    const { socket } = served(handler, times);
    socket.isTaking = false;
    socket.receive(frame('1'), frame('2'));
    await settled();
    give(Buffer.from('one'));
    await settled();
    expect(socket.timeouts.at(-1)).toBe(0);
    socket.takeWrite();
    await settled();
    expect(socket.timeouts.at(-1)).toBe(0);
  });
});

describe('the end', () => {
  test('comes after all that lies unread is read and forgotten, lest it takes the last word away', async () => {
    const { handler, give } = slowHandler();
    const { socket, connection } = served(handler, { maxBufferedInput: 50 });
    socket.receive(frame('1'), Buffer.alloc(100, 'no frame'));
    await settled();
    expect(socket.isPaused()).toBe(true);
    give(Buffer.from('one'));
    await settled();
    expect(problemIn(socket.sent)).toEqual(protocolError('invalid header'));
    const push = jest.spyOn(FrameReader.prototype, 'push');
    socket.receive(Buffer.alloc(1000));
    socket.emit('drain');
    socket.receive(Buffer.alloc(1000));
    await settled();
    expect([socket.isPaused(), socket.readableLength]).toEqual([false, 0]);
    expect(push).not.toHaveBeenCalled();
    push.mockRestore();
    socket.receiveEnd();
    await connection.closed;
  });

  test('of a connection that does nothing is at once', async () => {
    const { socket, connection } = served(echo);
    await connection.end();
    expect(socket.hasEnded).toBe(true);
  });

  test('waits for the answer under way, and looks at no other request', async () => {
    const { handler, asked, give } = slowHandler();
    const { socket, connection } = served(handler, { endTimeoutMs: 70_000 });
    socket.receive(frame('1'), frame('2'));
    await settled();
    const ended = connection.end();
    await settled();
    expect(socket.hasEnded).toBe(false);
    give(Buffer.from('one'));
    await settled();
    expect([textsIn(socket.sent), socket.hasEnded, asked]).toEqual([['one'], true, ['1']]);
    socket.receiveEnd();
    await ended;
  });

  test('does not wait for ever for an answer', async () => {
    const { socket, connection } = served(slowHandler().handler, { endTimeoutMs: 70_000 });
    socket.receive(frame('1'));
    await settled();
    const ended = connection.end();
    jest.advanceTimersByTime(69_999);
    expect(socket.destroyed).toBe(false);
    jest.advanceTimersByTime(1);
    expect(socket.destroyed).toBe(true);
    await ended;
  });

  test('does not wait for ever for a client that does not read', async () => {
    const { socket, connection } = served(echo, { endTimeoutMs: 70_000 });
    socket.isTaking = false;
    socket.receive(frame('1'));
    await settled();
    const ended = connection.end();
    await settled();
    expect(socket.destroyed).toBe(false);
    jest.advanceTimersByTime(70_000);
    await ended;
    expect(socket.hasEnded).toBe(false);
  });
});

describe('large frames', () => {
  const LARGE = frame(Buffer.alloc(200_000, 'x'));
  const first = (body: Buffer): Buffer => Buffer.from(body.subarray(0, 1));

  test('are admitted once, with their announced size, when more than 64 kB of one is here', async () => {
    const memoryBudget = new MemoryBudget(1, 60_000);
    const reserve = jest.spyOn(memoryBudget, 'reserve');
    const release = jest.spyOn(memoryBudget, 'release');
    const { socket, connection } = served(first, { memoryBudget });
    socket.receive(LARGE.subarray(0, 65_536));
    await settled();
    expect(reserve).not.toHaveBeenCalled();
    socket.receive(LARGE.subarray(65_536, 65_537));
    await settled();
    socket.receive(LARGE.subarray(65_537, 100_000));
    await settled();
    expect(reserve.mock.calls.map(([sender, size]) => [sender, size])).toEqual([[connection, 200_018]]);
    expect(release).not.toHaveBeenCalled();
    socket.receive(LARGE.subarray(100_000));
    await settled();
    expect(release.mock.calls).toEqual([[connection]]);
    expect(textsIn(socket.sent)).toEqual(['x']);
    // The next large one asks again.
    socket.receive(LARGE.subarray(0, 70_000));
    await settled();
    expect(reserve).toHaveBeenCalledTimes(2);
  });

  test('wait for their turn without being read, and without a timeout', async () => {
    const memoryBudget = new MemoryBudget(1, 60_000);
    const options = { memoryBudget, stallTimeoutMs: 50_000 };
    const [one, other] = [served(first, options), served(first, options)];
    for (const { socket } of [one, other]) socket.receive(LARGE.subarray(0, 100_000));
    await settled();
    expect([one.socket.isPaused(), other.socket.isPaused()]).toEqual([false, true]);
    expect([one.socket.timeouts, other.socket.timeouts]).toEqual([[50_000], []]);
    one.socket.receive(LARGE.subarray(100_000));
    await settled();
    expect(other.socket.isPaused()).toBe(false);
    expect([one.socket.timeouts, other.socket.timeouts]).toEqual([[50_000, 0], [50_000]]);
    other.socket.receive(LARGE.subarray(100_000));
    await settled();
    expect([textsIn(one.socket.sent), textsIn(other.socket.sent)]).toEqual([['x'], ['x']]);
  });

  test.each(['while it is arriving', 'while it waits'])('make room when their client goes, %s', async (when) => {
    const memoryBudget = new MemoryBudget(1, 60_000);
    const connections = Array.from({ length: 3 }, () => served(first, { memoryBudget }));
    for (const { socket } of connections) {
      socket.receive(LARGE.subarray(0, 100_000));
      await settled();
    }
    const [one, two, three] = connections.map(({ socket }) => socket);
    const [gone, other] = when === 'while it waits' ? [two, one] : [one, two];
    gone?.destroy();
    await settled();
    expect(other?.isPaused()).toBe(false);
    other?.receive(LARGE.subarray(100_000));
    await settled();
    expect(three?.isPaused()).toBe(false);
  });

  test('are not bounded where nothing bounds them', async () => {
    const { socket } = served(first);
    socket.receive(LARGE.subarray(0, 100_000));
    await settled();
    expect(socket.isPaused()).toBe(false);
    socket.receive(LARGE.subarray(100_000));
    await settled();
    expect(textsIn(socket.sent)).toEqual(['x']);
  });

  test('of a client that has gone are not inflated any more', () => {
    const { socket, connection } = served(first);
    const abandon = jest.spyOn(FrameReader.prototype, 'abandon');
    expect(abandon).not.toHaveBeenCalled();
    socket.destroy();
    return connection.closed.then(() => {
      expect(abandon).toHaveBeenCalledTimes(1);
      abandon.mockRestore();
    });
  });
});

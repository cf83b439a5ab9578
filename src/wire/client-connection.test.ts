import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { getEventListeners, once } from 'node:events';
import { createServer, Socket, type Server } from 'node:net';
import { randomBytes } from 'node:crypto';
import { ConnectionClosedError, ConnectionDeniedError, ProtocolError, TimeoutError } from '../errors.js';
import { ClientConnection, defaultClientConnectionOptions, type ClientConnectionOptions } from './client-connection.js';
import { defaultConnectionOptions } from './connection.js';
import { encodeFrame, encodePlainFrame, FrameReader } from './frame.js';
import { createAuthToken } from './handshake.js';

const CHALLENGE = Buffer.from('0123456789abcdef');
const GRANTED = Buffer.from('GRANTED');
const COMPRESSION = { compression: true, checksum: false };

const frame = (body: string | Buffer, checksum = false): Buffer =>
  Buffer.concat(encodePlainFrame(Buffer.from(body), checksum));

/** The error's class and arguments. */
const problemOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => (error instanceof ProtocolError ? [error.constructor, ...error.args] : error),
  );

/** A server that the test speaks for, byte by byte. */
class Peer {
  readonly reader = new FrameReader();
  /** How many pieces arrived. */
  chunks = 0;

  constructor(readonly socket: Socket) {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      this.chunks++;
      this.reader.push(chunk);
    });
  }

  say(...bytes: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  /** What arrives next, so many bytes. */
  async hear(size: number): Promise<Buffer | undefined> {
    while (this.reader.buffered < size && !this.socket.readableEnded) {
      await Promise.race([once(this.socket, 'data'), once(this.socket, 'end')]);
    }
    return this.reader.take(size);
  }

  /** The body of the frame that arrives next. */
  async body(): Promise<string> {
    for (;;) {
      const body = this.reader.next();
      if (body !== undefined) return String(await body);
      await once(this.socket, 'data');
    }
  }

  /** The client's side of the handshake ends well. */
  async letIn(): Promise<void> {
    this.say(frame(CHALLENGE));
    await this.hear(frame('CONNECT' + 'x'.repeat(16)).length);
    this.say(GRANTED);
  }
}

let server: Server;
let port: number;
let peers: Peer[];
const clients: ClientConnection[] = [];

beforeEach(async () => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
  peers = [];
  server = createServer({ allowHalfOpen: true }, (socket) => peers.push(new Peer(socket)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  port = address.port;
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  for (const { socket } of peers) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  // Neither a connection that is open nor one that is closed leaves a timer running.
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

/** Begins to open a connection; comes back when the server has it. */
async function begin(
  options: Partial<ClientConnectionOptions> = {},
): Promise<{ peer: Peer; opening: Promise<ClientConnection> }> {
  const accepted = once(server, 'connection');
  const opening = ClientConnection.open('127.0.0.1', port, options);
  opening.then(
    (client) => clients.push(client),
    () => undefined,
  );
  await accepted;
  const peer = peers.at(-1);
  if (peer === undefined) throw new Error('not connected');
  return { peer, opening };
}

async function open(options: Partial<ClientConnectionOptions> = {}): Promise<{ peer: Peer; client: ClientConnection }> {
  const { peer, opening } = await begin(options);
  await peer.letIn();
  return { peer, client: await opening };
}

describe('a client that connects', () => {
  test('has by default what is documented', () => {
    expect(defaultClientConnectionOptions).toEqual({
      ...defaultConnectionOptions,
      identification: Buffer.alloc(0),
      createAuthToken,
      signal: undefined,
      tls: undefined,
    });
  });

  test('answers the challenge, and waits for the verdict', async () => {
    const identification = Buffer.from('munged');
    const { peer, opening } = await begin({ identification, checksum: true });
    const opened = jest.fn();
    void opening.then(opened);
    peer.say(frame(CHALLENGE));
    const token = createAuthToken(identification, CHALLENGE);
    const answer = frame(Buffer.concat([Buffer.from('CONNECT'), token]), true);
    expect(await peer.hear(answer.length)).toEqual(answer);
    peer.say(GRANTED.subarray(0, 6));
    await new Promise(setImmediate);
    expect(opened).not.toHaveBeenCalled();
    peer.say(GRANTED.subarray(6));
    const client = await opening;
    expect([client.isOpen, peer.reader.buffered]).toEqual([true, 0]);
  });

  test.each([
    ['instead of a challenge', Buffer.from('DENIED2'), [ConnectionDeniedError, 'host blocked']],
    [
      'instead of the verdict',
      Buffer.concat([frame(CHALLENGE), Buffer.from('DENIED3')]),
      [ConnectionDeniedError, 'security reasons'],
    ],
    ['no challenge', frame('short'), [ProtocolError, 'invalid challenge']],
    ['a challenge that is too long', frame(Buffer.alloc(17)), [ProtocolError, 'message too large']],
    ['no verdict', Buffer.concat([frame(CHALLENGE), Buffer.from('GRANTEE')]), [ProtocolError, 'invalid response']],
  ])('is told why it is not let in: %s', async (_what, bytes, problem) => {
    const { peer, opening } = await begin();
    peer.say(bytes);
    expect(await problemOf(opening)).toEqual(problem);
    if (!peer.socket.readableEnded) await once(peer.socket, 'end');
  });

  test('takes a challenge that inflates to more than one for none', async () => {
    const { peer, opening } = await begin();
    peer.say(Buffer.concat(await encodeFrame([Buffer.alloc(17)], COMPRESSION)));
    expect(await problemOf(opening)).toEqual([ProtocolError, 'message too large']);
  });

  test('finds nobody, and says what the system says', async () => {
    await new Promise((resolve) => server.close(resolve));
    const opening = ClientConnection.open('127.0.0.1', port);
    const why = `connect ECONNREFUSED 127.0.0.1:${port}`;
    expect(await problemOf(opening)).toEqual([ProtocolError, 'connection failed', why]);
  });

  test.each([
    ['a challenge', 0],
    ['a verdict', 1],
  ])('waits for %s as long as it may, and then hangs up', async (_what, said) => {
    const { peer, opening } = await begin({ handshakeTimeoutMs: 70_000 });
    const ended = jest.fn();
    void opening.catch(ended);
    for (let count = 0; count < said; count++) {
      peer.say(frame(CHALLENGE));
      await peer.body();
    }
    jest.advanceTimersByTime(69_999);
    await new Promise(setImmediate);
    expect(ended).not.toHaveBeenCalled();
    jest.advanceTimersByTime(1);
    await expect(opening).rejects.toThrow(new TimeoutError('connection timeout'));
    if (!peer.socket.readableEnded) await once(peer.socket, 'end');
  });

  test('gives up when its signal says so, before or meanwhile', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const { peer, opening } = await begin({ signal });
    controller.abort(new Error('never mind'));
    await expect(opening).rejects.toThrow(new Error('never mind'));
    if (!peer.socket.readableEnded) await once(peer.socket, 'end');
    await expect(ClientConnection.open('127.0.0.1', port, { signal })).rejects.toThrow(new Error('never mind'));
    expect(peers).toHaveLength(1);
  });

  test('listens to its signal until it is let in, and not longer', async () => {
    const controller = new AbortController();
    const { client } = await open({ signal: controller.signal });
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    controller.abort();
    expect(client.isOpen).toBe(true);
  });

  test('loses a server that hangs up in the middle', async () => {
    const { peer, opening } = await begin();
    peer.socket.end(frame(CHALLENGE).subarray(0, -1));
    await expect(opening).rejects.toThrow(new ConnectionClosedError('connection lost'));
  });

  test('has the limits of its options once it is let in', async () => {
    const { client, peer } = await open({ limits: { maxBodySize: 20, maxInflatedSize: 20 } });
    const good = client.call(Buffer.from('1'));
    const bad = client.call(Buffer.from('2'));
    peer.say(frame(Buffer.alloc(20)), frame(Buffer.alloc(21)));
    expect(await good).toEqual(Buffer.alloc(20));
    expect(await problemOf(bad)).toEqual([ProtocolError, 'message too large']);
    await client.closed;
  });
});

describe('calls', () => {
  test('go out in one write, and have their replies in order', async () => {
    const { client, peer } = await open();
    const write = jest.spyOn(client.socket, 'write');
    const calls = ['1', '2', '3'].map((text) => client.call(Buffer.from(text)));
    expect([await peer.body(), await peer.body(), await peer.body()]).toEqual(['1', '2', '3']);
    expect(write).toHaveBeenCalledTimes(1);
    peer.say(frame('one'), frame('two'));
    expect((await Promise.all(calls.slice(0, 2))).map(String)).toEqual(['one', 'two']);
    peer.say(frame('three'));
    expect(String(await calls[2])).toBe('three');
  });

  test('are sent when they are made, also after those that have their replies', async () => {
    const { client, peer } = await open();
    for (const text of ['1', '2', '3']) {
      const call = client.call(Buffer.from(text));
      expect(await peer.body()).toBe(text);
      peer.say(frame(`reply ${text}`));
      expect(String(await call)).toBe(`reply ${text}`);
    }
  });

  test('have replies that stay as they are when more arrives', async () => {
    const { client, peer } = await open();
    const first = client.call(Buffer.from('1'));
    peer.say(frame('one'));
    const reply = await first;
    const second = client.call(Buffer.from('2'));
    peer.say(frame('two'));
    expect([await second, reply].map(String)).toEqual(['two', 'one']);
  });

  test('keep their order when one is compressed in a thread, and those before the end are sent', async () => {
    const { client, peer } = await open(COMPRESSION);
    const large = 'compressible '.repeat(10_000);
    client.send(Buffer.from('1'));
    client.send(Buffer.from(large));
    client.send(Buffer.from('3'));
    client.send(Buffer.from(large));
    const closed = client.close();
    const bodies = [];
    for (let count = 0; count < 4; count++) bodies.push(await peer.body());
    expect(bodies.map((body) => body.length)).toEqual([1, large.length, 1, large.length]);
    peer.socket.end();
    await closed;
  });

  test('keep their order when one of two that are compressed is out', async () => {
    const { client, peer } = await open(COMPRESSION);
    client.send(Buffer.alloc(100_000));
    client.send(randomBytes(2_000_000));
    expect(await peer.body()).toHaveLength(100_000);
    client.send(Buffer.from('3'));
    expect((await peer.body()).length).toBeGreaterThan(1);
    expect(await peer.body()).toBe('3');
  });

  test('are sent soon again when what was compressed is out', async () => {
    const { client, peer } = await open(COMPRESSION);
    client.send(Buffer.alloc(100_000));
    expect(await peer.body()).toHaveLength(100_000);
    await new Promise(setImmediate);
    const write = jest.spyOn(client.socket, 'write');
    client.send(Buffer.from('1'));
    client.send(Buffer.from('2'));
    expect([await peer.body(), await peer.body()]).toEqual(['1', '2']);
    expect(write).toHaveBeenCalledTimes(1);
  });

  test("end in time, and the connection with them: a late reply is nobody else's", async () => {
    const { client, peer } = await open();
    const slow = client.call(Buffer.from('1'), { timeout: 70_000 });
    const next = client.call(Buffer.from('2'));
    const ended = jest.fn();
    void slow.catch(ended);
    jest.advanceTimersByTime(69_999);
    await new Promise(setImmediate);
    expect(ended).not.toHaveBeenCalled();
    jest.advanceTimersByTime(1);
    await expect(slow).rejects.toThrow(new TimeoutError('connection timeout receiving'));
    await expect(next).rejects.toThrow(new ConnectionClosedError('connection lost'));
    expect(client.isOpen).toBe(false);
    await expect(client.call(Buffer.from('3'))).rejects.toThrow(new ConnectionClosedError('connection lost'));
    if (!peer.socket.readableEnded) await once(peer.socket, 'end');
  });

  test('have no timer where they have their reply, or may take for ever', async () => {
    const { client, peer } = await open();
    const controller = new AbortController();
    const { signal } = controller;
    const calls = [
      client.call(Buffer.from('1'), { timeout: 1, signal }),
      client.call(Buffer.from('2'), { timeout: 0, signal }),
    ];
    expect(jest.getTimerCount()).toBe(1);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    peer.say(frame('one'), frame('two'));
    expect((await Promise.all(calls)).map(String)).toEqual(['one', 'two']);
    expect(jest.getTimerCount()).toBe(0);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('end with their signal: without the connection, and later ones get their own replies', async () => {
    const { client, peer } = await open();
    const controller = new AbortController();
    const { signal } = controller;
    const given = client.call(Buffer.from('1'), { timeout: 50, signal });
    const kept = client.call(Buffer.from('2'));
    controller.abort(new Error('never mind'));
    await expect(given).rejects.toThrow(new Error('never mind'));
    jest.advanceTimersByTime(50);
    expect(client.isOpen).toBe(true);
    await expect(client.call(Buffer.from('3'), { signal })).rejects.toThrow(new Error('never mind'));
    peer.say(frame('one'), frame('two'));
    expect(String(await kept)).toBe('two');
    expect([await peer.body(), await peer.body(), peer.reader.buffered]).toEqual(['1', '2', 0]);
  });

  test('keep the process alive while somebody waits for their reply', async () => {
    const unref = jest.spyOn(Socket.prototype, 'unref');
    const { client, peer } = await open();
    // Nobody waits for anything yet.
    expect(unref.mock.contexts).toEqual([client.socket]);
    unref.mockRestore();
    const refs = [jest.spyOn(client.socket, 'ref'), jest.spyOn(client.socket, 'unref')];
    const counts = (): number[] => refs.map((spy) => spy.mock.calls.length);
    const controller = new AbortController();
    const given = client.call(Buffer.from('1'), { signal: controller.signal });
    const kept = client.call(Buffer.from('2'));
    expect(counts()).toEqual([1, 0]);
    controller.abort(new Error('never mind'));
    await expect(given).rejects.toThrow('never mind');
    expect(counts()).toEqual([1, 0]);
    peer.say(frame('one'), frame('two'));
    await kept;
    expect(counts()).toEqual([1, 1]);
    const last = client.call(Buffer.from('3'));
    expect(counts()).toEqual([2, 1]);
    peer.say(frame('three'));
    await last;
    expect(counts()).toEqual([2, 2]);
  });

  test('hear why the connection is lost, all of them', async () => {
    const { client, peer } = await open();
    const calls = [client.call(Buffer.from('1')), client.call(Buffer.from('2'))].map((call) =>
      call.catch((error: unknown) => error),
    );
    expect(await peer.body()).toBe('1');
    peer.socket.resetAndDestroy();
    const errors = await Promise.all(calls);
    const lost = new ConnectionClosedError('connection lost', 'read ECONNRESET');
    expect(errors).toEqual([lost, lost]);
    expect(errors.map((error) => (error instanceof ConnectionClosedError ? error.args : []))).toEqual([
      lost.args,
      lost.args,
    ]);
    await client.closed;
  });

  test('are lost when the server says goodbye, and have the replies that came before', async () => {
    const { client, peer } = await open();
    const calls = [client.call(Buffer.from('1')), client.call(Buffer.from('2'))];
    const lost = problemOf(calls[1] ?? Promise.resolve());
    peer.socket.end(frame('one'));
    expect(String(await calls[0])).toBe('one');
    expect(await lost).toStrictEqual([ConnectionClosedError, 'connection lost']);
    expect(client.isOpen).toBe(false);
    expect(() => {
      client.send(Buffer.from('3'));
    }).toThrow(new ConnectionClosedError('connection lost'));
    await client.closed;
  });

  test.each([
    ['small', 100],
    ['large', 5000],
  ])('have an error where their reply can not be inflated: a %s one', async (_what, size) => {
    const { client, peer } = await open();
    const bytes = frame(randomBytes(size).fill(0, 0, 2));
    bytes.writeUInt16BE(1, 12);
    const controller = new AbortController();
    const given = client.call(Buffer.from('1'), { signal: controller.signal });
    const call = client.call(Buffer.from('2'));
    controller.abort(new Error('never mind'));
    await expect(given).rejects.toThrow('never mind');
    // Nobody waits for the first: its error is nobody's.
    if (size > 4096) peer.say(bytes, bytes);
    else peer.say(frame('one'), bytes);
    expect(await problemOf(call)).toEqual([ProtocolError, 'invalid compressed data']);
  });

  test('are over where the server says what nobody asked for', async () => {
    const { client, peer } = await open();
    const call = client.call(Buffer.from('1'));
    peer.say(frame('one'), frame('surprise'));
    expect(String(await call)).toBe('one');
    await client.closed;
    await expect(client.call(Buffer.from('2'))).rejects.toThrow(new ConnectionClosedError('connection lost'));
  });
});

describe('a client that closes', () => {
  test('sends what is still to be sent, and takes no more', async () => {
    const { client, peer } = await open({ endTimeoutMs: 70_000 });
    client.send(Buffer.from('1'));
    const closed = client.close();
    await Promise.resolve();
    await Promise.resolve();
    expect(client.socket.timeout).toBe(70_000);
    await closed;
    expect(client.isOpen).toBe(false);
    expect(() => {
      client.send(Buffer.from('2'));
    }).toThrow(new ConnectionClosedError('connection lost'));
    expect(await peer.body()).toBe('1');
    expect(peer.reader.buffered).toBe(0);
  });

  test('is not open from then on, even if the server does not take what was sent', async () => {
    const { client, peer } = await open();
    peer.socket.pause();
    client.send(Buffer.alloc(20_000_000));
    const closed = client.close();
    await new Promise(setImmediate);
    expect([client.isOpen, client.socket.destroyed]).toEqual([false, false]);
    await expect(client.call(Buffer.from('1'))).rejects.toThrow(new ConnectionClosedError('connection lost'));
    client.socket.emit('timeout');
    await closed;
  });

  test('tells the calls that wait', async () => {
    const { client } = await open();
    const lost = problemOf(client.call(Buffer.from('1')));
    await client.close();
    expect(await lost).toStrictEqual([ConnectionClosedError, 'connection lost']);
  });
});

import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, createCertificate } from '../../test/support/certificates.js';
import { ConnectionClosedError, ConnectionDeniedError, ProtocolError, TimeoutError } from '../errors.js';
import { MemoryBudget } from '../sync/index.js';
import { ClientConnection, type ClientConnectionOptions } from './client-connection.js';
import { encodePlainFrame, FrameReader } from './frame.js';
import { createAuthToken, DeniedReason, deniedReasons, mungeIdentification, tokensEqual } from './handshake.js';
import { decodeReply } from './message.js';
import {
  ServerConnection,
  type ConnectionAuthenticator,
  type Reply,
  type RequestHandler,
  type ServerConnectionOptions,
} from './server-connection.js';
import { createTLSServer, type Certificates } from './tls.js';

const CHALLENGE = Buffer.from('0123456789abcdef');
const LETTING_IN: ConnectionAuthenticator = {
  acceptHost: () => undefined,
  createAuthChallenge: () => CHALLENGE,
  acceptIdentification: () => undefined,
};

const echo: RequestHandler = (body) => body;
const frame = (body: string | Buffer): Buffer => Buffer.concat(encodePlainFrame(Buffer.from(body), false));
const texts = (bodies: readonly Buffer[]): string[] => bodies.map(String);

const servers: Server[] = [];
const sockets = new Set<Socket>();

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

/** Listens with plain sockets; with those of TLS where there are certificates. */
async function listen(onSocket: (socket: Socket) => void, certificates?: Certificates): Promise<number> {
  const accept = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  };
  const server = certificates ? createTLSServer(certificates, accept) : createServer(accept);
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return portOf(server.address());
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('not listening');
  return address.port;
}

/** Serves connections; `opened` is the first of them, let in or refused. */
async function serve(
  handler: RequestHandler,
  options: Partial<ServerConnectionOptions> = {},
  authenticator: ConnectionAuthenticator = LETTING_IN,
  certificates?: Certificates,
): Promise<{ port: number; opened: Promise<ServerConnection>; closed: Promise<void> }> {
  let letIn: (connection: ServerConnection) => void;
  const opened = new Promise<ServerConnection>((resolve) => {
    letIn = resolve;
  });
  const port = await listen((socket) => {
    const connection = new ServerConnection(socket, options);
    void connection.open(authenticator).then((isOpen) => {
      if (isOpen) connection.serve(handler);
      letIn(connection);
    });
  }, certificates);
  return { port, opened, closed: opened.then((connection) => connection.closed) };
}

/** A peer that knows only bytes. */
class RawPeer {
  readonly reader = new FrameReader();
  readonly closed: Promise<unknown>;

  private constructor(readonly socket: Socket) {
    sockets.add(socket);
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => socket.once('close', resolve));
  }

  static async connect(port: number): Promise<RawPeer> {
    const peer = new RawPeer(connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    await once(peer.socket, 'connect');
    return peer;
  }

  /** Connects and gets through the handshake. */
  static async letIn(port: number): Promise<RawPeer> {
    const peer = await RawPeer.connect(port);
    expect(await peer.bodies(1)).toEqual([CHALLENGE]);
    peer.socket.write(frame('CONNECT' + 'x'.repeat(16)));
    expect(String(await peer.raw(7))).toBe('GRANTED');
    return peer;
  }

  raw(size: number): Promise<Buffer | undefined> {
    return this.until(() => this.reader.take(size));
  }

  /** The bodies of that many frames, or of those that came before the end. */
  async bodies(count: number): Promise<Buffer[]> {
    const bodies: Buffer[] = [];
    while (bodies.length < count) {
      const body = await this.until(() => this.reader.next());
      if (body === undefined) break;
      bodies.push(body);
    }
    return bodies;
  }

  /** Everything to the end. */
  async rest(): Promise<Buffer> {
    while (await this.read()) continue;
    return this.reader.peek(Infinity);
  }

  private async until<T>(take: () => T | undefined): Promise<T | undefined> {
    for (;;) {
      const taken = take();
      if (taken !== undefined || !(await this.read())) return taken;
    }
  }

  private async read(): Promise<boolean> {
    const { socket } = this;
    while (!socket.readableEnded && !socket.destroyed) {
      const chunk: unknown = socket.read();
      if (chunk instanceof Uint8Array) {
        this.reader.push(Buffer.from(chunk));
        return true;
      }
      await Promise.race(
        ['readable', 'end', 'close'].map((event) => new Promise((resolve) => socket.once(event, resolve))),
      );
    }
    return false;
  }
}

describe('the handshake of a server', () => {
  test.each(Object.values(DeniedReason))('refuses a host with reason %d', async (reason) => {
    const { port, closed } = await serve(echo, {}, { ...LETTING_IN, acceptHost: () => reason });
    const peer = await RawPeer.connect(port);
    expect(String(await peer.rest())).toBe(`DENIED${reason}`);
    peer.socket.end();
    await closed;
  });

  test('looks at the identification', async () => {
    const munged = mungeIdentification('s3same');
    const acceptIdentification: ConnectionAuthenticator['acceptIdentification'] = (_connection, token, challenge) =>
      Promise.resolve(tokensEqual(token, createAuthToken(munged, challenge)) ? undefined : DeniedReason.Security);
    const { port } = await serve(echo, {}, { ...LETTING_IN, acceptIdentification });
    const good = await ClientConnection.open('127.0.0.1', port, { identification: munged });
    expect(String(await good.call(Buffer.from('hello')))).toBe('hello');
    await good.close();
    const bad = ClientConnection.open('127.0.0.1', port, { identification: mungeIdentification('sesame') });
    await expect(bad).rejects.toThrow(new ConnectionDeniedError('security reasons'));
    await expect(ClientConnection.open('127.0.0.1', port)).rejects.toBeInstanceOf(ConnectionDeniedError);
  });

  test.each([
    ['invalid header', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['message too large', frame(Buffer.alloc(5000))],
    ['invalid connect message', frame('HELLO')],
  ])('answers what is no handshake: %s', async (message, bytes) => {
    const { port, closed } = await serve(echo);
    const peer = await RawPeer.connect(port);
    peer.socket.end(bytes);
    const [, answer] = await peer.bodies(2);
    expect(decodeReply(answer ?? Buffer.alloc(0))).toMatchObject({
      exception: { module: 'Pyro.errors', className: 'ProtocolError', args: [message] },
    });
    await closed;
  });

  test.each([
    ['of 1024 bytes is looked at', 1024, 'GRANTED'],
    ['of one byte more is too large', 1025, 'message too large'],
  ])('a first message %s', async (_what, size, answer) => {
    const acceptIdentification = jest.fn(() => undefined);
    const { port } = await serve(echo, {}, { ...LETTING_IN, acceptIdentification });
    const peer = await RawPeer.connect(port);
    expect(await peer.bodies(1)).toEqual([CHALLENGE]);
    const token = Buffer.alloc(size - 7, 't');
    peer.socket.end(frame(Buffer.concat([Buffer.from('CONNECT'), token])));
    expect(String(await peer.rest())).toContain(answer);
    const asked = [expect.any(ServerConnection), token, CHALLENGE];
    expect(acceptIdentification.mock.calls).toEqual(answer === 'GRANTED' ? [asked] : []);
  });

  test('is over before the limits of requests hold', async () => {
    const { port } = await serve((body) => body.subarray(0, 1), {
      limits: { maxBodySize: 5000, maxInflatedSize: 5000 },
    });
    const peer = await RawPeer.letIn(port);
    peer.socket.write(Buffer.concat([frame(Buffer.alloc(5000, 'x')), frame(Buffer.alloc(5001))]));
    const [first, answer] = await peer.bodies(2);
    expect(String(first)).toBe('x');
    expect(decodeReply(answer ?? Buffer.alloc(0))).toMatchObject({ exception: { args: ['message too large'] } });
  });
});

describe('a server', () => {
  test('answers requests in their order, whatever the chunks and however long each takes', async () => {
    const handler = (body: Buffer): Reply | Promise<Reply> => {
      const [kind, ...rest] = String(body);
      const reply = Buffer.from(rest.join(''));
      if (kind === 's') return reply;
      if (kind === 'o') return undefined;
      return kind === 'p' ? Promise.resolve([reply, reply]) : new Promise((resolve) => setImmediate(resolve, reply));
    };
    const { port } = await serve(handler);
    const request = fc.tuple(fc.constantFrom('s', 'o', 'p', 'd'), fc.string({ maxLength: 30 }));
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 20 }), fc.array(fc.nat(500)), async (requests, sizes) => {
        const peer = await RawPeer.letIn(port);
        let stream = Buffer.concat(requests.map((parts) => frame(parts.join(''))));
        for (const size of sizes) {
          peer.socket.write(stream.subarray(0, size));
          stream = stream.subarray(size);
          await new Promise(setImmediate);
        }
        peer.socket.end(stream);
        const expected = requests
          .filter(([kind]) => kind !== 'o')
          .map(([kind, text]) => (kind === 'p' ? text + text : text));
        expect(texts(await peer.bodies(Infinity))).toEqual(expected);
        await peer.closed;
      }),
      { numRuns: 50 },
    );
  });

  test.each([
    ['at once', echo],
    ['in promises', (body) => Promise.resolve(body)],
  ] satisfies [string, RequestHandler][])('sends replies made %s in one write', async (_how, handler) => {
    const { port, opened } = await serve(handler);
    const peer = await RawPeer.letIn(port);
    const write = jest.spyOn((await opened).socket, 'write');
    peer.socket.write(Buffer.concat(['1', '2', '3'].map(frame)));
    expect(texts(await peer.bodies(3))).toEqual(['1', '2', '3']);
    expect(write).toHaveBeenCalledTimes(1);
  });

  test('writes large replies without gathering them', async () => {
    const large = Buffer.alloc(1 << 20, 'large');
    const { port } = await serve((body) => (body.length > 1 ? [body, large] : body));
    const peer = await RawPeer.letIn(port);
    peer.socket.write(Buffer.concat(['1', 'long', '2'].map(frame)));
    const [first, second, third] = await peer.bodies(3);
    expect(String(first) + String(third)).toBe('12');
    expect(second?.equals(Buffer.concat([Buffer.from('long'), large]))).toBe(true);
  });

  test('tells a client what was wrong with a frame or a request, and serves others on', async () => {
    const handler = (body: Buffer): Promise<Buffer> | Buffer => {
      if (String(body) === 'bad') throw new ProtocolError('invalid request data format');
      return String(body) === 'later' ? Promise.reject(new ProtocolError('later')) : body;
    };
    const { port } = await serve(handler);
    const other = await RawPeer.letIn(port);
    const wrongs = [
      [frame('bad'), 'invalid request data format'],
      [frame('later'), 'later'],
      [Buffer.alloc(18, 'x'), 'invalid header'],
    ] as const;
    for (const [bytes, message] of wrongs) {
      const peer = await RawPeer.letIn(port);
      peer.socket.write(Buffer.concat([frame('1'), bytes, frame('2')]));
      const [first, answer, none] = await peer.bodies(Infinity);
      expect([String(first), none]).toEqual(['1', undefined]);
      expect(decodeReply(answer ?? Buffer.alloc(0))).toMatchObject({ exception: { args: [message] } });
      peer.socket.end();
    }
    other.socket.write(frame('still here'));
    expect(texts(await other.bodies(1))).toEqual(['still here']);
  });

  describe('takes large frames as there is room for them', () => {
    const large = frame(Buffer.alloc(2_000_000, 'x'));
    let port: number;
    let first: RawPeer;
    let others: RawPeer[];
    let admitted: jest.SpiedFunction<MemoryBudget['reserve']>;

    beforeEach(() => begin(60_000));

    /** There is room for one: the first has begun one, two others would like to. */
    async function begin(stallTimeoutMs: number): Promise<void> {
      const memoryBudget = new MemoryBudget(1, stallTimeoutMs);
      admitted = jest.spyOn(memoryBudget, 'reserve');
      const served = await serve((body) => body.subarray(0, 1), { memoryBudget });
      port = served.port;
      first = await RawPeer.letIn(port);
      first.socket.write(large.subarray(0, 1_000_000));
      const { socket } = await served.opened;
      while (socket.bytesRead < 1_000_000) await once(socket, 'data');
      others = await Promise.all([RawPeer.letIn(port), RawPeer.letIn(port)]);
    }

    const answers = (peers: readonly RawPeer[]) => Promise.all(peers.map((peer) => peer.bodies(1)));

    test('one after the other, and small ones always', async () => {
      const done: RawPeer[] = [];
      const answered = others.map(async (peer) => {
        peer.socket.write(Buffer.concat([frame('small'), large]));
        expect(texts(await peer.bodies(1))).toEqual(['s']);
        expect(texts(await peer.bodies(1))).toEqual(['x']);
        done.push(peer);
      });
      const small = await RawPeer.letIn(port);
      for (let count = 0; count < 5; count++) {
        small.socket.write(frame('small'));
        expect(texts(await small.bodies(1))).toEqual(['s']);
      }
      expect(done).toEqual([]);
      first.socket.write(large.subarray(1_000_000));
      expect(texts(await first.bodies(1))).toEqual(['x']);
      await Promise.all(answered);
    });

    test('who waits for that has no stall timeout, until it is its turn', async () => {
      const timeouts = (): unknown[] =>
        admitted.mock.calls.map(([sender]) => (sender instanceof ServerConnection ? sender.socket.timeout : undefined));
      for (const [index, peer] of others.entries()) {
        peer.socket.write(large.subarray(0, 1_000_000));
        while (admitted.mock.calls.length < index + 2) await new Promise(setImmediate);
        await new Promise(setImmediate);
      }
      expect(timeouts()).toEqual([60_000, 0, 0]);
      first.socket.write(large.subarray(1_000_000));
      expect(texts(await first.bodies(1))).toEqual(['x']);
      expect(timeouts()).toEqual([0, 60_000, 0]);
      // Who goes while it waits, or while it has its turn, makes room.
      others[1]?.socket.destroy();
      others[0]?.socket.destroy();
      first.socket.write(large);
      expect(texts(await first.bodies(1))).toEqual(['x']);
    });

    test('when others are gone', async () => {
      for (const peer of others) peer.socket.write(large);
      first.socket.destroy();
      expect((await answers(others)).flatMap(texts)).toEqual(['x', 'x']);
    });

    test('when the time of others is over, who send a byte now and then', async () => {
      await begin(50);
      const trickle = setInterval(() => first.socket.write('x'), 10);
      for (const peer of others) peer.socket.write(large);
      expect((await answers(others)).flatMap(texts)).toEqual(['x', 'x']);
      await first.closed;
      clearInterval(trickle);
    });
  });

  test.each([
    ['before the challenge is answered', Buffer.alloc(0)],
    ['in the middle of the answer', frame(`CONNECT${'x'.repeat(16)}`).subarray(0, -1)],
  ])('closes when the client does, %s', async (_when, bytes) => {
    const onError = jest.fn();
    const { port, closed } = await serve(echo, { onError });
    const peer = await RawPeer.connect(port);
    await peer.bodies(1);
    peer.socket.end(bytes);
    await closed;
    // No last word: neither GRANTED nor an error.
    expect(await peer.rest()).toHaveLength(0);
    expect(onError).not.toHaveBeenCalled();
  });

  test('gets over a client that resets the connection under way', async () => {
    let finish: (reply: Reply) => void = () => undefined;
    const onError = jest.fn();
    const handler = jest.fn(() => new Promise<Reply>((resolve) => (finish = resolve)));
    const { port, opened } = await serve(handler, { onError });
    const peer = await RawPeer.letIn(port);
    const connection = await opened;
    peer.socket.write(Buffer.concat(['1', '2'].map(frame)));
    await once(connection.socket, 'data');
    peer.socket.resetAndDestroy();
    await connection.closed;
    finish(Buffer.from('too late'));
    await new Promise(setImmediate);
    expect(onError).not.toHaveBeenCalled();
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe('a client', () => {
  const open = (port: number, options: Partial<ClientConnectionOptions> = {}): Promise<ClientConnection> =>
    ClientConnection.open('127.0.0.1', port, options);

  /** A server that says this and nothing more. */
  const saying = (bytes: Buffer): Promise<number> => listen((socket) => socket.write(bytes));

  test.each(Object.values(DeniedReason))('is told reason %d', async (reason) => {
    const early = await serve(echo, {}, { ...LETTING_IN, acceptHost: () => reason });
    const late = await serve(echo, {}, { ...LETTING_IN, acceptIdentification: () => reason });
    for (const { port } of [early, late]) {
      await expect(open(port)).rejects.toThrow(new ConnectionDeniedError(deniedReasons[reason] ?? ''));
    }
  });

  test('finds nobody', async () => {
    const port = await listen(() => undefined);
    await new Promise((resolve) => servers.pop()?.close(resolve));
    await expect(open(port)).rejects.toThrow(new ProtocolError('connection failed'));
  });

  test.each([
    ['no challenge', frame('too short'), 'invalid challenge'],
    ['a challenge of one byte less', frame(CHALLENGE.subarray(1)), 'invalid challenge'],
    ['a challenge of one byte more', frame(Buffer.alloc(17)), 'message too large'],
    ['another protocol', Buffer.from('220 smtp.example.com ESMTP'), 'invalid header'],
    ['a challenge too large', frame(Buffer.alloc(100)), 'message too large'],
    ['no verdict', Buffer.concat([frame(CHALLENGE), Buffer.from('WHATNOW')]), 'invalid response'],
  ])('does not take %s', async (_what, bytes, message) => {
    await expect(open(await saying(bytes))).rejects.toThrow(new ProtocolError(message));
  });

  test('does not wait for ever to be let in', async () => {
    const port = await saying(frame(CHALLENGE));
    await expect(open(port, { handshakeTimeoutMs: 30 })).rejects.toBeInstanceOf(TimeoutError);
    const controller = new AbortController();
    const opening = open(port, { signal: controller.signal });
    controller.abort(new Error('never mind'));
    await expect(opening).rejects.toThrow('never mind');
    await expect(open(port, { signal: controller.signal })).rejects.toThrow('never mind');
    const hanging = await listen((socket) => socket.end(frame(CHALLENGE)));
    await expect(open(hanging)).rejects.toThrow(new ConnectionClosedError('connection lost'));
  });

  test('makes many calls without waiting, compressed or not', async () => {
    const { port } = await serve((body) => (body.length % 2 ? body : Promise.resolve(body)));
    for (const compression of [false, true]) {
      const client = await open(port, { compression, checksum: true });
      const bodies = Array.from({ length: 300 }, (_, index) =>
        Buffer.alloc(index % 100 === 7 ? 100_000 : 10, `${index} `),
      );
      const replies = await Promise.all(bodies.map((body) => client.call(body)));
      expect(replies.every((reply, index) => bodies[index]?.equals(reply))).toBe(true);
      await client.close();
    }
  });

  test('sends what has no reply before it closes', async () => {
    const received: string[] = [];
    const { port, closed } = await serve((body) => {
      received.push(String(body));
      return undefined;
    });
    const client = await open(port);
    client.send(Buffer.from('1'));
    client.send(Buffer.from('2'));
    await client.close();
    await closed;
    expect(received).toEqual(['1', '2']);
    expect(() => {
      client.send(Buffer.from('3'));
    }).toThrow(ConnectionClosedError);
  });

  test('does not wait for ever for a server that does not take what was sent', async () => {
    const { port, opened } = await serve(echo);
    const client = await open(port, { endTimeoutMs: 50 });
    (await opened).socket.pause();
    client.send(Buffer.alloc(20_000_000));
    await client.close();
    expect(client.isOpen).toBe(false);
  });

  test('stops waiting when told to, and later calls get their own replies', async () => {
    const { port } = await serve((body) => new Promise((resolve) => setImmediate(resolve, body)));
    const client = await open(port);
    const controller = new AbortController();
    const given = client.call(Buffer.from('1'), { signal: controller.signal });
    const next = client.call(Buffer.from('2'), { signal: controller.signal });
    const kept = client.call(Buffer.from('3'));
    controller.abort(new Error('never mind'));
    await expect(given).rejects.toThrow('never mind');
    await expect(next).rejects.toThrow('never mind');
    expect(String(await kept)).toBe('3');
    await expect(client.call(Buffer.from('4'), { signal: controller.signal })).rejects.toThrow('never mind');
    await client.close();
  });

  test('does not keep the process alive for a call that nobody waits for any more', async () => {
    const sockets = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
    const finish: (() => void)[] = [];
    const { port } = await serve(
      (body) =>
        new Promise((resolve) =>
          finish.push(() => {
            resolve(body);
          }),
        ),
    );
    const client = await open(port);
    const others = sockets();
    const controller = new AbortController();
    const given = client.call(Buffer.from('1'), { signal: controller.signal });
    const kept = client.call(Buffer.from('2'));
    expect(sockets() - others).toBe(1);
    controller.abort(new Error('never mind'));
    await expect(given).rejects.toThrow('never mind');
    expect(sockets() - others).toBe(1);
    while (finish.length === 0) await new Promise(setImmediate);
    finish.shift()?.();
    while (finish.length === 0) await new Promise(setImmediate);
    finish.shift()?.();
    expect(String(await kept)).toBe('2');
    expect(sockets() - others).toBe(0);

    const last = new AbortController();
    const unanswered = client.call(Buffer.from('3'), { signal: last.signal });
    last.abort(new Error('never mind'));
    await expect(unanswered).rejects.toThrow('never mind');
    expect(sockets() - others).toBe(0);
    await client.close();
  });

  test.each([
    ['no frame', Buffer.alloc(20, 'x'), 'invalid header'],
    [
      'bad compressed data',
      Buffer.from('5059524f0005001200000002000100000000' + '6162', 'hex'),
      'invalid compressed data',
    ],
  ])('is not confused by %s', async (_what, bytes, message) => {
    const port = await listen((socket) => {
      socket.write(frame(CHALLENGE));
      socket.once('data', () => {
        socket.write('GRANTED');
        socket.once('data', () => socket.write(bytes));
      });
    });
    const client = await open(port);
    await expect(client.call(Buffer.from('1'))).rejects.toThrow(new ProtocolError(message));
    await client.closed;
  });

  test('does not take a message that nobody waits for', async () => {
    const port = await saying(Buffer.concat([frame(CHALLENGE), Buffer.from('GRANTED'), frame('surprise')]));
    const client = await open(port);
    await client.closed;
    expect(client.isOpen).toBe(false);
    await expect(client.call(Buffer.from('1'))).rejects.toThrow(new ConnectionClosedError('connection lost'));
  });
});

test('a client behind TLS has the time of one that does nothing when it has its reply', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'pyro-ns-wire-'));
  createCertificate(createAuthority(directory, 'ca'), 'host', 'IP:127.0.0.1');
  const read = (file: string): Buffer => readFileSync(join(directory, file));
  const certificates = { cert: read('host.pem'), key: read('host.pem'), ca: read('ca.pem') };
  rmSync(directory, { recursive: true });
  const times = { stallTimeoutMs: 50_000, idleTimeoutMs: 70_000 };
  const { port, opened } = await serve(echo, times, LETTING_IN, certificates);
  const client = await ClientConnection.open('127.0.0.1', port, { tls: { ...certificates, checkHost: true } });
  expect(String(await client.call(Buffer.from('1')))).toBe('1');
  const { socket } = await opened;
  // What is sent this way is not with the system yet when the write is done.
  while (socket.timeout !== 70_000) await new Promise(setImmediate);
  await client.close();
});

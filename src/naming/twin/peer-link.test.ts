import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig } from '../../config/index.js';
import { ConnectionClosedError, ConnectionDeniedError, ProtocolError, TimeoutError } from '../../errors.js';
import { RemoteError } from '../../rpc/index.js';
import { ClientConnection, RequestFlag } from '../../wire/index.js';
import { FakeNameServer, type FakeAnswer } from './fake-name-server.model.js';
import { openPeer, type PeerLink, type PeerOptions } from './peer-link.js';

let server: FakeNameServer;
let peers: PeerLink[];

const begin = async (answers: Record<string, FakeAnswer> = {}, passphrase?: string): Promise<void> => {
  server = await FakeNameServer.start(answers, passphrase);
};

beforeEach(() => {
  peers = [];
});

afterEach(async () => {
  jest.restoreAllMocks();
  for (const peer of peers) peer.destroy();
  await server.stop();
});

async function open({ environment = {}, ...options }: Options = {}): Promise<PeerLink> {
  const config = loadConfig({ environment, currentDirectory: '/' });
  const peer = await openPeer({ host: '127.0.0.1', port: server.port }, { config, protocol: 'PYRO', ...options });
  peers.push(peer);
  return peer;
}

type Options = Partial<PeerOptions> & { readonly environment?: Record<string, string> };

describe('opening', () => {
  test("asks the daemon for its name server's object, by name", async () => {
    const asked: unknown[] = [];
    await begin({
      ResolvePYROLOC: (args) => {
        asked.push(args);
        return 'the-object';
      },
    });
    const peer = await open();
    expect(asked).toEqual([[':Pyro.NameServer']]);
    expect(peer.uri.toString()).toBe(`PYRO://127.0.0.1:${server.port}/the-object`);
    expect([peer.isOpen, peer.unsent, server.connections.length]).toEqual([true, 0, 1]);
  });

  test('gives the passphrase, or none', async () => {
    await begin({}, 'secret');
    await expect(open()).rejects.toThrow(ConnectionDeniedError);
    await expect(open({ identification: 'wrong' })).rejects.toThrow(ConnectionDeniedError);
    expect((await open({ identification: 'secret' })).isOpen).toBe(true);
  });

  test.each([
    ['no text', () => 1, new ProtocolError('incorrect answer received')],
    [
      'an error',
      () => {
        throw new RemoteError('exceptions', 'KeyError', ['no such object']);
      },
      new RemoteError('exceptions', 'KeyError', ['no such object']),
    ],
  ])('fails, and closes the connection, where the daemon answers %s', async (_what, answer, error) => {
    await begin({ ResolvePYROLOC: answer });
    await expect(open()).rejects.toEqual(error);
    await server.connections[0]?.closed;
  });

  test('is told all that the configuration says of connections', async () => {
    await begin();
    const opened = jest.spyOn(ClientConnection, 'open');
    await open({
      environment: {
        PYRO_COMPRESSION: '1',
        PYRO_CHECKSUM: '1',
        PYRO_SOCK_KEEPALIVE: '0',
        PYRO_MAX_MESSAGE_SIZE: '70000',
        PYRO_MAX_INFLATED_SIZE: '80000',
      },
    });
    expect(opened.mock.calls).toEqual([
      [
        '127.0.0.1',
        server.port,
        {
          compression: true,
          checksum: true,
          keepAlive: false,
          lookupTimeoutMs: 5000,
          limits: { maxBodySize: 70000, maxInflatedSize: 80000 },
          handshakeTimeoutMs: 3000,
          tls: undefined,
          identification: Buffer.alloc(0),
        },
      ],
    ]);
  });

  test('by TLS needs the certificates that the configuration names', async () => {
    await begin();
    const opened = jest.spyOn(ClientConnection, 'open').mockRejectedValue(new ProtocolError('stopped here'));
    const environment = { PYROSSL_CERTDIR: '/nowhere/at/all' };
    await expect(open({ protocol: 'PYROSSL', environment })).rejects.toThrow('/nowhere/at/all');
    expect(opened).not.toHaveBeenCalled();
    await expect(open({ protocol: 'PYRO', environment })).rejects.toThrow('stopped here');
  });
});

describe('a call', () => {
  test("reaches the name server's object, with its arguments, and is answered", async () => {
    await begin({ echo: (args) => [...args] });
    const peer = await open();
    expect(await peer.call('echo', ['a', 2, null])).toEqual(['a', 2, null]);
    expect(server.calls).toEqual([{ objectID: 'the-name-server', method: 'echo', flags: 0, args: ['a', 2, null] }]);
  });

  test('throws what the method raised, by its class and arguments', async () => {
    await begin({
      fail: () => {
        throw new RemoteError('Pyro.errors', 'NamingError', ['name not found', ':a']);
      },
    });
    const peer = await open();
    const error = await peer.call('fail', []).catch((thrown: unknown) => thrown);
    expect(error).toEqual(new RemoteError('Pyro.errors', 'NamingError', ['name not found', ':a']));
    expect(error).toBeInstanceOf(RemoteError);
    expect(peer.isOpen).toBe(true);
  });

  test('may be made before the answer of an earlier one', async () => {
    await begin({ echo: ([value = null]) => value });
    const peer = await open();
    expect(await Promise.all([peer.call('echo', [1]), peer.call('echo', [2])])).toEqual([1, 2]);
  });

  test('that is not answered in time closes the connection; the time is 15 seconds where none is said', async () => {
    await begin({ silent: () => undefined });
    const peer = await open();
    const called = jest.spyOn(ClientConnection.prototype, 'call');
    await expect(peer.call('silent', [], { timeoutMs: 1 })).rejects.toThrow(TimeoutError);
    await peer.closed;
    expect([peer.isOpen, called.mock.calls[0]?.[1]]).toEqual([false, { timeout: 1 }]);
    await expect((await open()).call('missing', [])).rejects.toThrow(RemoteError);
    expect(called.mock.lastCall?.[1]).toEqual({ timeout: 15_000 });
  });

  test('is answered with no more than the configuration allows', async () => {
    await begin({ deep: () => [[[[[[[[[[[[1]]]]]]]]]]]] });
    const peer = await open({ environment: { PYRO_MAX_PICKLE_DEPTH: '10' } });
    await expect(peer.call('deep', [])).rejects.toThrow('incorrect answer received');
  });

  test.each([
    ['0', '('],
    ['2', String.fromCharCode(0x80)],
  ])('is written in the pickle format that the configuration says: %s', async (format, start) => {
    await begin({ echo: ([value = null]) => value });
    const peer = await open({ environment: { PYRO_PICKLE_FORMAT: format } });
    expect(await peer.call('echo', ['a'])).toBe('a');
    expect(server.bodies.map((body) => body.toString('latin1', 0, 1))).toEqual([start, start]);
  });
});

test('what is sent without an answer arrives with its flags, before what is called after it', async () => {
  await begin({ tell: () => null, echo: ([value = null]) => value });
  const peer = await open();
  peer.send('tell', ['a', 'b'], { flags: RequestFlag.Oneway | RequestFlag.Varargs });
  expect(await peer.call('echo', ['c'])).toBe('c');
  expect(server.calls).toEqual([
    { objectID: 'the-name-server', method: 'tell', flags: 5, args: ['a', 'b'] },
    { objectID: 'the-name-server', method: 'echo', flags: 0, args: ['c'] },
  ]);
});

describe('a connection that is lost stays lost', () => {
  test.each(['by the other', 'by us'])('%s', async (by) => {
    await begin({ echo: () => 1 });
    const peer = await open();
    if (by === 'by us') peer.destroy();
    else server.dropConnections();
    await peer.closed;
    expect(peer.isOpen).toBe(false);
    await expect(peer.call('echo', [])).rejects.toThrow(ConnectionClosedError);
    expect(() => {
      peer.send('echo', [], { flags: RequestFlag.Oneway });
    }).toThrow(ConnectionClosedError);
    expect(server.methods).toEqual([]);
  });
});

test('what the other has not taken yet is counted', async () => {
  await begin({ tell: () => null });
  const peer = await open();
  server.connections[0]?.socket.pause();
  for (let number = 0; number < 20; number += 1)
    peer.send('tell', ['x'.repeat(1_000_000)], { flags: RequestFlag.Oneway });
  await new Promise((resolve) => setImmediate(resolve));
  expect(peer.unsent).toBeGreaterThan(5_000_000);
});

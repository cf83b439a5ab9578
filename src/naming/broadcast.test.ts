import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { PyroURI } from '../names/index.js';
import { BroadcastServer, type BroadcastServerOptions } from './broadcast.js';
import { BCReqValidator } from './security-plugins.js';

const uri = new PyroURI('PYRO', '127.0.0.1', 9090, 'abc');

let server: BroadcastServer;
let client: Socket;
let answers: string[];
let shutdowns: number;

async function start(options: Partial<BroadcastServerOptions> = {}, rate = '1000'): Promise<void> {
  server = await BroadcastServer.start({
    config: loadConfig({ environment: { PYRO_NS_BC_RATE: rate }, currentDirectory: '/' }),
    log: silentLog,
    address: '127.0.0.1',
    port: 0,
    uri,
    ignoreShutdown: false,
    onShutdown: () => {
      shutdowns += 1;
    },
    ...options,
  });
}

/** What is answered to these, in order: datagrams on loopback keep it, so all before the answer to a last one. */
async function ask(...questions: string[]): Promise<string[]> {
  const { port } = server.listening;
  const before = answers.length;
  for (const question of questions) client.send(question, port, '127.0.0.1');
  while (answers.length === before) await once(client, 'message');
  return answers.slice(before);
}

interface Sent {
  readonly text: string;
  readonly port: number;
  readonly address: string;
  /** Tells the server that it is sent, or why it is not. */
  readonly done: (error: Error | null) => void;
}

/** Keeps what the server sends, instead of sending it. */
function withoutNetwork(): Sent[] {
  const sent: Sent[] = [];
  const send = (text: string, port: number, address: string, done: Sent['done']): void => {
    sent.push({ text, port, address, done });
  };
  Reflect.set(server.socket, 'send', send);
  return sent;
}

/** Has the server receive a datagram that came from any address. */
function receive(command: string, address: string): void {
  const sender: RemoteInfo = { address, port: 5000, family: 'IPv4', size: command.length };
  server.socket.emit('message', Buffer.from(command), sender);
}

beforeEach(async () => {
  answers = [];
  shutdowns = 0;
  client = createSocket('udp4').on('message', (message) => answers.push(message.toString()));
  client.bind(0, '127.0.0.1');
  await once(client, 'listening');
});

afterEach(async () => {
  client.close();
  await server.close();
});

test('location is answered with the URI, without a newline', async () => {
  await start();
  expect(await ask('location')).toEqual([uri.toString()]);
});

test('anything else is not answered', async () => {
  await start();
  expect(await ask('', 'LOCATION', 'location\n', 'hello', 'location')).toEqual([uri.toString()]);
});

test('shutdown is granted', async () => {
  await start();
  expect(await ask('shutdown')).toEqual(['Will shut down shortly']);
  expect(shutdowns).toBe(1);
});

test.each<[string, Error | null]>([
  ['sent', null],
  ['lost', new Error('ENETUNREACH')],
])('a shutdown is done once the answer is %s, not before', async (_outcome, error) => {
  const lines: unknown[] = [];
  await start({ log: { ...silentLog, warn: (...parts: unknown[]) => lines.push(parts) } });
  const sent = withoutNetwork();
  receive('shutdown', '10.0.0.1');
  expect(sent.map(({ text, port, address }) => [text, port, address])).toEqual([
    ['Will shut down shortly', 5000, '10.0.0.1'],
  ]);
  await new Promise(setImmediate);
  expect(shutdowns).toBe(0);
  sent[0]?.done(error);
  expect(shutdowns).toBe(1);
  expect(lines).toEqual(error ? [['BroadcastServer', 'reply to', '10.0.0.1', 'failed:', error]] : []);
});

test('shutdown is denied with -k', async () => {
  await start({ ignoreShutdown: true });
  expect(await ask('shutdown')).toEqual(['Shutdown request denied']);
  expect(shutdowns).toBe(0);
});

describe('the rate of answers', () => {
  let now: number;

  beforeEach(() => {
    now = 50_000;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });

  afterEach(() => {
    jest.restoreAllMocks();
  });

  test.each(['location', 'shutdown'])('is bounded for each address and second: %s', async (command) => {
    await start({}, '2');
    const sent = withoutNetwork();
    const addresses = () => sent.splice(0).map(({ address }) => address);
    for (let asked = 0; asked < 5; asked++) receive(command, '10.0.0.1');
    expect(addresses()).toEqual(['10.0.0.1', '10.0.0.1']);
    receive(command, '10.0.0.2');
    expect(addresses()).toEqual(['10.0.0.2']);
    now += 999;
    receive(command, '10.0.0.1');
    expect(addresses()).toEqual([]);
    now += 1;
    for (let asked = 0; asked < 5; asked++) receive(command, '10.0.0.1');
    expect(addresses()).toEqual(['10.0.0.1', '10.0.0.1']);
  });

  test('is one for all commands of an address, valid ones and others', async () => {
    await start({}, '3');
    const sent = withoutNetwork();
    for (const command of ['location', 'nonsense', 'shutdown', 'location', 'shutdown']) receive(command, '10.0.0.1');
    expect(sent.map(({ text }) => text)).toEqual([uri.toString(), 'Will shut down shortly']);
  });

  test('is kept in mind for 10,000 addresses; others have to wait for the next second', async () => {
    await start({}, '2');
    const sent = withoutNetwork();
    const addressOf = (index: number) => `10.1.${Math.floor(index / 256)}.${index % 256}`;
    for (let index = 0; index < 10_000; index++) receive('location', addressOf(index));
    expect(sent).toHaveLength(10_000);
    receive('location', addressOf(10_000));
    expect(sent).toHaveLength(10_000);
    receive('location', addressOf(9_999));
    expect(sent).toHaveLength(10_001);
    now += 1000;
    receive('location', addressOf(10_000));
    expect(sent.at(-1)?.address).toBe(addressOf(10_000));
    expect(sent).toHaveLength(10_002);
  });
});

test('garbage fills no log: a little of it, and not too often', async () => {
  const lines: string[] = [];
  const log = { ...silentLog, warn: (...parts: unknown[]) => lines.push(parts.map(String).join(' ')) };
  await start({ log }, '3');
  const received = server.socket;
  for (let sent = 0; sent < 5; sent++) {
    const seen = once(received, 'message');
    client.send(Buffer.alloc(60_000, 'x'), server.listening.port, '127.0.0.1');
    await seen;
  }
  expect(lines).toHaveLength(3);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(250);
});

test('a validator sees who asks, refuses, and may say why', async () => {
  class Validator extends BCReqValidator {
    override acceptShutdownCmd(): number {
      this.reply(`denied, ${this.addr[0]}:${this.addr[1]}!`);
      return 0;
    }
  }
  await start({ requestValidator: new Validator() });
  expect(await ask('shutdown')).toEqual([`denied, 127.0.0.1:${client.address().port}!`]);
  expect(await ask('location')).toEqual([uri.toString()]);
  expect(shutdowns).toBe(0);
});

test('a validator that fails, or does not decide at once, refuses', async () => {
  class Failing extends BCReqValidator {
    override acceptLocationCmd(): number {
      throw new Error('no idea');
    }
  }
  // As a plugin in JavaScript may.
  Reflect.set(Failing.prototype, 'acceptShutdownCmd', function (this: BCReqValidator) {
    this.reply('asked');
    return Promise.resolve(true);
  });
  await start({ requestValidator: new Failing() });
  expect(await ask('location', 'shutdown')).toEqual(['asked']);
  expect(shutdowns).toBe(0);
});

test('an address that is not ours is an error that says why', async () => {
  await start();
  const { port } = server.listening;
  await expect(BroadcastServer.start({ ...serverOptions(), address: '127.0.0.1', port })).rejects.toMatchObject({
    name: 'NamingError',
    args: ['cannot start broadcast server', expect.stringMatching(/EADDRINUSE/)],
  });
});

const serverOptions = (): BroadcastServerOptions => ({
  config: loadConfig({ environment: {}, currentDirectory: '/' }),
  log: silentLog,
  port: 0,
  uri,
  ignoreShutdown: false,
  onShutdown: () => undefined,
});

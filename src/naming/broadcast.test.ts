import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { PyroURI } from '../names/index.js';
import { BroadcastServer, type BroadcastServerOptions } from './broadcast.js';
import { BCReqValidator } from './guards.js';

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

test('shutdown is granted, and answered before it is done', async () => {
  const done = new Promise<void>((resolve) => {
    void start({ onShutdown: resolve }).then(async () => {
      expect(await ask('shutdown')).toEqual(['Will shut down shortly']);
    });
  });
  await done;
});

test('shutdown is denied with -k', async () => {
  await start({ ignoreShutdown: true });
  expect(await ask('shutdown')).toEqual(['Shutdown request denied']);
  expect(shutdowns).toBe(0);
});

test('an address gets so many answers a second, and no more', async () => {
  await start({}, '2');
  expect(await ask('location')).toHaveLength(1);
  expect(await ask('location')).toHaveLength(1);
  const { port } = server.listening;
  const seen = once(server.socket, 'message');
  client.send('location', port, '127.0.0.1');
  await seen;
  expect(answers).toHaveLength(2);
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

import { createSocket, Socket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Config, type Log } from '../config/index.js';
import { PyroURI, readPYRONAME } from '../names/index.js';
import { NameServerLocator } from './locator.js';

const uri = PyroURI.parse('PYRO://192.0.2.1:9090/ns');
const second = PyroURI.parse('PYROSSL://192.0.2.2:9091/ns2');

/** Listens to broadcasts, and says nothing by itself. */
class Listener {
  readonly questions: string[] = [];

  private constructor(
    readonly socket: Socket,
    private readonly answer: (question: number) => readonly string[],
  ) {
    socket.on('message', (question, sender) => {
      this.questions.push(question.toString());
      this.send(sender, this.answer(this.questions.length));
    });
  }

  static async start(answer: (question: number) => readonly string[] = () => []): Promise<Listener> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new Listener(socket, answer);
  }

  get port(): number {
    return this.socket.address().port;
  }

  private send({ port, address }: RemoteInfo, answers: readonly string[]): void {
    for (const text of answers) this.socket.send(text, port, address);
  }
}

let first: Listener;
let other: Listener;
let config: Config;
let warnings: unknown[][];

const log: Log = { ...silentLog, warn: (_source, ...parts) => warnings.push(parts) };

async function listen(...answers: ((question: number) => readonly string[])[]): Promise<void> {
  [first, other] = await Promise.all([Listener.start(answers[0]), Listener.start(answers[1])]);
  config.PYRO_NS_BC_PORT = first.port;
  config.PYRO_NS2_BC_PORT = other.port;
}

beforeEach(() => {
  warnings = [];
  const PYRO_NS_BC_ADDR = '127.0.0.1';
  // No longer than a test: where an answer comes, nobody waits for the end.
  const environment = { PYRO_NS_BC_ADDR, PYRO_NS2_BC_ADDR: PYRO_NS_BC_ADDR, PYRO_BC_TIMEOUT: '20' };
  config = loadConfig({ environment, currentDirectory: '/nowhere' });
});

afterEach(() => {
  first.socket.close();
  other.socket.close();
});

const detect = (trace?: (line: string) => void): Promise<PyroURI> =>
  new NameServerLocator({ config, log }).detectNS({ trace });

describe('a broadcast', () => {
  test('asks the first name server, which answers', async () => {
    await listen(() => [uri.toString()]);
    expect(await detect()).toEqual(uri);
    expect(first.questions).toEqual(['location']);
  });

  test('asks the second one too', async () => {
    await listen(
      () => [],
      () => [second.toString()],
    );
    expect(await detect()).toEqual(second);
    expect([first.questions, other.questions]).toEqual([['location'], ['location']]);
  });

  test('asks once where both have one address and port', async () => {
    await listen(() => [uri.toString()]);
    config.PYRO_NS2_BC_PORT = config.PYRO_NS_BC_PORT;
    const sends = jest.spyOn(Socket.prototype, 'send');
    expect(await detect()).toEqual(uri);
    expect(sends.mock.calls.map(([text]) => text)).toEqual(['location', uri.toString()]);
    sends.mockRestore();
  });

  test('says that it is made again', async () => {
    await listen((question) => (question > 1 ? [uri.toString()] : []));
    config.PYRO_BC_TIMEOUT = 0.05;
    const lines: string[] = [];
    expect(await detect((line) => lines.push(line))).toEqual(uri);
    expect(lines.slice(0, 2)).toEqual(['Locator: searching Pyro Name Server...', 'Locator: retry 1']);
  });

  test('is made again for ever where PYRO_BC_RETRIES is negative', async () => {
    await listen((question) => (question === 4 ? [uri.toString()] : []));
    config.PYRO_BC_TIMEOUT = 0.02;
    config.PYRO_BC_RETRIES = -1;
    expect(await detect()).toEqual(uri);
    expect(first.questions.length).toBeGreaterThanOrEqual(4);
  });

  test('waits for PYRO_BC_TIMEOUT seconds, for ever where that is negative', async () => {
    await listen();
    const timers = jest.spyOn(globalThis, 'setTimeout');
    const controller = new AbortController();
    for (const seconds of [20, -1, 1e9]) {
      config.PYRO_BC_TIMEOUT = seconds;
      const { signal } = controller;
      const asked = first.questions.length;
      const looking = new NameServerLocator({ config, log, signal }).detectNS();
      looking.catch(() => undefined);
      while (first.questions.length === asked) await once(first.socket, 'message');
    }
    controller.abort(new Error('enough'));
    const waits = timers.mock.calls.map(([, milliseconds]) => milliseconds).filter((wait) => Number(wait) > 1000);
    timers.mockRestore();
    expect(waits).toEqual([20_000, 2 ** 31 - 1]);
  });

  test.each(['nonsense', '', 'PYRONAME://x', 'PYROLOC://host/x', 'a\x1b[2J'])(
    'takes no %j for an answer, tells of it, and waits for the next',
    async (answer) => {
      await listen(() => [answer, uri.toString()]);
      const lines: string[] = [];
      expect(await detect((line) => lines.push(line))).toEqual(uri);
      const line = `answer of 127.0.0.1 is no URI: ${answer.replace('\x1b', '\\x1b')}`;
      expect(warnings).toEqual([[line]]);
      expect(lines.at(-1)).toBe(`Locator: ${line}`);
    },
  );

  test('that is made again tells of each wrong answer once', async () => {
    await listen((question) => (question === 2 ? ['nonsense', uri.toString()] : []));
    config.PYRO_BC_TIMEOUT = 0.05;
    expect(await detect()).toEqual(uri);
    expect(warnings).toEqual([['answer of 127.0.0.1 is no URI: nonsense']]);
  });

  test('goes to the address that is given', async () => {
    await listen(() => [uri.toString()]);
    const sends = jest.spyOn(Socket.prototype, 'send');
    const locator = new NameServerLocator({ config, log });
    expect(await locator.detectNS({ bcaddr: 'localhost', port: first.port })).toEqual(uri);
    expect(sends.mock.calls[0]?.slice(0, 3)).toEqual(['location', first.port, '127.0.0.1']);
    sends.mockRestore();
  });

  test('with a command takes any answer', async () => {
    await listen(() => ['Shutdown request denied']);
    const locator = new NameServerLocator({ config, log });
    expect(await locator.sendSysCommand('shutdown')).toBe('Shutdown request denied');
    expect(first.questions).toEqual(['shutdown']);
  });

  test('looks nowhere else where a port was given', async () => {
    await listen();
    config.PYRO_BC_TIMEOUT = 0.01;
    config.PYRO_BC_RETRIES = 0;
    const locator = new NameServerLocator({ config, log });
    const lines: string[] = [];
    const looking = locator.detectNS({ port: first.port, trace: (line) => lines.push(line) });
    await expect(looking).rejects.toMatchObject({ name: 'PyroError', message: 'Name Server not responding' });
    expect(lines).toEqual(['Locator: searching Pyro Name Server...']);
    expect(warnings).toEqual([['Name Server not responding to broadcast']]);
  });
});

describe('PYRONAME', () => {
  beforeEach(() => listen());

  test.each([
    ['PYRONAME://a', undefined, undefined, false, 'a'],
    ['PYRONAME://:A.b', undefined, undefined, false, ':A.b'],
    ['PYRONAME://host/a', 'host', undefined, false, 'a'],
    ['PYRONAME://host:1/:a', 'host', 1, false, ':a'],
    ['PYRONAMESSL://a', undefined, undefined, true, 'a'],
    ['PYRONAMESSL://host:65535/a.b', 'host', 65535, true, 'a.b'],
  ])('%s is taken apart', (text, host, port, ssl, name) => {
    expect(readPYRONAME(text)).toEqual({ host, port, ssl, name });
  });

  test.each(['PYRONAME://', 'PYRO://host/a', 'PYRONAME:/a', 'PYRONAME:///a', 'xPYRONAME://a', 'PYRONAME://host:x/a b'])(
    '%j is none',
    (text) => {
      expect(() => readPYRONAME(text)).toThrow('invalid URI format');
    },
  );
});

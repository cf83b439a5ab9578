import { request, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { hostname } from 'node:os';
import { expect, test } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { NameServerStarter } from '../naming/index.js';
import { MetricsServer } from './metrics-server.js';

const config = loadConfig({ environment: { PYRO_NS_URIFILE: '/nowhere/at/all' }, currentDirectory: '/' });

test('a name server is ready once it is started, and until it shuts down', async () => {
  const starter = new NameServerStarter({ config, log: silentLog, print: () => undefined });
  await using server = await MetricsServer.start({ starter, host: '127.0.0.1', port: 0, hosts: [] });
  const get = async (path: string): Promise<[number, string]> => {
    const response = await fetch(`http://127.0.0.1:${server.listening.port}${path}`);
    return [response.status, await response.text()];
  };
  expect(await get('/readyz')).toEqual([503, 'the name server is starting\n']);
  expect(await get('/healthz')).toEqual([200, 'ok\n']);
  const [status, text] = await get('/metrics');
  expect([status, text.includes('process_cpu_seconds_total'), text.includes('pyro_ns_')]).toEqual([200, true, false]);

  await starter.start({ hostname: '127.0.0.1', nsport: 0, dontlookupother: true, nobroadcast: true });
  expect(await get('/readyz')).toEqual([200, 'ok\n']);
  await starter.shutdown();
  expect(await get('/readyz')).toEqual([503, 'the name server shuts down\n']);
  expect(await get('/healthz')).toEqual([200, 'ok\n']);
});

test.each([
  ['127.0.0.1', 200],
  ['[::1]:9190', 200],
  ['localhost:9190', 200],
  [hostname(), 200],
  ['Monitor.example:80', 200],
  ['attacker.example', 403],
  ['127.0.0.1.attacker.example:9190', 403],
])('asked by the host name %j it answers with %d', async (host, status) => {
  const starter = new NameServerStarter({ config, log: silentLog, print: () => undefined });
  await using server = await MetricsServer.start({ starter, host: '127.0.0.1', port: 0, hosts: ['monitor.example'] });
  const asked = request({ host: '127.0.0.1', port: server.listening.port, path: '/healthz', headers: { host } }).end();
  const response = await new Promise<IncomingMessage>((resolve) => asked.once('response', resolve));
  response.resume();
  expect(response.statusCode).toBe(status);
});

test('silent connections are bounded', async () => {
  const starter = new NameServerStarter({ config, log: silentLog, print: () => undefined });
  await using server = await MetricsServer.start({ starter, host: '127.0.0.1', port: 0, hosts: [] });
  const sockets = Array.from({ length: 60 }, () => connect(server.listening.port, '127.0.0.1').resume());
  for (const socket of sockets) socket.on('error', () => undefined);
  while (sockets.filter(({ closed }) => closed).length < 10) await new Promise(setImmediate);
  expect(sockets.filter(({ closed }) => !closed)).toHaveLength(50);
  for (const socket of sockets) socket.destroy();
});

test('connections that say nothing, half of a request, or nothing more are closed in time', async () => {
  const starter = new NameServerStarter({ config, log: silentLog, print: () => undefined });
  await using server = await MetricsServer.start({ starter, host: '127.0.0.1', port: 0, hosts: [] });
  const words = ['', 'GET /healthz HTTP/1.1\r\nX-Slow: ', 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'];
  const sockets = words.map((word) => {
    const socket = connect(server.listening.port, '127.0.0.1').resume();
    socket.on('error', () => undefined).write(word);
    return socket;
  });
  // A byte now and then doesn't help.
  const trickle = setInterval(() => sockets[1]?.write('x'), 500);
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  clearInterval(trickle);
  const response = await fetch(`http://127.0.0.1:${server.listening.port}/healthz`);
  expect(response.status).toBe(200);
});

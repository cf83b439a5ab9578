import { expect, test } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { NameServerStarter } from '../naming/index.js';
import { MetricsServer } from './metrics-server.js';

const config = loadConfig({ environment: { PYRO_NS_URIFILE: '/nowhere/at/all' }, currentDirectory: '/' });

test('a name server is ready once it is started, and until it shuts down', async () => {
  const starter = new NameServerStarter({ config, log: silentLog, print: () => undefined });
  await using server = await MetricsServer.start({ starter, host: '127.0.0.1', port: 0 });
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

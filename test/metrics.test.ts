import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test } from '@jest/globals';
import { DURATION_BOUNDS } from '../src/naming/index.js';
import { NameServerClient, RemoteException } from './support/name-server-client.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';
import { Scrape } from './support/prometheus.js';

let started: NameServerProcess | undefined;

afterEach(async () => {
  await started?.dispose();
  started = undefined;
});

async function start(...args: string[]): Promise<{ server: NameServerProcess; client: NameServerClient; url: string }> {
  const server = await NameServerProcess.start(ours, { arguments: ['--metrics', '127.0.0.1:0', ...args] });
  started = server;
  const [, url = ''] = /^Metrics on: (http:\S+)\/metrics$/m.exec(server.output) ?? [];
  return { server, client: await NameServerClient.connect(server), url };
}

async function scrape(url: string): Promise<Scrape> {
  const response = await fetch(`${url}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  return Scrape.parse(await response.text());
}

/** Runs pyro-ns, which is to refuse. */
async function refusal(...args: string[]): Promise<string> {
  const [node = '', program = ''] = ours.command;
  const run = promisify(execFile)(node, [program, '-n', '127.0.0.1', '-p', '0', '-r', '-x', ...args]);
  return run.then(
    () => 'it started',
    (error: unknown) =>
      typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr) : String(error),
  );
}

describe('what is scraped', () => {
  test('agrees with the load that was made', async () => {
    const { server, client, url } = await start('-d');
    const uri = 'PYRO://127.0.0.1:1/id';
    await client.call('createGroup', ':Load');
    const names = Array.from({ length: 30 }, (_, index) => `:Load.n${index}`);
    await Promise.all(names.map((name) => client.call('register', name, uri)));
    await Promise.all(Array.from({ length: 1000 }, (_, index) => client.resolve(names[index % 30] ?? '')));
    await expect(client.call('register', ':Load.n0', uri)).rejects.toThrow(RemoteException);
    for (const method of ['nothing', 'like', 'it"{}\n']) await expect(client.call(method)).rejects.toThrow();
    const others = await Promise.all([1, 2, 3].map(() => NameServerClient.connect(server)));

    const scraped = await scrape(url);
    const requests = (method: string, result: string): number | undefined =>
      scraped.value('pyro_ns_requests_total', { method, result });
    expect(requests('createGroup', 'ok')).toBe(1);
    expect(requests('register', 'ok')).toBe(30);
    expect(requests('register', 'error')).toBe(1);
    expect(requests('resolve', 'ok')).toBe(1000);
    expect(requests('resolve', 'error')).toBe(0);
    expect(requests('other', 'error')).toBe(3);
    expect(requests('ping', 'ok')).toBeUndefined();
    expect(scraped.value('pyro_ns_request_duration_seconds_count', { method: 'resolve' })).toBe(1000);
    expect(scraped.value('pyro_ns_request_duration_seconds_count', { method: 'register' })).toBe(31);
    expect(scraped.value('pyro_ns_connections')).toBe(4);
    expect(scraped.value('pyro_ns_connections_accepted_total')).toBe(4);
    // The server's own entry; :Default and :Pyro.
    expect(scraped.value('pyro_ns_names', { type: 'object' })).toBe(31);
    expect(scraped.value('pyro_ns_names', { type: 'group' })).toBe(3);
    expect(scraped.value('pyro_ns_info', { role: 'single', store: 'directory' })).toBe(1);
    expect(scraped.value('pyro_ns_store_up')).toBe(1);
    expect(scraped.value('pyro_ns_durable')).toBe(1);
    // The group, the objects and the one refused; the server's own two groups and entry.
    expect(scraped.value('pyro_ns_changes_total')).toBe(35);
    expect(scraped.value('pyro_ns_cache_misses_total')).toBe(31);
    expect(scraped.value('pyro_ns_cache_hits_total')).toBe(970);
    expect(scraped.value('pyro_ns_database_faults_total')).toBe(0);
    expect(scraped.value('process_resident_memory_bytes')).toBeGreaterThan(1e6);
    for (const other of others) other.close();
    client.close();
  });

  test('has histograms whose buckets add up', async () => {
    const { client, url } = await start();
    await Promise.all(Array.from({ length: 500 }, () => client.call('ping')));
    await client.call('_status');
    const scraped = await scrape(url);
    const name = 'pyro_ns_request_duration_seconds';
    expect(scraped.types.get(name)).toBe('histogram');
    for (const method of ['ping', '_status', 'other']) {
      const buckets = scraped.select(`${name}_bucket`, { method });
      const counts = buckets.map(({ value }) => value);
      expect(buckets.map(({ labels }) => labels['le'])).toEqual([...DURATION_BOUNDS.map(String), '+Inf']);
      expect(counts).toEqual([...counts].sort((one, other) => one - other));
      expect(scraped.value(`${name}_count`, { method })).toBe(counts.at(-1));
      // Nothing that was counted took no time at all.
      const sum = scraped.value(`${name}_sum`, { method }) ?? NaN;
      expect(sum > 0).toBe(scraped.value(`${name}_count`, { method }) !== 0);
    }
    expect(scraped.value(`${name}_count`, { method: 'ping' })).toBe(500);
    client.close();
  });
});

describe('/readyz', () => {
  const get = async (url: string): Promise<[number, string]> => {
    const response = await fetch(url);
    return [response.status, await response.text()];
  };

  test('says that all is well', async () => {
    const { url, client } = await start();
    expect(await get(`${url}/readyz`)).toEqual([200, 'ok\n']);
    expect(await get(`${url}/healthz`)).toEqual([200, 'ok\n']);
    expect((await get(`${url}/elsewhere`))[0]).toBe(404);
    client.close();
  });
});

describe('--metrics', () => {
  test.each(['nonsense', 'host:', 'host:99999', ':9190', 'http://localhost:1', 'a b:1'])(
    'refuses %j',
    async (value) => {
      expect(await refusal('--metrics', value)).toBe(
        `pyro-ns: --metrics takes host:port or a port, such as localhost:9190, not '${value}'\nTry pyro-ns --help\n`,
      );
    },
  );

  test('does not take an option for its value', async () => {
    expect(await refusal('--metrics', '--nonsense')).toContain('Unknown argument: nonsense');
  });

  test('says where it can not listen', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    try {
      await once(taken, 'listening');
      const address = taken.address();
      const port = typeof address === 'object' ? address?.port : undefined;
      const text = await refusal('--metrics', `127.0.0.1:${port}`);
      expect(text).toMatch(/^pyro-ns: metrics can't be served: .*EADDRINUSE/);
    } finally {
      taken.close();
    }
  });
});

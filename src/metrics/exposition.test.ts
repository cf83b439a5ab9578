import { describe, expect, test } from '@jest/globals';
import type { StoreStatus } from '../namespace/index.js';
import { RequestMetrics, DURATION_BOUNDS, MethodMetrics } from '../naming/index.js';
import type { NameServerStatus } from '../naming/index.js';
import { Exposition, type Observation } from './exposition.js';

const exposition = new Exposition();

const status: NameServerStatus = {
  version: '1.2.3',
  role: 'single',
  since: 1_700_000_000.5,
  store: { kind: 'memory', problem: null, endpoint: null, awaySeconds: null },
  names: { groups: 11, objects: 12 },
  connections: { open: 13, accepted: 14, refused: 15 },
  autoCleaned: 16,
  twin: null,
};

const directory: StoreStatus = {
  kind: 'directory',
  problem: undefined,
  isDurable: true,
  changes: 21,
  changeSeconds: 22.5,
  directorySyncs: 23,
  fsErrors: 24,
  cachedNames: 25,
  cacheHits: 26,
  cacheMisses: 27,
};

const newCounts = (): RequestMetrics =>
  new RequestMetrics({ GUID: () => 'id', setGUID: () => undefined, hasMethod: () => true, invoke: () => null });

/** The name server's own numbers: those of the process are left out, and what is for people. */
async function written(observation: Partial<Observation>): Promise<string[]> {
  const store: StoreStatus = { kind: 'memory', problem: undefined };
  const text = await exposition.write({ status, store, calls: undefined, ...observation });
  return text.split('\n').filter((line) => line.startsWith('pyro_ns_'));
}

const typesOf = async (observation: Observation): Promise<string[]> =>
  (await exposition.write(observation)).split('\n').filter((line) => line.startsWith('# TYPE pyro_ns_'));

const COMMON = [
  'pyro_ns_info{version="1.2.3",role="single",store="memory"} 1',
  'pyro_ns_start_time_seconds 1700000000.5',
  'pyro_ns_names{type="group"} 11',
  'pyro_ns_names{type="object"} 12',
  'pyro_ns_connections 13',
  'pyro_ns_connections_accepted_total 14',
  'pyro_ns_connections_refused_total 15',
  'pyro_ns_autocleaned_total 16',
  'pyro_ns_store_up 1',
];

describe('the numbers of a name server', () => {
  test('in memory', async () => {
    expect(await written({})).toEqual(COMMON);
  });

  test('that has not counted its names, and whose store fails', async () => {
    const problem = 'no space left';
    const failing = { ...status, names: null, store: { ...status.store, problem } };
    const rest = COMMON.filter((line) => !line.startsWith('pyro_ns_names') && !line.startsWith('pyro_ns_store_up'));
    expect(await written({ status: failing })).toEqual([...rest, 'pyro_ns_store_up 0']);
  });

  test.each([
    [true, 1],
    [false, 0],
  ])('over a database directory, durable: %p', async (isDurable, durable) => {
    expect(await written({ store: { ...directory, isDurable } })).toEqual([
      ...COMMON,
      `pyro_ns_durable ${durable}`,
      'pyro_ns_changes_total 21',
      'pyro_ns_change_seconds_total 22.5',
      'pyro_ns_directory_syncs_total 23',
      'pyro_ns_database_faults_total 24',
      'pyro_ns_cache_names 25',
      'pyro_ns_cache_hits_total 26',
      'pyro_ns_cache_misses_total 27',
    ]);
  });

  test.each([
    [undefined, 1, 0],
    [0, 0, 0],
    [31.5, 0, 31.5],
  ])('over etcd, away for %p s', async (awaySeconds, up, away) => {
    const store: StoreStatus = { kind: 'etcd', problem: undefined, endpoint: 'one:2379', awaySeconds };
    expect(await written({ store })).toEqual([
      ...COMMON,
      `pyro_ns_etcd_up{endpoint="one:2379"} ${up}`,
      `pyro_ns_etcd_away_seconds ${away}`,
    ]);
  });

  test.each([
    ['connected', false, 1, 0],
    ['merging', false, 1, 0],
    ['lost', true, 0, 1],
  ] as const)('of a pair whose twin is %s', async (state, mergeDue, connected, due) => {
    const twin = { uri: null, software: null, state, unconfirmed: 41, mergeDue, problem: null };
    expect(await written({ status: { ...status, role: 'primary', twin } })).toEqual([
      'pyro_ns_info{version="1.2.3",role="primary",store="memory"} 1',
      ...COMMON.slice(1),
      `pyro_ns_twin_connected ${connected}`,
      'pyro_ns_twin_unconfirmed_changes 41',
      `pyro_ns_twin_merge_due ${due}`,
    ]);
  });

  test('say of each metric whether it only grows', async () => {
    const store = directory;
    expect(await typesOf({ status, store, calls: newCounts() })).toEqual([
      '# TYPE pyro_ns_info gauge',
      '# TYPE pyro_ns_start_time_seconds gauge',
      '# TYPE pyro_ns_names gauge',
      '# TYPE pyro_ns_connections gauge',
      '# TYPE pyro_ns_connections_accepted_total counter',
      '# TYPE pyro_ns_connections_refused_total counter',
      '# TYPE pyro_ns_autocleaned_total counter',
      '# TYPE pyro_ns_store_up gauge',
      '# TYPE pyro_ns_requests_total counter',
      '# TYPE pyro_ns_request_duration_seconds histogram',
      '# TYPE pyro_ns_durable gauge',
      '# TYPE pyro_ns_changes_total counter',
      '# TYPE pyro_ns_change_seconds_total counter',
      '# TYPE pyro_ns_directory_syncs_total counter',
      '# TYPE pyro_ns_database_faults_total counter',
      '# TYPE pyro_ns_cache_names gauge',
      '# TYPE pyro_ns_cache_hits_total counter',
      '# TYPE pyro_ns_cache_misses_total counter',
    ]);
  });

  test('are left out while it starts, but not those of the process', async () => {
    const text = await exposition.write(undefined);
    expect(text).not.toContain('pyro_ns_');
    expect(text).toContain('process_cpu_seconds_total');
  });
});

test('requests are told by method and result, and how many took no longer than each bound', async () => {
  const calls = newCounts();
  const ping = new MethodMetrics();
  calls.methods.set('ping', ping);
  Object.assign(ping, { answered: 7, failed: 1, seconds: 2.5 });
  ping.durations.splice(0, Infinity, ...DURATION_BOUNDS.map((_bound, index) => (index < 3 ? index + 1 : 0)), 2);
  Object.assign(calls.other, { failed: 9 });
  const lines = (await written({ calls })).slice(COMMON.length);
  const bounds = [...DURATION_BOUNDS.map(String), '+Inf'];
  const cumulative = bounds.map((_bound, index) => (index === bounds.length - 1 ? 8 : ([1, 3, 6][index] ?? 6)));
  const histogram = (method: string, counts: readonly number[], sum: number): string[] => [
    ...bounds.map(
      (le, index) => `pyro_ns_request_duration_seconds_bucket{le="${le}",method="${method}"} ${counts[index]}`,
    ),
    `pyro_ns_request_duration_seconds_sum{method="${method}"} ${sum}`,
    `pyro_ns_request_duration_seconds_count{method="${method}"} ${counts.at(-1)}`,
  ];
  expect(lines).toEqual([
    'pyro_ns_requests_total{method="ping",result="ok"} 7',
    'pyro_ns_requests_total{method="ping",result="error"} 1',
    'pyro_ns_requests_total{method="other",result="ok"} 0',
    'pyro_ns_requests_total{method="other",result="error"} 9',
    ...histogram('ping', cumulative, 2.5),
    ...histogram(
      'other',
      bounds.map(() => 0),
      0,
    ),
  ]);
});

import { AggregatorRegistry, collectDefaultMetrics, Registry } from 'prom-client';
import type { StoreStatus } from '../namespace/index.js';
import { DURATION_BOUNDS, type RequestMetrics, type MethodMetrics, type NameServerStatus } from '../naming/index.js';

/** What is known of a name server at one moment. */
export interface Observation {
  readonly status: NameServerStatus;
  readonly store: StoreStatus;
  readonly calls: RequestMetrics | undefined;
}

type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly labels: Labels;
  readonly value: number;
  /** Where it is not the metric's own: of the parts of a histogram. */
  readonly metricName?: string;
}

/** A metric as prom-client has it in JSON. The aggregator is of no use to us, and must be there. */
interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly aggregator: 'first';
  readonly values: readonly Sample[];
}

const NO_LABELS: Labels = {};

/** Peers may call whatever comes to their minds: what is no method is counted as one. */
const OTHER = 'other';

/**
 * Writes the numbers of a name server, and those of its process, in the Prometheus text format. Numbers are kept where they
 * arise, and only here become metrics, when they are asked for.
 */
export class Exposition {
  private readonly process = new Registry();

  constructor() {
    collectDefaultMetrics({ register: this.process });
  }

  get contentType(): string {
    return this.process.contentType;
  }

  async write(observation: Observation | undefined): Promise<string> {
    const metrics = observation === undefined ? [] : metricsOf(observation);
    return Registry.merge([AggregatorRegistry.aggregate([metrics]), this.process]).metrics();
  }
}

function metricsOf({ status, store, calls }: Observation): Metric[] {
  return [
    ...serverMetrics(status),
    ...(calls === undefined ? [] : callMetrics(calls)),
    ...(status.twin === null ? [] : twinMetrics(status.twin)),
    ...(store.kind === 'directory' ? directoryMetrics(store) : []),
    ...(store.kind === 'etcd' ? etcdMetrics(store) : []),
  ];
}

function serverMetrics({ version, role, store, since, names, connections, autoCleaned }: NameServerStatus): Metric[] {
  return [
    gauge('pyro_ns_info', 'Always 1; the labels say what is running.', 1, { version, role, store: store.kind }),
    gauge('pyro_ns_start_time_seconds', 'When the name server was started, in seconds since 1970.', since),
    metric('gauge', 'pyro_ns_names', 'Groups and objects that there are.', [
      ...(names === null ? [] : [sample(names.groups, { type: 'group' }), sample(names.objects, { type: 'object' })]),
    ]),
    gauge('pyro_ns_connections', 'Connections that are open.', connections.open),
    counter('pyro_ns_connections_accepted_total', 'Connections that were accepted.', connections.accepted),
    counter('pyro_ns_connections_refused_total', 'Connections that were refused.', connections.refused),
    counter('pyro_ns_autocleaned_total', 'Entries of dead objects that were removed.', autoCleaned),
    gauge('pyro_ns_store_up', '1 while names can be read and changed as they should, else 0.', Number(!store.problem)),
  ];
}

function callMetrics({ methods, other }: RequestMetrics): Metric[] {
  const all: [string, MethodMetrics][] = [...methods, [OTHER, other]];
  return [
    metric(
      'counter',
      'pyro_ns_requests_total',
      'Requests by method, and whether they were answered with a result (ok) or an error.',
      all.flatMap(([method, { answered, failed }]) => [
        sample(answered, { method, result: 'ok' }),
        sample(failed, { method, result: 'error' }),
      ]),
    ),
    metric(
      'histogram',
      'pyro_ns_request_duration_seconds',
      'How long requests took from when they were read until their answer was known.',
      all.flatMap(([method, counts]) => histogram('pyro_ns_request_duration_seconds', method, counts)),
    ),
  ];
}

function histogram(name: string, method: string, { durations, seconds }: MethodMetrics): Sample[] {
  let count = 0;
  const buckets = durations.map((inClass, index): Sample => {
    count += inClass;
    const le = DURATION_BOUNDS[index]?.toString() ?? '+Inf';
    return { metricName: `${name}_bucket`, labels: { le, method }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels: { method }, value: seconds },
    { metricName: `${name}_count`, labels: { method }, value: count },
  ];
}

function twinMetrics({ state, unconfirmed, mergeDue }: NonNullable<NameServerStatus['twin']>): Metric[] {
  return [
    gauge(
      'pyro_ns_twin_connected',
      '1 while the other one of the pair is connected, else 0.',
      Number(state !== 'lost'),
    ),
    gauge('pyro_ns_twin_unconfirmed_changes', 'Changes that the other one has not confirmed.', unconfirmed),
    gauge(
      'pyro_ns_twin_merge_due',
      '1 where more has changed than is kept, so that all names must be exchanged, else 0.',
      Number(mergeDue),
    ),
  ];
}

function directoryMetrics(store: Extract<StoreStatus, { kind: 'directory' }>): Metric[] {
  return [
    gauge('pyro_ns_durable', '1 if a change is on the disk before it is answered, else 0.', Number(store.isDurable)),
    counter('pyro_ns_changes_total', 'Changes of the database that were asked for.', store.changes),
    counter(
      'pyro_ns_change_seconds_total',
      'What all changes together took, until they were durable or refused.',
      store.changeSeconds,
    ),
    counter(
      'pyro_ns_directory_syncs_total',
      'How often a directory was brought to the disk, for all changes that waited for it.',
      store.directorySyncs,
    ),
    counter('pyro_ns_database_faults_total', 'Errors of the file system that clients were told of.', store.fsErrors),
    gauge('pyro_ns_cache_names', 'Names whose URI is remembered.', store.cachedNames),
    counter('pyro_ns_cache_hits_total', 'URIs that were known when they were asked for.', store.cacheHits),
    counter('pyro_ns_cache_misses_total', 'URIs that had to be read from the disk.', store.cacheMisses),
  ];
}

function etcdMetrics({ endpoint, awaySeconds }: Extract<StoreStatus, { kind: 'etcd' }>): Metric[] {
  return [
    gauge('pyro_ns_etcd_up', '1 while etcd is heard from, else 0.', Number(awaySeconds === undefined), { endpoint }),
    gauge('pyro_ns_etcd_away_seconds', 'For how long nothing was heard from etcd.', awaySeconds ?? 0),
  ];
}

const sample = (value: number, labels: Labels): Sample => ({ labels, value });

const metric = (type: Metric['type'], name: string, help: string, values: readonly Sample[]): Metric => ({
  name,
  help,
  type,
  aggregator: 'first',
  values,
});

const gauge = (name: string, help: string, value: number, labels = NO_LABELS): Metric =>
  metric('gauge', name, help, [sample(value, labels)]);

const counter = (name: string, help: string, value: number): Metric =>
  metric('counter', name, help, [sample(value, NO_LABELS)]);

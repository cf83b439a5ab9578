// `npm run bench:etcd -- [--rounds N] [--storage DIR] [--size MEMBERS]`: the namespace in etcd against the one in memory, and
// against puts that do nothing else. Starts an etcd of its own (Debian: etcd-server); see docs/benchmarks.md.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { silentLog } from '../../dist/config/index.js';
import { Name, PyroURI } from '../../dist/names/index.js';
import { EtcdClient } from '../../dist/namespace/etcd/client.js';
import { Deadline } from '../../dist/namespace/etcd/deadline.js';
import { TRANSACTION } from '../../dist/namespace/etcd/protocol.js';
import { EtcdNamespace } from '../../dist/namespace/etcd/etcd-namespace.js';
import { GROUP, MemoryNamespace, OBJECT } from '../../dist/namespace/index.js';
import { EtcdCluster } from '../../test/support/etcd-cluster.mjs';

const LOADED_NAMES = 100_000;
const RESOLVES = 1_000_000;
/** One after the other for each store, as a pass is soon over. */
const RESOLVE_PASSES = 5;
const REGISTRATIONS = 2000;
const IN_FLIGHT = [8, 64, 256];
const GROUP_NAME = Name.parse(':Bench');
const ANY_URI = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000118ac29cd31b68fb1a7f12b4a');

const member = (index) => GROUP_NAME.child(`object-${index}`);

async function* entries() {
  const meta = { systemMeta: { type: GROUP, timestamp: 1e9, owner: null }, userMeta: null };
  yield { name: GROUP_NAME, uri: undefined, ...meta };
  for (let index = 0; index < LOADED_NAMES; index += 1) {
    yield { name: member(index), uri: ANY_URI, ...meta, systemMeta: { ...meta.systemMeta, type: OBJECT } };
  }
}

/** Calls per second of `call`, with so many under way at a time. */
async function rate(count, inFlight, call) {
  let next = 0;
  const from = performance.now();
  const caller = async () => {
    while (next < count) await call(next++);
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  return (count / (performance.now() - from)) * 1000;
}

function resolveRate(namespace, names) {
  const from = performance.now();
  for (let index = 0; index < RESOLVES; index += 1) {
    if (namespace.resolveNow(names[index % names.length]) === undefined) throw new Error('not resolved');
  }
  return (RESOLVES / (performance.now() - from)) * 1000;
}

function median(figures) {
  const sorted = [...figures].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

const figures = new Map();
const record = (name, figure) => figures.set(name, [...(figures.get(name) ?? []), figure]);
const of = (name) => median(figures.get(name));

function report() {
  const show = (name, unit) =>
    process.stdout.write(`${name.padEnd(52)} ${Math.round(of(name)).toLocaleString('en-US')} ${unit}\n`);
  const target = (name, value, wanted, isReached) =>
    process.stdout.write(`${name.padEnd(52)} ${value.toFixed(2)} (to reach: ${wanted}) ${isReached ? 'yes' : 'NO'}\n`);
  // Of each round, or pass, its own ratio, then the median of these: what slows a machine down slows both.
  const ratio = (name, other) => median(figures.get(name).map((figure, turn) => figure / figures.get(other)[turn]));
  for (const name of figures.keys()) show(name, name.startsWith('load') ? 'ms' : '/s');
  process.stdout.write('\n');
  const loaded = of(`load ${LOADED_NAMES} names`) / 1000;
  target(`load ${LOADED_NAMES} names, in seconds`, loaded, 'at most 10', loaded <= 10);
  const resolve = ratio('resolve, etcd', 'resolve, memory');
  target('resolve, etcd / memory', resolve, 0.8, resolve >= 0.8);
  for (const inFlight of IN_FLIGHT) {
    const register = ratio(`register, ${inFlight} in flight`, `bare put, ${inFlight} in flight`);
    target(`register / bare put, ${inFlight} in flight`, register, 0.7, register >= 0.7);
  }
}

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    storage: { type: 'string', default: tmpdir() },
    size: { type: 'string', default: '1' },
  },
});
const storage = await mkdtemp(join(options.storage, 'pyro-ns-bench-'));
const cluster = await EtcdCluster.start({ storage, size: Number(options.size) });
try {
  const access = { endpoints: cluster.members.map(({ endpoint }) => endpoint) };
  const open = () =>
    EtcdNamespace.open({
      ...access,
      prefix: '/bench',
      read: 'cached',
      staleSeconds: 60,
      timeoutSeconds: 30,
      log: silentLog,
    });
  const first = await open();
  await first.replace(entries());
  await first.close();
  const memory = new MemoryNamespace();
  await memory.replace(entries());
  const names = Array.from({ length: LOADED_NAMES }, (_, index) => member((index * 7919) % LOADED_NAMES));
  const putter = new EtcdClient(access);

  for (let round = 0; round < Number(options.rounds); round += 1) {
    process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
    const from = performance.now();
    const namespace = await open();
    record(`load ${LOADED_NAMES} names`, performance.now() - from);
    for (let pass = 0; pass <= RESOLVE_PASSES; pass += 1) {
      for (const [label, store] of Object.entries({ memory, etcd: namespace })) {
        const figure = resolveRate(store, names);
        // The first pass is for the compiler.
        if (pass > 0) record(`resolve, ${label}`, figure);
      }
    }
    for (const inFlight of IN_FLIGHT) {
      const put = (index) => ({ put: `/bench-puts/:Bench.${round}-${inFlight}-${index}`, value: ANY_URI.toString() });
      record(
        `bare put, ${inFlight} in flight`,
        await rate(REGISTRATIONS, inFlight, (index) =>
          putter.call(TRANSACTION, { compare: [], success: [put(index)], failure: [] }, Deadline.in(30_000)),
        ),
      );
      record(
        `register, ${inFlight} in flight`,
        await rate(REGISTRATIONS, inFlight, (index) =>
          namespace.register(GROUP_NAME.child(`new-${round}-${inFlight}-${index}`), ANY_URI),
        ),
      );
    }
    await namespace.close();
  }
  putter.close();
  report();
} finally {
  await cluster.stop();
  await rm(storage, { recursive: true });
}

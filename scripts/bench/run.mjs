// `npm run bench [-- --rounds N] [--only <part of a case's name>] [--storage DIR]`: this name server, the real Pyro 3.16
// where PYRO3_HOME and PYTHON2 say where it is, and the floor, side by side. docs/benchmarks.md says what it measures.
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { NameServerProcess, ours, pyro3, real } from '../../test/support/name-server-process.mjs';
import { printResults } from './report.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

const LISTED_NAMES = 2000;
// So many that the slowest server needs some two seconds, after half as many that nobody measures.
const CHANGES_PER_CONNECTION = 120;
const CHANGES_TO_WARM_UP = 60;

const floor = { label: 'floor', command: [process.execPath, here('floor-server.mjs')], environment: {} };

/** The servers compared, by the names of their columns. */
const SERVERS = {
  'ours, memory': { server: ours, arguments: [] },
  'ours, -d': { server: ours, arguments: ['-d'] },
  ...(pyro3 && {
    'Pyro 3, memory': { server: real(), arguments: [] },
    'Pyro 3, -d': { server: real(), arguments: ['-d'] },
  }),
  floor: { server: floor, arguments: [], answersAnything: true },
};

const ANY_URI = 'PYRO://127.0.0.1:7766/7f00000118ac29cd31b68fb1a7f12b4aee';

const resolve = (connections, inFlight) => ({
  method: 'resolve',
  args: [':Bench.object'],
  connections,
  inFlight,
  warmUpMs: 700,
  measureMs: 2000,
});
const change = (method, ...args) => ({ method, args, connections: 64, inFlight: 1, each: CHANGES_PER_CONNECTION });
const warmUp = { ...change('register', ':Bench.warm.%', ANY_URI), each: CHANGES_TO_WARM_UP };

/** What is measured, and what is to be reached: how many times the other column's figure. */
const CASES = [
  { name: 'resolve, 1 connection', load: resolve(1, 1), floor: true },
  {
    name: 'resolve, 64 connections',
    load: resolve(64, 1),
    floor: true,
    targets: [
      { of: 'ours, memory', over: 'Pyro 3, memory', times: 5 },
      { of: 'ours, -d', over: 'Pyro 3, memory', times: 5 },
      { of: 'ours, memory', over: 'floor', times: 0.7 },
      { of: 'ours, -d', over: 'floor', times: 0.7 },
    ],
  },
  {
    name: 'resolve, 8 connections x 16 in flight',
    load: resolve(8, 16),
    floor: true,
    targets: [
      { of: 'ours, memory', over: 'Pyro 3, memory', times: 20 },
      { of: 'ours, -d', over: 'Pyro 3, memory', times: 20 },
      { of: 'ours, memory', over: 'floor', times: 0.3 },
      { of: 'ours, -d', over: 'floor', times: 0.3 },
    ],
  },
  {
    name: 'register, 64 connections',
    load: change('register', ':Bench.changed.%', ANY_URI),
    targets: [{ of: 'ours, -d', over: 'Pyro 3, -d', times: 1 }],
  },
  {
    name: 'unregister, 64 connections',
    load: change('unregister', ':Bench.changed.%'),
    needs: 'register, 64 connections',
  },
  {
    name: `list of ${LISTED_NAMES} names, 1 connection`,
    load: { method: 'list', args: [':Bench.listed'], connections: 1, inFlight: 1, warmUpMs: 500, measureMs: 1500 },
  },
];

/** Runs the load generator: calls per second. */
async function load(running, job) {
  const { address: host, port, objectID } = running;
  const { stdout } = await promisify(execFile)(process.execPath, [
    here('load.mjs'),
    JSON.stringify({ host, port, objectID, ...job }),
  ]);
  const { calls, ms, bodySize } = JSON.parse(stdout);
  if (bodySize === -1) throw new Error(`${running.label}: replies of ${job.method} differ in size: some are errors`);
  return (calls / ms) * 1000;
}

const once = (method, ...args) => ({ method, args, connections: 1, inFlight: 1, each: 1 });

async function prepare(running) {
  await load(running, once('createGroup', ':Bench'));
  await load(running, once('createGroup', ':Bench.warm'));
  await load(running, warmUp);
  await load(running, once('createGroup', ':Bench.changed'));
  await load(running, once('createGroup', ':Bench.listed'));
  await load(running, once('register', ':Bench.object', ANY_URI));
  await load(running, {
    ...change('register', ':Bench.listed.%', ANY_URI),
    connections: 40,
    each: LISTED_NAMES / 40,
  });
}

/** Starts every server, each on a fresh storage of its own. @param running where they are put, by the names of their columns */
async function startServers(running, storage) {
  for (const [column, { server, arguments: args, answersAnything }] of Object.entries(SERVERS)) {
    const directory = await mkdtemp(join(storage, 'pyro-ns-bench-'));
    running.set(column, await NameServerProcess.start(server, { arguments: args, storage: directory }));
    if (!answersAnything) await prepare(running.get(column));
  }
}

/** One case after the other, each on every server. */
async function measure(cases, running, record) {
  for (const measured of cases) {
    for (const [column, process] of running) {
      if (column === 'floor' && !measured.floor) continue;
      record(measured.name, column, await load(process, measured.load));
    }
  }
}

/**
 * All rounds, each with servers of its own. What removes names comes after all rounds of everything else: ext4 makes new files
 * several times slower for some minutes after many were removed.
 */
async function measureRounds(cases, rounds, storage, record) {
  const started = [];
  try {
    for (let number = 1; number <= rounds; number += 1) {
      process.stderr.write(`round ${number} of ${rounds}\n`);
      const running = new Map();
      started.push(running);
      await startServers(running, storage);
      await measure(
        cases.filter(({ needs }) => needs === undefined),
        running,
        record,
      );
    }
    const removals = cases.filter(({ needs }) => needs !== undefined);
    for (const running of started) await measure(removals, running, record);
  } finally {
    for (const process of started.flatMap((running) => [...running.values()])) {
      await process.stop();
      await rm(process.storage, { recursive: true });
    }
  }
}

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    storage: { type: 'string', default: tmpdir() },
  },
});
const rounds = Number(options.rounds);
const chosen = CASES.filter(({ name }) => name.includes(options.only));
const needed = CASES.filter((one) => chosen.includes(one) || chosen.some(({ needs }) => needs === one.name));
if (!Number.isInteger(rounds) || rounds < 1 || chosen.length === 0) {
  process.stderr.write(
    `--rounds is a whole number from 1, --only a part of:\n${CASES.map(({ name }) => name).join('\n')}\n`,
  );
  process.exit(2);
}
if (!pyro3) process.stdout.write('Without the real Pyro 3.16: set PYRO3_HOME and PYTHON2 to compare with it.\n');

/** Figures by case and column, one per round. */
const figures = new Map(needed.map(({ name }) => [name, new Map(Object.keys(SERVERS).map((column) => [column, []]))]));
await measureRounds(needed, rounds, options.storage, (name, column, perSecond) =>
  figures.get(name).get(column).push(perSecond),
);
printResults(chosen, Object.keys(SERVERS), figures, process.stdout);

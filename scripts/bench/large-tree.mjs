// `npm run bench:tree [-- --tree DIR] [--only PART] [--with-pyro3]`: this name server over a tree of 1.1 million names, beside one
// of a thousand and, with --with-pyro3, beside the real Pyro 3.16. docs/benchmarks.md says what it measures.
import { execFile } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { NameServerProxy, PyroURI, silentLog } from '../../dist/index.js';
import { NameServerProcess, ours, pyro3, real } from '../../test/support/name-server-process.mjs';

const DATABASE = 'Pyro_NS_database';
const GROUPS = 1000;
const NAMES_PER_GROUP = 1000;
const LARGE_GROUP_NAMES = 100_000;
const DIFFERENT_RESOLVES = 200_000;
const REGISTRATIONS_PER_CONNECTION = 60;
const URI = 'PYRO://127.0.0.1:7766/7f00000118ac29cd31b68fb1a7f12b4aee';

const digits = (number, count) => String(number).padStart(count, '0');

/** Makes a database with plain files, many times faster than any name server would. */
function makeTree(storage, groups, largeGroupNames) {
  const root = join(storage, DATABASE);
  const made = join(storage, 'complete');
  if (existsSync(made)) return;
  const content = Buffer.from(`${URI}\n`);
  const makeFile = (path) => {
    const file = openSync(path, 'w');
    writeSync(file, content);
    closeSync(file);
  };
  for (let group = 0; group < groups; group += 1) {
    const directory = join(root, `g${digits(group, 5)}`);
    mkdirSync(directory, { recursive: true });
    for (let name = 0; name < NAMES_PER_GROUP; name += 1) makeFile(join(directory, `n${digits(name, 3)}`));
  }
  const large = join(root, 'large');
  mkdirSync(large);
  for (let name = 0; name < largeGroupNames; name += 1) makeFile(join(large, `n${digits(name, 8)}`));
  mkdirSync(made);
}

/** Runs the load generator on a server. */
async function load({ address: host, port, objectID }, job) {
  const program = fileURLToPath(new URL('load.mjs', import.meta.url));
  const complete = { host, port, objectID, connections: 1, inFlight: 1, ...job };
  const { stdout } = await promisify(execFile)(process.execPath, [program, JSON.stringify(complete)]);
  const { calls, ms, bodySize } = JSON.parse(stdout);
  if (bodySize === -1) throw new Error(`replies of ${job.method} differ in size: some are errors`);
  return { ms, perSecond: (calls / ms) * 1000 };
}

const call = (server, method, ...args) => load(server, { method, args, each: 1 });

/** The first names of the tree's groups, each one once. */
const resolveEach = (server, count) =>
  load(server, { method: 'resolve', args: [':g%group.n%member'], connections: 50, inFlight: 4, each: count / 50 });

/** Names of the first groups over and over, one after the other. */
const resolveRate = (server, names) =>
  load(server, {
    method: 'resolve',
    args: [':g%group.n%member'],
    connections: 20,
    inFlight: names / 20,
    warmUpMs: 1500,
    measureMs: 3000,
  });

const register = (server, beginning) =>
  load(server, {
    method: 'register',
    args: [`${beginning}%`, URI],
    connections: 64,
    each: REGISTRATIONS_PER_CONNECTION,
  });

function memoryInMB({ pid }) {
  const [, kilobytes = NaN] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
  return Number(kilobytes) / 1024;
}

/**
 * Changes per second of a bare loop: as anybody would write it, or with what was found to save, in a process with as many
 * threads as `pyro-ns` has.
 */
async function bareChanges(directory, way) {
  const program = fileURLToPath(new URL('bare-changes.mjs', import.meta.url));
  const args = [program, directory, String(64 * REGISTRATIONS_PER_CONNECTION), '64', way];
  const env = way === 'thrifty' ? { UV_THREADPOOL_SIZE: '16', ...process.env } : process.env;
  return Number((await promisify(execFile)(process.execPath, args, { env })).stdout);
}

/** The longest that a client waits for the answer to a ping until `stop`, in milliseconds. */
class LongestWait {
  #longest = 0;
  #isStopped = false;
  #pinging;

  constructor(server) {
    this.#pinging = this.#ping(new NameServerProxy(PyroURI.parse(server.uri), { log: silentLog }));
  }

  async #ping(proxy) {
    while (!this.#isStopped) {
      const from = performance.now();
      await proxy.ping();
      this.#longest = Math.max(this.#longest, performance.now() - from);
      await delay(2);
    }
    await proxy._release();
  }

  async stop() {
    this.#isStopped = true;
    await this.#pinging;
    return this.#longest;
  }
}

const start = (storage, server = ours) => NameServerProcess.start(server, { arguments: ['-d'], storage });

function report(what, figure, unit, limit) {
  const verdict = limit === undefined ? '' : `to be ${limit.text}: ${limit.isMet ? 'yes' : 'NO'}`;
  process.stdout.write(`${what.padEnd(64)} ${figure.padStart(10)} ${unit.padEnd(4)} ${verdict}\n`);
}

const show = (number, places = 0) => number.toLocaleString('en-US', { maximumFractionDigits: places });
const atMost = (figure, limit) => ({ text: `at most ${show(limit, 2)}`, isMet: figure <= limit });
const atLeast = (figure, limit) => ({ text: `at least ${show(limit, 2)}`, isMet: figure >= limit });

/** The time of `flatlist` in seconds, and how long others waited meanwhile at most, in milliseconds. */
async function flatlist(server) {
  const others = new LongestWait(server);
  const { ms } = await call(server, 'flatlist');
  return { seconds: ms / 1000, waitMs: await others.stop() };
}

const median = (figures) => [...figures].sort((a, b) => a - b)[figures.length >> 1];

/** How long `list` of the large group takes the first time, and then, in milliseconds. */
async function listTimes(server) {
  const { ms: first } = await call(server, 'list', ':large');
  const again = [];
  for (let times = 0; times < 3; times += 1) again.push((await call(server, 'list', ':large')).ms);
  return { first, again: median(again) };
}

async function measureReads(large, small) {
  const from = performance.now();
  const server = await start(large);
  await call(server, 'resolve', ':g00500.n500');
  const firstAnswer = (performance.now() - from) / 1000;
  report('first answer after start', show(firstAnswer, 2), 's', atMost(firstAnswer, 1));
  const memory = memoryInMB(server);
  report('memory then', show(memory), 'MB', atMost(memory, 150));
  const cold = await resolveEach(server, DIFFERENT_RESOLVES);
  report(`${show(DIFFERENT_RESOLVES)} different resolves, each read from its file`, show(cold.perSecond), '/s');
  const memoryAfter = memoryInMB(server);
  report('memory then', show(memoryAfter), 'MB', atMost(memoryAfter, 400));

  const few = await start(small);
  const rates = { few: [], many: [] };
  for (let round = 0; round < 3; round += 1) {
    rates.few.push((await resolveRate(few, NAMES_PER_GROUP)).perSecond);
    rates.many.push((await resolveRate(server, NAMES_PER_GROUP)).perSecond);
  }
  await few.stop();
  const ratio = Math.max(...rates.many) / Math.max(...rates.few);
  report('resolve of 1,000 names there', show(Math.max(...rates.many)), '/s');
  report('  beside a database of no others', show(ratio, 2), '', atLeast(ratio, 0.9));

  const lists = await listTimes(server);
  report(`list of ${show(LARGE_GROUP_NAMES)}, the first`, show(lists.first), 'ms');
  report('  and again', show(lists.again), 'ms');
  const flat = await flatlist(server);
  report('flatlist of all', show(flat.seconds, 1), 's', atMost(flat.seconds, 183 / 4));
  report('  the longest that others waited meanwhile', show(flat.waitMs), 'ms', atMost(flat.waitMs, 100));
  await server.stop();
  if (pyro3 && options['with-pyro3']) {
    const other = await start(large, real());
    const theirs = await listTimes(other);
    await other.stop('SIGKILL');
    report('list by Pyro 3, the first', show(theirs.first), 'ms');
    report('  and again', show(theirs.again), 'ms');
    report('  ours beside the first', show(lists.first / theirs.first, 2), '', atMost(lists.first / theirs.first, 0.1));
    report(
      '  ours beside that again',
      show(lists.again / theirs.again, 2),
      '',
      atMost(lists.again / theirs.again, 0.1),
    );
  }
}

/**
 * All in one place, and nothing is removed before the end: a file system may be several times slower where much was removed
 * a moment ago.
 */
async function measureChanges(large) {
  const server = await start(large);
  const mark = `bench-${process.pid}`;
  const bareDirectory = join(large, mark);
  mkdirSync(bareDirectory);
  const rates = { empty: [], full: [], plain: [], thrifty: [] };
  for (let round = 0; round < 3; round += 1) {
    const group = `:${mark}-${round}`;
    await call(server, 'createGroup', group);
    rates.empty.push((await register(server, `${group}.`)).perSecond);
    rates.full.push((await register(server, `:large.${mark}-${round}-`)).perSecond);
    for (const way of ['plain', 'thrifty']) rates[way].push(await bareChanges(bareDirectory, way));
  }
  await server.stop();
  for (const directory of [large, join(large, DATABASE), join(large, DATABASE, 'large')]) {
    for (const made of await readdir(directory)) {
      if (made.startsWith(mark)) await rm(join(directory, made), { recursive: true });
    }
  }
  const [empty, full] = [median(rates.empty), median(rates.full)];
  report('register into an empty group, 64 connections', show(empty), '/s');
  report(`register into the group of ${show(LARGE_GROUP_NAMES)}`, show(full), '/s');
  report('  how many times slower', show(empty / full, 2), '', atMost(empty / full, 1.3));
  for (const way of ['plain', 'thrifty']) {
    const bare = median(rates[way]);
    report(`the same steps in a ${way} bare loop, 64 at a time`, show(bare), '/s');
    report('  ours beside that', show(empty / bare, 2), '', atLeast(empty / bare, 0.8));
  }
}

const { values: options } = parseArgs({
  options: {
    tree: { type: 'string' },
    only: { type: 'string', default: '' },
    'with-pyro3': { type: 'boolean', default: false },
  },
});
const place = await mkdtemp(join(tmpdir(), 'pyro-ns-bench-'));
const large = options.tree ?? join(place, 'large');
const small = join(place, 'small');
process.stderr.write(`making the trees in ${large}, where they are not there yet\n`);
makeTree(large, GROUPS, LARGE_GROUP_NAMES);
makeTree(small, 1, 0);
if ('reads'.includes(options.only)) await measureReads(large, small);
if ('changes'.includes(options.only)) await measureChanges(large);
await rm(place, { recursive: true });

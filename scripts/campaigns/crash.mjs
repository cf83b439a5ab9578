// `node scripts/campaigns/crash.mjs [--rounds N] [--writers N] [--storage DIR] [--seed N]`, after `npm run build`: kills a
// persistent name server with -9 at random moments while clients register, unregister, set metadata, and create and delete
// groups; starts it again and looks whether all that was acknowledged is there, whole, and nothing else. Ends with status 1 at
// the first loss, and leaves the database behind then.
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { NameServerProxy, ProtocolError, PyroURI, silentLog } from '../../dist/index.js';
import { NameServerProcess, ours } from '../../test/support/name-server-process.mjs';
import { randomNumbers } from './random.mjs';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    writers: { type: 'string', default: '16' },
    storage: { type: 'string', default: tmpdir() },
    seed: { type: 'string', default: String(Date.now() % 1e9) },
  },
});

/** A server that serves later than this after a kill is too slow. */
const START_LIMIT_MS = 1000;
/** The longest a round lasts before the kill. */
const ROUND_MS = 400;
const GROUPS = 3;
const OBJECTS = 6;

const random = randomNumbers(Number(options.seed));

/** Metadata so long that no single write makes it whole by luck. */
const longMeta = (number) => `${number} `.repeat(3000);

/** A client that changes names below a group of its own, and knows what they must be: a map of names to what they hold. */
class Writer {
  /** After all that was acknowledged. */
  state = new Map();
  /** After the change under way as well, if there is one. */
  next;
  changes = 0;

  constructor(number) {
    this.group = `:Crash${number}`;
    this.state.set(this.group, { meta: null });
  }

  /** Makes changes until the connection ends. */
  async writeTo(uri) {
    const proxy = new NameServerProxy(uri, { log: silentLog });
    try {
      for (;;) {
        const [method, ...args] = this.#choose();
        await proxy[method](...args);
        this.state = this.next;
        this.next = undefined;
        this.changes += 1;
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
    }
  }

  /** Chooses a change that can be made, and says in `next` what will be then. */
  #choose() {
    const group = `${this.group}.g${random(GROUPS)}`;
    const name = `${group}.n/${random(OBJECTS)}`;
    const next = new Map(this.state);
    this.next = next;
    if (!next.has(group)) {
      next.set(group, { meta: null });
      return ['createGroup', group];
    }
    const choice = random(10);
    if (choice === 0) {
      for (const other of next.keys()) if (other === group || other.startsWith(`${group}.`)) next.delete(other);
      return ['deleteGroup', group];
    }
    const target = choice === 1 ? group : name;
    if (!next.has(target)) {
      const uri = `PYRO://127.0.0.1:7766/${this.group.slice(1)}-${this.changes}`;
      next.set(target, { uri, meta: null });
      return ['register', target, uri];
    }
    if (choice < 6) {
      const meta = longMeta(this.changes);
      next.set(target, { ...next.get(target), meta });
      return ['setMeta', target, meta];
    }
    if (target === group) return this.#choose();
    next.delete(target);
    return ['unregister', target];
  }

  /** Compares what is there with what was acknowledged, with the change under way or without it. */
  async check(proxy) {
    const found = await readTree(proxy, this.group);
    const isAsExpected = [this.state, this.next].some((state) => state && isDeepStrictEqual(found, state));
    if (!isAsExpected) throw new Error(`${this.group} is wrong.\n${differences(found, this.state)}`);
    this.state = found;
    this.next = undefined;
  }
}

async function readTree(proxy, group) {
  const found = new Map([[group, { meta: await proxy.getMeta(group) }]]);
  for (const { part, type } of await proxy.list(group)) {
    const name = `${group}.${part}`;
    if (type === 0) for (const [member, value] of await readTree(proxy, name)) found.set(member, value);
    else found.set(name, { uri: String(await proxy.resolve(name)), meta: await proxy.getMeta(name) });
  }
  return found;
}

const shortened = (value) => JSON.stringify(value)?.slice(0, 100);

function differences(found, expected) {
  return [...new Set([...found.keys(), ...expected.keys()])]
    .filter((name) => !isDeepStrictEqual(found.get(name), expected.get(name)))
    .map((name) => `${name}: found ${shortened(found.get(name))}, acknowledged ${shortened(expected.get(name))}`)
    .join('\n');
}

/** What is in the database and isn't a name, its metadata or the server's own directory. */
async function strays(directory) {
  const files = await readdir(directory, { recursive: true });
  return files.filter((file) => !file.startsWith('.pyro-ns.ns_meta') && /\.(?!ns_meta$)/.test(file));
}

const storage = await mkdtemp(join(options.storage, 'pyro-ns-crash-'));
const database = join(storage, 'Pyro_NS_database');
const server = await NameServerProcess.start(ours, { arguments: ['-d'], storage });
const uri = PyroURI.parse(server.uri);
const writers = Array.from({ length: Number(options.writers) }, (_, number) => new Writer(number));

/** Does something with a connection to the server. */
async function connected(action) {
  const proxy = new NameServerProxy(uri, { log: silentLog });
  await action(proxy);
  await proxy._release();
}

await connected(async (proxy) => {
  for (const { group } of writers) await proxy.createGroup(group);
});
const starts = [];
try {
  for (let round = 1; round <= Number(options.rounds); round += 1) {
    const writing = writers.map((writer) => writer.writeTo(uri));
    await delay(random(ROUND_MS));
    await server.stop('SIGKILL');
    await Promise.all(writing);
    const from = performance.now();
    await server.restart();
    starts.push(performance.now() - from);
    if (server.uri !== String(uri)) throw new Error(`another URI: ${server.uri} instead of ${uri}`);
    await connected(async (proxy) => {
      for (const writer of writers) await writer.check(proxy);
    });
    const stray = await strays(database);
    if (stray.length > 0) throw new Error(`stray files: ${stray}`);
  }
} catch (error) {
  process.stderr.write(`crash: seed ${options.seed}, database ${database}: ${error.stack}\n`);
  await server.stop('SIGKILL');
  process.exit(1);
}
await server.stop();
await rm(storage, { recursive: true });
starts.sort((one, other) => one - other);
const median = starts[starts.length >> 1];
const changes = writers.reduce((sum, writer) => sum + writer.changes, 0);
process.stdout.write(
  `${options.rounds} kills, ${changes} acknowledged changes, none lost, none torn; ` +
    `serving again after ${Math.round(median)} ms in the median, ${Math.round(starts.at(-1))} ms at most ` +
    `(to be ${START_LIMIT_MS}); seed ${options.seed}\n`,
);

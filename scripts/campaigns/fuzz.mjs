// `node scripts/campaigns/fuzz.mjs [--seconds N] [--connections N] [--seed N]`, after `npm run build`: what hostile peers may send.
// First frames and pickles are changed at random, in this process; what reaches code that nothing reached before is kept and
// changed further. Then several connections send that, and worse, to a name server while a client works there. Ends with status 1
// at what is no refusal, at an answer that is wrong or late, and where the server takes too much memory.
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { deflateSync } from 'node:zlib';
import { ProtocolError } from '../../dist/index.js';
import { dumps, loads, PickleError } from '../../dist/pickle/index.js';
import { decodeRequest, FrameReader } from '../../dist/wire/index.js';
import { connectFrame, frame } from '../bench/frames.mjs';
import { NameServerProcess, ours } from '../../test/support/name-server-process.mjs';
import { randomNumbers } from './random.mjs';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '120' },
    connections: { type: 'string', default: '8' },
    seed: { type: 'string', default: String(Date.now() % 1e9) },
  },
});

const EXCHANGES = new URL('../../test/fixtures/exchanges/', import.meta.url);
const PICKLES = new URL('../../test/fixtures/pickles.json', import.meta.url);
const RECORDED_ID = /7f[0-9a-f]{32}/;
const CHALLENGE_SIZE = 16;
const HEADER_SIZE = 18;
const LARGEST_INPUT = 100_000;
const LARGEST_CORPUS = 5000;
/** Inputs between two looks at the coverage, which take as long as many inputs. */
const BATCH = 32;
const WAIT_LIMIT_MS = 100;
const MEMORY_LIMIT_MB = 700;

const random = randomNumbers(Number(options.seed));
const pick = (items) => items[random(items.length)];

/** What clients sent when exchanges were recorded, without frames, and the pickles of Python itself. */
function recordedBodies() {
  const bodies = [];
  for (const file of readdirSync(EXCHANGES)) {
    const { turns = [] } = JSON.parse(readFileSync(new URL(file, EXCHANGES), 'utf8'));
    for (const { from, hex } of turns)
      if (from === 'client') bodies.push(Buffer.from(hex, 'hex').subarray(HEADER_SIZE));
  }
  for (const value of JSON.parse(readFileSync(PICKLES, 'utf8')).values) {
    for (const pickle of Object.values(value)) bodies.push(Buffer.from(pickle, 'latin1'));
  }
  return bodies.filter(({ length }) => length > 0);
}

/** What may stand for a number, a name, or a piece of a pickle, and seldom comes by chance. */
const PIECES = [
  ...[
    '\x7f\xff\xff\xff',
    '\xff\xff\xff\xff',
    '\x80\0\0\0',
    '\0\0\0\0',
    '\x80\x02',
    '....',
    '00',
    '22',
    '((((',
    '}}}}',
    ']]]]',
  ],
  ...['__proto__', 'constructor', 'prototype', 'toString', ':', '..', '\\2e', '../../', ':Default', ':Pyro.NameServer'],
  ...[
    'cos\nsystem\n',
    '(i__builtin__\neval\n',
    'U\xff',
    'T\xff\xff\xff\x7f',
    'L99999L\n',
    'q\0h\0',
    '\x8a\xff',
    '\x8b\xff\xff\xff\x7f',
  ],
  ...[
    'register',
    'flatlist',
    'setMeta',
    '_setSystemMeta',
    'list',
    '_resync',
    '_synccall',
    '_r_ha',
    '_changes',
    '_status',
  ],
].map((text) => Buffer.from(text, 'latin1'));

const CHANGES = [
  // Another byte, a bit, or a few.
  (body, at) => ((body[at] = random(256)), body),
  (body, at) => ((body[at] ^= 1 << random(8)), body),
  (body, at) => body.fill(random(256), at, Math.min(at + random(5), body.length)),
  // Something more, or less.
  (body, at) => Buffer.concat([body.subarray(0, at), pick(PIECES), body.subarray(at)]),
  (body, at) => Buffer.concat([body.subarray(0, at), pick(PIECES), body.subarray(at + random(9))]),
  (body, at) => Buffer.concat([body.subarray(0, at), body.subarray(at + random(20))]),
  (body, at) => body.subarray(0, at),
  // A piece of it once more, or of another.
  (body, at) => Buffer.concat([body, body.subarray(at, at + random(50))]),
  (body, at, other) => Buffer.concat([body.subarray(0, at), other.subarray(random(other.length + 1))]),
  (body, at) => {
    const piece = body.subarray(at, at + 1 + random(4));
    return Buffer.concat([
      body.subarray(0, at),
      ...Array.from({ length: random(200) }, () => piece),
      body.subarray(at),
    ]);
  },
];

function changed(corpus) {
  let body = Buffer.from(pick(corpus));
  for (let times = 1 + random(4); times > 0; times -= 1) {
    body = Buffer.from(pick(CHANGES)(body, random(body.length + 1), pick(corpus)));
  }
  return body.subarray(0, LARGEST_INPUT);
}

/** Frames in which a body may come: right ones, and others. */
const FRAMINGS = [
  (body) => frame(body),
  (body) => withHeader(frame(deflateSync(body)), 12, 1),
  (body) => withHeader(frame(body), 12, random(16)),
  (body) => withHeader(frame(body), random(HEADER_SIZE - 1), random(65536)),
  (body) => Buffer.concat([frame(body), body]),
];

function withHeader(framed, offset, value) {
  framed.writeUInt16BE(value, offset);
  return framed;
}

/** Tells when code ran that had not run before. */
class Coverage {
  #session = new Session();
  #blocks = new Set();

  constructor() {
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: false, detailed: true });
  }

  #post(method, parameters) {
    let answer;
    this.#session.post(method, parameters, (error, result) => {
      if (error) throw error;
      answer = result;
    });
    return answer;
  }

  /** True if a block ran that had not run at any earlier call. V8 tells of a whole function again, whatever ran in it. */
  hasGrown() {
    const known = this.#blocks.size;
    for (const { url, functions } of this.#post('Profiler.takePreciseCoverage').result) {
      if (!/\/dist\/(wire|pickle)\//.test(url)) continue;
      for (const { startOffset, endOffset, count } of functions.flatMap(({ ranges }) => ranges)) {
        if (count > 0) this.#blocks.add(`${url} ${startOffset} ${endOffset}`);
      }
    }
    return this.#blocks.size > known;
  }

  end() {
    this.#session.disconnect();
  }
}

function refused(action) {
  try {
    return action();
  } catch (error) {
    if (error instanceof PickleError || error instanceof ProtocolError) return undefined;
    throw error;
  }
}

/** Reads an input in all the ways in which a server reads. @throws what is no refusal */
function read(body) {
  refused(() => decodeRequest(body));
  const value = refused(() => loads(body));
  if (value !== undefined) {
    for (const protocol of [0, 1, 2]) {
      const again = refused(() => dumps(value, { protocol, maxLength: 1e7 }));
      if (again !== undefined) loads(again, { depth: 10_000 });
    }
  }
  refused(() => {
    const bytes = pick(FRAMINGS)(body);
    const reader = new FrameReader({ maxBodySize: 1e6, maxInflatedSize: 1e6 });
    const cut = random(bytes.length + 1);
    for (const chunk of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
      reader.push(chunk);
      for (let next = reader.next(); next !== undefined; next = reader.next()) {
        if (next instanceof Promise) return void next.catch(() => undefined);
      }
    }
  });
}

async function readInputs(corpus, until) {
  const coverage = new Coverage();
  const recorded = corpus.length;
  let count = 0;
  corpus.forEach(read);
  coverage.hasGrown();
  while (performance.now() < until) {
    const inputs = Array.from({ length: BATCH }, () => changed(corpus));
    for (const input of inputs) {
      try {
        read(input);
      } catch (error) {
        const file = `${tmpdir()}/pyro-ns-fuzz-${options.seed}-${count}`;
        writeFileSync(file, input);
        throw new Error(`the input in ${file} is not refused as it should be`, { cause: error });
      }
    }
    count += BATCH;
    if (corpus.length < LARGEST_CORPUS && coverage.hasGrown()) corpus.push(...inputs);
    if (count % (BATCH * 64) === 0) await nextTurn();
  }
  coverage.end();
  process.stdout.write(
    `${count} inputs read, ${corpus.length - recorded} of them kept for the code that they reached\n`,
  );
}

/** What takes little to send, and would take much to answer. */
function bombsFor(objectID) {
  const call = (method, ...pieces) =>
    Buffer.concat([
      Buffer.from(
        `\x80\x02(U${String.fromCharCode(objectID.length)}${objectID}U${String.fromCharCode(method.length)}${method}K\0(`,
        'latin1',
      ),
      ...pieces.map((piece) => Buffer.from(piece, 'latin1')),
      Buffer.from('tt.', 'latin1'),
    ]);
  return [
    withHeader(frame(deflateSync(Buffer.alloc(300_000_000))), 12, 1),
    withHeader(frame(deflateSync(call('setMeta', 'U\x07:Bomb.a', '}'.repeat(15_000_000)))), 12, 1),
    frame(call('setMeta', 'U\x05:Bomb', `]${'2\x86'.repeat(50)}`)),
    frame(call('setMeta', 'U\x05:Bomb', `(${'}'.repeat(5_000_000)}t`)),
    frame(call('setMeta', 'U\x05:Bomb', `${']'.repeat(1_000_000)}${'a'.repeat(999_999)}`)),
    frame(call('setMeta', 'U\x05:Bomb', `${']q\x00'}${'h\x00a'.repeat(100_000)}`)),
    frame(call('resolve', `T\x00\x00\x10\x00${'x'.repeat(0x100000)}`)),
    frame(call('register', 'U\x0a:__proto__', 'U\x15PYRO://127.0.0.1:1/ab')),
    frame(call('createGroup', 'U\x0c:constructor')),
    frame(call('setMeta', 'U\x0a:__proto__', '}(U\x09__proto__}U\x0bconstructorU\x01xu')),
    withHeader(frame(Buffer.alloc(100)), 8, 0x7fff),
  ];
}

/** One hostile connection after another, until the time is over. How many messages were sent. */
async function attack(server, corpus, bombs, until) {
  let sent = 0;
  const id = Buffer.from(server.objectID);
  const aimed = (body) => {
    const text = body.toString('latin1');
    const found = RECORDED_ID.exec(text);
    if (found && id.length === found[0].length) id.copy(body, found.index);
    return body;
  };
  while (performance.now() < until) {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const challenge = await new Promise((resolve) => {
      socket.once('data', resolve);
      socket.once('close', () => resolve(undefined));
    });
    if (challenge?.length !== HEADER_SIZE + CHALLENGE_SIZE) continue;
    const manner = random(20);
    socket.write(manner === 0 ? changed(corpus) : connectFrame(challenge));
    // Some never read, some say half and no more.
    if (manner < 3) socket.pause();
    else socket.resume();
    for (let messages = 1 + random(30); messages > 0 && !socket.destroyed; messages -= 1) {
      const isBomb = random(200) === 0;
      socket.write(isBomb ? pick(bombs) : pick(FRAMINGS)(aimed(changed(corpus))));
      sent += 1;
      await nextTurn();
    }
    if (manner === 4) socket.write(frame(Buffer.alloc(1000)).subarray(0, random(1000)));
    setTimeout(() => socket.destroy(), random(manner < 5 ? 1000 : 50));
    await closed;
  }
  return sent;
}

function memoryInMB(pid, item) {
  try {
    return Number(new RegExp(`${item}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1]) / 1024;
  } catch {
    return 0;
  }
}

/** A client that works meanwhile, in a thread of its own: its longest wait in milliseconds. */
async function longestWait(server, until) {
  const workerData = { uri: server.uri, ms: until - performance.now() };
  const [longest] = await once(new Worker(new URL('fuzz-client.mjs', import.meta.url), { workerData }), 'message');
  return longest;
}

async function attackServer(corpus, until) {
  const server = await NameServerProcess.start(ours, { arguments: ['-k', '-d'] });
  try {
    const bombs = bombsFor(server.objectID);
    const attacks = Array.from({ length: Number(options.connections) }, () => attack(server, corpus, bombs, until));
    const [longest, ...sent] = await Promise.all([longestWait(server, until), ...attacks]);
    const total = sent.reduce((sum, count) => sum + count, 0);
    const peak = memoryInMB(server.pid, 'VmHWM');
    process.stdout.write(
      `${total} messages sent by ${sent.length} connections at a time; a client waited ${longest.toFixed(0)} ms at most ` +
        `(to be ${WAIT_LIMIT_MS}); the server took ${peak.toFixed(0)} MB at most (to be ${MEMORY_LIMIT_MB})\n`,
    );
    if (longest > WAIT_LIMIT_MS || peak > MEMORY_LIMIT_MB) process.exitCode = 1;
  } finally {
    await server.dispose();
  }
}

const corpus = recordedBodies();
const half = (Number(options.seconds) * 1000) / 2;
process.stdout.write(`seed ${options.seed}, ${corpus.length} recorded inputs\n`);
await readInputs(corpus, performance.now() + half);
await attackServer(corpus, performance.now() + half);

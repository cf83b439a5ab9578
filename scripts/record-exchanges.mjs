// Records what real Pyro 3.16 clients and the real name server say to each other, byte by byte, into
// test/fixtures/exchanges: for tests that need no Python. Needs PYRO3_HOME and PYTHON2.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { NameServerProcess, pyro3, pythonEnvironment } from '../test/support/name-server-process.mjs';

const INTEROP = fileURLToPath(new URL('../test/interop/', import.meta.url));
const FIXTURES = fileURLToPath(new URL('../test/fixtures/exchanges/', import.meta.url));
const IDENTIFICATION = 'the passphrase';
const HEADER_SIZE = 18;
const BODY_SIZE_AT = 8;
/** GRANTED, or DENIED and a digit: no frame. */
const ANSWER_SIZE = 7;

/** What is recorded: which exchange of exchange_client.py, and the PYRO_* items of both sides. */
const RECORDINGS = [
  { name: 'protocol-2', exchange: 'proxy' },
  { name: 'protocol-1', exchange: 'proxy', items: { PYRO_PICKLE_FORMAT: '1' } },
  { name: 'protocol-0', exchange: 'proxy', items: { PYRO_PICKLE_FORMAT: '0' } },
  { name: 'dynamic-proxy', exchange: 'dynamic-proxy' },
  { name: 'attribute-proxy', exchange: 'attribute-proxy' },
  { name: 'jython', exchange: 'jython' },
  { name: 'jython-protocol-0', exchange: 'jython', items: { PYRO_PICKLE_FORMAT: '0' } },
  { name: 'keywords', exchange: 'keywords' },
  { name: 'locator', exchange: 'locator' },
  { name: 'one-way-calls', exchange: 'one-way-calls' },
  { name: 'metadata-protocol-2', exchange: 'metadata' },
  { name: 'metadata-protocol-1', exchange: 'metadata', items: { PYRO_PICKLE_FORMAT: '1' } },
  { name: 'metadata-protocol-0', exchange: 'metadata', items: { PYRO_PICKLE_FORMAT: '0' } },
  { name: 'checksum', exchange: 'proxy', items: { PYRO_CHECKSUM: '1' } },
  { name: 'compression', exchange: 'metadata', items: { PYRO_COMPRESSION: '1' } },
  { name: 'checksum-and-compression', exchange: 'proxy', items: { PYRO_CHECKSUM: '1', PYRO_COMPRESSION: '1' } },
  { name: 'identification', exchange: 'locator', required: IDENTIFICATION, given: IDENTIFICATION },
  { name: 'identification-wrong', exchange: 'proxy', required: IDENTIFICATION, given: 'a guess' },
  { name: 'identification-missing', exchange: 'proxy', required: IDENTIFICATION },
];

/** Cuts one direction of a connection into messages: frames, and the server's answer to the handshake. */
class MessageCutter {
  #pending = Buffer.alloc(0);
  #messages = 0;

  constructor(from) {
    this.from = from;
  }

  cut(chunk) {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    const messages = [];
    for (let size = this.#nextSize(); size > 0 && size <= this.#pending.length; size = this.#nextSize()) {
      messages.push(this.#pending.subarray(0, size));
      this.#pending = this.#pending.subarray(size);
      this.#messages += 1;
    }
    return messages;
  }

  #nextSize() {
    if (this.from === 'server' && this.#messages === 1) return ANSWER_SIZE;
    return this.#pending.length < HEADER_SIZE ? 0 : HEADER_SIZE + this.#pending.readInt32BE(BODY_SIZE_AT);
  }
}

/** A server that passes everything on, both ways, and keeps it. */
async function startRecorder(port, turns) {
  let connections = 0;
  const recorder = createServer((client) => {
    const connection = connections;
    connections += 1;
    const server = connect(port, '127.0.0.1');
    const pass = (from, source, target) => {
      const cutter = new MessageCutter(from);
      source.on('data', (chunk) => {
        for (const message of cutter.cut(chunk)) turns.push({ connection, from, hex: message.toString('hex') });
        target.write(chunk);
      });
      source.on('error', () => target.destroy());
      source.on('close', () => target.end());
    };
    pass('client', client, server);
    pass('server', server, client);
  });
  recorder.listen(0, '127.0.0.1');
  await once(recorder, 'listening');
  return recorder;
}

/**
 * The real server, run from a neutral place: its tracebacks, which go over the wire, hold paths.
 * @param home a link to PYRO3_HOME
 */
const serverIn = (home) => ({
  label: 'Pyro 3.16',
  command: [pyro3.python, '-u', join(home, 'bin', 'pyro-ns')],
  environment: { PYTHONPATH: [home, INTEROP].join(delimiter), PYTHONDONTWRITEBYTECODE: '1' },
});

async function record(realServer, { name, exchange, items = {}, required, given }) {
  const server = await NameServerProcess.start(realServer, {
    arguments: required === undefined ? ['-k'] : ['-k', '-i', required],
    environment: items,
  });
  const turns = [];
  const recorder = await startRecorder(server.port, turns);
  try {
    const uri = `PYRO://127.0.0.1:${recorder.address().port}/${server.objectID}`;
    const client = [`${INTEROP}exchange_client.py`, exchange, uri, ...(given === undefined ? [] : [given])];
    await promisify(execFile)(pyro3.python, client, {
      env: { PATH: process.env.PATH, ...pythonEnvironment(), ...items },
    });
  } finally {
    recorder.close();
    await server.dispose();
  }
  const recording = {
    description: `Recorded by scripts/record-exchanges.mjs with Pyro 3.16: ${exchange}`,
    identification: { required, given },
    items,
    server: { port: server.port, objectID: server.objectID },
    turns,
  };
  await writeFile(`${FIXTURES}${name}.json`, `${JSON.stringify(recording, undefined, 1)}\n`);
}

if (!pyro3) {
  process.stderr.write('Set PYRO3_HOME to a checkout of Pyro 3.16 and PYTHON2 to a Python 2.7.\n');
  process.exit(1);
}
const place = await mkdtemp(join(tmpdir(), 'record-'));
try {
  const home = join(place, 'Pyro-3.16');
  await symlink(pyro3.home, home);
  await mkdir(FIXTURES, { recursive: true });
  for (const recording of RECORDINGS) {
    await record(serverIn(home), recording);
    process.stdout.write(`${recording.name}\n`);
  }
} finally {
  await rm(place, { recursive: true });
}

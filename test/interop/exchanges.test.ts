import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { deflateSync, inflateSync } from 'node:zlib';
import { loadConfig, silentLog } from '../../src/config/index.js';
import { NAMESERVER_NAME } from '../../src/names/index.js';
import { MemoryNamespace } from '../../src/namespace/index.js';
import { NameServer } from '../../src/naming/index.js';
import { loads, PythonInstance, PythonTuple } from '../../src/pickle/index.js';
import type { PythonValue } from '../../src/pickle/index.js';
import { Daemon } from '../../src/rpc/index.js';
import { PythonDescriber, sorted } from '../support/describe-python.js';
import type { PlainValue } from '../support/describe-python.js';
import { EtcdCluster, lacksEtcd } from '../support/etcd-cluster.mjs';
import { NameServerProcess, ours } from '../support/name-server-process.mjs';
import { connectFrame, RawConnection, rawFrame } from '../support/raw-connection.js';
import type { RawFrame } from '../support/raw-connection.js';

// What real Pyro 3 clients said to a real name server is said to ours, byte by byte, and its answers must mean the same.
// scripts/record-exchanges.mjs makes the recordings.

const FIXTURES = new URL('../fixtures/exchanges/', import.meta.url);
const COMPRESSED = 1;
const CHECKSUM = 2;
const PROTOCOL_2 = 0x80;

interface Turn {
  readonly connection: number;
  readonly from: 'client' | 'server';
  readonly hex: string;
}

interface Recording {
  readonly identification: { readonly required?: string; readonly given?: string };
  /** PYRO_* items of both sides. */
  readonly items: Readonly<Record<string, string>>;
  readonly server: { readonly port: number; readonly objectID: string };
  readonly turns: readonly Turn[];
}

function isRecording(value: unknown): value is Recording {
  return typeof value === 'object' && value !== null && 'turns' in value && Array.isArray(value.turns);
}

function readRecording(name: string): Recording {
  const recording: unknown = JSON.parse(readFileSync(new URL(`${name}.json`, FIXTURES), 'utf8'));
  if (!isRecording(recording)) throw new Error(`${name} is no recording`);
  return recording;
}

function adler32(bytes: Uint8Array): number {
  let [a, b] = [1, 0];
  for (const byte of bytes) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return (b << 16) | a;
}

function recordedFrame(hex: string): RawFrame {
  const bytes = Buffer.from(hex, 'hex');
  return { flags: bytes.readUInt16BE(12), checksum: bytes.readInt32BE(14), body: bytes.subarray(18) };
}

const unpacked = ({ flags, body }: RawFrame): Buffer => (flags & COMPRESSED ? inflateSync(body) : body);

/** The recorded frame, with our name server's object id for that of the recorded one: both have 34 characters. */
function readdressed(hex: string, recordedID: string, ourID: string): Buffer {
  const frame = recordedFrame(hex);
  const body = Buffer.from(unpacked(frame).toString('latin1').replaceAll(recordedID, ourID), 'latin1');
  const sent = frame.flags & COMPRESSED ? deflateSync(body) : body;
  return rawFrame(sent, frame.flags, frame.flags & CHECKSUM ? adler32(sent) : 0);
}

/** The methods whose answers are names and URIs: str here, even if a client registered them as unicode. */
const ANSWERING_NAMES = new Set(['resolve', 'list', 'flatlist']);
const LISTINGS = new Set(['list', 'flatlist']);

function methodOf(request: Uint8Array): string {
  const call = loads(request);
  const method = call instanceof PythonTuple ? call.items[1] : undefined;
  return typeof method === 'string' ? method : '';
}

/** What a reply says: of an exception its class and first argument; of a listing a set; else all of it. */
function meaning(reply: PythonValue, method: string): PlainValue {
  const describer = new PythonDescriber(ANSWERING_NAMES.has(method));
  if (reply instanceof PythonInstance && reply.isOf('Pyro.errors', 'PyroExceptionCapsule')) {
    const exception = reply.attribute('excObj');
    if (!(exception instanceof PythonInstance)) throw new Error('a capsule without an exception');
    const [first] = exception.args.items;
    return ['raises', describer.describe(exception.callable), first === undefined ? null : describer.describe(first)];
  }
  const description = describer.describe(reply);
  return LISTINGS.has(method) && Array.isArray(reply) ? sorted(describer.describeItems(reply)) : description;
}

interface Served {
  readonly port: number;
  readonly objectID: string;
  readonly dispose: () => Promise<void>;
}

/** The name server that a recording is played to, configured as the recorded one was. */
async function serve({ identification, items }: Recording, database: readonly string[]): Promise<Served> {
  if (identification.required !== undefined) return serveWithIdentification(identification.required);
  return NameServerProcess.start(ours, { arguments: ['-k', ...database], environment: items });
}

async function serveWithIdentification(passphrase: string): Promise<Served> {
  const config = loadConfig({ environment: {}, currentDirectory: tmpdir() });
  const daemon = await Daemon.start({ config, log: silentLog, host: '127.0.0.1', port: 0, norange: true });
  daemon.setAllowedIdentifications([passphrase]);
  const nameServer = new NameServer(new MemoryNamespace(), {
    config,
    log: silentLog,
    address: daemon.address,
    className: 'NameServer',
    ignoreShutdown: true,
    onShutdown: () => undefined,
  });
  await nameServer.createInitialGroups();
  daemon.useNameServer(nameServer);
  const { objectID } = await daemon.connect(nameServer, NAMESERVER_NAME);
  return { port: daemon.port, objectID, dispose: () => daemon.shutdown() };
}

class Replay {
  private readonly connections = new Map<number, RawConnection>();
  /** How many messages came from the server, by connection: the first two are the handshake. */
  private readonly answers = new Map<number, number>();
  private readonly challenges = new Map<number, Buffer>();
  private readonly methods = new Map<number, string>();
  compressedReplies = 0;

  constructor(
    private readonly recording: Recording,
    private readonly server: Served,
  ) {}

  async run(): Promise<void> {
    for (const turn of this.recording.turns) {
      if (turn.from === 'client') await this.send(turn);
      else await this.expectAnswer(turn);
    }
  }

  close(): void {
    for (const connection of this.connections.values()) connection.close();
  }

  private async connection(number: number): Promise<RawConnection> {
    const connection = this.connections.get(number) ?? (await RawConnection.open(this.server.port));
    this.connections.set(number, connection);
    return connection;
  }

  private async send({ connection, hex }: Turn): Promise<void> {
    const peer = await this.connection(connection);
    const challenge = this.challenges.get(connection);
    if (challenge !== undefined) {
      this.challenges.delete(connection);
      peer.write(connectFrame(challenge, this.recording.identification.given));
      return;
    }
    const frame = readdressed(hex, this.recording.server.objectID, this.server.objectID);
    this.methods.set(connection, methodOf(unpacked(recordedFrame(hex))));
    peer.write(frame);
  }

  private async expectAnswer(turn: Turn): Promise<void> {
    const peer = await this.connection(turn.connection);
    const answered = this.answers.get(turn.connection) ?? 0;
    this.answers.set(turn.connection, answered + 1);
    if (answered === 0) this.challenges.set(turn.connection, (await peer.readFrame()).body);
    else if (answered === 1) expect(await peer.readAnswer()).toBe(Buffer.from(turn.hex, 'hex').toString('latin1'));
    else this.expectReply(await peer.readFrame(), recordedFrame(turn.hex), this.methods.get(turn.connection) ?? '');
  }

  private expectReply(reply: RawFrame, recorded: RawFrame, method: string): void {
    expect(reply.flags & CHECKSUM).toBe(recorded.flags & CHECKSUM);
    if (reply.flags & CHECKSUM) expect(reply.checksum).toBe(adler32(reply.body));
    if (reply.flags & COMPRESSED) this.compressedReplies += 1;
    const [ourBody, recordedBody] = [unpacked(reply), unpacked(recorded)];
    expect(ourBody[0] === PROTOCOL_2).toBe(recordedBody[0] === PROTOCOL_2);
    const identity = ({ objectID, port }: { objectID: string; port: number }, text: string): string =>
      text.includes(objectID)
        ? text.replaceAll(objectID, 'own id').replaceAll(`["int","${port}"]`, '["own port"]')
        : text;
    const ourMeaning = identity(this.server, JSON.stringify(meaning(loads(ourBody), method)));
    const recordedMeaning = identity(this.recording.server, JSON.stringify(meaning(loads(recordedBody), method)));
    expect([method, ourMeaning]).toEqual([method, recordedMeaning]);
  }
}

const RECORDINGS = readdirSync(FIXTURES).map((file) => file.replace('.json', ''));

/** @param database the options that say where the server under test keeps its names */
function replayAll(database: () => readonly string[]): void {
  let server: Served | undefined;
  let replay: Replay | undefined;
  afterEach(async () => {
    replay?.close();
    await server?.dispose();
  });

  test.each(RECORDINGS)('%s', async (name) => {
    const recording = readRecording(name);
    server = await serve(recording, database());
    replay = new Replay(recording, server);
    await replay.run();
    expect(replay.compressedReplies > 0).toBe(recording.items['PYRO_COMPRESSION'] === '1');
  });
}

describe('Exchanges of real Pyro 3 clients, recorded', () => {
  replayAll(() => []);
});

const describeWithEtcd = lacksEtcd('exchanges of real Pyro 3 clients, with names in etcd') ? describe.skip : describe;

describeWithEtcd('Exchanges of real Pyro 3 clients, recorded, with names in etcd', () => {
  let cluster: EtcdCluster;
  let prefixes = 0;
  beforeAll(async () => {
    cluster = await EtcdCluster.start();
  });
  afterAll(() => cluster.stop());

  replayAll(() => ['-d', cluster.url(`/recording/${(prefixes += 1)}`)]);
});

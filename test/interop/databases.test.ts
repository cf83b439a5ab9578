import { afterEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NameServerProcess, ours, real } from '../support/name-server-process.mjs';
import type { Server } from '../support/name-server-process.mjs';
import { lacksPyro3 } from '../support/pyro3.js';
import { PythonProcess } from '../support/python-process.js';
import { int, make, none, str, unicode } from './operations.js';
import type { Operation, Source } from './operations.js';
import { comparable, failed, readOutcomes } from './outcomes.js';

// A database that one kind of name server made is served by the other: names, groups, metadata.

const DATABASE = 'Pyro_NS_database';
const CLIENT_CLASSES = fileURLToPath(new URL('.', import.meta.url));

const call = (method: string, ...args: Source[]): Operation => ({ style: 'raw', method, args });
const uri = (id: string): Source => str(`PYRO://127.0.0.1:7766/${id}`);
const group = (name: string): Operation => call('createGroup', str(name));
const object = (name: string): Operation => call('register', str(name), uri(`id-of-${name.length}`));
const meta = (name: string, value: Source): Operation => call('setMeta', str(name), value);

const METADATA: Record<string, Source> = {
  ':Default.text': str('text'),
  ':Default.bytes': str('\x00\xff\r\n'),
  ':Default.unicode': unicode('é€\u{1f40d}'),
  ':Default.numbers': {
    t: 'list',
    v: [
      int(1),
      { t: 'long', v: '2' },
      { t: 'float', v: '3.0' },
      { t: 'float', v: 'nan' },
      { t: 'complex', v: ['1', '-2'] },
    ],
  },
  ':Default.containers': {
    t: 'dict',
    v: [[str('key'), { t: 'tuple', v: [none, { t: 'set', v: [int(1), str('x')] }] }]],
  },
  ':Default.cyclic': {
    t: 'list',
    v: [
      { t: 'ref', v: 0 },
      { t: 'bool', v: true },
    ],
  },
  ...Object.fromEntries(
    ['OldStyle', 'NewStyle', 'WithSlots', 'ListChild', 'Reduced', 'Registered', 'Error', 'datetime', 'Decimal'].map(
      (maker) => [`:Default.${maker}`, make(maker, int(1), str('two'))],
    ),
  ),
};
const GROUPS = [':Empty', ':Group', ':Group.inner', ':Group.inner.most', ':with/slash', ':Meta'];
const OBJECTS = [':top', ':Group.inner.most.object', ':with/slash.a/b', ':Group.~!@#$%^&*()', ...Object.keys(METADATA)];

const CHANGES: readonly Operation[] = [
  ...GROUPS.map(group),
  ...OBJECTS.map(object),
  call('register', str(':uri-object'), make('PyroURI', str('PYROSSL'), str('10.1.2.3'), int(99), str('a/b'))),
  ...Object.entries(METADATA).map(([name, value]) => meta(name, value)),
  meta(':Meta', str('of a group')),
  meta(':', str('of the root')),
  call('_setSystemMeta', str(':top'), make('NameSpaceSystemMeta', int(1), { t: 'float', v: '1011195902.5' }, none)),
  object(':gone'),
  call('unregister', str(':gone')),
];
/** What only Pyro 3 takes. */
const CHANGES_OF_PYRO3 = [object(':a:b'), group(':c:d'), object(':c:d.e')];

const QUESTIONS: readonly Operation[] = [
  call('flatlist'),
  ...[':', ':Default', ...GROUPS].map((name) => call('list', str(name))),
  ...[...OBJECTS, ':uri-object', ':gone', ':Group'].map((name) => call('resolve', str(name))),
  ...[...OBJECTS, ...GROUPS, ':'].map((name) => call('getMeta', str(name))),
  // Of names without metadata Pyro 3 makes the system metadata up.
  ...[...Object.keys(METADATA), ':top'].map((name) => call('_getSystemMeta', str(name))),
];
const QUESTIONS_OF_PYRO3 = [call('resolve', str(':a:b')), call('list', str(':c:d')), call('resolve', str(':c:d.e'))];

/** Where our server works while it runs: no name, and no metadata of one. */
const OWN_DIRECTORY = '/.pyro-ns.ns_meta';

/** The files of a database, with what they hold. */
async function contents(directory: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (path.startsWith(directory + OWN_DIRECTORY)) continue;
    files.set(path.slice(directory.length), entry.isFile() ? (await readFile(path)).toString('hex') : 'directory');
  }
  return files;
}

const suite = lacksPyro3('that each kind of name server serves the other’s databases') ? describe.skip : describe;

suite('A database', () => {
  let storage: string;
  let server: NameServerProcess | undefined;
  let driver: PythonProcess | undefined;
  afterEach(async () => {
    await driver?.end();
    await server?.dispose();
    await rm(storage, { recursive: true, force: true });
  });

  async function serve(kind: Server, port: number, format: number): Promise<NameServerProcess> {
    server = await NameServerProcess.start(kind, {
      arguments: ['-d'],
      storage,
      port,
      environment: { PYRO_PICKLE_FORMAT: String(format) },
    });
    driver = PythonProcess.start(new URL('driver.py', import.meta.url), [server.uri]);
    return server;
  }

  async function stop(): Promise<void> {
    await driver?.end();
    await server?.stop();
  }

  async function ask(operation: Operation): Promise<string> {
    const [outcome] = readOutcomes(await driver?.ask(operation));
    if (outcome === undefined || server === undefined) throw new Error('no answer');
    return `${operation.method} ${JSON.stringify(operation.args)}: ${comparable(operation.method, outcome, server)}`;
  }

  async function askAll(questions: readonly Operation[]): Promise<string[]> {
    const answers: string[] = [];
    for (const question of questions) answers.push(await ask(question));
    return answers;
  }

  async function change(changes: readonly Operation[]): Promise<void> {
    for (const operation of changes) {
      const [outcome] = readOutcomes(await driver?.ask(operation));
      if (outcome === undefined || failed(outcome)) throw new Error(`${operation.method}: ${JSON.stringify(outcome)}`);
    }
  }

  const pyro3 = (): Server => real(CLIENT_CLASSES);
  const cases = [0, 1, 2].flatMap((format) => [
    { maker: 'Pyro 3', server: 'ours', format },
    { maker: 'ours', server: 'Pyro 3', format },
  ]);

  test.each(cases)('made by $maker is served by $server, pickles of protocol $format', async ({ maker, format }) => {
    storage = await mkdtemp(join(tmpdir(), 'pyro-ns-database-'));
    const [first, second] = maker === 'ours' ? [ours, pyro3()] : [pyro3(), ours];
    const changes = maker === 'ours' ? CHANGES : [...CHANGES, ...CHANGES_OF_PYRO3];
    const questions = maker === 'ours' ? QUESTIONS : [...QUESTIONS, ...QUESTIONS_OF_PYRO3];

    const { port, uri: before } = await serve(first, 0, format);
    await change(changes);
    const told = await askAll(questions);
    await stop();
    const made = await contents(join(storage, DATABASE));

    const { uri: after } = await serve(second, port, format);
    expect(after).toBe(before);
    expect(await askAll(questions)).toEqual(told);
    expect(await contents(join(storage, DATABASE))).toEqual(made);

    await change([
      ...OBJECTS.map((name) => call('unregister', str(name))),
      ...[':Empty', ':Group', ':with/slash'].map((name) => call('deleteGroup', str(name))),
    ]);
    await stop();
  });
});

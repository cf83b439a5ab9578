import { Readable } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { ProtocolError } from '../../errors.js';
import { Name, PyroURI } from '../../names/index.js';
import { GROUP, MemoryNamespace, OBJECT, type NamespaceEntry } from '../../namespace/index.js';
import { dumps, PythonClass, PythonFloat, PythonInstance, PythonUnicode, tuple } from '../../pickle/index.js';
import { readEntryLine, writeEntryLine } from './entry-line.js';
import { importEntries, type ExistingNames } from './import.js';
import { LineReader, MAX_LINE_LENGTH, type Line } from './lines.js';

const uri = PyroURI.parse('PYRO://10.0.0.1:7766/id');
const other = PyroURI.parse('PYRO://10.0.0.1:7766/other');

const values = [
  null,
  'text',
  '',
  1.5,
  new PythonFloat(3),
  12n ** 30n,
  true,
  'é€',
  new PythonUnicode('ascii'),
  Uint8Array.from([0, 255]),
  tuple('a', [1, new Map([['k', new Set([1])]])]),
  new PythonInstance('newobj', new PythonClass('my.module', 'Gadget'), tuple(), new Map([['size', 3]])),
];

describe('a line', () => {
  test.each(values.map((value) => [value]))('loses nothing of %p', (userMeta) => {
    const entry = {
      name: Name.parse(':a.b'),
      uri,
      systemMeta: { type: OBJECT, timestamp: 1e9 + 0.123456, owner: userMeta },
      userMeta,
    } as const;
    const read = readEntryLine(writeEntryLine(entry));
    expect(dumps(read.userMeta)).toEqual(dumps(userMeta));
    expect(dumps(read.systemMeta?.owner ?? null)).toEqual(dumps(userMeta));
    expect(read.systemMeta?.timestamp).toBe(entry.systemMeta.timestamp);
    expect(read.uri?.toString()).toBe(uri.toString());
  });

  test.each([
    ['', 'the line is no JSON'],
    ['[]', 'the line is no JSON object'],
    ['{}', 'an entry must have a name, which is a text'],
    ['{"name":"relative"}', 'invalid name: relative'],
    ['{"name":":a","uri":7}', 'a uri must be a text'],
    ['{"name":":a","uri":"nonsense"}', 'invalid URI format'],
    ['{"name":":a","since":"now"}', 'since must be a number of seconds'],
    ['{"name":":a","meta":{"pickle":"AAAA"}}', 'no pickle in base64'],
    ['{"name":":a","meta":7}', 'a value must be a text, or'],
    ['{"name":":a","ury":"x"}', "there is no field 'ury' in an entry"],
  ])('%j is refused: %s', (line, reason) => {
    expect(() => readEntryLine(line)).toThrow(reason);
  });
});

const each = (lines: readonly string[]): AsyncIterable<string> => Readable.from(lines);

async function exported(namespace: MemoryNamespace): Promise<string[]> {
  const lines: string[] = [];
  for await (const entry of namespace.export()) lines.push(writeEntryLine(entry));
  return lines.sort();
}

describe('an import', () => {
  const entry = (name: string, more: Partial<NamespaceEntry> = {}): string =>
    writeEntryLine({ name: Name.parse(name), uri, systemMeta: undefined, userMeta: null, ...more });
  const group = (name: string): string => entry(name, { uri: undefined });

  async function run(namespace: MemoryNamespace, lines: readonly string[], existing: ExistingNames = 'fail') {
    const failures: string[] = [];
    const onFailure = (line: number, reason: string): void => {
      failures.push(`${line} ${reason}`);
    };
    const report = await importEntries(namespace, each(lines), { existing, except: ':own', onFailure });
    return { report, failures };
  }

  test('makes another namespace equal, and is done when it is made again', async () => {
    const source = new MemoryNamespace();
    await source.createGroup(Name.parse(':G'));
    for (const [index, value] of values.entries()) {
      await source.register(Name.parse(`:G.n${index}`), uri);
      await source.setMeta(Name.parse(`:G.n${index}`), value);
      await source.setSystemMeta(Name.parse(`:G.n${index}`), { type: OBJECT, timestamp: index + 0.5, owner: value });
    }
    await source.setMeta(Name.root, 'root');
    await source.setSystemMeta(Name.parse(':G'), { type: GROUP, timestamp: 7.25, owner: null });
    const lines: string[] = [];
    for await (const one of source.export()) lines.push(writeEntryLine(one));
    const target = new MemoryNamespace();
    expect((await run(target, lines, 'replace')).failures).toEqual([]);
    expect(await exported(target)).toEqual(await exported(source));
    expect((await run(target, lines)).report).toEqual({ imported: 0, unchanged: 14, skipped: 0, failed: 0 });
  });

  test.each([
    ['fail', { imported: 1, unchanged: 0, skipped: 1, failed: 2 }, uri, 'before'],
    ['skip', { imported: 1, unchanged: 0, skipped: 3, failed: 0 }, uri, 'before'],
    ['replace', { imported: 3, unchanged: 0, skipped: 1, failed: 0 }, other, 'after'],
  ] as const)('does with names that are there as it is told: %s', async (existing, expected, there, meta) => {
    const namespace = new MemoryNamespace();
    for (const name of [':taken', ':same', ':own']) await namespace.register(Name.parse(name), uri);
    await namespace.setMeta(Name.parse(':same'), 'before');
    const lines = [
      entry(':taken', { uri: other }),
      entry(':same', { userMeta: 'after' }),
      entry(':own', { uri: other }),
      entry(':new'),
    ];
    const { report, failures } = await run(namespace, lines, existing);
    expect(report).toEqual(expected);
    const reasons = ['1 :taken: is there already, with another URI', '2 :same: is there already, with other metadata'];
    expect(failures.sort()).toEqual(existing === 'fail' ? reasons : []);
    expect((await namespace.resolve(Name.parse(':taken'))).equals(there)).toBe(true);
    expect(await namespace.getMeta(Name.parse(':same'))).toBe(meta);
    expect((await namespace.resolve(Name.parse(':own'))).equals(uri)).toBe(true);
  });

  test('tells the lines that are wrong, and goes on', async () => {
    const namespace = new MemoryNamespace();
    await namespace.register(Name.parse(':object'), uri);
    const lines = ['nonsense', group(':g'), '', entry(':nowhere.x'), group(':object'), entry(':g'), entry(':g.x')];
    const { report, failures } = await run(namespace, lines, 'replace');
    expect(failures.sort()).toEqual([
      '1 the line is no JSON',
      '4 :nowhere.x: (parent)group not found',
      '5 :object: is there already, and is an object',
      '6 :g: is there already, and is a group',
    ]);
    expect(report).toEqual({ imported: 2, unchanged: 0, skipped: 0, failed: 4 });
  });

  test('ends when the name server is lost', async () => {
    const namespace = new MemoryNamespace();
    namespace.register = () => Promise.reject(new ProtocolError('connection lost'));
    const lines = Array.from({ length: 200 }, (_, index) => entry(`:n${index}`));
    await expect(run(namespace, lines)).rejects.toThrow('connection lost');
  });
});

test('a line that is too long is refused, in no more time than it takes to read it, and the others are imported', async () => {
  const reader = new LineReader();
  function* lines(): Generator<Line> {
    yield* reader.push('{"name":":before"}\n');
    // As a file comes: in pieces of 64 kB.
    for (let sent = 0; sent <= MAX_LINE_LENGTH; sent += 0x10000) yield* reader.push('x'.repeat(0x10000));
    yield* reader.push('\n{"name":":behind"}\n');
  }
  const namespace = new MemoryNamespace();
  const failures: string[] = [];
  const onFailure = (line: number, reason: string): void => {
    failures.push(`${line}: ${reason}`);
  };
  const report = await importEntries(namespace, Readable.from(lines()), { existing: 'fail', onFailure });
  expect(report).toMatchObject({ imported: 2, failed: 1 });
  expect(failures).toEqual([expect.stringMatching(/^2: .*33554432 characters/)]);
});

import { describe, expect, test } from '@jest/globals';
import { Name, PyroURI } from '../../names/index.js';
import { GROUP, OBJECT, systemMetaToPython, type NamespaceEntry, type NodeType } from '../../namespace/index.js';
import { dumps, loads, PythonInstance, tuple, type PythonValue } from '../../pickle/index.js';
import { RemoteError, uriToPython } from '../../rpc/index.js';
import { isBlank, readByListing, readDump, writeDump, type DumpShape } from './pyro3-dump.js';

const URI = PyroURI.parse('PYRO://10.1.2.3:7766/x');
const system = (type: NodeType, timestamp = 5.5) => ({ type, timestamp, owner: null });

function entry(text: string, uri?: PyroURI, userMeta: PythonValue = null): NamespaceEntry {
  return { name: Name.parse(text), uri, systemMeta: system(uri ? OBJECT : GROUP), userMeta };
}

async function* each(entries: readonly NamespaceEntry[]): AsyncGenerator<NamespaceEntry> {
  await Promise.resolve();
  yield* entries;
}

const write = async (entries: readonly NamespaceEntry[], shape: DumpShape): Promise<PythonValue> =>
  loads(dumps(await writeDump(each(entries), shape)));

const WHOLE = [
  entry(':', undefined, 'root'),
  entry(':g', undefined, 'group'),
  entry(':g.x', URI, ['object']),
  entry(':Pyro'),
  entry(':Pyro.NameServer', URI),
  entry(':a', URI),
];

const byName = (entries: readonly NamespaceEntry[]): NamespaceEntry[] =>
  [...entries].sort((one, two) => (one.name.toString() < two.name.toString() ? -1 : 1));

const named = (entries: readonly NamespaceEntry[]): string[] => entries.map(({ name }) => name.toString());

describe.each(['memory', 'persistent'] as const)('a dump of the shape of a server: %s', (shape) => {
  test('holds all entries, parents before their members', async () => {
    const dump = readDump(await write(WHOLE, shape));
    expect([dump.shape, dump.unusable]).toEqual([shape, []]);
    expect(byName(dump.entries)).toEqual(byName(WHOLE));
    for (const [index, { name }] of dump.entries.entries()) {
      expect(name.isRoot || named(dump.entries.slice(0, index)).includes(name.parent.toString())).toBe(true);
    }
  });

  test('has the root and the group that Pyro 3 needs, whatever is exported', async () => {
    const { entries } = readDump(await write([], shape));
    expect(named(entries)).toEqual([':', ':Pyro']);
    expect(entries.map(({ systemMeta }) => systemMeta?.type)).toEqual([GROUP, GROUP]);
  });

  test('makes system metadata where the store has none, of now', async () => {
    const before = Date.now() / 1000;
    const bare = [':', ':g', ':x'].map((text) => ({
      ...entry(text, text === ':x' ? URI : undefined),
      systemMeta: undefined,
    }));
    const { entries } = readDump(await write(bare, shape));
    const types = entries.map(({ name, systemMeta }) => [name.toString(), systemMeta?.type, systemMeta?.owner]);
    expect(types.sort()).toEqual([
      [':', GROUP, null],
      [':Pyro', GROUP, null],
      [':g', GROUP, null],
      [':x', OBJECT, null],
    ]);
    for (const { systemMeta } of entries) {
      expect(systemMeta?.timestamp).toBeGreaterThanOrEqual(before);
      expect(systemMeta?.timestamp).toBeLessThanOrEqual(Date.now() / 1000);
    }
  });

  test('leaves out what has no parent there: it was removed meanwhile', async () => {
    const { entries } = readDump(await write([entry(':'), entry(':gone.x', URI), entry(':a', URI)], shape));
    expect(named(entries).sort()).toEqual([':', ':Pyro', ':a']);
  });
});

describe('the tree of a server without a database', () => {
  test("is made of Pyro 3's own classes", async () => {
    const root = await write([entry(':'), entry(':x', URI, 'm')], 'memory');
    if (!(root instanceof PythonInstance)) throw new Error('no instance');
    expect([root.isOf('Pyro.naming', 'NamedTree'), root.attribute('name')]).toEqual([true, '<root>']);
    const branches = root.attribute('branches');
    const leaf = branches instanceof Map ? branches.get('x') : undefined;
    if (!(leaf instanceof PythonInstance)) throw new Error('no leaf');
    expect([leaf.isOf('Pyro.naming', 'NameValue'), leaf.attribute('name'), leaf.attribute('userMeta')]).toEqual([
      true,
      'x',
      'm',
    ]);
    expect([leaf.attribute('branches'), root.attribute('value')]).toEqual([undefined, undefined]);
  });

  test('is read but for what is no node', async () => {
    const root = await write(WHOLE, 'memory');
    const branches = root instanceof PythonInstance ? root.attribute('branches') : undefined;
    if (!(branches instanceof Map)) throw new Error('no branches');
    branches.set('strange', 5);
    branches.set(7, uriToPython(URI));
    const { entries, unusable } = readDump(root);
    expect([entries.length, [...unusable].sort()]).toEqual([WHOLE.length, [':', ':strange']]);
  });
});

describe('the lists of a server with a database', () => {
  const meta = systemMetaToPython(system(OBJECT));

  test('are tuples of name, system metadata and metadata; objects have their URI as text', async () => {
    expect(await write([entry(':'), entry(':Pyro'), entry(':x', URI, 'm')], 'persistent')).toEqual(
      tuple(
        [tuple(':', systemMetaToPython(system(GROUP)), null), tuple(':Pyro', systemMetaToPython(system(GROUP)), null)],
        [tuple(':x', URI.toString(), meta, 'm')],
      ),
    );
  });

  test('have names of files in place of names', () => {
    const { entries } = readDump(tuple([], [tuple(':a\\2fb\\2FC', URI.toString(), meta, null)]));
    expect(named(entries)).toEqual([':', ':a/b/C']);
  });

  test.each<[string, PythonValue, string]>([
    ['an invalid URI', tuple(':x', 'x', meta, null), ':x'],
    ['no URI', tuple(':x'), ':x'],
    ['an invalid name', tuple(':a b', URI.toString(), meta, null), ':a b'],
    ['a parent that is not there', tuple(':g.x', URI.toString(), meta, null), ':g.x'],
    ['a parent that is an object', tuple(':o.x', URI.toString(), meta, null), ':o.x'],
    ['no tuple', 'x', ''],
  ])('are read but for what has %s', (_what, object, name) => {
    const first = tuple(':o', uriToPython(URI), meta, null);
    const { entries, unusable } = readDump(tuple([], [first, object]));
    expect([named(entries), unusable]).toEqual([[':', ':o'], [name]]);
  });

  test('a group without anything more is one', () => {
    const { entries } = readDump(tuple([tuple(':g'), 5], []));
    expect(entries[1]).toEqual({ name: Name.parse(':g'), uri: undefined, systemMeta: undefined, userMeta: null });
  });
});

test.each<[string, PythonValue]>([
  ['nothing', null],
  ['one list', tuple([])],
  ['other things', tuple(1, [])],
  ['another instance', uriToPython(URI)],
])('%s is no dump', (_what, value) => {
  expect(() => readDump(value)).toThrow('the twin gave something that is no dump of a namespace');
});

describe('a server that can not dump its names is read by its listings', () => {
  const members: Record<string, PythonValue> = {
    ':': [tuple('g', GROUP), tuple('a', OBJECT), tuple('gone', OBJECT), 'strange'],
    ':g': [tuple('x/y', OBJECT), tuple('h', GROUP)],
    ':g.h': null,
  };

  function call(method: string, name = ''): Promise<PythonValue> {
    if (name.endsWith('gone')) return Promise.reject(new RemoteError('Pyro.errors', 'NamingError', ['name not found']));
    switch (method) {
      case 'list':
        return Promise.resolve(members[name] ?? null);
      case 'resolve':
        return Promise.resolve(uriToPython(URI));
      case '_getSystemMeta':
        return Promise.resolve(systemMetaToPython(system(name in members ? GROUP : OBJECT)));
      default:
        return Promise.resolve(`${method} of ${name}`);
    }
  }

  test('group by group, but for what was removed meanwhile', async () => {
    const { shape, entries, unusable } = await readByListing(call);
    expect(shape).toBe('persistent');
    const metaOf = (text: string, uri?: PyroURI): NamespaceEntry => entry(text, uri, `getMeta of ${text}`);
    expect(byName(entries)).toEqual(
      byName([metaOf(':'), metaOf(':g'), metaOf(':g.h'), metaOf(':a', URI), metaOf(':g.x/y', URI)]),
    );
    expect(unusable).toContain(':gone');
  });

  test('and fails where the server does', async () => {
    const fails = (method: string, name?: string): Promise<PythonValue> =>
      name === ':a' ? Promise.reject(new Error('connection lost')) : call(method, name);
    await expect(readByListing(fails)).rejects.toThrow('connection lost');
  });
});

describe('a namespace is blank', () => {
  const DEFAULT = Name.parse(':Default.Group');
  const blank = (...entries: NamespaceEntry[]): boolean => isBlank({ shape: 'memory', entries, unusable: [] }, DEFAULT);
  const initial = [':', ':Pyro', ':Default', ':Default.Group'].map((text) => entry(text));

  test('where it has what a new server has', () => {
    expect(blank()).toBe(true);
    expect(blank(...initial, entry(':Pyro.NameServer', URI))).toBe(true);
  });

  test.each([
    ['an object', entry(':a', URI)],
    ['another group', entry(':g')],
    ['a group in the default group', entry(':Default.Group.x')],
    ['a group in the place of the own entry', entry(':Pyro.NameServer')],
    ['an object in the place of the default group', entry(':Default', URI)],
    ['metadata', entry(':Pyro', undefined, 'm')],
    ['metadata of the own entry', entry(':Pyro.NameServer', URI, 'm')],
  ])('but not with %s', (_what, more) => {
    expect(blank(...initial, more)).toBe(false);
  });
});

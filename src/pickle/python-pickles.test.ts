/**
 * Against pickles that Python 2.7.18 made of the expressions in `test/fixtures/pickles.json`, by `pickle` and by
 * `cPickle`, in each protocol. The classes that the expressions use are recorded there too.
 */
import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import {
  dumps,
  loads,
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonTuple,
  PythonUnicode,
  tuple,
} from './index.js';
import type { PythonValue } from './index.js';

const PROTOCOLS = [0, 1, 2] as const;
type Protocol = (typeof PROTOCOLS)[number];
type Pickles = Readonly<Record<string, string>>;

const isRecord = (recorded: unknown): recorded is { values: readonly Pickles[] } =>
  typeof recorded === 'object' && recorded !== null && 'values' in recorded;

const recorded: unknown = JSON.parse(
  readFileSync(new URL('../../test/fixtures/pickles.json', import.meta.url), 'utf8'),
);
const values = isRecord(recorded) ? recorded.values : [];

const pickleOf = (pickles: Pickles, module: string, protocol: Protocol): Buffer =>
  Buffer.from(pickles[`${module} ${protocol}`] ?? '', 'latin1');

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const cls = (name: string, module = '__main__'): PythonClass => new PythonClass(module, name);
const dict = (entries: Record<string, PythonValue>): Map<PythonValue, PythonValue> => new Map(Object.entries(entries));
const filled = (length: number): number[] => Array.from({ length }, (_, index) => index);

const reduced = (callable: PythonClass, args: PythonValue[], state?: PythonValue): PythonInstance =>
  new PythonInstance('reduce', callable, new PythonTuple(args), state);
const oldStyle = (args: PythonValue[], name = 'Old', state: PythonValue = dict({ a: 'x' })): PythonInstance =>
  new PythonInstance('obj', cls(name), new PythonTuple(args), state);

/** A new-style instance, of a class that derives from `base`. */
const newStyle = (
  protocol: Protocol,
  of: PythonValue,
  state?: PythonValue,
  {
    args = [],
    base = 'object',
    baseState = null,
  }: { args?: PythonValue[]; base?: string; baseState?: PythonValue } = {},
): PythonInstance =>
  protocol === 2
    ? new PythonInstance('newobj', of, new PythonTuple(args), state)
    : reduced(cls('_reconstructor', 'copy_reg'), [of, cls(base, '__builtin__'), baseState], state);

const withListItems = (instance: PythonInstance, items: PythonValue[]): PythonInstance =>
  Object.assign(instance, { listItems: items });
const withDictItems = (instance: PythonInstance, items: Map<PythonValue, PythonValue>): PythonInstance =>
  Object.assign(instance, { dictItems: items });

const shared = (value: PythonValue): PythonValue => [value, value];

const cyclicList = (): PythonValue => {
  const list: PythonValue[] = [];
  list.push(list);
  return list;
};
const cyclicDict = (): PythonValue => {
  const cyclic = new Map<PythonValue, PythonValue>();
  return cyclic.set('me', cyclic);
};
const cyclicTuple = (...more: PythonValue[]): PythonValue => {
  const list: PythonValue[] = [];
  const cyclic = new PythonTuple([list, ...more]);
  list.push(cyclic);
  return cyclic;
};
const cyclicOld = (): PythonValue => {
  const instance = oldStyle([]);
  instance.state = dict({ a: instance });
  return instance;
};
const cyclicSet = (protocol: Protocol): PythonValue => {
  const instance = newStyle(protocol, cls('New'));
  const set = new Set([instance]);
  instance.state = dict({ a: set });
  return set;
};

const SUBCLASS_OF_LIST = { base: 'list', baseState: [1, 2] };
const LINE_OF_ASCII = String.fromCharCode(...filled(128));

/** What each expression is here; some are made in another way in protocol 2 than in 0 and 1. */
const EXPECTED: Readonly<Record<string, PythonValue | ((protocol: Protocol) => PythonValue)>> = {
  None: null,
  True: true,
  False: false,
  '0': 0,
  '1': 1,
  '-1': -1,
  '255': 255,
  '256': 256,
  '65535': 65535,
  '65536': 65536,
  '-2147483648': -2147483648,
  '2147483647': 2147483647,
  '2147483648': 2147483648,
  '-2147483649': -2147483649,
  '9007199254740991': Number.MAX_SAFE_INTEGER,
  '9007199254740993': new PythonInteger(9007199254740993n),
  '9223372036854775807': new PythonInteger(9223372036854775807n),
  '-9223372036854775807 - 1': new PythonInteger(-9223372036854775808n),
  '0L': 0n,
  '1L': 1n,
  '-1L': -1n,
  '127L': 127n,
  '128L': 128n,
  '-128L': -128n,
  '-129L': -129n,
  '255L': 255n,
  '256L': 256n,
  '-256L': -256n,
  '32767L': 32767n,
  '32768L': 32768n,
  '9223372036854775808L': 9223372036854775808n,
  '10L ** 30': 10n ** 30n,
  '-10L ** 30': -(10n ** 30n),
  '1L << 2039': 1n << 2039n,
  '-(1L << 2039)': -(1n << 2039n),
  '1L << 2040': 1n << 2040n,
  '0.0': new PythonFloat(0),
  '-0.0': -0,
  '1.0': new PythonFloat(1),
  '1.5': 1.5,
  '-2.25': -2.25,
  '0.1': 0.1,
  '1e16': 1e16,
  '1e300': 1e300,
  '5e-324': 5e-324,
  "float('inf')": Infinity,
  "float('-inf')": -Infinity,
  "float('nan')": NaN,
  "''": '',
  "'abc'": 'abc',
  '"it\'s"': "it's",
  '\'say "x"\'': 'say "x"',
  "'\\'\"'": '\'"',
  "'\\\\n is \\n, \\t is \\t'": '\\n is \n, \t is \t',
  "''.join(map(chr, range(128)))": LINE_OF_ASCII,
  "''.join(map(chr, range(256)))": Uint8Array.from(filled(256)),
  "'x' * 255": 'x'.repeat(255),
  "'x' * 256": 'x'.repeat(256),
  "'\\xff' * 256": new Uint8Array(256).fill(0xff),
  "u''": new PythonUnicode(''),
  "u'abc'": new PythonUnicode('abc'),
  "u'caf\\xe9'": 'caf\xe9',
  "u'\\u20ac'": '\u20ac',
  "u'\\U0001f600'": '\u{1f600}',
  "u'\\ud800'": '\ud800',
  "u'a\\udc00\\ud800b'": 'a\udc00\ud800b',
  "u'back\\\\slash\\nu\\\\u0041'": new PythonUnicode('back\\slash\nu\\u0041'),
  "u'\\\\\\u20ac'": '\\\u20ac',
  "u'x' * 300": new PythonUnicode('x'.repeat(300)),
  '()': tuple(),
  '(1,)': tuple(1),
  '(1, 2)': tuple(1, 2),
  '(1, 2, 3)': tuple(1, 2, 3),
  '(1, 2, 3, 4)': tuple(1, 2, 3, 4),
  '((), ((),))': tuple(tuple(), tuple(tuple())),
  '[]': [],
  '[1]': [1],
  '[1, 2]': [1, 2],
  'range(1001)': filled(1001),
  '{}': new Map(),
  "{'a': 1}": dict({ a: 1 }),
  '{1: 2, 3: 4}': new Map([
    [1, 2],
    [3, 4],
  ]),
  'dict((number, None) for number in range(1001))': new Map(filled(1001).map((number) => [number, null])),
  'set()': new Set(),
  'set([1])': new Set([1]),
  "set(['a', 1.5])": new Set(['a', 1.5]),
  'frozenset([1])': reduced(cls('frozenset', '__builtin__'), [[1]]),
  '1+2j': reduced(cls('complex', '__builtin__'), [new PythonFloat(1), new PythonFloat(2)]),
  'datetime.datetime(2016, 2, 29, 23, 59, 58, 999999)': reduced(cls('datetime', 'datetime'), [
    bytes('\x07\xe0\x02\x1d\x17\x3b\x3a\x0f\x42\x3f'),
  ]),
  'datetime.datetime(1919, 1, 2, 3, 4, 5)': reduced(cls('datetime', 'datetime'), [
    '\x07\x7f\x01\x02\x03\x04\x05\0\0\0',
  ]),
  'datetime.date(2016, 2, 29)': reduced(cls('date', 'datetime'), [bytes('\x07\xe0\x02\x1d')]),
  'datetime.timedelta(1, 2, 3)': reduced(cls('timedelta', 'datetime'), [1, 2, 3]),
  "decimal.Decimal('1.5')": reduced(cls('Decimal', 'decimal'), ['1.5']),
  'collections.OrderedDict([(1, 2)])': reduced(cls('OrderedDict', 'collections'), [[[1, 2]]]),
  'collections.defaultdict(list, {1: [2]})': withDictItems(
    reduced(cls('defaultdict', 'collections'), [cls('list', '__builtin__')]),
    new Map([[1, [2]]]),
  ),
  'collections.deque([1, 2])': reduced(cls('deque', 'collections'), [[1, 2]]),
  len: cls('len', '__builtin__'),
  Old: cls('Old'),
  New: cls('New'),
  "Old('x')": oldStyle([]),
  "OldWithArguments('x')": oldStyle(['x'], 'OldWithArguments'),
  "New('x')": (protocol) => newStyle(protocol, cls('New'), dict({ a: 'x' })),
  'NewWithArguments(1)': (protocol) =>
    newStyle(protocol, cls('NewWithArguments'), protocol === 2 ? dict({}) : undefined, { args: [7] }),
  "slots('x')": (protocol) => newStyle(protocol, cls('Slots'), tuple(null, dict({ a: 'x' }))),
  'Reduced()': new PythonInstance('newobj', cls('Reduced'), tuple(1), dict({ a: 1 })),
  // Protocols 0 and 1 leave out a state that is false.
  'FalseState()': (protocol) => newStyle(protocol, cls('FalseState'), protocol === 2 ? 0 : undefined),
  'List([1, 2])': (protocol) => {
    const list = newStyle(protocol, cls('List'), protocol === 2 ? dict({}) : undefined, SUBCLASS_OF_LIST);
    return protocol === 2 ? withListItems(list, [1, 2]) : list;
  },
  "with_attributes(List([1]), label='x')": (protocol) => {
    const list = newStyle(protocol, cls('List'), dict({ label: 'x' }), { base: 'list', baseState: [1] });
    return protocol === 2 ? withListItems(list, [1]) : list;
  },
  "Dict({'a': 1})": (protocol) => {
    const state = protocol === 2 ? dict({}) : undefined;
    const made = newStyle(protocol, cls('Dict'), state, { base: 'dict', baseState: dict({ a: 1 }) });
    return protocol === 2 ? withDictItems(made, dict({ a: 1 })) : made;
  },
  "Str('x')": (protocol) =>
    newStyle(protocol, cls('Str'), protocol === 2 ? dict({}) : undefined, { args: ['x'], base: 'str', baseState: 'x' }),
  "Failure('message', 1)": reduced(cls('Failure'), ['message', 1]),
  "with_attributes(ValueError('bad'), remote_stacktrace=['line\\n'])": reduced(
    cls('ValueError', 'exceptions'),
    ['bad'],
    dict({ remote_stacktrace: ['line\n'] }),
  ),
  Registered: (protocol) => (protocol === 2 ? new PythonExtension(200) : cls('Registered')),
  'Registered()': (protocol) =>
    newStyle(
      protocol,
      protocol === 2 ? new PythonExtension(200) : cls('Registered'),
      protocol === 2 ? dict({}) : undefined,
    ),
  'shared([1])': shared([1]),
  'shared((1,))': shared(tuple(1)),
  'shared({})': shared(new Map()),
  'shared(set([1]))': shared(new Set([1])),
  'shared(New(1))': (protocol) => shared(newStyle(protocol, cls('New'), dict({ a: 1 }))),
  'shared(Old(1))': shared(oldStyle([], 'Old', dict({ a: 1 }))),
  'shared(New)': shared(cls('New')),
  "shared('x' * 64)": shared('x'.repeat(64)),
  'cyclic_list()': cyclicList(),
  'cyclic_dict()': cyclicDict(),
  'cyclic_tuple()': cyclicTuple(),
  'cyclic_tuple(1, 2, 3)': cyclicTuple(1, 2, 3),
  'cyclic_old()': cyclicOld(),
  'cyclic_set()': cyclicSet,
  "('7f0000010c1a29cd30a12c59fca40cea99', 'resolve', 0, (':Default.x',))": tuple(
    '7f0000010c1a29cd30a12c59fca40cea99',
    'resolve',
    0,
    tuple(':Default.x'),
  ),
  "('7f0000010c1a29cd30a12c59fca40cea99', 'resolve', 3, ((':Default.x',), {}))": tuple(
    '7f0000010c1a29cd30a12c59fca40cea99',
    'resolve',
    3,
    tuple(tuple(':Default.x'), new Map()),
  ),
  "Pyro.core.PyroURI('127.0.0.1', '7f0000010c1a29cd30a12c59fca40cea99', 7766)": (protocol) =>
    newStyle(
      protocol,
      cls('PyroURI', 'Pyro.core'),
      dict({ protocol: 'PYRO', address: '127.0.0.1', port: 7766, objectID: '7f0000010c1a29cd30a12c59fca40cea99' }),
    ),
  "Pyro.errors.PyroExceptionCapsule(Pyro.errors.NamingError('name not found', ':Default.x'), ['Traceback\\n'])":
    new PythonInstance(
      'obj',
      cls('PyroExceptionCapsule', 'Pyro.errors'),
      tuple(),
      dict({
        excObj: reduced(cls('NamingError', 'Pyro.errors'), ['name not found', ':Default.x']),
        args: ['Traceback\n'],
      }),
    ),
  '[Placed()] pickled by a Pickler whose persistent_id(value) is "id of it" for a Placed': [
    new PythonPersistentID('id of it'),
  ],
};

const expected = (expression: string, protocol: Protocol): PythonValue => {
  const value = EXPECTED[expression];
  if (value === undefined) throw new Error(`no value is expected of ${expression}`);
  return typeof value === 'function' ? value(protocol) : value;
};

describe.each(values.map((pickles) => [pickles['expression'] ?? '', pickles] as const))('%s', (expression, pickles) => {
  test.each(PROTOCOLS)('is read as Python 2.7 writes it in protocol %i', (protocol) => {
    expect(loads(pickleOf(pickles, 'pickle', protocol))).toStrictEqual(expected(expression, protocol));
    expect(loads(pickleOf(pickles, 'cPickle', protocol))).toStrictEqual(expected(expression, protocol));
  });

  test.each(PROTOCOLS)('is written in protocol %i so that it is the same', (protocol) => {
    const value = loads(pickleOf(pickles, 'cPickle', 2));
    expect(loads(dumps(value, { protocol }))).toStrictEqual(value);
  });
});

test('every expected value has its pickles', () => {
  expect(Object.keys(EXPECTED).sort()).toEqual(values.map(({ expression = '' }) => expression).sort());
});

// Python's own pickler memoizes short strings too; other than that the bytes are its own.
describe.each([
  'None',
  'True',
  '255',
  '65536',
  '-2147483649',
  '9223372036854775807',
  '0L',
  '-129L',
  '1L << 2040',
  '1.0',
  '-0.0',
  '0.1',
  "float('-inf')",
  "float('nan')",
  "''.join(map(chr, range(128)))",
  "''.join(map(chr, range(256)))",
  "u'x' * 300",
  '((), ((),))',
  '(1, 2, 3)',
  '(1, 2, 3, 4)',
  'range(1001)',
  '{1: 2, 3: 4}',
  'set([1])',
  'collections.defaultdict(list, {1: [2]})',
  'List([1, 2])',
  'NewWithArguments(1)',
  'Registered()',
  'shared(New)',
  'cyclic_list()',
  'cyclic_tuple(1, 2, 3)',
])('%s', (expression) => {
  const pickles = values.find((recordedValue) => recordedValue['expression'] === expression) ?? {};

  test.each(PROTOCOLS)('is written in protocol %i byte for byte as by Python', (protocol) => {
    const pickle = pickleOf(pickles, 'pickle', protocol);
    expect(dumps(loads(pickle), { protocol })).toEqual(pickle);
  });
});

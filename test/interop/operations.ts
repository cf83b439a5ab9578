import fc from 'fast-check';

/** A Python value as JSON, for `values.py` to build: its type, and what it is made of. */
export interface Source {
  readonly t: string;
  readonly v?: unknown;
}

/** How clients call: the name server's own proxy, dynamic ones (with attributes), and raw, which sends anything. */
export type Style = 'proxy' | 'dynamic' | 'attributes' | 'raw';

/** What `driver.py` carries out. */
export interface Operation {
  readonly style: Style;
  readonly method: string;
  readonly args: readonly Source[];
  readonly keywords?: Readonly<Record<string, Source>>;
  /** The call's flags; for raw calls only. */
  readonly flags?: number;
  /** The object called instead of the name server; for raw calls only. */
  readonly object?: string;
  readonly wire?: { readonly format: number; readonly checksum: number; readonly compression: number };
}

export const str = (text: string): Source => ({ t: 'str', v: text });
export const unicode = (text: string): Source => ({
  t: 'unicode',
  v: Array.from(text, (character) => character.codePointAt(0)),
});
export const none: Source = { t: 'none' };
export const int = (value: number): Source => ({ t: 'int', v: String(value) });
export const make = (name: string, ...args: Source[]): Source => ({ t: 'make', v: [name, args] });

// Few parts, so that names meet: as groups, as objects, as parents of each other. `/` is escaped on disk.
const part = fc.constantFrom('a', 'b', 'c', 'd/e', '~Q!1');
const parts = (maxLength: number) => fc.array(part, { minLength: 1, maxLength }).map((all) => all.join('.'));
const goodName = fc.oneof(
  { weight: 8, arbitrary: parts(3).map((name) => `:${name}`) },
  { weight: 4, arbitrary: parts(2) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(':', ':Default', ':Pyro', ':Pyro.NameServer', 'Pyro', ':Pyro.a', 'a.b.c.a.b'),
  },
);
const BAD_NAMES = [
  ...[':a..b', ':.', ':.zz', ':a.', ':a b', ':a\tb', ':a\nb', ':a\\b', ':a\\2fb', ':\x7f', ':\xe9', ':a\0', ': ', ''],
  ...[':a:b', '::', ':a.b:c', 'zz:y'],
  // Relative ones have parts of their own: Pyro 3 doesn't validate these, and its paths lose empty parts.
  ...['zz y', 'zz..y', '.zz', 'zz.', 'zz\\y', 'zz\xff', 'zz\n'],
];
const LONG_NAMES = [240, 247, 248, 251, 255, 256, 300].map((length) => `:${'n'.repeat(length)}`);
const text = (names: fc.Arbitrary<string>) =>
  fc.oneof(
    { weight: 6, arbitrary: names.map(str) },
    // Jython and IronPython send unicode where CPython sends str.
    { weight: 1, arbitrary: names.map(unicode) },
  );
const noName: fc.Arbitrary<Source> = fc.constantFrom<Source>(
  none,
  int(0),
  int(5),
  { t: 'long', v: '12345678901234567890' },
  { t: 'float', v: '1.5' },
  { t: 'bool', v: true },
  { t: 'list', v: [str('a')] },
  { t: 'list', v: [{ t: 'ref', v: 0 }] },
  { t: 'tuple', v: [str(':'), str('a')] },
  { t: 'dict', v: [] },
  make('OldStyle', int(1)),
);
const name = fc.oneof(
  { weight: 40, arbitrary: text(goodName) },
  { weight: 5, arbitrary: text(fc.constantFrom(...BAD_NAMES)) },
  { weight: 1, arbitrary: text(fc.constantFrom(...LONG_NAMES)) },
  { weight: 2, arbitrary: noName },
);

const uriText = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.constantFrom('PYRO', 'PYROSSL', 'PYROLOC', 'other'),
        fc.constantFrom('127.0.0.1', '10.1.2.3', 'localhost', '127.1'),
        fc.constantFrom(':1234', ':7766', ':65535', ''),
        fc.constantFrom('7f00000104d2', 'x.y', ':Pyro.NameServer', 'a/b'),
      )
      .map(([protocol, host, port, id]) => `${protocol}://${host}${port}/${id}`),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...['', 'nonsense', 'PYRO://', 'PYRO://127.0.0.1', 'PYRO://127.0.0.1:12', 'PYRO://no host:1/x', 'PYRO:/a:1/x'],
      ...['PYRO://127.0.0.1:1x/x', 'PYRO://300.1.1.1:1/x', 'PYRO://127.0.0.1:/x', 'PYRO://a/b:1/x', '://a:1/x'],
      ...['PYRO://127.0.0.1:1/', 'PYRO://127.0.0.1:0/x', 'PYRO://127.0.0.1:1/a b', 'PYRO://127.0.0.1:1/x\n'],
      ...['PYRO://127.0.0.1:70000/x', ' PYRO://127.0.0.1:1/x'],
    ),
  },
);
const uri: fc.Arbitrary<Source> = fc.oneof(
  { weight: 6, arbitrary: fc.constant(make('PyroURI', str('PYRO'), str('127.0.0.1'), int(4711), str('7f000001'))) },
  { weight: 6, arbitrary: text(uriText) },
  // As unicode it can't be logged by Pyro 3, which then raises an error although the name is registered.
  { weight: 1, arbitrary: fc.constant(str('PYRO://127.0.0.1:1/\xe9')) },
  { weight: 1, arbitrary: noName },
  {
    weight: 1,
    arbitrary: fc.constant(make('PyroURI', unicode('PYRO'), unicode('127.0.0.1'), int(4711), unicode('7f000001'))),
  },
);

const bytes = fc.string({ unit: fc.nat({ max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 300 });
const codePoints = fc.array(
  fc.oneof(fc.nat({ max: 127 }), fc.nat({ max: 0x10ffff }), fc.integer({ min: 0xd800, max: 0xdfff })),
  { maxLength: 20 },
);
const wholeNumber = fc.oneof(
  fc.integer({ min: -300, max: 300 }).map(String),
  fc.integer().map(String),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
);
const floatText = fc.oneof(
  fc.constantFrom('0.0', '-0.0', '1.0', '1e300', 'inf', '-inf', 'nan', '5e-324', '9007199254740993.0'),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
);
const hashable: fc.Arbitrary<Source> = fc.oneof(
  fc.constantFrom<Source>(none, { t: 'bool', v: true }, { t: 'bool', v: false }),
  wholeNumber.map((v) => ({ t: 'int', v })),
  fc
    .oneof(wholeNumber, fc.bigInt({ min: -(2n ** 3000n), max: 2n ** 3000n }).map(String))
    .map((v) => ({ t: 'long', v })),
  floatText.map((v) => ({ t: 'float', v })),
  bytes.map((v) => ({ t: 'str', v })),
  fc.constantFrom('', 'a', 'key', "it's", '"', '\\', '\r\n').map(str),
  codePoints.map((v) => ({ t: 'unicode', v })),
  fc.constantFrom('', 'a', 'key', 'é', '€', '\u{1f40d}', '\\u0041').map(unicode),
);
const MAKERS = [
  ...['OldStyle', 'OldStyleWithArguments', 'NewStyle', 'WithNewArguments', 'WithSlots', 'WithFalseState', 'ListChild'],
  ...['DictChild', 'StrChild', 'Error', 'ValueError', 'Reduced', 'Registered', 'a class', 'a function', 'a built-in'],
  ...['a type', 'datetime', 'date', 'time', 'timedelta', 'Decimal', 'UUID', 'OrderedDict', 'defaultdict', 'deque'],
  ...['array', 'bytearray', 'pattern', 'xrange'],
];
const { value } = fc.letrec<{ value: Source; items: Source[] }>((tie) => ({
  items: fc.array(tie('value'), { maxLength: 5 }),
  value: fc.oneof(
    { maxDepth: 6, withCrossShrink: true },
    hashable,
    tie('items').map((v) => ({ t: 'list', v })),
    tie('items').map((v) => ({ t: 'tuple', v })),
    fc.array(fc.tuple(hashable, tie('value')), { maxLength: 5 }).map((v) => ({ t: 'dict', v })),
    fc.array(hashable, { maxLength: 5 }).map((v) => ({ t: 'set', v })),
    fc.array(hashable, { maxLength: 5 }).map((v) => ({ t: 'frozenset', v })),
    fc.tuple(floatText, floatText).map((v) => ({ t: 'complex', v })),
    fc.tuple(fc.constantFrom(...MAKERS), tie('items')).map((v) => ({ t: 'make', v })),
    fc.tuple(fc.constantFrom(...MAKERS), tie('items')).map((v) => ({ t: 'make', v })),
    tie('items').map((v) => ({ t: 'cycle', v })),
    fc.nat({ max: 20 }).map((v) => ({ t: 'ref', v })),
  ),
}));
// More than 1,000 items is another batch (APPENDS, SETITEMS) to Python's pickler.
const large: fc.Arbitrary<Source> = fc.constantFrom<Source>(
  { t: 'list', v: Array.from({ length: 2500 }, (_, index) => int(index)) },
  { t: 'dict', v: Array.from({ length: 1200 }, (_, index) => [int(index), str('v'.repeat(index % 7))]) },
  Array.from({ length: 100 }).reduce<Source>((inner) => ({ t: 'list', v: [inner] }), none),
  str('x'.repeat(70_000)),
);
/** Values of every type that Python pickles, some large, shared or cyclic. */
export const meta = fc.oneof({ weight: 30, arbitrary: value }, { weight: 1, arbitrary: large });
const systemMeta = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.constantFrom(int(0), int(1)), fc.double({ min: 0, max: 2e9, noNaN: true }), hashable)
      .map(([type, time, owner]) => make('NameSpaceSystemMeta', type, { t: 'float', v: String(time) }, owner)),
  },
  { weight: 1, arbitrary: fc.oneof(noName, value) },
);

interface Method {
  readonly method: string;
  readonly weight: number;
  readonly args: readonly fc.Arbitrary<Source>[];
  /** The parameters' names, for calls with keywords. */
  readonly parameters: readonly string[];
}
const METHODS: readonly Method[] = [
  { method: 'ping', weight: 1, args: [], parameters: [] },
  { method: 'register', weight: 14, args: [name, uri], parameters: ['name', 'URI'] },
  { method: 'unregister', weight: 6, args: [name], parameters: ['name'] },
  { method: 'resolve', weight: 10, args: [name], parameters: ['name'] },
  { method: 'list', weight: 8, args: [name], parameters: ['groupname'] },
  { method: 'flatlist', weight: 2, args: [], parameters: [] },
  { method: 'createGroup', weight: 10, args: [name], parameters: ['groupname'] },
  { method: 'deleteGroup', weight: 3, args: [name], parameters: ['groupname'] },
  { method: 'setMeta', weight: 12, args: [name, meta], parameters: ['name', 'meta'] },
  { method: 'getMeta', weight: 8, args: [name], parameters: ['name'] },
  { method: '_setSystemMeta', weight: 3, args: [name, systemMeta], parameters: ['name', 'meta'] },
  { method: '_getSystemMeta', weight: 3, args: [name], parameters: ['name'] },
  { method: 'resync', weight: 1, args: [], parameters: [] },
  { method: '_shutdown', weight: 1, args: [], parameters: [] },
];

const UNKNOWN_METHODS = ['nonsense', '', 'fullName', 'GUID', 'validateName', '_dosynccall', 'constructor'];
const ATTRIBUTES = [...METHODS.map(({ method }) => method), ...UNKNOWN_METHODS, 'role', 'ignoreShutdown', '_r_ga'];
const wire = fc.record({
  format: fc.constantFrom(2, 2, 2, 1, 0),
  checksum: fc.constantFrom(0, 0, 1),
  compression: fc.constantFrom(0, 0, 1),
});
const style = fc.constantFrom<Style>('proxy', 'dynamic', 'attributes', 'raw');

const goodCall = fc.oneof(
  ...METHODS.map(({ method, weight, args }) => ({
    weight,
    arbitrary: fc.record({ style, method: fc.constant(method), args: fc.tuple(...args), wire }),
  })),
);
const callWithKeywords = fc
  .constantFrom(...METHODS.filter(({ parameters }) => parameters.length > 0))
  .chain(({ method, args, parameters }) =>
    fc.record({
      style: fc.constantFrom<Style>('dynamic', 'attributes'),
      method: fc.constant(method),
      args: fc.constant<Source[]>([]),
      keywords: fc
        .tuple(fc.tuple(...args), fc.constantFrom('', '', '', 'other'))
        .map(([values, prefix]) =>
          Object.fromEntries(parameters.map((parameter, index) => [prefix + parameter, values[index] ?? none])),
        ),
      wire,
    }),
  );
const callOfWrongArguments = fc.record({
  style: fc.constantFrom<Style>('dynamic', 'raw'),
  method: fc.constantFrom(...METHODS.map(({ method }) => method)),
  args: fc.array(fc.oneof(name, uri, value), { maxLength: 3 }),
  wire,
});
const callOfUnknownMethod = fc.record({
  style: fc.constantFrom<Style>('dynamic', 'raw'),
  method: fc.constantFrom(...UNKNOWN_METHODS),
  args: fc.constant<Source[]>([]),
  wire,
});
const questionOfAttribute = fc.record({
  style: fc.constantFrom<Style>('dynamic', 'raw'),
  method: fc.constant('_r_ha'),
  args: fc.tuple(fc.oneof(fc.constantFrom(...ATTRIBUTES).map(str), noName)),
  wire,
});
const callOfDaemon = fc.record({
  style: fc.constant<Style>('raw'),
  object: fc.constantFrom('c0000000011000001000000010000001', 'c0000000011000001000000010000001', 'unknown', ''),
  method: fc.constantFrom('ResolvePYROLOC', 'getRegistered', 'nonsense'),
  args: fc.oneof(
    fc.constant<Source[]>([]),
    fc.constantFrom(':Pyro.NameServer', ':a', '__PYRO_Internal_Daemon', '').map((id) => [str(id)]),
  ),
  wire,
});

/** Any operation, good ones most often. */
export const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 40, arbitrary: goodCall },
  { weight: 4, arbitrary: callWithKeywords },
  { weight: 2, arbitrary: callOfWrongArguments },
  { weight: 1, arbitrary: callOfUnknownMethod },
  { weight: 1, arbitrary: questionOfAttribute },
  { weight: 1, arbitrary: callOfDaemon },
);

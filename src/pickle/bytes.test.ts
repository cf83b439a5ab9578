/**
 * The exact bytes of a pickle at every bound where its form changes, and the limits of reading at the bound and one
 * beyond. The property tests can't see this: what is written in a longer form than needed is read back as well.
 */
import { describe, expect, test } from '@jest/globals';
import {
  DEFAULT_PICKLE_LIMITS,
  dumps,
  loads,
  PickleError,
  PickleWriter,
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonUnicode,
  tuple,
} from './index.js';
import type { PickleLimits, PickleReadOptions, PlainOpcode, PythonValue, PythonWritable } from './index.js';
import { Opcode, opcodeName } from './opcodes.js';

const PROTOCOLS = [0, 1, 2] as const;
type Protocol = (typeof PROTOCOLS)[number];

/** The opcodes of a value, one character per byte: without PROTO and STOP. */
const opcodesOf = (value: PythonWritable, protocol: Protocol): string => {
  const pickle = dumps(value, { protocol }).toString('latin1');
  expect(pickle.endsWith('.')).toBe(true);
  expect(pickle.startsWith('\x80\x02')).toBe(protocol === 2);
  return pickle.slice(protocol === 2 ? 2 : 0, -1);
};

const read = (opcodes: string, options?: PickleReadOptions): PythonValue =>
  loads(Buffer.from(opcodes, 'latin1'), options);

const errorOf = (action: () => unknown): unknown => {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('what is written, byte for byte', () => {
  const cls = new PythonClass('m', 'c');
  const instanceOf = (construction: 'reduce' | 'newobj' | 'obj', ...args: PythonValue[]): PythonInstance =>
    new PythonInstance(construction, cls, tuple(...args), 1);

  test.each<[string, PythonWritable, string, string, string]>([
    ['None', null, 'N', 'N', 'N'],
    ['True', true, 'I01\n', 'I01\n', '\x88'],
    ['False', false, 'I00\n', 'I00\n', '\x89'],
    ['0', 0, 'I0\n', 'K\0', 'K\0'],
    ['255', 255, 'I255\n', 'K\xff', 'K\xff'],
    ['256', 256, 'I256\n', 'M\0\x01', 'M\0\x01'],
    ['0xffff', 0xffff, 'I65535\n', 'M\xff\xff', 'M\xff\xff'],
    ['0x10000', 0x10000, 'I65536\n', 'J\0\0\x01\0', 'J\0\0\x01\0'],
    ['-1', -1, 'I-1\n', 'J\xff\xff\xff\xff', 'J\xff\xff\xff\xff'],
    ['2 ** 31 - 1', 2 ** 31 - 1, 'I2147483647\n', 'J\xff\xff\xff\x7f', 'J\xff\xff\xff\x7f'],
    ['2 ** 31', 2 ** 31, 'I2147483648\n', 'I2147483648\n', 'I2147483648\n'],
    ['-(2 ** 31)', -(2 ** 31), 'I-2147483648\n', 'J\0\0\0\x80', 'J\0\0\0\x80'],
    ['-(2 ** 31) - 1', -(2 ** 31) - 1, 'I-2147483649\n', 'I-2147483649\n', 'I-2147483649\n'],
    ['an int of 64 bits', new PythonInteger(2n ** 63n - 1n), ...same('I9223372036854775807\n')],
    ['0L', 0n, 'L0L\n', 'L0L\n', '\x8a\0'],
    ['127L', 127n, 'L127L\n', 'L127L\n', '\x8a\x01\x7f'],
    ['128L', 128n, 'L128L\n', 'L128L\n', '\x8a\x02\x80\0'],
    ['-128L', -128n, 'L-128L\n', 'L-128L\n', '\x8a\x01\x80'],
    ['-129L', -129n, 'L-129L\n', 'L-129L\n', '\x8a\x02\x7f\xff'],
    ['32767L', 32_767n, 'L32767L\n', 'L32767L\n', '\x8a\x02\xff\x7f'],
    ['32768L', 32_768n, 'L32768L\n', 'L32768L\n', '\x8a\x03\0\x80\0'],
    ['2.0', new PythonFloat(2), 'F2.0\n', 'G@\0\0\0\0\0\0\0', 'G@\0\0\0\0\0\0\0'],
    ['0.5', 0.5, 'F0.5\n', 'G?\xe0\0\0\0\0\0\0', 'G?\xe0\0\0\0\0\0\0'],
    ['-0.0', -0, 'F-0.0\n', 'G\x80\0\0\0\0\0\0\0', 'G\x80\0\0\0\0\0\0\0'],
    ['infinity', Infinity, 'Finf\n', 'G\x7f\xf0\0\0\0\0\0\0', 'G\x7f\xf0\0\0\0\0\0\0'],
    ['minus infinity', -Infinity, 'F-inf\n', 'G\xff\xf0\0\0\0\0\0\0', 'G\xff\xf0\0\0\0\0\0\0'],
    ['NaN', NaN, 'Fnan\n', 'G\x7f\xf8\0\0\0\0\0\0', 'G\x7f\xf8\0\0\0\0\0\0'],
    ['a str', 'ab', "S'ab'\n", 'U\x02ab', 'U\x02ab'],
    ['a str in double quotes', "it's", 'S"it\'s"\n', "U\x04it's", "U\x04it's"],
    ['a str of both quotes', '\'"', "S'\\'\"'\n", 'U\x02\'"', 'U\x02\'"'],
    ['a str to escape', '\\\n\r\t\0\x1f\x7f ~', ...escaped()],
    ['bytes', Uint8Array.of(0x80, 0xff), "S'\\x80\\xff'\n", 'U\x02\x80\xff', 'U\x02\x80\xff'],
    ['unicode', '\u20ac', 'V\\u20ac\n', 'X\x03\0\0\0\xe2\x82\xac', 'X\x03\0\0\0\xe2\x82\xac'],
    ['unicode of one byte', '\x80', 'V\x80\n', 'X\x02\0\0\0\xc2\x80', 'X\x02\0\0\0\xc2\x80'],
    ['unicode beyond 16 bits', '\u{1f600}', 'V\\U0001f600\n', ...twice('X\x04\0\0\0\xf0\x9f\x98\x80')],
    ['the last of 16 bits', '\uffff', 'V\\uffff\n', ...twice('X\x03\0\0\0\xef\xbf\xbf')],
    ['the first beyond 16 bits', '\u{10000}', 'V\\U00010000\n', ...twice('X\x04\0\0\0\xf0\x90\x80\x80')],
    [
      'a lone surrogate',
      '\u{1f600}\ud800',
      'V\\U0001f600\\ud800\n',
      ...twice('X\x07\0\0\0\xf0\x9f\x98\x80\xed\xa0\x80'),
    ],
    ['unicode of ASCII', new PythonUnicode('a\\\n'), 'Va\\u005c\\u000a\n', ...twice('X\x03\0\0\0a\\\n')],
    ['()', tuple(), '(t', ')', ')'],
    ['(1,)', tuple(1), '(I1\ntp0\n', '(K\x01tq\0', 'K\x01\x85q\0'],
    ['(1, 2)', tuple(1, 2), '(I1\nI2\ntp0\n', '(K\x01K\x02tq\0', 'K\x01K\x02\x86q\0'],
    ['(1, 2, 3)', tuple(1, 2, 3), '(I1\nI2\nI3\ntp0\n', '(K\x01K\x02K\x03tq\0', 'K\x01K\x02K\x03\x87q\0'],
    ['of four', tuple(1, 2, 3, 4), '(I1\nI2\nI3\nI4\ntp0\n', ...twice('(K\x01K\x02K\x03K\x04tq\0')],
    ['[]', [], '(lp0\n', ']q\0', ']q\0'],
    ['[1]', [1], '(lp0\nI1\na', ']q\0K\x01a', ']q\0K\x01a'],
    ['[1, 2]', [1, 2], '(lp0\nI1\naI2\na', ']q\0(K\x01K\x02e', ']q\0(K\x01K\x02e'],
    ['{}', new Map(), '(dp0\n', '}q\0', '}q\0'],
    ['{1: 2}', new Map([[1, 2]]), '(dp0\nI1\nI2\ns', '}q\0K\x01K\x02s', '}q\0K\x01K\x02s'],
    ['a plain object', { a: 1, b: 2 }, "(dp0\nS'a'\nI1\nsS'b'\nI2\ns", ...twice('}q\0(U\x01aK\x01U\x01bK\x02u')],
    ['a class', cls, 'cm\nc\np0\n', 'cm\nc\nq\0', 'cm\nc\nq\0'],
    ['a set', new Set([1]), 'c__builtin__\nset\np0\n((lp1\nI1\natp2\nRp3\n', ...setOfOne()],
    ['a persistent id', new PythonPersistentID('x'), 'Px\np0\n', 'U\x01xQq\0', 'U\x01xQq\0'],
    ['a persistent id of bytes', new PythonPersistentID('\n'), "S'\\n'\nQp0\n", 'U\x01\nQq\0', 'U\x01\nQq\0'],
    ['REDUCE', instanceOf('reduce'), 'cm\nc\np0\n(tRp1\nI1\nb', ...twice('cm\nc\nq\0)Rq\x01K\x01b')],
    ['OBJ', instanceOf('obj', 2), '(I2\nim\nc\np0\nI1\nb', ...twice('(cm\nc\nq\0K\x02oq\x01K\x01b')],
    [
      'NEWOBJ',
      instanceOf('newobj'),
      'ccopy_reg\n__newobj__\np0\n(cm\nc\np1\ntp2\nRp3\nI1\nb',
      'ccopy_reg\n__newobj__\nq\0(cm\nc\nq\x01tq\x02Rq\x03K\x01b',
      'cm\nc\nq\0)\x81q\x01K\x01b',
    ],
    ['extension 1', new PythonExtension(1), ...same('\x82\x01')],
    ['extension 255', new PythonExtension(255), ...same('\x82\xff')],
    ['extension 256', new PythonExtension(256), ...same('\x83\0\x01')],
    ['extension 65535', new PythonExtension(65_535), ...same('\x83\xff\xff')],
    ['extension 65536', new PythonExtension(65_536), ...same('\x84\0\0\x01\0')],
    ['the last extension', new PythonExtension(2 ** 31 - 1), ...same('\x84\xff\xff\xff\x7f')],
  ])('%s', (_, value, ...opcodes) => {
    expect(PROTOCOLS.map((protocol) => opcodesOf(value, protocol))).toEqual(opcodes);
  });

  function twice(opcodes: string): [string, string] {
    return [opcodes, opcodes];
  }
  function same(opcodes: string): [string, string, string] {
    return [opcodes, opcodes, opcodes];
  }
  function escaped(): [string, string, string] {
    return ["S'\\\\\\n\\r\\t\\x00\\x1f\\x7f ~'\n", ...twice('U\x09\\\n\r\t\0\x1f\x7f ~')];
  }
  function setOfOne(): [string, string] {
    return ['c__builtin__\nset\nq\0(]q\x01K\x01atq\x02Rq\x03', 'c__builtin__\nset\nq\0]q\x01K\x01a\x85q\x02Rq\x03'];
  }

  test('a long has one byte of length up to 255 bytes, and four beyond', () => {
    expect(opcodesOf(2n ** 2039n - 1n, 2).slice(0, 3)).toBe('\x8a\xff\xff');
    expect(opcodesOf(2n ** 2039n, 2).slice(0, 6)).toBe('\x8b\0\x01\0\0\0');
    expect(opcodesOf(-(2n ** 2039n), 2).slice(0, 3)).toBe('\x8a\xff\0');
    expect(opcodesOf(-(2n ** 2039n) - 1n, 2).slice(0, 6)).toBe('\x8b\0\x01\0\0\xff');
  });

  test.each([1, 2] as const)(
    'a str has one byte of length up to 255 bytes, and four beyond, protocol %d',
    (protocol) => {
      for (const value of ['x'.repeat(255), new Uint8Array(255).fill(0xff)]) {
        expect(opcodesOf(value, protocol).slice(0, 2)).toBe('U\xff');
        expect(opcodesOf(value, protocol).slice(-2)).toBe('q\0');
      }
      for (const value of ['x'.repeat(256), new Uint8Array(256).fill(0xff)]) {
        expect(opcodesOf(value, protocol).slice(0, 5)).toBe('T\0\x01\0\0');
      }
      expect(opcodesOf('x'.repeat(65_536), protocol).slice(0, 5)).toBe('T\0\0\x01\0');
    },
  );

  test.each([
    [0, 'p255\n', 'g255\n', 'p256\n', 'g256\n'],
    [1, 'q\xff', 'h\xff', 'r\0\x01\0\0', 'j\0\x01\0\0'],
    [2, 'q\xff', 'h\xff', 'r\0\x01\0\0', 'j\0\x01\0\0'],
  ] as const)(
    'memo entry 255 has one byte and 256 has four, protocol %d',
    (protocol, put255, get255, put256, get256) => {
      // The outer list is entry 0, so the list at index n is entry n + 1.
      const lists = Array.from({ length: 256 }, (): PythonValue[] => []);
      const pickle = opcodesOf([...lists, lists[254] ?? null, lists[255] ?? null], protocol);
      const list = protocol === 0 ? '(l' : ']';
      const end = protocol === 0 ? 'a' : '';
      const last = protocol === 0 ? 'a' : 'e';
      expect(pickle.endsWith(`${list}${put255}${end}${list}${put256}${end}${get255}${end}${get256}${last}`)).toBe(true);
    },
  );

  test('memo entries 65,535 and 65,536 have four bytes', () => {
    const lists = Array.from({ length: 65_536 }, (): PythonValue[] => []);
    const shared = lists.slice(-2);
    const pickle = opcodesOf([lists.slice(0, -2), ...lists.slice(-2), ...shared], 2);
    const entries = ['\0\0\x01\0', '\x01\0\x01\0'];
    expect(
      pickle.endsWith(`${entries.map((index) => `]r${index}`).join('')}${entries.map((i) => `j${i}`).join('')}e`),
    ).toBe(true);
  });

  test('a str or unicode is remembered from 64 characters on', () => {
    for (const [value, again] of [
      ['x'.repeat(63), undefined],
      ['x'.repeat(64), 'h\x01'],
      ['\u20ac'.repeat(63), undefined],
      ['\u20ac'.repeat(64), 'h\x01'],
    ] as const) {
      const once = opcodesOf(value, 2).replace(/q\0$/, '');
      expect(opcodesOf([value, value], 2)).toBe(`]q\0(${again ? `${once}q\x01${again}` : once + once}e`);
    }
    for (const [length, isShared] of [
      [63, false],
      [64, true],
    ] as const) {
      for (const value of [new Uint8Array(length).fill(255), new PythonUnicode('x'.repeat(length))]) {
        expect(opcodesOf([value, value], 2).endsWith('q\x01h\x01e')).toBe(isShared);
      }
    }
  });

  test('items and entries come in batches of a thousand', () => {
    const batch = (count: number, open: string): string => `${open}${'N'.repeat(count)}`;
    const items = (length: number): null[] => Array.from({ length }, () => null);
    const pieceOf = (value: number): string => new PickleWriter().write(value).finish().toString('latin1');
    expect(opcodesOf(items(1000), 2)).toBe(`]q\0${batch(1000, '(')}e`);
    expect(opcodesOf(items(1001), 2)).toBe(`]q\0${batch(1000, '(')}eNa`);
    expect(opcodesOf(items(1002), 2)).toBe(`]q\0${batch(1000, '(')}e(NNe`);
    const entries = (length: number): Map<number, null> => new Map(items(length).map((_, index) => [index, null]));
    const keys = (from: number, to: number): string =>
      Array.from({ length: to - from }, (_, index) => `${pieceOf(from + index)}N`).join('');
    expect(opcodesOf(entries(1000), 2)).toBe(`}q\0(${keys(0, 1000)}u`);
    expect(opcodesOf(entries(1002), 2)).toBe(`}q\0(${keys(0, 1000)}u(${keys(1000, 1002)}u`);
  });

  test('a cyclic tuple throws its parts away and refers to itself', () => {
    const cyclic = (...more: PythonValue[]): PythonValue => {
      const list: PythonValue[] = [];
      const whole = tuple(list, ...more);
      list.push(whole);
      return whole;
    };
    expect(opcodesOf(cyclic(), 0)).toBe('((lp0\n(g0\ntp1\na00g1\n');
    expect(opcodesOf(cyclic(), 1)).toBe('(]q\0(h\0tq\x01a1h\x01');
    expect(opcodesOf(cyclic(), 2)).toBe(']q\0h\0\x85q\x01a0h\x01');
    expect(opcodesOf(cyclic(null, null), 2)).toBe(']q\0h\0NN\x87q\x01aNN000h\x01');
  });

  test.each<[PlainOpcode, string]>([
    ['APPENDS', 'e'],
    ['BUILD', 'b'],
    ['EMPTY_DICT', '}'],
    ['EMPTY_LIST', ']'],
    ['EMPTY_TUPLE', ')'],
    ['MARK', '('],
    ['NEWOBJ', '\x81'],
    ['REDUCE', 'R'],
    ['SETITEMS', 'u'],
    ['TUPLE', 't'],
    ['TUPLE1', '\x85'],
    ['TUPLE2', '\x86'],
    ['TUPLE3', '\x87'],
  ])('opcode %s is %j, in a piece without PROTO and STOP', (name, opcode) => {
    expect(new PickleWriter().opcode(name).finish().toString('latin1')).toBe(opcode);
  });

  test('an opcode has the name that Python gives it', () => {
    for (const [name, code] of Object.entries(Opcode)) expect(opcodeName(code)).toBe(name);
    expect(opcodeName(5)).toBe('opcode 0x05');
    expect(opcodeName(0xff)).toBe('opcode 0xff');
  });
});

describe('each limit, at the bound and one beyond', () => {
  const line = (length: number): string => '1'.repeat(length);

  test.each<[keyof PickleLimits, number, string, string]>([
    ['depth', 0, 'N.', ').'],
    ['depth', 0, 'N.', '].'],
    ['depth', 1, '].', ']]a.'],
    ['depth', 2, '))\x86.', '))\x85\x86.'],
    ['objects', 1, '].', ']0].'],
    ['opcodes', 2, 'N.', 'N0N.'],
    ['stack', 2, 'NN.', 'NNN.'],
    ['stack', 1, '(0N.', '((00N.'],
    ['memo', 1, 'Nq\0.', 'Nq\0q\x01.'],
    ['stringBytes', 3, 'U\x03abc.', 'U\x04abcd.'],
    ['stringBytes', 3, 'X\x03\0\0\0abc.', 'X\x04\0\0\0abcd.'],
    ['stringBytes', 3, 'T\x03\0\0\0abc.', 'T\x04\0\0\0abcd.'],
    ['stringBytes', 3, "S'a'\n.", "S'ab'\n."],
    ['stringBytes', 3, 'Vabc\n.', 'Vabcd\n.'],
    ['stringBytes', 3, 'Pabc\n.', 'Pabcd\n.'],
    ['longDigits', 3, 'L123L\n.', 'L1234L\n.'],
    ['longDigits', 3, 'I123\n.', 'I1234\n.'],
    ['longDigits', 3, '\x8a\x01a.', '\x8a\x02aa.'],
    ['longDigits', 3, '\x8b\x01\0\0\0a.', '\x8b\x02\0\0\0aa.'],
  ])('%s of %d: %j is read, %j is not', (name, limit, within, beyond) => {
    expect(errorOf(() => read(within, { [name]: limit }))).toBeUndefined();
    const error = errorOf(() => read(beyond, { [name]: limit }));
    expect(error).toBeInstanceOf(PickleError);
    expect(error).toMatchObject({
      message: expect.stringMatching(new RegExp(`: more than the limit of ${limit} \\(${name}\\)$`)),
    });
  });

  test.each<[string, (levels: number) => string]>([
    ['tuples', (levels) => `)${'\x85'.repeat(levels - 1)}.`],
    ['lists', (levels) => `${']'.repeat(levels)}${'a'.repeat(levels - 1)}.`],
    ['dicts', (levels) => `}${'N}'.repeat(levels - 1)}${'s'.repeat(levels - 1)}.`],
    ['persistent ids', (levels) => `N${'Q'.repeat(levels)}.`],
    ['sets', (levels) => `${'c__builtin__\nset\n]'.repeat(levels)}${'\x85Ra'.repeat(levels).slice(0, -1)}.`],
    // An instance and its arguments are two levels, and one object. The empty tuple within them is a level and none.
    ['old-style instances', (levels) => `${'('.repeat(levels / 2)}${'im\nc\n'.repeat(levels / 2)}.`],
    ['an empty tuple in such', (levels) => `${'('.repeat((levels - 1) / 2)})${'im\nc\n'.repeat((levels - 1) / 2)}.`],
    ['callables', (levels) => `N${')R'.repeat(levels - 1)}.`],
  ])('depth, with as few objects as make it: %s', (kind, pickle) => {
    const isOdd = kind === 'an empty tuple in such';
    for (const depth of isOdd ? [3, 5, 11, 51] : [2, 4, 10, 50]) {
      expect(errorOf(() => read(pickle(depth), { depth }))).toBeUndefined();
      expect(errorOf(() => read(pickle(depth), { depth: depth - 1 }))).toMatchObject({
        message: expect.stringMatching(
          new RegExp(`^invalid pickle: STOP at byte \\d+: more than the limit of ${depth - 1} \\(depth\\)$`),
        ),
      });
    }
  });

  test('those that are not given are the defaults, and opcodes ten times the objects', () => {
    expect(DEFAULT_PICKLE_LIMITS).toEqual({
      depth: 500,
      objects: 5_000_000,
      opcodes: 50_000_000,
      stack: 10_000_000,
      memo: 10_000_000,
      stringBytes: 268_435_456,
      longDigits: 20_000,
    });
    expect(errorOf(() => read('N0'.repeat(5).slice(0, -1) + '.', { objects: 1 }))).toBeUndefined();
    expect(errorOf(() => read(`${'N0'.repeat(5)}N.`, { objects: 1 }))).toEqual(
      new PickleError('invalid pickle: NONE at byte 10: more than the limit of 10 (opcodes)'),
    );
    expect(errorOf(() => read(`L${line(20_000)}\n.`))).toBeUndefined();
    expect(errorOf(() => read(`L${line(20_001)}\n.`, { depth: 1 }))).toEqual(
      new PickleError('invalid pickle: LONG at byte 0: more than the limit of 20000 (longDigits)'),
    );
  });
});

describe('what an opcode needs, and does not find', () => {
  const NO_VALUE = 'expected a value on the stack, found none';
  const NO_MARK = 'expected a mark, found none';

  test.each(['0', '2', 'q\0', 'r\0\0\0\0', 'p0\n', 'a', 's', 'R', '\x81', 'b', 'Q', '\x85', '\x86', '\x87', '.'])(
    '%j: a value',
    (opcode) => {
      const name = opcodeName(opcode.charCodeAt(0));
      // POP takes the mark away where that is what is topmost.
      for (const before of opcode === '0' ? ['', 'N0'] : ['', 'N0', 'N(']) {
        expect(errorOf(() => read(`${before}${opcode}.`))).toEqual(
          new PickleError(`invalid pickle: ${name} at byte ${before.length}: ${NO_VALUE}`),
        );
      }
    },
  );

  test.each(['1', 't', 'l', 'd', 'e', 'u', 'o', 'im\nc\n'])('%j: a mark', (opcode) => {
    const name = opcodeName(opcode.charCodeAt(0));
    for (const before of ['', 'N', '(0N', '(1']) {
      expect(errorOf(() => read(`${before}${opcode}.`))).toEqual(
        new PickleError(`invalid pickle: ${name} at byte ${before.length}: ${NO_MARK}`),
      );
    }
  });

  test.each([
    ['K', 1],
    ['M', 2],
    ['J', 4],
    ['G', 8],
    ['h', 1],
    ['j', 4],
    ['\x80', 1],
    ['\x82', 1],
    ['\x83', 2],
    ['\x84', 4],
    ['\x8a', 1],
    ['\x8b', 4],
    ['U', 1],
    ['T', 4],
    ['X', 4],
  ])('%j: an argument of %d bytes', (opcode, length) => {
    const name = opcodeName(opcode.charCodeAt(0));
    for (let there = 0; there < length; there++) {
      expect(errorOf(() => read(`${opcode}${'\0'.repeat(there)}`))).toEqual(
        new PickleError(`invalid pickle: ${name} at byte 0: the pickle ends within it`),
      );
    }
  });

  test.each(['I1', 'L1', 'F1', "S'a'", 'Va', 'Pa', 'g0', 'Np0', 'cm', 'cm\nc', '(im', '(im\nc'])(
    '%j: the end of the line',
    (opcodes) => {
      expect(errorOf(() => read(opcodes))).toMatchObject({
        message: expect.stringMatching(/^invalid pickle: [A-Z]+ at byte [01]: the pickle ends within it$/),
      });
    },
  );

  test.each([
    ['g1\n.', 'GET'],
    ['h\x01.', 'BINGET'],
    ['j\0\x01\0\0.', 'LONG_BINGET'],
  ])('%j: an entry of the memo', (opcodes, name) => {
    expect(errorOf(() => read(opcodes))).toMatchObject({
      message: expect.stringMatching(new RegExp(`^invalid pickle: ${name} at byte 0: nothing was memoized as \\d+$`)),
    });
  });

  test.each(['g1000000000000000\n', 'g\n', 'g 1\n', 'g1x\n', 'g-1\n'])('%j: the number of a memo entry', (opcodes) => {
    expect(errorOf(() => read(`${opcodes}.`))).toEqual(
      new PickleError('invalid pickle: GET at byte 0: expected the number of a memo entry'),
    );
  });
});

describe('the memo', () => {
  test.each([0, 1, 254, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1])('has entry %d, by each opcode', (index) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(index);
    const long = bytes.toString('latin1');
    expect(read(`K\x07p${index}\n0j${long}.`)).toBe(7);
    expect(read(`K\x07r${long}0g${index}\n.`)).toBe(7);
  });

  test.each([0, 1, 254, 255])('has entry %d, by the opcodes with one byte', (index) => {
    const byte = String.fromCharCode(index);
    expect(read(`K\x07q${byte}0h${byte}.`)).toBe(7);
    expect(read(`K\x07q${byte}0g${index}\n.`)).toBe(7);
  });

  test('keeps what was put last', () => {
    expect(read('K\x01q\x000K\x02q\x000h\0.')).toBe(2);
    expect(read('K\x01q\x090K\x02q\x090h\x09.')).toBe(2);
  });
});

describe('numbers are read at their bounds', () => {
  test.each<[string, PythonValue]>([
    ['J\xff\xff\xff\x7f.', 2 ** 31 - 1],
    ['J\0\0\0\x80.', -(2 ** 31)],
    ['J\xff\xff\xff\xff.', -1],
    ['M\xff\xff.', 65_535],
    ['K\xff.', 255],
    ['I9007199254740991\n.', 2 ** 53 - 1],
    ['I9007199254740992\n.', new PythonInteger(2n ** 53n)],
    ['I9223372036854775807\n.', new PythonInteger(2n ** 63n - 1n)],
    ['I9223372036854775808\n.', 2n ** 63n],
    ['I-9223372036854775808\n.', new PythonInteger(-(2n ** 63n))],
    ['I-9223372036854775809\n.', -(2n ** 63n) - 1n],
    ['\x8a\0.', 0n],
    ['\x8a\x01\x7f.', 127n],
    ['\x8a\x01\x80.', -128n],
    ['\x8a\x02\x80\0.', 128n],
    ['\x8a\x02\x01\0.', 1n],
    ['F 1.5 \n.', 1.5],
    ['F-inf\n.', -Infinity],
    ['F+inf\n.', Infinity],
    ['Finfinity\n.', Infinity],
    ['F-nan\n.', NaN],
    ['F-0.0\n.', -0],
    ['F1E+2\n.', new PythonFloat(100)],
    ['F1e-2\n.', 0.01],
    ['F12.25\n.', 12.25],
  ])('%j', (opcodes, value) => {
    expect(read(opcodes)).toStrictEqual(value);
  });
});

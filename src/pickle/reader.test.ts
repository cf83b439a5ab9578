import { setImmediate as othersRan } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import {
  DEFAULT_PICKLE_LIMITS,
  dumps,
  loads,
  PickleError,
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonPersistentID,
  PythonUnicode,
  tuple,
} from './index.js';
import type { PickleReadOptions, PythonValue } from './index.js';

/** Reads opcodes as Python's pickletools shows them, one character per byte. */
const read = (opcodes: string, options?: PickleReadOptions): PythonValue =>
  loads(Buffer.from(opcodes, 'latin1'), options);

/** A str of bytes, one character per byte: of many, text is compared faster than they. */
const latin1Of = (value: PythonValue): string | undefined =>
  value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : undefined;

const messageOf = (opcodes: string, options?: PickleReadOptions): string => {
  try {
    read(opcodes, options);
  } catch (error) {
    if (error instanceof PickleError) return error.message;
    throw error;
  }
  return 'no error';
};

test('an error of a pickle shows its name', () => {
  expect(String(new PickleError('what is wrong'))).toBe('PickleError: what is wrong');
});

describe('where the pickle is', () => {
  const pickle = Buffer.from('xxI1\n.I2\n.', 'latin1');

  test('begins at the offset and ends at its STOP', () => {
    expect(loads(pickle, { offset: 2 })).toBe(1);
    expect(loads(pickle, { offset: 6 })).toBe(2);
  });

  test('may be any Uint8Array, also a part of a larger one', () => {
    const larger = Uint8Array.from(pickle);
    expect(loads(larger.subarray(2))).toBe(1);
  });

  test('large strings of bytes may be views of it, small ones never are', () => {
    for (const [length, isView] of [
      [70_000, true],
      [1000, false],
    ] as const) {
      const header = Buffer.from('T\0\0\0\0');
      header.writeUInt32LE(length, 1);
      const input = Buffer.concat([header, Buffer.alloc(length, 0xe9), Buffer.from('.')]);
      const value = loads(input, { views: true });
      expect(latin1Of(value)).toBe('\xe9'.repeat(length));
      input.fill(0x80);
      expect(latin1Of(value)).toBe((isView ? '\x80' : '\xe9').repeat(length));
    }
  });

  test('views begin at 65,536 bytes, and only where they were asked for', () => {
    for (const [length, options, isView] of [
      [65_536, { views: true }, true],
      [65_535, { views: true }, false],
      [65_536, { views: false }, false],
      [65_536, {}, false],
      [65_536, undefined, false],
    ] as const) {
      const header = Buffer.from('xxxT\0\0\0\0');
      header.writeUInt32LE(length, 4);
      const input = Buffer.concat([header, Buffer.of(0xe9, 0xea), Buffer.alloc(length - 2, 0xeb), Buffer.from('.')]);
      const value = loads(input.subarray(3), options);
      const expected = Buffer.from(input.subarray(8, 8 + length)).toString('latin1');
      expect(latin1Of(value)).toBe(expected);
      input[8] = 0x80;
      expect(latin1Of(value)).toBe(isView ? `\x80${expected.slice(1)}` : expected);
    }
  });

  test('an offset at the end or beyond is no pickle', () => {
    for (const offset of [9, 10, 1000]) {
      expect(messageOf('xxI1\n.I2\n', { offset })).toBe('invalid pickle: it ends at byte 9 without STOP');
    }
  });

  test.each([0, 1, 2])('may say that it is of protocol %d', (protocol) => {
    expect(read(`\x80${String.fromCharCode(protocol)}K\x07.`)).toBe(7);
  });

  test('bytes that are read do not follow the input', () => {
    const input = Buffer.from('U\x01\xe9.', 'latin1');
    const value = loads(input);
    input.fill(0);
    expect(value).toEqual(Uint8Array.of(0xe9));
  });
});

describe('text', () => {
  test.each([
    ["S'a\\x41\\101\\7\\'\\\"\\\\\\a\\b\\f\\n\\r\\t\\v'\n.", 'aAA\x07\'"\\\x07\b\f\n\r\t\v'],
    ['S"it\'s"\n.', "it's"],
    ["S'un\\known \\8'\n.", 'un\\known \\8'],
    ["S'\\1234'\n.", 'S4'],
    ['V\\u0041\\\\u0041\\\\\\u0041\n.', new PythonUnicode('A\\\\u0041\\\\A')],
    ['V\\U0001f600\xe9\\ud800\n.', '\u{1f600}\xe9\ud800'],
    ['X\x03\0\0\0\xed\xa0\x80.', '\ud800'],
    ['X\x06\0\0\0\xf0\x9f\x98\x80\xc3\xa9.', '\u{1f600}\xe9'],
    ['X\x07\0\0\0\xf0\x9f\x98\x80\xed\xb0\x80.', '\u{1f600}\udc00'],
  ])('%j', (opcodes, value) => {
    expect(read(opcodes)).toEqual(value);
  });

  test.each(["S'a\n.", 'S\n.', "S'\n.", 'Sa\n.', 'S\'a"\n.', "S'\\x4'\n.", "S'\\x4g'\n.", "S'\\'\n.", "S'\\\\\\'\n."])(
    '%j is no str',
    (opcodes) => {
      expect(messageOf(opcodes)).toBe('invalid pickle: STRING at byte 0: expected a quoted string with valid escapes');
    },
  );

  test.each(['V\\u004\n.', 'V\\u004g\n.', 'V\\U0011ffff\n.', 'V\\u\n.'])('%j is no unicode', (opcodes) => {
    expect(messageOf(opcodes)).toBe('invalid pickle: UNICODE at byte 0: expected text with valid escapes');
  });

  test.each([
    '\x80',
    '\xc3',
    '\xc0\x80',
    '\xe0\x80\x80',
    '\xf0\x80\x80\x80',
    '\xf4\x90\x80\x80',
    '\xf5\x80\x80\x80',
    '\xff',
  ])('%j is no UTF-8, alone and beside a surrogate', (bytes) => {
    const message = 'invalid pickle: BINUNICODE at byte 0: expected text in UTF-8';
    expect(messageOf(`X${String.fromCharCode(bytes.length)}\0\0\0${bytes}.`)).toBe(message);
    expect(messageOf(`X${String.fromCharCode(bytes.length + 3)}\0\0\0\xed\xb0\x80${bytes}.`)).toBe(message);
  });

  test.each([1, 2, 32, 63, 64, 65, 255, 256, 257, 70_000])('of %i bytes, ASCII and not', (length) => {
    const header = Buffer.from('T\0\0\0\0');
    header.writeUInt32LE(length, 1);
    const ascii = Buffer.alloc(length, 'abc');
    expect(loads(Buffer.concat([header, ascii, Buffer.from('.')]))).toBe(ascii.toString());
    for (const position of [0, length >> 1, length - 1]) {
      const bytes = Buffer.from(ascii);
      bytes[position] = 0x80;
      expect(latin1Of(loads(Buffer.concat([header, bytes, Buffer.from('.')])))).toBe(bytes.toString('latin1'));
    }
  });

  test('is told apart where its hash is the same', () => {
    for (const text of ['Aa', 'BB', 'AaAa', 'BBBB', 'AaBB', 'Aa', '', 'BB']) {
      expect(read(`U${String.fromCharCode(text.length)}${text}.`)).toBe(text);
    }
  });
});

describe('numbers', () => {
  test.each<[string, PythonValue]>([
    ['I00\n.', false],
    ['I01\n.', true],
    ['I007\n.', 7],
    ['I+7\n.', 7],
    ['I9223372036854775808\n.', 9223372036854775808n],
    ['L7L\n.', 7n],
    ['L-7\n.', -7n],
    ['F1e5\n.', new PythonFloat(100000)],
    ['F-.5\n.', -0.5],
    ['F5.\n.', new PythonFloat(5)],
    ['F-Infinity\n.', -Infinity],
    ['F+nan\n.', NaN],
    ['F.25\n.', 0.25],
    ['F+12.5\n.', 12.5],
    ['F1.25e-10\n.', 1.25e-10],
    ['F5.e+12\n.', new PythonFloat(5e12)],
    ['F15E12\n.', new PythonFloat(15e12)],
    ['FNaN\n.', NaN],
    ['\x8b\x02\0\0\0\x00\x01.', 256n],
  ])('%j', (opcodes, value) => {
    expect(read(opcodes)).toEqual(value);
  });

  const NO_INTEGER = 'expected decimal digits';
  const NO_FLOAT = 'expected a float';
  test.each([
    ...['', '0x1', '1 2', '1.', 'x1', '1x', '-', '--1', ' 1', '\u00b2'].map((digits) => ['INT', digits, NO_INTEGER]),
    ...['', 'L', '1LL', '1L1', '1L1L', 'x1L', '1l', '+-1'].map((digits) => ['LONG', digits, NO_INTEGER]),
    ...['', '.', '1e', '0x1', '1,2', 'x1', '1x', 'e5', '.e5', '1.5.5', '1e5x', '1e5.5', '--1', '1 2'].map((text) => [
      'FLOAT',
      text,
      NO_FLOAT,
    ]),
    ...['xinf', 'infx', 'nanx', 'xnan', 'infini', 'infinityx', '+-inf', 'in'].map((text) => ['FLOAT', text, NO_FLOAT]),
  ])('%s of %j is none', (name, text, problem) => {
    expect(messageOf(`${name.slice(0, 1)}${text}\n.`)).toBe(`invalid pickle: ${name} at byte 0: ${problem}`);
  });

  // Tried in quadratic time, they would take longer than a test may.
  test('long lines that are no float are refused in time linear in their length', async () => {
    const line = `F${'1'.repeat(100_000)}x\n.`;
    for (let count = 0; count < 20; count++) {
      expect(messageOf(line)).toBe('invalid pickle: FLOAT at byte 0: expected a float');
      await othersRan();
    }
  });
});

describe('dicts and sets', () => {
  test('keep the names of prototypes as keys like any other', () => {
    expect(read("(dS'__proto__'\nI1\nsS'constructor'\nI2\ns.")).toEqual(
      new Map([
        ['__proto__', 1],
        ['constructor', 2],
      ]),
    );
  });

  test('keep the keys that a Map would take for the same: NaN twice, 0 and -0.0', () => {
    const pickle = Buffer.concat([
      Buffer.from('}(', 'latin1'),
      ...['7ff8000000000000', '7ff8000000000000', '8000000000000000'].map((bits) => Buffer.from(`47${bits}4e`, 'hex')),
      Buffer.from('K\0Nu.', 'latin1'),
    ]);
    const keys = [new PythonFloat(NaN), new PythonFloat(NaN), new PythonFloat(-0), 0];
    const dict = loads(pickle);
    expect(dict).toEqual(new Map(keys.map((key) => [key, null])));
    expect(loads(dumps(dict))).toEqual(dict);
  });

  test('a set of a list is one; anything else that is called is data', () => {
    const set = 'c__builtin__\nset\n';
    const callable = new PythonClass('__builtin__', 'set');
    expect(read(`${set}(]K\x01atR.`)).toEqual(new Set([1]));
    expect(read(`${set})R.`)).toEqual(new PythonInstance('reduce', callable, tuple()));
    expect(read(`${set}((K\x01ttR.`)).toEqual(new PythonInstance('reduce', callable, tuple(tuple(1))));
    expect(read(`${set}(]NtR.`)).toEqual(new PythonInstance('reduce', callable, tuple([], null)));
    expect(read('c__builtin__\nlist\n(]tR.')).toEqual(
      new PythonInstance('reduce', new PythonClass('__builtin__', 'list'), tuple([])),
    );
    expect(read('ccopy_reg\n__newobj__\n)R.')).toEqual(
      new PythonInstance('reduce', new PythonClass('copy_reg', '__newobj__'), tuple()),
    );
    expect(read('ccopy_reg\nother\n(Nt\x85R.')).toEqual(
      new PythonInstance('reduce', new PythonClass('copy_reg', 'other'), tuple(tuple(null))),
    );
    expect(read('N(]tR.')).toEqual(new PythonInstance('reduce', null, tuple([])));
    expect(read('cos\nsystem\n(S"rm -rf /"\ntR.')).toEqual(
      new PythonInstance('reduce', new PythonClass('os', 'system'), tuple('rm -rf /')),
    );
  });
});

describe('instances', () => {
  const cls = new PythonClass('m', 'c');

  test('OBJ, INST and NEWOBJ with arguments', () => {
    expect(read('(cm\nc\nK\x01o.')).toEqual(new PythonInstance('obj', cls, tuple(1)));
    expect(read('(K\x01im\nc\n.')).toEqual(new PythonInstance('obj', cls, tuple(1)));
    expect(read('cm\nc\n(K\x01t\x81.')).toEqual(new PythonInstance('newobj', cls, tuple(1)));
    expect(read('ccopy_reg\n__newobj__\n(cm\nc\nK\x01tR.')).toEqual(new PythonInstance('newobj', cls, tuple(1)));
  });

  test('items and entries of subclasses of list and dict', () => {
    const instance = read('cm\nc\n)\x81K\x01aK\x02K\x03s.');
    expect(instance).toMatchObject({ listItems: [1], dictItems: new Map([[2, 3]]) });
  });

  test.each([
    ['cm\nc\n)\x81NbNb.', 'BUILD at byte 10: the instance has its state already'],
    [']Nb.', 'BUILD at byte 2: expected an instance below its state'],
    ['cm\nc\nNR.', 'REDUCE at byte 6: expected a tuple of arguments'],
    ['cm\nc\n]\x81.', 'NEWOBJ at byte 6: expected a tuple of arguments'],
    ['(o.', 'OBJ at byte 1: expected a class above the mark'],
    ['NNa.', 'APPEND at byte 2: expected a list below the items'],
    ['](NNu.', 'SETITEMS at byte 4: expected a dict below the items'],
    ['}(Nu.', 'SETITEMS at byte 3: a key has no value'],
    ['(Nd.', 'DICT at byte 2: a key has no value'],
  ])('%j: %s', (opcodes, problem) => {
    expect(messageOf(opcodes)).toBe(`invalid pickle: ${problem}`);
  });

  test('persistent ids and extension codes', () => {
    expect(read('Pid 1\n.')).toEqual(new PythonPersistentID('id 1'));
    expect(read('P\xe9\n.')).toEqual(new PythonPersistentID(Uint8Array.of(0xe9)));
    expect(read('K\x01Q.')).toEqual(new PythonPersistentID(1));
    expect(read('\x82\x07.')).toEqual(new PythonExtension(7));
    expect(read('\x83\x01\x02.')).toEqual(new PythonExtension(0x201));
    expect(read('\x84\x01\x02\x03\x04.')).toEqual(new PythonExtension(0x4030201));
    expect(messageOf('\x82\0.')).toBe('invalid pickle: EXT1 at byte 0: expected an extension code above 0, found 0');
    for (const [opcodes, name, code] of [
      ['\x83\0\0.', 'EXT2', 0],
      ['\x84\0\0\0\0.', 'EXT4', 0],
      ['\x84\xff\xff\xff\xff.', 'EXT4', -1],
      ['\x84\0\0\0\x80.', 'EXT4', -(2 ** 31)],
    ] as const) {
      expect(messageOf(opcodes)).toBe(
        `invalid pickle: ${name} at byte 0: expected an extension code above 0, found ${code}`,
      );
    }
  });
});

describe('the stack and the memo', () => {
  test('of POP and POP_MARK, DUP and the values under a mark', () => {
    expect(read('K\x01(K\x021(0.')).toBe(1);
    expect(read('K\x01(0.')).toBe(1);
    expect(read('K\x012\x86.')).toEqual(tuple(1, 1));
  });

  test('memo entries in any order and of any number', () => {
    expect(read('K\x01r\xff\xff\xff\xff0K\x02p5\n0j\xff\xff\xff\xffg5\n\x86.')).toEqual(tuple(1, 2));
    expect(read('K\x01q\x050K\x02q\x010K\x03q\x000K\x04q\x020(h\x00h\x01h\x02h\x05t.')).toEqual(tuple(3, 2, 4, 1));
    expect(read('Nq\x000h\x00.')).toBeNull();
  });

  test.each([
    ['', 'it ends at byte 0 without STOP'],
    ['N', 'it ends at byte 1 without STOP'],
    ['.', 'STOP at byte 0: expected a value on the stack, found none'],
    ['(.', 'STOP at byte 1: expected a value on the stack, found none'],
    ['K\x01(\x85.', 'TUPLE1 at byte 3: expected a value on the stack, found none'],
    ['0.', 'POP at byte 0: expected a value on the stack, found none'],
    ['Nt.', 'TUPLE at byte 1: expected a mark, found none'],
    ['U\x05abc.', 'SHORT_BINSTRING at byte 0: the pickle ends within it'],
    ['K', 'BININT1 at byte 0: the pickle ends within it'],
    ['I1', 'INT at byte 0: the pickle ends within it'],
    ['cm\nc', 'GLOBAL at byte 0: the pickle ends within it'],
    ['G\0\0\0', 'BINFLOAT at byte 0: the pickle ends within it'],
    ['T\xff\xff\xff\xff.', 'BINSTRING at byte 0: a length of -1'],
    ['\x8b\xff\xff\xff\xff.', 'LONG4 at byte 0: a length of -1'],
    ['h\x07.', 'BINGET at byte 0: nothing was memoized as 7'],
    ['gx\n.', 'GET at byte 0: expected the number of a memo entry'],
    ['Np-1\n.', 'PUT at byte 1: expected the number of a memo entry'],
    ['\x80\x03N.', 'PROTO at byte 0: protocol 3 is not supported, only 0, 1 and 2 are'],
    ['\x8c\x01a.', 'opcode 0x8c at byte 0: no opcode of protocols 0, 1 and 2'],
    ['N~.', 'opcode 0x7e at byte 1: no opcode of protocols 0, 1 and 2'],
  ])('%j: %s', (opcodes, problem) => {
    expect(messageOf(opcodes)).toBe(`invalid pickle: ${problem}`);
  });
});

describe('reading for JavaScript', () => {
  const opcodes = '(X\x01\0\0\0aV\xe9\nVb\nG@\x14\0\0\0\0\0\0G?\xf8\0\0\0\0\0\0G\x80\0\0\0\0\0\0\0F2.0\nU\x01ct.';

  test('exactly, by default', () => {
    const [a, b] = [new PythonUnicode('a'), new PythonUnicode('b')];
    const exact = tuple(a, '\xe9', b, new PythonFloat(5), 1.5, -0, new PythonFloat(2), 'c');
    expect(read(opcodes)).toEqual(exact);
    expect(read(opcodes, { unicode: 'exact', floats: 'exact' })).toEqual(exact);
  });

  test('with all text as strings and all floats as numbers', () => {
    expect(read(opcodes, { unicode: 'text', floats: 'number' })).toEqual(tuple('a', '\xe9', 'b', 5, 1.5, -0, 2, 'c'));
    expect(read('}G\x80\0\0\0\0\0\0\0Ns.', { floats: 'number' })).toEqual(new Map([[0, null]]));
    const nan = 'G\x7f\xf8\0\0\0\0\0\0';
    expect(read(`}(${nan}K\x01${nan}K\x02u.`, { floats: 'number' })).toEqual(new Map([[NaN, 2]]));
  });
});

describe('limits', () => {
  test.each<[string, PickleReadOptions, string]>([
    ['(1(1(1N.', { opcodes: 6 }, 'NONE at byte 6: more than the limit of 6 (opcodes)'],
    ['NNN.', { objects: 0 }, 'NONE at byte 0: more than the limit of 0 (opcodes)'],
    ['\x8a\x01a\x8a\x01a.', { objects: 1 }, 'LONG1 at byte 3: more than the limit of 1 (objects)'],
    ['I1\nL1L\nF1\nV1\nS""\ng0\n.', { objects: 3 }, 'UNICODE at byte 10: more than the limit of 3 (objects)'],
    [']]].', { objects: 2 }, 'EMPTY_LIST at byte 2: more than the limit of 2 (objects)'],
    ['U\x01\xe90U\x01\xe9.', { objects: 1 }, 'SHORT_BINSTRING at byte 4: more than the limit of 1 (objects)'],
    ['NNN.', { stack: 2 }, 'NONE at byte 2: more than the limit of 2 (stack)'],
    ['(((.', { stack: 2 }, 'MARK at byte 2: more than the limit of 2 (stack)'],
    ['Nq\0q\x01q\x02.', { memo: 2 }, 'BINPUT at byte 5: more than the limit of 2 (memo)'],
    ['U\x03abc.', { stringBytes: 2 }, 'SHORT_BINSTRING at byte 0: more than the limit of 2 (stringBytes)'],
    ['X\x03\0\0\0abc.', { stringBytes: 2 }, 'BINUNICODE at byte 0: more than the limit of 2 (stringBytes)'],
    ['Vabc\n.', { stringBytes: 2 }, 'UNICODE at byte 0: more than the limit of 2 (stringBytes)'],
    ['L123L\n.', { longDigits: 2 }, 'LONG at byte 0: more than the limit of 2 (longDigits)'],
    ['I123\n.', { longDigits: 2 }, 'INT at byte 0: more than the limit of 2 (longDigits)'],
    ['\x8a\x01\x01.', { longDigits: 2 }, 'LONG1 at byte 0: more than the limit of 2 (longDigits)'],
  ])('%j with %j: %s', (opcodes, limits, problem) => {
    expect(messageOf(opcodes, limits)).toBe(`invalid pickle: ${problem}`);
  });

  test('what is within them is read', () => {
    expect(read(']]\x86.', { objects: 3 })).toEqual(tuple([], []));
    expect(read('U\x03abc.', { stringBytes: 3, longDigits: 0 })).toBe('abc');
  });

  test('a length is not believed before the bytes are there', () => {
    expect(messageOf('T\xff\xff\xff\x0f.')).toBe('invalid pickle: BINSTRING at byte 0: the pickle ends within it');
    expect(DEFAULT_PICKLE_LIMITS.stringBytes).toBeGreaterThan(0x0fffffff);
  });

  describe('of depth', () => {
    const depthOf = (opcodes: string): number => {
      let depth = 1;
      while (messageOf(opcodes, { depth }).endsWith(`more than the limit of ${depth} (depth)`)) depth++;
      return depth;
    };

    test.each([
      ['no container', 'N.', 1],
      ['an empty list', '].', 1],
      ['tuples', 'N\x85\x85\x85.', 3],
      ['lists with few items and with many', `](${']'.repeat(20)}e](K\x01K\x02ea.`, 2],
      ['a dict in a dict', '}N}s.', 2],
      ['a dict whose key is a tuple', '}N\x85Ns.', 2],
      ['a set of tuples', 'c__builtin__\nset\n]N\x85a\x85R.', 2],
      ['the arguments of an instance', '(cm\nc\nNo.', 2],
      ['instances as arguments', '(cm\nc\n(cm\nc\n(cm\nc\nooo.', 6],
      ['the state of an instance', 'cm\nc\n)\x81}N]sb.', 3],
      ['the items of an instance', 'cm\nc\n)\x81]aN}N]ss.', 3],
      ['a callable in a callable', 'cm\nc\n)R)R)R.', 4],
      ['persistent ids', 'N\x85QQ.', 3],
      ['a list in itself', ']q\0h\0a.', 1],
      ['a cycle of lists', ']q\0]q\x01]h\0aaa.', 3],
    ])('%s', (_, opcodes, depth) => {
      expect(depthOf(opcodes)).toBe(depth);
    });

    test('is that of the longest path, in whichever order things are reached', () => {
      // [innermost, [innermost], [[innermost]], ...] and the same the other way round.
      const levels = Array.from(
        { length: 30 },
        (_, index) => `]h${String.fromCharCode(index)}aq${String.fromCharCode(index + 1)}0`,
      );
      const gets = Array.from({ length: 31 }, (_, index) => `h${String.fromCharCode(index)}`);
      const innermost = ']q\x000';
      expect(depthOf(`${innermost}${levels.join('')}(${gets.join('')}l.`)).toBe(32);
      expect(depthOf(`${innermost}${levels.join('')}(${gets.reverse().join('')}l.`)).toBe(32);
    });

    test('by default allows what Python pickles', () => {
      expect(messageOf(`N${'\x85'.repeat(500)}.`)).toBe('no error');
      expect(messageOf(`N${'\x85'.repeat(501)}.`)).toBe(
        'invalid pickle: STOP at byte 502: more than the limit of 500 (depth)',
      );
    });
  });

  // Each REDUCE is a few bytes, and would copy the whole list or tuple.
  test.each([
    ['sets', 'c__builtin__\nset\nq\0', '](K\x01K\x02K\x03K\x04K\x05K\x06K\x07K\x08eq\x01\x85q\x02', 'h\0h\x02R0'],
    ['arguments', 'ccopy_reg\n__newobj__\nq\0', '(cm\nc\nK\x01K\x02K\x03K\x04K\x05K\x06K\x07K\x08tq\x02', 'h\0h\x02R0'],
  ])('copies of the same %s are not made without end', (_, callable, args, call) => {
    expect(messageOf(`${callable}${args}${call}N.`)).toBe('no error');
    expect(messageOf(`${callable}${args}${call.repeat(100)}N.`)).toMatch(
      /^invalid pickle: REDUCE at byte \d+: it copies the same values again and again$/,
    );
  });

  test.each([
    ['a set', 'c__builtin__\nset\nq\0](NNNNNNNNeq\x01\x85q\x020'],
    ['arguments', 'ccopy_reg\n__newobj__\nq\0(NNNNNNNNtq\x020'],
  ])('%s may copy as many values as the pickle has bytes, and no more', (_, start) => {
    // Each copies eight values.
    const pickle = `${start}${'h\0h\x02R0'.repeat(50)}N.`;
    expect(pickle.length).toBeLessThan(400);
    expect(messageOf(pickle.padEnd(400, '.'))).toBe('no error');
    expect(messageOf(pickle.padEnd(399, '.'))).toMatch(/: it copies the same values again and again$/);
  });
});

import { describe, expect, test } from '@jest/globals';
import {
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
  PythonTuple,
  PythonUnicode,
  tuple,
} from './index.js';
import type { PickleWriteOptions, PythonValue, PythonWritable } from './index.js';

const PROTOCOLS = [0, 1, 2] as const;

/** A pickle, one character per byte. */
const written = (value: PythonWritable, options?: PickleWriteOptions): string =>
  dumps(value, options).toString('latin1');

/** What the types forbid, programs in JavaScript do. */
const dumpsOf = (value: unknown): Buffer => {
  const pickle: unknown = Reflect.apply(dumps, undefined, [value]);
  return Buffer.isBuffer(pickle) ? pickle : Buffer.alloc(0);
};

const LIST_OF_TEXTS = [
  'x'.repeat(63),
  'x'.repeat(64),
  '\u20ac'.repeat(64),
  'x'.repeat(20_000),
  new Uint8Array(64).fill(255),
];

describe('what JavaScript has beside the values of Python', () => {
  test('undefined and holes are None', () => {
    expect(written(undefined)).toBe('\x80\x02N.');
    expect(loads(dumps([, undefined]))).toEqual([null, null]); // eslint-disable-line no-sparse-arrays
  });

  test('plain objects are dicts, whatever their keys', () => {
    const object = { a: { ['__proto__']: [1] }, constructor: null, 'caf\u00e9': 'x' };
    expect(loads(dumps(object))).toEqual(
      new Map<PythonValue, PythonValue>([
        ['a', new Map([['__proto__', [1]]])],
        ['constructor', null],
        ['caf\u00e9', 'x'],
      ]),
    );
    expect(loads(dumpsOf(Object.create(null)))).toEqual(new Map());
  });

  test('numbers are ints where they are safe integers, else floats', () => {
    expect(written(2 ** 53 - 1)).toBe('\x80\x02I9007199254740991\n.');
    expect(written(2 ** 53)).toBe('\x80\x02G\x43\x40\0\0\0\0\0\0.');
    expect(written(-0)).toBe('\x80\x02G\x80\0\0\0\0\0\0\0.');
    expect(written(new PythonInteger(5n))).toBe('\x80\x02I5\n.');
  });

  test('strings are str where they are ASCII, else unicode', () => {
    expect(written('abc')).toBe('\x80\x02U\x03abc.');
    expect(written('ab\x80')).toBe('\x80\x02X\x04\0\0\0ab\xc2\x80.');
    expect(written('a\udc00b')).toBe('\x80\x02X\x05\0\0\0a\xed\xb0\x80b.');
    expect(written(Buffer.from('abc'))).toBe('\x80\x02U\x03abc.');
    expect(written(new PythonUnicode('abc'))).toBe('\x80\x02X\x03\0\0\0abc.');
  });

  class Unknown {
    readonly value = 1;
  }
  test.each<[string, unknown]>([
    ['a function', () => 1],
    ['a symbol', Symbol('x')],
    ['a Unknown', new Unknown()],
    ['a Promise', Promise.resolve()],
    ['a RegExp', /x/],
    ['a Uint16Array', new Uint16Array(1)],
    ['a String', Object('x')],
  ])('%s is refused', (name, value) => {
    for (const holder of [value, [value], { value }, new Map([[1, value]])]) {
      expect(() => dumpsOf(holder)).toThrow(new PickleError(`can't pickle ${name}`));
    }
  });

  test('an object whose class has no name is refused', () => {
    const nameless = new (class {
      readonly value = 1;
    })();
    const noConstructor: object = { constructor: 7 };
    const withoutClass: unknown = Object.setPrototypeOf({}, noConstructor);
    for (const value of [nameless, withoutClass]) {
      expect(() => dumpsOf(value)).toThrow(new PickleError("can't pickle this object"));
    }
  });

  test('an error of the value itself is passed on', () => {
    const error = new TypeError('no such value');
    const value = {
      get broken(): never {
        throw error;
      },
    };
    expect(() => dumps(value)).toThrow(error);
  });
});

describe.each(PROTOCOLS)('in protocol %i', (protocol) => {
  const again = (value: PythonWritable): PythonValue => loads(dumps(value, { protocol }));

  test.each<[string, PythonValue]>([
    ['list', []],
    ['tuple', tuple(1)],
    ['dict', new Map()],
    ['set', new Set()],
    ['instance', new PythonInstance('newobj', new PythonClass('m', 'c'), tuple())],
  ])('a %s that is shared is shared again', (_, value) => {
    const pair = again(tuple(value, value));
    const [first, second] = pair instanceof PythonTuple ? pair.items : [];
    expect(first).toEqual(value);
    expect(second).toBe(first);
  });

  test('a persistent id that is no line of text', () => {
    for (const id of ['two\nlines', 7, tuple('a', 1), '\u20ac', Uint8Array.of(0xff)]) {
      expect(again(new PythonPersistentID(id))).toEqual(new PythonPersistentID(id));
    }
  });

  test('extension codes', () => {
    for (const code of [1, 255, 256, 65_535, 65_536, 0x7fffffff]) {
      expect(again(new PythonExtension(code))).toEqual(new PythonExtension(code));
    }
    for (const code of [0, -1, 1.5, NaN, 2 ** 31]) {
      expect(() => dumps(new PythonExtension(code), { protocol })).toThrow(
        new PickleError(`can't pickle the extension code ${code}`),
      );
    }
  });

  test('an instance of something that is no class', () => {
    const instance = new PythonInstance('obj', new PythonExtension(7), tuple(1));
    expect(again(instance)).toEqual(instance);
  });

  test('the name of a class is a line of bytes', () => {
    expect(again(new PythonClass('m\xe9', 'c'))).toEqual(new PythonClass('m\xe9', 'c'));
    for (const name of ['a\nb', '\u20ac']) {
      expect(() => dumps(new PythonClass('m', name), { protocol })).toThrow(/^can't pickle ".*" as a line of text$/);
    }
  });

  test('many items', () => {
    for (const length of [999, 1000, 1001, 2000, 2001]) {
      const list = Array.from({ length }, (_, index) => index);
      const dict = new Map(list.map((key) => [key, key]));
      const instance = new PythonInstance('newobj', new PythonClass('m', 'c'), tuple());
      Object.assign(instance, { listItems: list, dictItems: dict });
      expect(again([list, dict, instance])).toEqual([list, dict, instance]);
    }
  });

  test('an instance that is among its own arguments', () => {
    for (const construction of ['reduce', 'newobj', 'obj'] as const) {
      const items: PythonValue[] = [];
      const instance = new PythonInstance(construction, new PythonClass('m', 'c'), tuple(1, items));
      items.push(instance);
      const read = again(instance);
      expect(read).toEqual(instance);
      expect(read instanceof PythonInstance && Array.isArray(read.args.items[1]) && read.args.items[1][0]).toBe(read);
    }
  });

  test('nesting', () => {
    const nested = (depth: number): PythonWritable => {
      let value: PythonWritable = [];
      for (let level = 1; level < depth; level++) value = [value];
      return value;
    };
    const deep = nested(1000);
    const pickle = dumps(deep, { protocol });
    expect(dumps(loads(pickle, { depth: 1000 }), { protocol })).toEqual(pickle);
    expect(() => dumps(nested(1001), { protocol })).toThrow(
      new PickleError("can't pickle values nested deeper than 1000"),
    );
    expect(() => dumps(nested(4), { protocol, maxDepth: 3 })).toThrow(PickleError);
    expect(() => dumps(nested(200_000), { protocol, maxDepth: Infinity })).toThrow(PickleError);
  });
});

describe('strings that occur again', () => {
  test('are written once if they are long', () => {
    const value = LIST_OF_TEXTS.flatMap((text) => [text, text]);
    const pickle = dumps(value);
    expect(loads(pickle)).toEqual(value);
    expect(pickle.length).toBeLessThan(2 * 63 + 64 + 3 * 64 + 20_000 + 64 + 100);
  });

  test('of up to 16,383 characters are all remembered, of the longer ones 64 are', () => {
    const again = (length: number): string => {
      const texts = Array.from({ length: 66 }, (_, index) => `${index}`.padEnd(length, 'x'));
      const [once, twice] = [written(texts), written([...texts, ...texts])];
      expect(twice.startsWith(once.slice(0, -2))).toBe(true);
      return twice.slice(once.length - 2);
    };
    const references = (count: number): string =>
      Array.from({ length: count }, (_, index) => `h${String.fromCharCode(index + 1)}`).join('');
    const last = [64, 65].map((number) => `T\0\x40\0\0${`${number}`.padEnd(16_384, 'x')}`).join('');
    expect(again(16_383)).toBe(`${references(66)}e.`);
    expect(again(16_384)).toBe(`${references(64)}${last}e.`);
  });

  test('stay the same even if there are too many to remember', () => {
    const texts = Array.from({ length: 100 }, (_, index) => `${'x'.repeat(20_000)}${index}`);
    const value = [...texts, ...texts];
    expect(loads(dumps(value))).toEqual(value);
  });
});

describe('the length of a pickle', () => {
  test('has a limit', () => {
    expect(dumps('abc', { maxLength: 8 })).toHaveLength(8);
    expect(() => dumps('abc', { maxLength: 7 })).toThrow(new PickleError("can't pickle more than 7 bytes"));
    expect(() => dumps(new Uint8Array(1e6), { maxLength: 1e6 })).toThrow(PickleError);
  });

  test('may be more than a short buffer holds', () => {
    for (const length of [16_000, 16_384, 100_000, 3_000_000]) {
      const bytes = Buffer.alloc(length, 200);
      const texts = ['x'.repeat(length), '\u20ac'.repeat(length)];
      const read = loads(dumps([bytes, ...texts]));
      const [first, ...others] = Array.isArray(read) ? read : [];
      expect(first instanceof Uint8Array && bytes.equals(first)).toBe(true);
      expect(others).toEqual(texts);
    }
  });

  test('does not disturb the pickles made before', () => {
    const pickles = Array.from({ length: 2000 }, (_, index) => dumps([index, 'some text']));
    expect(pickles.map((pickle) => loads(pickle))).toEqual(pickles.map((_, index) => [index, 'some text']));
  });

  test('nor does an error, or a pickle that is made while another is', () => {
    const outer = new PickleWriter().start().opcode('MARK').write('outer');
    expect(() => dumpsOf(['lost', Symbol('lost')])).toThrow(PickleError);
    const inner = dumps('inner');
    const whole = outer.write(1).opcode('TUPLE').finish();
    expect(loads(inner)).toBe('inner');
    expect(loads(whole)).toEqual(tuple('outer', 1));
  });
});

describe('PickleWriter', () => {
  test('writes a list piece by piece, with values prepared before', () => {
    const uri = new PickleWriter({ fast: true })
      .write(new PythonInstance('newobj', new PythonClass('m', 'URI'), tuple()))
      .finish();
    const writer = new PickleWriter({ fast: true }).start().opcode('EMPTY_LIST');
    const pieces: Buffer[] = [];
    for (const batch of [['a', 'b'], ['c'], []]) {
      writer.opcode('MARK');
      for (const name of batch) writer.write(name).raw(uri).opcode('TUPLE2');
      pieces.push(writer.opcode('APPENDS').take());
    }
    pieces.push(writer.finish());
    const instance = new PythonInstance('newobj', new PythonClass('m', 'URI'), tuple());
    expect(loads(Buffer.concat(pieces))).toEqual(['a', 'b', 'c'].map((name) => tuple(name, instance)));
  });

  test('fast: what is shared is written again, what is cyclic is refused', () => {
    const list: PythonValue[] = [];
    const pickle = dumps([list, list], { fast: true });
    expect(pickle.toString('latin1')).toBe('\x80\x02](]]e.');
    list.push(list);
    expect(() => dumps(list, { fast: true })).toThrow(PickleError);
  });
});

describe('the values', () => {
  test('show themselves', () => {
    expect(String(new PythonFloat(2))).toBe('2.0');
    expect(String(new PythonFloat(NaN))).toBe('NaN');
    expect(String(new PythonUnicode('a'))).toBe('a');
    expect(String(new PythonInteger(5n))).toBe('5');
    expect(String(new PythonClass('m', 'c'))).toBe('m.c');
    expect(
      JSON.stringify([new PythonFloat(2), new PythonUnicode('a'), new PythonInteger(2n ** 63n), tuple(1, tuple())]),
    ).toBe('[2,"a","9223372036854775808",[1,[]]]');
    expect([...tuple(1, 2)]).toEqual([1, 2]);
  });

  test('an instance knows its class and attributes in each protocol', () => {
    const reconstructor = new PythonClass('copy_reg', '_reconstructor');
    const cls = new PythonClass('m', 'c');
    const object = new PythonClass('__builtin__', 'object');
    const old = new PythonInstance('reduce', reconstructor, tuple(cls, object, null), new Map([['a', 1]]));
    expect(old.isOf('m', 'c')).toBe(true);
    expect(old.class).toBe(cls);
    expect(old.attribute('a')).toBe(1);
    expect(old.attribute('b')).toBeUndefined();
    const state = new Map([[new PythonUnicode('a'), null]]);
    expect(new PythonInstance('newobj', cls, tuple(), state).attribute('a')).toBeNull();
    expect(new PythonInstance('newobj', cls, tuple()).isOf('m', 'c')).toBe(true);
    expect(new PythonInstance('newobj', cls, tuple()).attribute('a')).toBeUndefined();
    expect(new PythonInstance('reduce', reconstructor, tuple()).class).toBe(reconstructor);
    expect(new PythonInstance('reduce', new PythonExtension(7), tuple()).isOf('m', 'c')).toBe(false);
  });
});

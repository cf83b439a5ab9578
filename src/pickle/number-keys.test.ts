import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { collidingFractions, collidingIntegers, collidingLongs } from '../../test/support/colliding-numbers.js';
import { addMember, dumps, loads, PythonClass, PythonInstance, setEntry, tuple } from './index.js';
import type { PythonValue } from './index.js';
import { Opcode } from './opcodes.js';

/** Few enough to be soon looked through in one bucket. */
const FEW = 64;
const COUNT = 2000;

const COLLIDING: Record<string, (count: number) => (number | bigint)[]> = {
  longs: collidingLongs,
  ints: collidingIntegers,
  floats: collidingFractions,
};

const isNumber = (key: unknown): boolean => typeof key === 'number' || typeof key === 'bigint';

/** How many of its keys V8 finds by the hash of a number. */
const rawNumbers = (container: unknown): number => {
  if (container instanceof Map) return [...Map.prototype.keys.call(container)].filter(isNumber).length;
  if (container instanceof Set) return [...Set.prototype.values.call(container)].filter(isNumber).length;
  throw new Error('neither a Map nor a Set');
};

const dictOf = (keys: readonly PythonValue[]): Map<PythonValue, PythonValue> => new Map(keys.map((key) => [key, null]));

describe.each(Object.entries(COLLIDING))('%s whose hashes are equal', (_, numbers) => {
  const keys = numbers(COUNT);

  test('are found in dicts and sets, and few of them by their hashes', () => {
    const [dict, set] = [loads(dumps(dictOf(keys))), loads(dumps(new Set(keys)))];
    if (!(dict instanceof Map && set instanceof Set)) throw new Error('expected a dict and a set');
    expect(rawNumbers(dict)).toBeLessThanOrEqual(FEW);
    expect(rawNumbers(set)).toBeLessThanOrEqual(FEW);
    expect([...dict.keys()]).toEqual(keys);
    expect([...set]).toEqual(keys);
    expect(keys.every((key) => dict.has(key) && set.has(key))).toBe(true);
  });

  test('are so in dicts that are filled one by one, and in those of dict subclasses', () => {
    const empty = dumps(new Map<string, string>(), { fast: true }).subarray(0, -1);
    const pieces = keys.flatMap((key) => [dumps(key).subarray(2, -1), Buffer.of(Opcode.NONE, Opcode.SETITEM)]);
    expect(rawNumbers(loads(Buffer.concat([empty, ...pieces, Buffer.of(Opcode.STOP)])))).toBeLessThanOrEqual(FEW);
    const instance = new PythonInstance('newobj', new PythonClass('collections', 'OrderedDict'), tuple());
    instance.dictItems = dictOf(keys);
    const read = loads(dumps(instance));
    expect(read instanceof PythonInstance && rawNumbers(read.dictItems)).toBeLessThanOrEqual(FEW);
  });
});

test('a container of few members is a plain Map or Set, and so is one of many that are no numbers', () => {
  const few = Array.from({ length: FEW }, (_, index) => index);
  const names = Array.from({ length: COUNT }, (_, index) => `x${index}`);
  const lists: PythonValue[][] = [few, names];
  for (const keys of lists) {
    expect(Object.getPrototypeOf(loads(dumps(dictOf(keys))))).toBe(Map.prototype);
    expect(Object.getPrototypeOf(loads(dumps(new Set(keys))))).toBe(Set.prototype);
  }
});

test('what was made safe is shown as what it holds', () => {
  const numbers = Array.from({ length: 80 }, (_, index) => index);
  const shown = (value: unknown): string => inspect(value, { maxArrayLength: null });
  expect(shown(loads(dumps(new Set(numbers))))).toBe(shown(new Set(numbers)));
  expect(shown(loads(dumps(dictOf(numbers))))).toBe(shown(dictOf(numbers)));
});

/** Keys that are equal to each other in any way, and those of FEW others that a container is filled with before. */
const key: fc.Arbitrary<unknown> = fc.oneof(
  fc.integer({ min: -3, max: 80 }),
  fc.bigInt({ min: -3n, max: 80n }),
  fc.constantFrom<unknown>(
    NaN,
    -0,
    0,
    0n,
    0.5,
    Infinity,
    2 ** 70,
    2n ** 70n,
    'n1',
    'b1',
    '1',
    null,
    true,
    ...collidingLongs(5),
  ),
);
const filled = Array.from({ length: FEW + 6 }, (_, index) => index + 10);

/** What is done with a map, and what comes of it. */
const MAP_OPERATIONS: Record<string, (map: Map<unknown, unknown>, key: unknown, value: unknown) => unknown> = {
  set: (map, key, value) => map.set(key, value) === map,
  get: (map, key) => map.get(key),
  has: (map, key) => map.has(key),
  delete: (map, key) => map.delete(key),
  clear: (map) => {
    map.clear();
  },
  // Of newer versions of Node.
  insert: (map, key, value) => {
    if ('getOrInsert' in map) return call(map, 'getOrInsert', key, value);
    if (!map.has(key)) map.set(key, value);
    return map.get(key);
  },
};

const SET_OPERATIONS: Record<string, (set: Set<unknown>, member: unknown) => unknown> = {
  add: (set, member) => set.add(member) === set,
  has: (set, member) => set.has(member),
  delete: (set, member) => set.delete(member),
  clear: (set) => {
    set.clear();
  },
};

/** Operations, most of which add something. */
const operations = <Operation>(
  all: Record<string, Operation>,
): fc.Arbitrary<{ operate: Operation; key: unknown }[]> => {
  const [adding, ...others] = Object.values(all);
  const operate = fc.constantFrom(...[adding, adding, adding, ...others].filter((one) => one !== undefined));
  return fc.array(fc.record({ operate, key }), { maxLength: 30 });
};

test('a map that was made safe does all that a Map does', () => {
  fc.assert(
    fc.property(operations(MAP_OPERATIONS), (steps) => {
      const map = new Map<unknown, unknown>();
      for (const number of filled) setEntry(map, number, 'filled');
      const model = new Map<unknown, unknown>(filled.map((number) => [number, 'filled']));
      expect(Object.getPrototypeOf(map)).not.toBe(Map.prototype);
      steps.forEach(({ operate, key }, index) => {
        expect(operate(map, key, index)).toEqual(operate(model, key, index));
      });
      const told: unknown[] = [];
      map.forEach((value, key, self) => told.push([key, value, self === map]));
      expect(told).toEqual([...model].map(([key, value]) => [key, value, true]));
      expect(map.size).toBe(model.size);
      expect([...map]).toEqual([...model]);
      expect([...map.entries()]).toEqual([...model.entries()]);
      expect([...map.keys()]).toEqual([...model.keys()]);
      expect([...map.values()]).toEqual([...model.values()]);
    }),
  );
});

test('a set that was made safe does all that a Set does', () => {
  fc.assert(
    fc.property(operations(SET_OPERATIONS), fc.array(key), (steps, others) => {
      const set = safeSet();
      const model = new Set<unknown>(filled);
      for (const { operate, key } of steps) expect(operate(set, key)).toEqual(operate(model, key));
      const told: unknown[] = [];
      set.forEach((member, again, self) => told.push([member, again, self === set]));
      expect(told).toEqual([...model].map((member) => [member, member, true]));
      expect(set.size).toBe(model.size);
      expect([...set]).toEqual([...model]);
      expect([...set.values()]).toEqual([...model]);
      expect([...set.keys()]).toEqual([...model]);
      expect([...set.entries()]).toEqual([...model.entries()]);
      expectCombinations(set, model, new Set(others));
    }),
  );
});

function safeSet(): Set<unknown> {
  const set = new Set<unknown>();
  for (const number of filled) addMember(set, number);
  expect(Object.getPrototypeOf(set)).not.toBe(Set.prototype);
  return set;
}

/** The methods that newer versions of Node have, by what they are to do. */
function expectCombinations(set: Set<unknown>, model: Set<unknown>, other: Set<unknown>): void {
  const [ours, theirs] = [[...model], [...other]];
  const both = new Set(ours.filter((member) => other.has(member)));
  const onlyOurs = ours.filter((member) => !other.has(member));
  const onlyTheirs = theirs.filter((member) => !model.has(member));
  expect(call(set, 'union', other)).toEqual(new Set([...ours, ...theirs]));
  expect(call(set, 'intersection', other)).toEqual(both);
  expect(call(set, 'difference', other)).toEqual(new Set(onlyOurs));
  expect(call(set, 'symmetricDifference', other)).toEqual(new Set([...onlyOurs, ...onlyTheirs]));
  expect(call(set, 'isSubsetOf', other)).toBe(onlyOurs.length === 0);
  expect(call(set, 'isSupersetOf', other)).toBe(onlyTheirs.length === 0);
  expect(call(set, 'isDisjointFrom', other)).toBe(both.size === 0);
}

/** Calls a method that the types of the oldest version of Node don't know. */
function call(receiver: object, method: string, ...args: unknown[]): unknown {
  const found: unknown = Reflect.get(receiver, method);
  if (typeof found !== 'function') throw new Error(`no method ${method}`);
  return Reflect.apply(found, receiver, args);
}

describe('long keys', () => {
  /** A pickle of a dict of which texts of the memo are keys again and again. */
  const repeating = (texts: readonly string[], times: number): Buffer => {
    const memoized = texts.flatMap((text, index) => [
      dumps(text, { fast: true }).subarray(2, -1),
      Buffer.of(Opcode.BINPUT, index, Opcode.POP),
    ]);
    const uses = Array.from({ length: times }, (_, use) =>
      Buffer.of(Opcode.BINGET, use % texts.length, Opcode.NONE, Opcode.SETITEM),
    );
    return Buffer.concat([...memoized, Buffer.of(Opcode.EMPTY_DICT), ...uses, Buffer.of(Opcode.STOP)]);
  };
  const REFUSED = /^invalid pickle: SETITEM at byte \d+: it has too many long keys of dicts or sets$/;

  test.each([
    ['texts that V8 has no hash of', ['x'.repeat(50_000) + '1', 'x'.repeat(50_000) + '2']],
    ['equal texts', ['x'.repeat(10_000), 'x'.repeat(10_000)]],
  ])('%s are not compared without end', (_, texts) => {
    expect(loads(repeating(texts, 4))).toEqual(new Map(texts.map((text) => [text, null])));
    expect(() => loads(repeating(texts, 1000))).toThrow(REFUSED);
  });

  test('longs are not, either', () => {
    const key = dumps(2n ** 60_000n, { fast: true }).subarray(2, -1);
    const uses = Buffer.of(Opcode.BINGET, 0, Opcode.NONE, Opcode.SETITEM);
    const pickle = (times: number): Buffer =>
      Buffer.concat([
        key,
        Buffer.of(Opcode.BINPUT, 0, Opcode.POP, Opcode.EMPTY_DICT),
        ...Array<Buffer>(times).fill(uses),
        Buffer.of(Opcode.STOP),
      ]);
    expect(loads(pickle(1))).toEqual(new Map([[2n ** 60_000n, null]]));
    expect(() => loads(pickle(1000))).toThrow(REFUSED);
  });

  test('that Python writes are read: each once, or some dozens without a hash', () => {
    const medium = Array.from({ length: 1000 }, (_, index) => `${index} `.padEnd(16_000, 'x'));
    const long = Array.from({ length: 40 }, (_, index) => `${index} `.padEnd(20_000, 'x'));
    const longs = Array.from({ length: 200 }, (_, index) => 2n ** 4000n + BigInt(index));
    for (const keys of [medium, long, longs]) {
      const read = loads(dumps(dictOf(keys)));
      expect(read instanceof Map && [...read.keys()]).toEqual(keys);
    }
  });
});

test('memo entries far apart are found by text', () => {
  const numbers = collidingIntegers(COUNT).map((number) => number >>> 0);
  const pickle = Buffer.concat([
    ...numbers.flatMap((number) => [
      Buffer.of(Opcode.BININT1, number & 0xff),
      longMemo(Opcode.LONG_BINPUT, number),
      Buffer.of(Opcode.POP),
    ]),
    Buffer.of(Opcode.MARK),
    ...numbers.map((number) => longMemo(Opcode.LONG_BINGET, number)),
    Buffer.of(Opcode.LIST, Opcode.STOP),
  ]);
  expect(loads(pickle)).toEqual(numbers.map((number) => number & 0xff));
});

function longMemo(opcode: number, index: number): Buffer {
  const bytes = Buffer.alloc(5, opcode);
  bytes.writeUInt32LE(index, 1);
  return bytes;
}

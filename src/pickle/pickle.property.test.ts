import { setImmediate as othersRan } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  dumps,
  loads,
  PickleError,
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonTuple,
  PythonUnicode,
} from './index.js';
import type { PythonValue } from './index.js';
import { Opcode } from './opcodes.js';

const PROTOCOLS = [0, 1, 2] as const;

const ascii = fc.string({ unit: 'binary-ascii' });
const wild = fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)) });
const name = fc.stringMatching(/^[a-z.]{1,5}$/);

/** What Python passes by value, or might as well. No NaN and no -0, which a Map can't tell from others. */
const key: fc.Arbitrary<PythonValue> = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }),
  fc.double({ noNaN: true }).filter((value) => !Number.isSafeInteger(value)),
  fc.maxSafeInteger().map((value) => new PythonFloat(value)),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }).map((value) => new PythonInteger(value)),
  ascii,
  wild.filter((text) => /[^\0-\x7f]/.test(text)),
  ascii.map((text) => new PythonUnicode(text)),
  fc.uint8Array({ minLength: 1, maxLength: 300 }).filter((bytes) => bytes.some((byte) => byte > 0x7f)),
  fc.integer({ min: 1, max: 0x7fffffff }).map((code) => new PythonExtension(code)),
  fc.tuple(name, name).map(([module, of]) => new PythonClass(module, of)),
);
const atom = fc.oneof(key, fc.constantFrom(NaN, -0, Infinity), fc.bigInt({ min: -(2n ** 3000n), max: 2n ** 3000n }));

type Kind = 'list' | 'dict' | 'set' | 'tuple' | 'reduce' | 'newobj' | 'obj' | 'persistent id';

/** A container in the making: its items are atoms, and other containers by number. */
interface Plan {
  kind: Kind;
  atoms: PythonValue[];
  keys: PythonValue[];
  references: number[];
}

const plan: fc.Arbitrary<Plan> = fc.record({
  kind: fc.constantFrom<Kind>('list', 'dict', 'set', 'tuple', 'reduce', 'newobj', 'obj', 'persistent id'),
  atoms: fc.array(atom, { maxLength: 4 }),
  keys: fc.array(key, { maxLength: 8 }),
  references: fc.array(fc.nat({ max: 11 }), { maxLength: 4 }),
});

/**
 * Makes containers that share each other and run in cycles, as Python has them: what can be changed refers to anything;
 * what can't (tuples, sets, arguments) to what was made before it.
 */
function build(plans: readonly Plan[]): PythonValue {
  const built: PythonValue[] = [];
  for (const { kind, atoms, references } of plans) {
    const earlier = references.flatMap((reference) => built.slice(reference, reference + 1));
    built.push(create(kind, [...atoms, ...earlier]));
  }
  plans.forEach(({ keys, references }, index) => {
    const items = references.flatMap((reference) => built.slice(reference, reference + 1));
    complete(built[index] ?? null, keys, items);
  });
  return built;
}

function create(kind: Kind, items: PythonValue[]): PythonValue {
  const args = new PythonTuple(items);
  switch (kind) {
    case 'list':
      return items;
    case 'dict':
      return new Map();
    case 'set':
      return new Set(items.filter((item) => !Number.isNaN(item) && !Object.is(item, -0)));
    case 'tuple':
      return args;
    case 'persistent id':
      return new PythonPersistentID(args);
    case 'reduce':
    case 'newobj':
    case 'obj':
      return new PythonInstance(kind, new PythonClass('module', kind), args);
  }
}

function complete(container: PythonValue, keys: readonly PythonValue[], items: readonly PythonValue[]): void {
  const entries = keys.map((entryKey, index) => [entryKey, items[index] ?? index] as const);
  if (Array.isArray(container)) container.push(...items);
  if (container instanceof Map) for (const [entryKey, value] of entries) container.set(entryKey, value);
  if (container instanceof PythonInstance) {
    if (keys.length > 2) container.state = new Map(entries);
    if (items.length > 0) container.listItems = [...items];
    if (keys.length > 4) container.dictItems = new Map(entries);
  }
}

const value = fc.array(plan, { maxLength: 12 }).map(build);

/** The parts of a container, in order; undefined for an atom. */
function partsOf(container: PythonValue): readonly (PythonValue | undefined)[] | undefined {
  if (container instanceof PythonTuple) return container.items;
  if (Array.isArray(container)) return container;
  if (container instanceof Map) return [...container].flat();
  if (container instanceof Set) return [...container];
  if (container instanceof PythonPersistentID) return [container.id];
  if (container instanceof PythonInstance) {
    const { callable, args, state, listItems, dictItems } = container;
    return [callable, ...args.items, state, listItems && new PythonTuple(listItems), dictItems && new Map(dictItems)];
  }
  return undefined;
}

/** Expects the same values with the same references between them. */
function expectSameGraph(actual: PythonValue, expected: PythonValue): void {
  const counterparts = new Map<PythonValue | undefined, PythonValue | undefined>();
  const pending: (readonly [PythonValue | undefined, PythonValue | undefined])[] = [[actual, expected]];
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const [one, other] = pair;
    const parts = other === undefined ? undefined : partsOf(other);
    if (parts === undefined || one === undefined) {
      expect(one).toStrictEqual(other);
      continue;
    }
    const known = counterparts.get(other);
    if (known !== undefined) {
      expect(one).toBe(known);
      continue;
    }
    expect(one?.constructor).toBe(other?.constructor);
    expect(partsOf(one)).toHaveLength(parts.length);
    // There is but one empty tuple.
    if (!(other instanceof PythonTuple && parts.length === 0)) counterparts.set(other, one);
    partsOf(one)?.forEach((part, index) => pending.push([part, parts[index]]));
  }
}

describe.each(PROTOCOLS)('protocol %i', (protocol) => {
  test('what is written is read, with what is shared and what is cyclic', () => {
    fc.assert(
      fc.property(value, (written) => {
        expectSameGraph(loads(dumps(written, { protocol })), written);
      }),
    );
  });

  test('what is read and written again is the same pickle', () => {
    fc.assert(
      fc.property(value, (written) => {
        const pickle = dumps(loads(dumps(written, { protocol })), { protocol });
        expect(dumps(loads(pickle), { protocol }).equals(pickle)).toBe(true);
      }),
    );
  });

  test('a pickle that is cut short, or of which some bytes are changed, is read or is a PickleError', () => {
    const change = fc.record({ at: fc.nat(), byte: fc.nat({ max: 255 }) });
    fc.assert(
      fc.property(value, fc.array(change, { maxLength: 4 }), fc.nat(), (written, changes, length) => {
        const pickle = Uint8Array.from(dumps(written, { protocol }));
        for (const { at, byte } of changes) pickle[at % pickle.length] = byte;
        expectReadOrRefused(pickle);
        expectReadOrRefused(pickle.subarray(0, length % pickle.length));
      }),
      { numRuns: 500 },
    );
  });
});

/** What is read can be written, and read again. */
function expectReadOrRefused(pickle: Uint8Array): void {
  let read: PythonValue;
  try {
    read = loads(pickle);
  } catch (error) {
    expect(error).toBeInstanceOf(PickleError);
    return;
  }
  for (const protocol of PROTOCOLS) loads(dumps(read, { protocol }));
}

describe('bytes that are no pickle', () => {
  test('at random', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), expectReadOrRefused), { numRuns: 2000 });
  });

  test('of opcodes and small arguments', () => {
    const byte = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...Object.values(Opcode)) },
      { weight: 1, arbitrary: fc.constantFrom(0, 1, 2, 10, 39, 48, 49) },
    );
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 60 }), (opcodes) => {
        expectReadOrRefused(Uint8Array.from([...opcodes, Opcode.STOP]));
      }),
      { numRuns: 5000 },
    );
  });
});

describe('time and memory', () => {
  // A quadratic reader would take longer for each of these than a test may.
  test.each([
    ['APPEND', ']', 'Na'],
    ['APPENDS', ']', '(NNe'],
    ['SETITEM', '}', 'NNs'],
    ['GET of one entry', 'Nq\0', 'h\0'],
    ['entries of the memo', 'N', 'q\x05q\x06'],
    ['entries of the memo by large numbers', 'N', 'r\xff\xff\xff\x7fr\xfe\xff\xff\x7f'],
    ['marks', 'N', '('],
    ['nesting', 'N', '\x85'],
    ['text memos', 'N', 'p7\ng7\n'],
    ['persistent ids', 'N', 'Q'],
    ['classes', '', 'cm\nc\n'],
  ])('hundreds of thousands of: %s', async (_, start, opcodes) => {
    const pickle = Buffer.from(`${start}${opcodes.repeat(300_000)}N.`, 'latin1');
    expect(loads(pickle)).toBeNull();
    // Between two turns of the loop, timers run: so the time-out of the test fails it where it has passed meanwhile.
    await othersRan();
    await othersRan();
  });

  test('a short pickle does not make a long one without end', () => {
    // A list of 100 lists, each of 100 times the list before: 100 ** 5 references to a long of 8 KiB.
    const long = Buffer.concat([Buffer.from('\x8b\0\x10\0\0', 'latin1'), Buffer.alloc(4096, 1)]);
    const level = `0](${'h\x05'.repeat(100)}eq\x05`;
    const pickle = Buffer.concat([long, Buffer.from(`q\x05${level.repeat(5)}.`, 'latin1')]);
    const read = loads(pickle);
    expect(dumps(read, { maxLength: 1e6 }).length).toBeLessThan(1e6);
    expect(() => dumps(read, { maxLength: 1e6, fast: true })).toThrow(PickleError);
    const flat = loads(Buffer.concat([long, Buffer.from(`q\x050](${'h\x05'.repeat(1000)}e.`, 'latin1')]));
    expect(() => dumps(flat, { maxLength: 1e6 })).toThrow("can't pickle more than 1000000 bytes");
  });
});

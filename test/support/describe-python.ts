import {
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonTuple,
  PythonUnicode,
} from '../../src/pickle/index.js';
import type { PythonValue } from '../../src/pickle/index.js';

/** What a Python value is, as plain data that compares: types by name, and what occurs twice by where it was first. */
export type PlainValue = string | null | readonly PlainValue[];

/** Describes values; with `unicodeAsStr`, as if all text in them were str. */
export class PythonDescriber {
  private readonly seen = new Map<object, number>();

  constructor(private readonly unicodeAsStr = false) {}

  describe(value: PythonValue): PlainValue {
    const atom = this.describeAtom(value);
    if (atom !== undefined) return atom;
    if (typeof value !== 'object' || value === null) throw new Error('no value of a pickle');
    // To Python there is but one empty tuple.
    if (value instanceof PythonTuple && value.length === 0) return ['tuple', []];
    const first = this.seen.get(value);
    if (first !== undefined) return ['same as', String(first)];
    this.seen.set(value, this.seen.size);
    if (value instanceof PythonTuple) return ['tuple', this.describeItems(value.items)];
    if (Array.isArray(value)) return ['list', this.describeItems(value)];
    if (value instanceof Map) return ['dict', this.describePairs(value)];
    if (value instanceof Set) return ['set', sorted(this.describeItems([...value]))];
    if (value instanceof PythonInstance) return this.describeInstance(value);
    throw new Error('no value of a pickle');
  }

  private describeAtom(value: PythonValue): PlainValue | undefined {
    if (value === null || typeof value === 'boolean') return [String(value)];
    if (typeof value === 'bigint') return ['long', String(value)];
    if (typeof value === 'number')
      return [Number.isSafeInteger(value) && !Object.is(value, -0) ? 'int' : 'float', text(value)];
    if (value instanceof PythonFloat) return ['float', text(value.value)];
    if (value instanceof PythonInteger) return ['int', String(value.value)];
    if (value instanceof Uint8Array) return ['str', Buffer.from(value).toString('latin1')];
    if (value instanceof PythonUnicode) return [this.unicodeAsStr ? 'str' : 'unicode', value.value];
    // A string is a str where all of it is ASCII, else unicode.
    if (typeof value === 'string') return [/^[\0-\x7f]*$/.test(value) ? 'str' : 'unicode', value];
    if (value instanceof PythonClass) return ['class', value.module, value.name];
    if (value instanceof PythonExtension) return ['extension', String(value.code)];
    if (value instanceof PythonPersistentID) return ['persistent id', this.describe(value.id)];
    return undefined;
  }

  describeItems(values: readonly PythonValue[]): PlainValue[] {
    return values.map((value) => this.describe(value));
  }

  private describePairs(pairs: ReadonlyMap<PythonValue, PythonValue>): PlainValue[] {
    const keyed = [...pairs].map(([key, value]) => ({
      key: new PythonDescriber(this.unicodeAsStr).describe(key),
      value,
    }));
    keyed.sort((a, b) => compare(a.key, b.key));
    return keyed.map(({ key, value }) => [key, this.describe(value)]);
  }

  /** How it is made. For Python it is the same whether an instance is made by NEWOBJ or, as before protocol 2, without. */
  private describeConstruction(instance: PythonInstance): PlainValue[] {
    const { construction, callable, args } = instance;
    const made = plainNewStyleClass(instance);
    if (made !== undefined) return ['newobj', this.describe(made), this.describe(new PythonTuple([]))];
    return [construction, this.describe(callable), this.describe(args)];
  }

  private describeInstance(instance: PythonInstance): PlainValue {
    const { state, listItems, dictItems } = instance;
    return [
      ...this.describeConstruction(instance),
      state === undefined ? null : this.describe(state),
      listItems === undefined ? null : this.describeItems(listItems),
      dictItems === undefined ? null : this.describePairs(dictItems),
    ];
  }
}

/** An instance that is nothing but its class and its state, as protocols 0 and 1 spell it. */
function plainNewStyleClass({ callable, args }: PythonInstance): PythonValue | undefined {
  if (!(callable instanceof PythonClass && callable.is('copy_reg', '_reconstructor'))) return undefined;
  const [made, base, value] = args.items;
  return base instanceof PythonClass && base.is('__builtin__', 'object') && value === null ? made : undefined;
}

const text = (value: number): string => (Object.is(value, -0) ? '-0' : String(value));

function compare(a: PlainValue, b: PlainValue): number {
  const [first, second] = [JSON.stringify(a), JSON.stringify(b)];
  return first < second ? -1 : first > second ? 1 : 0;
}

/** Items whose order says nothing, in one order. */
export const sorted = (items: readonly PlainValue[]): PlainValue[] => [...items].sort(compare);

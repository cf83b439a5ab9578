/**
 * Python's values as data. `docs/values.md` has the whole mapping; in short:
 *
 * | Python | here |
 * |---|---|
 * | None, bool | null, boolean |
 * | int | number that is an integer; `PythonInteger` beyond the safe range |
 * | long | bigint |
 * | float | number that is no safe integer: a fraction, NaN, infinities, -0, 1e300; `PythonFloat` where it is one |
 * | str | string where all ASCII; Uint8Array where not |
 * | unicode | string where not all ASCII; `PythonUnicode` where it is |
 * | tuple, list, dict, set | `PythonTuple`, Array, Map, Set |
 * | a class, and what is made of one | `PythonClass`, `PythonInstance` |
 *
 * A value that is read and written again means the same to Python. No class is ever looked up, nothing is ever called.
 */
export type PythonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PythonFloat
  | PythonInteger
  | PythonUnicode
  | PythonTuple
  | PythonValue[]
  | Map<PythonValue, PythonValue>
  | Set<PythonValue>
  | PythonClass
  | PythonInstance
  | PythonPersistentID
  | PythonExtension;

/**
 * What can be pickled: every `PythonValue`, and JavaScript values without a type of their own in Python: undefined
 * (None), a `Date` (a naive datetime in UTC) and a plain object (a dict whose keys are str).
 */
export type PythonWritable =
  | PythonValue
  | undefined
  | Date
  | PythonTuple<readonly PythonWritable[]>
  | readonly PythonWritable[]
  | ReadonlyMap<PythonWritable, PythonWritable>
  | ReadonlySet<PythonWritable>
  | { readonly [key: string]: PythonWritable };

/** A float with an integral value, such as `2.0`: as a JavaScript number it would be the int `2`. */
export class PythonFloat {
  constructor(readonly value: number) {}

  valueOf(): number {
    return this.value;
  }

  toString(): string {
    return Number.isInteger(this.value) ? this.value.toFixed(1) : String(this.value);
  }

  toJSON(): number {
    return this.value;
  }
}

/** An int (not a long) beyond JavaScript's safe integers: Python 2's int has 64 bits. */
export class PythonInteger {
  constructor(readonly value: bigint) {}

  valueOf(): bigint {
    return this.value;
  }

  toString(): string {
    return String(this.value);
  }

  toJSON(): string {
    return String(this.value);
  }
}

/** A unicode string of ASCII characters only: as a JavaScript string it would be a str. */
export class PythonUnicode {
  constructor(readonly value: string) {}

  valueOf(): string {
    return this.value;
  }

  toString(): string {
    return this.value;
  }

  toJSON(): string {
    return this.value;
  }
}

/** A tuple. */
export class PythonTuple<Items extends readonly unknown[] = readonly PythonValue[]> {
  constructor(readonly items: Items) {}

  get length(): number {
    return this.items.length;
  }

  [Symbol.iterator](): IterableIterator<Items[number]> {
    return this.items[Symbol.iterator]();
  }

  toJSON(): Items {
    return this.items;
  }
}

/** Makes a tuple: `tuple(1, 'two')`. */
export function tuple<Items extends readonly unknown[]>(...items: Items): PythonTuple<Items> {
  return new PythonTuple(items);
}

/** A reference to a class or function, by module and name (opcode GLOBAL). It is never looked up here. */
export class PythonClass {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}

  is(module: string, name: string): boolean {
    return this.module === module && this.name === name;
  }

  toString(): string {
    return `${this.module}.${this.name}`;
  }
}

/**
 * How Python constructs an instance when it unpickles it: `reduce` is `callable(*args)` (opcode REDUCE), `newobj` is
 * `callable.__new__(callable, *args)` (NEWOBJ: new-style classes in protocol 2), `obj` makes an old-style instance
 * (OBJ, INST).
 */
export type Construction = 'reduce' | 'newobj' | 'obj';

/**
 * An instance of a class, as data: what Python would call to construct it, with which arguments, and the state it would
 * set.
 */
export class PythonInstance {
  /** What Python passes to `__setstate__`, or merges into `__dict__` (opcode BUILD); undefined if there is none. */
  state: PythonValue | undefined;
  /** The items of an instance of a list subclass (APPENDS). */
  listItems: PythonValue[] | undefined;
  /** The entries of an instance of a dict subclass (SETITEMS). */
  dictItems: Map<PythonValue, PythonValue> | undefined;

  constructor(
    readonly construction: Construction,
    readonly callable: PythonValue,
    readonly args: PythonTuple,
    state?: PythonValue,
  ) {
    this.state = state;
  }

  /**
   * The instance's class: the callable, or, of a new-style instance in protocols 0 and 1, the first argument of
   * `copy_reg._reconstructor`.
   */
  get class(): PythonValue {
    const [cls] = this.args.items;
    const isReconstructed = this.callable instanceof PythonClass && this.callable.is('copy_reg', '_reconstructor');
    return isReconstructed && cls !== undefined ? cls : this.callable;
  }

  /** True if this is an instance of the class of that module and name, in any protocol. */
  isOf(module: string, name: string): boolean {
    return this.class instanceof PythonClass && this.class.is(module, name);
  }

  /** An attribute by name, if the state is a dict of attributes. IronPython pickles attribute names as unicode. */
  attribute(name: string): PythonValue | undefined {
    if (!(this.state instanceof Map)) return undefined;
    const value = this.state.get(name);
    if (value !== undefined) return value;
    for (const [key, candidate] of this.state) {
      if (key instanceof PythonUnicode && key.value === name) return candidate;
    }
    return undefined;
  }
}

/** A reference to an object outside the pickle (opcodes PERSID, BINPERSID). */
export class PythonPersistentID {
  constructor(readonly id: PythonValue) {}
}

/** An object named by a code of the copy_reg extension registry (opcodes EXT1, EXT2, EXT4). */
export class PythonExtension {
  constructor(readonly code: number) {}
}

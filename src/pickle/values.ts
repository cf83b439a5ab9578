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
 * What is read and written again means the same to Python. Nothing here is ever looked up or called.
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
 * What can be written: every `PythonValue`, and what JavaScript has beside it: undefined (None), a `Date` (a naive
 * datetime in UTC) and a plain object (a dict whose keys are str).
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

/** A float that is whole: `2.0`, which as a JavaScript number would be the int `2`. */
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

/** A unicode string all of whose characters are ASCII: as a JavaScript string it would be a str. */
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

/** A class or function by its module and name (opcode GLOBAL). Two of the same module and name are one class to Python. */
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
 * How an instance comes to be when Python reads it: `reduce` calls what `callable` is with `args` (opcode REDUCE),
 * `newobj` is `callable.__new__(callable, *args)` (NEWOBJ: new-style classes in protocol 2), `obj` makes an old-style
 * instance (OBJ, INST).
 */
export type Construction = 'reduce' | 'newobj' | 'obj';

/** Anything made of a class: what Python would call, with what, and what it would put into the result. As data. */
export class PythonInstance {
  /** What Python passes to `__setstate__`, or merges into `__dict__` (opcode BUILD); undefined where there is none. */
  state: PythonValue | undefined;
  /** What a list subclass holds (APPENDS). */
  listItems: PythonValue[] | undefined;
  /** What a dict subclass holds (SETITEMS). */
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
   * The class that this is made of: the callable, or where protocols 0 and 1 make a new-style instance, the class that
   * `copy_reg._reconstructor` is given.
   */
  get class(): PythonValue {
    const [cls] = this.args.items;
    const isReconstructed = this.callable instanceof PythonClass && this.callable.is('copy_reg', '_reconstructor');
    return isReconstructed && cls !== undefined ? cls : this.callable;
  }

  /** True if this is made of the class of that module and name, in any protocol. */
  isOf(module: string, name: string): boolean {
    return this.class instanceof PythonClass && this.class.is(module, name);
  }

  /** An attribute by name, where the state is a dict of attributes. Names are unicode where IronPython made them. */
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

import { fromDate } from './datetime.js';
import { Opcode } from './opcodes.js';
import { PickleOutput } from './output.js';
import { PickleError } from './pickle-error.js';
import { encodeRawUnicodeEscape, encodeSurrogates, hasLoneSurrogate, pythonRepr } from './strings.js';
import {
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonTuple,
  PythonUnicode,
} from './values.js';
import type { PythonWritable } from './values.js';

/** Options of `dumps` and `PickleWriter`. */
export interface PickleWriteOptions {
  /** The pickle protocol; 2 by default. */
  readonly protocol?: 0 | 1 | 2;
  /** The maximal nesting depth; 1000 by default, which is about as deep as Python's own pickle goes. */
  readonly maxDepth?: number;
  /**
   * The most bytes of a pickle, or of a piece of one; 1 GiB by default. A value from a short pickle may make a long
   * one, if it refers to one object in many places.
   */
  readonly maxLength?: number;
  /**
   * As `fast` of Python's Pickler: no memo. The pickle is shorter and written faster, but shared objects are written at
   * each place anew, and cycles are an error. Off by default.
   */
  readonly fast?: boolean;
}

/** The opcodes without argument that `PickleWriter.opcode` writes, to compose values. */
export type PlainOpcode =
  | 'APPENDS'
  | 'BUILD'
  | 'EMPTY_DICT'
  | 'EMPTY_LIST'
  | 'EMPTY_TUPLE'
  | 'MARK'
  | 'NEWOBJ'
  | 'REDUCE'
  | 'SETITEMS'
  | 'TUPLE'
  | 'TUPLE1'
  | 'TUPLE2'
  | 'TUPLE3';

const SET = new PythonClass('__builtin__', 'set');
const NEWOBJ_FUNCTION = new PythonClass('copy_reg', '__newobj__');

/** Items per APPENDS or SETITEMS, as in Python: it bounds the reader's stack. */
const BATCH_SIZE = 1000;

/** Strings shorter than this are written again rather than memoized. */
const MEMOIZED_LENGTH = 64;

// V8 does not hash longer strings by their contents, so a lookup in a map compares them: only this many of them are
// memoized.
const MAX_HASHED_LENGTH = 16383;
const MEMOIZED_LONG_TEXTS = 64;

/**
 * Writes a value as a pickle. Shared and cyclic references are kept.
 * @throws PickleError where a value has no counterpart in Python, or `maxDepth` or `maxLength` is exceeded
 */
export function dumps(value: PythonWritable, options?: PickleWriteOptions): Buffer {
  const writer = new PickleWriter(options).start();
  try {
    return writer.write(value).finish();
  } catch (error) {
    // The JavaScript stack is used up before `maxDepth`, or memory is.
    throw error instanceof RangeError ? new PickleError(`can't pickle this: ${error.message}`) : error;
  }
}

/**
 * Writes a pickle incrementally, for values that are too large for memory, or of which parts were pickled before:
 *
 * ```
 * const writer = new PickleWriter({ fast: true }).start().opcode('EMPTY_LIST');
 * for await (const batch of batches) {
 *   writer.opcode('MARK');
 *   for (const [name, uri] of batch) writer.write(name).raw(uri).opcode('TUPLE2');
 *   send(writer.opcode('APPENDS').take());
 * }
 * send(writer.finish());
 * ```
 *
 * Parts for `raw` are made with `new PickleWriter({ fast: true }).write(value).finish()`. Use `fast` for parts and for
 * long pickles: without it the memo keeps each container that was written. After an error a writer must not be used any
 * more.
 */
export class PickleWriter {
  private readonly protocol: 0 | 1 | 2;
  private readonly maxDepth: number;
  private readonly fast: boolean;
  private readonly output: PickleOutput;
  private isWhole = false;
  private depth = 0;
  /** The memo: the numbers of the containers and long strings that were written. */
  private memo: Map<unknown, number> | undefined;
  private longTexts = 0;

  constructor(options?: PickleWriteOptions) {
    this.protocol = options?.protocol ?? 2;
    this.maxDepth = options?.maxDepth ?? 1000;
    this.fast = options?.fast ?? false;
    this.output = new PickleOutput(options?.maxLength ?? 2 ** 30);
  }

  /** Begins a complete pickle. Without this call, a part for `raw` is written. */
  start(): this {
    this.isWhole = true;
    if (this.protocol === 2) this.output.twoBytes(Opcode.PROTO, this.protocol);
    return this;
  }

  /** Writes an opcode without argument. What it takes from the stack must have been written before. */
  opcode(name: PlainOpcode): this {
    this.output.byte(Opcode[name]);
    return this;
  }

  /** Copies a part that a `fast` writer of the same protocol has written. */
  raw(opcodes: Uint8Array): this {
    this.output.bytes(opcodes);
    return this;
  }

  /** Writes a value. */
  write(value: PythonWritable): this {
    switch (typeof value) {
      case 'string':
        this.writeText(value);
        break;
      case 'number':
        this.writeNumber(value);
        break;
      case 'boolean':
        this.writeBoolean(value);
        break;
      case 'bigint':
        this.writeLong(value);
        break;
      case 'undefined':
        this.output.byte(Opcode.NONE);
        break;
      case 'object':
        if (value === null) this.output.byte(Opcode.NONE);
        else this.writeObject(value);
        break;
      default:
        throw new PickleError(`can't pickle a ${typeof value}`);
    }
    return this;
  }

  /** Returns the bytes that were written since the last call. */
  take(): Buffer {
    return this.output.take();
  }

  /** Ends the pickle or part, and returns the bytes that were written since the last call of `take`. */
  finish(): Buffer {
    if (this.isWhole) this.output.byte(Opcode.STOP);
    return this.output.finish();
  }

  private writeNumber(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) this.writeFloat(value);
    else if (this.protocol === 0 || value !== (value | 0)) this.output.withLine(Opcode.INT, String(value));
    else if (value < 0 || value > 0xffff) this.output.withUint32(Opcode.BININT, value);
    else if (value > 0xff) this.output.withUint16(Opcode.BININT2, value);
    else this.output.twoBytes(Opcode.BININT1, value);
  }

  private writeFloat(value: number): void {
    if (this.protocol === 0) this.output.withLine(Opcode.FLOAT, floatText(value));
    else this.output.withFloat64(Opcode.BINFLOAT, value);
  }

  private writeBoolean(value: boolean): void {
    if (this.protocol === 2) this.output.byte(value ? Opcode.NEWTRUE : Opcode.NEWFALSE);
    else this.output.withLine(Opcode.INT, value ? '01' : '00');
  }

  private writeLong(value: bigint): void {
    if (this.protocol < 2) {
      this.output.withLine(Opcode.LONG, `${value}L`);
      return;
    }
    const bytes = twosComplement(value);
    if (bytes.length < 256) this.output.twoBytes(Opcode.LONG1, bytes.length);
    else this.output.withUint32(Opcode.LONG4, bytes.length);
    this.output.bytes(bytes);
  }

  /** Writes a str if the text is ASCII, else a unicode. */
  private writeText(text: string): void {
    if (this.protocol > 0 && this.output.withShortASCII(Opcode.SHORT_BINSTRING, text)) return;
    if (text.length >= MEMOIZED_LENGTH && this.recall(text)) return;
    const byteLength = Buffer.byteLength(text);
    if (byteLength !== text.length) this.writeUnicode(text, byteLength);
    else if (this.protocol === 0) this.output.withLine(Opcode.STRING, pythonRepr(text));
    else {
      this.writeStringHeader(byteLength);
      this.output.text(text, byteLength, 'latin1');
    }
    const isMemoized = text.length <= MAX_HASHED_LENGTH || ++this.longTexts <= MEMOIZED_LONG_TEXTS;
    if (text.length >= MEMOIZED_LENGTH && isMemoized) this.memoize(text);
  }

  private writeUnicode(text: string, byteLength: number): void {
    if (this.protocol === 0) {
      this.output.withLine(Opcode.UNICODE, encodeRawUnicodeEscape(text));
      return;
    }
    this.output.withUint32(Opcode.BINUNICODE, byteLength);
    if (hasLoneSurrogate(text)) this.output.bytes(encodeSurrogates(text));
    else this.output.text(text, byteLength, 'utf8');
  }

  private writeString(bytes: Uint8Array): void {
    if (this.protocol === 0) {
      this.output.withLine(Opcode.STRING, pythonRepr(Buffer.from(bytes).toString('latin1')));
    } else {
      this.writeStringHeader(bytes.length);
      this.output.bytes(bytes);
    }
    if (bytes.length >= MEMOIZED_LENGTH) this.memoize(bytes);
  }

  private writeStringHeader(length: number): void {
    if (length < 256) this.output.twoBytes(Opcode.SHORT_BINSTRING, length);
    else this.output.withUint32(Opcode.BINSTRING, length);
  }

  private writeObject(value: Extract<PythonWritable, object>): void {
    if (this.recall(value)) return;
    if (++this.depth > this.maxDepth) throw new PickleError(`can't pickle values nested deeper than ${this.maxDepth}`);
    if (value instanceof PythonTuple) this.writeTuple(value);
    else if (value instanceof PythonInstance) this.writeInstance(value);
    else if (value instanceof Map) this.writeDict(value, value);
    else if (Array.isArray(value)) this.writeList(value);
    else if (value instanceof Set) this.writeSet(value);
    else if (value instanceof PythonClass) this.writeClass(value);
    else this.writeRareType(value);
    this.depth--;
  }

  private writeRareType(value: object): void {
    if (value instanceof Uint8Array) this.writeString(value);
    else if (value instanceof PythonUnicode) this.writePythonUnicode(value);
    else if (value instanceof PythonFloat) this.writeFloat(value.value);
    else if (value instanceof PythonInteger) this.output.withLine(Opcode.INT, String(value.value));
    else if (value instanceof PythonExtension) this.writeExtension(value.code);
    else if (value instanceof PythonPersistentID) this.writePersistentID(value);
    else if (value instanceof Date) this.writeInstance(fromDate(value));
    else this.writePlainObject(value);
  }

  private writePythonUnicode(unicode: PythonUnicode): void {
    const { value } = unicode;
    this.writeUnicode(value, Buffer.byteLength(value));
    if (value.length >= MEMOIZED_LENGTH) this.memoize(unicode);
  }

  private writePlainObject(object: object): void {
    if (!isPlainObject(object)) throw new PickleError(`can't pickle ${describe(object)}`);
    this.writeDict(object, new Map(Object.entries(object)));
  }

  private writeTuple(tuple: PythonTuple<readonly PythonWritable[]>): void {
    const { items } = tuple;
    const opcode = this.tupleOpcode(items.length);
    const hasMark = opcode === Opcode.TUPLE;
    if (hasMark) this.output.byte(Opcode.MARK);
    for (const item of items) this.write(item);
    if (this.recallInstead(tuple, items.length, hasMark)) return;
    this.output.byte(opcode);
    if (items.length > 0) this.memoize(tuple);
  }

  private tupleOpcode(length: number): number {
    if (this.protocol === 0) return Opcode.TUPLE;
    if (length === 0) return Opcode.EMPTY_TUPLE;
    if (this.protocol === 1 || length > 3) return Opcode.TUPLE;
    return length === 1 ? Opcode.TUPLE1 : length === 2 ? Opcode.TUPLE2 : Opcode.TUPLE3;
  }

  private writeList(list: readonly PythonWritable[]): void {
    if (this.protocol === 0) this.output.twoBytes(Opcode.MARK, Opcode.LIST);
    else this.output.byte(Opcode.EMPTY_LIST);
    this.memoize(list);
    this.writeItems(list);
  }

  /** Appends the items to the value on top of the reader's stack. */
  private writeItems(items: readonly PythonWritable[]): void {
    for (let start = 0; start < items.length; start += BATCH_SIZE) {
      const end = Math.min(start + BATCH_SIZE, items.length);
      const isBatch = this.protocol > 0 && end - start > 1;
      if (isBatch) this.output.byte(Opcode.MARK);
      for (let index = start; index < end; index++) {
        this.write(items[index]);
        if (!isBatch) this.output.byte(Opcode.APPEND);
      }
      if (isBatch) this.output.byte(Opcode.APPENDS);
    }
  }

  /** @param identity the object that the memo keeps for this dict */
  private writeDict(identity: object, entries: ReadonlyMap<PythonWritable, PythonWritable>): void {
    if (this.protocol === 0) this.output.twoBytes(Opcode.MARK, Opcode.DICT);
    else this.output.byte(Opcode.EMPTY_DICT);
    this.memoize(identity);
    this.writeEntries(entries);
  }

  /** Adds the entries to the value on top of the reader's stack. */
  private writeEntries(entries: ReadonlyMap<PythonWritable, PythonWritable>): void {
    const isBatch = this.protocol > 0 && entries.size > 1;
    let count = 0;
    for (const [key, value] of entries) {
      if (isBatch && count % BATCH_SIZE === 0) this.output.byte(Opcode.MARK);
      this.write(key).write(value);
      count++;
      if (!isBatch) this.output.byte(Opcode.SETITEM);
      else if (count % BATCH_SIZE === 0 || count === entries.size) this.output.byte(Opcode.SETITEMS);
    }
  }

  private writeSet(set: ReadonlySet<PythonWritable>): void {
    this.writeCall(set, SET, new PythonTuple([[...set]]), Opcode.REDUCE);
  }

  private writeClass(cls: PythonClass): void {
    this.output.withLine(Opcode.GLOBAL, cls.module);
    this.output.line(cls.name);
    this.memoize(cls);
  }

  private writeInstance(instance: PythonInstance): void {
    if (!this.writeConstruction(instance)) return;
    const { state, listItems, dictItems } = instance;
    if (listItems !== undefined) this.writeItems(listItems);
    if (dictItems !== undefined) this.writeEntries(dictItems);
    if (state !== undefined) this.write(state).opcode('BUILD');
  }

  /** @returns false if the instance was written meanwhile, within its own arguments: see `recallInstead` */
  private writeConstruction(instance: PythonInstance): boolean {
    const { construction, callable, args } = instance;
    if (construction === 'obj') return this.writeOldStyle(instance);
    if (construction === 'reduce') return this.writeCall(instance, callable, args, Opcode.REDUCE);
    if (this.protocol === 2) return this.writeCall(instance, callable, args, Opcode.NEWOBJ);
    return this.writeCall(instance, NEWOBJ_FUNCTION, new PythonTuple([callable, ...args.items]), Opcode.REDUCE);
  }

  private writeCall(
    result: object,
    callable: PythonWritable,
    args: PythonTuple<readonly PythonWritable[]>,
    opcode: number,
  ): boolean {
    this.write(callable).write(args);
    if (this.recallInstead(result, 2, false)) return false;
    this.output.byte(opcode);
    this.memoize(result);
    return true;
  }

  private writeOldStyle(instance: PythonInstance): boolean {
    const { callable, args } = instance;
    const namesClass = this.protocol === 0 && callable instanceof PythonClass;
    this.output.byte(Opcode.MARK);
    if (!namesClass) this.write(callable);
    for (const item of args.items) this.write(item);
    if (this.recallInstead(instance, namesClass ? args.length : args.length + 1, true)) return false;
    if (namesClass) {
      this.output.withLine(Opcode.INST, callable.module);
      this.output.line(callable.name);
    } else {
      this.output.byte(Opcode.OBJ);
    }
    this.memoize(instance);
    return true;
  }

  /** In protocol 0 a persistent id is a line of text; an id that can't be one is written as in the other protocols. */
  private writePersistentID(persistentID: PythonPersistentID): void {
    const { id } = persistentID;
    if (this.protocol === 0 && typeof id === 'string' && !/[\n\x80-\uffff]/.test(id)) {
      this.output.withLine(Opcode.PERSID, id);
    } else {
      this.write(id);
      if (this.recallInstead(persistentID, 1, false)) return;
      this.output.byte(Opcode.BINPERSID);
    }
    this.memoize(persistentID);
  }

  private writeExtension(code: number): void {
    if (!(Number.isInteger(code) && code > 0 && code <= 0x7fffffff)) {
      throw new PickleError(`can't pickle the extension code ${code}`);
    }
    if (code <= 0xff) this.output.twoBytes(Opcode.EXT1, code);
    else if (code <= 0xffff) this.output.withUint16(Opcode.EXT2, code);
    else this.output.withUint32(Opcode.EXT4, code);
  }

  /** Puts the value on top of the reader's stack into the memo: the one here, and the one in the reader. */
  private memoize(value: unknown): void {
    if (this.fast) return;
    this.memo ??= new Map<unknown, number>();
    const index = this.memo.size;
    this.memo.set(value, index);
    if (this.protocol === 0) this.output.withLine(Opcode.PUT, String(index));
    else if (index <= 0xff) this.output.twoBytes(Opcode.BINPUT, index);
    else this.output.withUint32(Opcode.LONG_BINPUT, index);
  }

  /** Writes a reference to a memoized value. @returns false if it is not in the memo */
  private recall(value: unknown): boolean {
    const index = this.memo?.get(value);
    if (index === undefined) return false;
    if (this.protocol === 0) this.output.withLine(Opcode.GET, String(index));
    else if (index <= 0xff) this.output.twoBytes(Opcode.BINGET, index);
    else this.output.withUint32(Opcode.LONG_BINGET, index);
    return true;
  }

  /**
   * Handles a value that contains itself: writing its parts has already written it whole. Then, as in Python, the parts
   * are popped, and a reference to it is written.
   * @param count how many parts are on the reader's stack
   * @param hasMark whether a mark is below them
   * @returns false if it does not contain itself; nothing was written then
   */
  private recallInstead(value: unknown, count: number, hasMark: boolean): boolean {
    if (this.memo?.has(value) !== true) return false;
    if (hasMark && this.protocol > 0) this.output.byte(Opcode.POP_MARK);
    else for (let pops = hasMark ? count + 1 : count; pops > 0; pops--) this.output.byte(Opcode.POP);
    return this.recall(value);
  }
}

/** Two's complement, little-endian, in as few bytes as hold the number and its sign; none for 0. */
function twosComplement(value: bigint): Uint8Array {
  if (value === 0n) return new Uint8Array();
  const hexDigits = (value < 0n ? ~value : value).toString(16);
  // The highest bit is the sign bit: a first digit of 8 or more needs another byte for it.
  const length = (hexDigits.length >> 1) + (hexDigits.length % 2 === 1 || hexDigits >= '8' ? 1 : 0);
  return Buffer.from(hex(BigInt.asUintN(length * 8, value), length * 2), 'hex').reverse();
}

function hex(value: bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

/** A float as text that Python's `float` reads as the same value; not always what Python's `repr` gives. */
function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  if (Object.is(value, -0)) return '-0.0';
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** True for an object literal or one without a prototype, also of another realm; false for instances of classes. */
function isPlainObject(object: object): object is Readonly<Record<string, PythonWritable>> {
  const prototype: unknown = Object.getPrototypeOf(object);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function describe(object: object): string {
  const { constructor } = object;
  return typeof constructor === 'function' && constructor.name !== '' ? `a ${constructor.name}` : 'this object';
}

import { Opcode } from './opcodes.js';
import { PickleError } from './pickle-error.js';
import { encodeRawUnicodeEscape, encodeUTF8, pythonRepr } from './strings.js';
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

export interface PickleWriteOptions {
  /** The pickle protocol; 2 by default. */
  readonly protocol?: 0 | 1 | 2;
  /** How deep containers may be nested; 1000 by default, about as deep as Python's own pickle goes. */
  readonly maxDepth?: number;
  /**
   * As `fast` of Python's Pickler: no memo, so the pickle is shorter and made sooner, but what is shared is written
   * again at each place, and what is cyclic is an error.
   */
  readonly fast?: boolean;
  /**
   * The most bytes that the pickle may have; 1 GiB by default. A value read from a short pickle may make a long one,
   * where one thing stands in many places.
   */
  readonly maxLength?: number;
}

/**
 * Writes a value as a pickle. Shared and cyclic references stay what they are.
 * @throws PickleError where a value has no counterpart in Python, or containers are nested too deep
 */
export function dumps(value: PythonWritable, options?: PickleWriteOptions): Buffer {
  return new PickleWriter(options).start().write(value).stop().take();
}

const SET = new PythonClass('__builtin__', 'set');
const NEWOBJ_FUNCTION = new PythonClass('copy_reg', '__newobj__');
const DATETIME = new PythonClass('datetime', 'datetime');

/** Items per APPENDS or SETITEMS, as in Python: this bounds the stack of the reader. */
const BATCH_SIZE = 1000;

/** Texts shorter than this are repeated rather than memoized. */
const MEMOIZED_LENGTH = 64;

/**
 * V8 doesn't hash longer strings by their contents, so looking one up compares it with all of its length; only the
 * first few are memoized.
 */
const LONG_TEXT = 16383;
const MEMOIZED_LONG_TEXTS = 64;

const INITIAL_SIZE = 1024;

const LINE_END = 0x0a;

/** The opcodes that have no argument. */
export type PlainOpcode =
  | 'APPENDS'
  | 'BINPERSID'
  | 'BUILD'
  | 'EMPTY_DICT'
  | 'EMPTY_LIST'
  | 'EMPTY_TUPLE'
  | 'MARK'
  | 'NEWOBJ'
  | 'REDUCE'
  | 'SETITEMS'
  | 'STOP'
  | 'TUPLE'
  | 'TUPLE1'
  | 'TUPLE2'
  | 'TUPLE3';

/**
 * Writes a pickle piece by piece, for what is too large to be at hand at once:
 *
 * ```
 * const writer = new PickleWriter({ fast: true }).start().opcode('EMPTY_LIST');
 * for await (const batch of batches) {
 *   writer.opcode('MARK');
 *   for (const [name, uri] of batch) writer.write(name).raw(uri).opcode('TUPLE2');
 *   send(writer.opcode('APPENDS').take());
 * }
 * send(writer.stop().take());
 * ```
 *
 * `fast` suits pieces: without it the writer remembers every container it has written. After an error it is of no use.
 */
export class PickleWriter {
  private readonly protocol: 0 | 1 | 2;
  private readonly maxDepth: number;
  private readonly fast: boolean;
  private readonly maxLength: number;
  private buffer = Buffer.allocUnsafe(INITIAL_SIZE);
  private length = 0;
  private depth = 0;
  private readonly memo = new Map<unknown, number>();
  private longTexts = 0;

  constructor({ protocol = 2, maxDepth = 1000, fast = false, maxLength = 2 ** 30 }: PickleWriteOptions = {}) {
    this.protocol = protocol;
    this.maxDepth = maxDepth;
    this.fast = fast;
    this.maxLength = maxLength;
  }

  /** Begins the pickle. */
  start(): this {
    if (this.protocol === 2) this.twoBytes(Opcode.PROTO, this.protocol);
    return this;
  }

  /** Ends the pickle, which must have left one value on the stack. */
  stop(): this {
    return this.opcode('STOP');
  }

  /** Takes what has been written since the last call. */
  take(): Buffer {
    const taken = this.buffer.subarray(0, this.length);
    this.buffer = this.buffer.subarray(this.length);
    this.length = 0;
    return taken;
  }

  /** An opcode that has no argument. */
  opcode(name: PlainOpcode): this {
    this.byte(Opcode[name]);
    return this;
  }

  /** Opcodes made before, by a `fast` writer of the same protocol, without `start` and `stop`. */
  raw(opcodes: Uint8Array): this {
    this.copy(opcodes);
    return this;
  }

  /** A whole value. */
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
        this.byte(Opcode.NONE);
        break;
      case 'object':
        if (value === null) this.byte(Opcode.NONE);
        else this.writeObject(value);
        break;
      default:
        throw new PickleError(`can't pickle a ${typeof value}`);
    }
    return this;
  }

  private writeObject(value: Extract<PythonWritable, object>): void {
    if (this.recall(value)) return;
    if (++this.depth > this.maxDepth) {
      throw new PickleError(`can't pickle containers nested deeper than ${this.maxDepth}`);
    }
    if (value instanceof PythonTuple) this.writeTuple(value);
    else if (value instanceof PythonInstance) this.writeInstance(value);
    else if (value instanceof Map) this.writeDict(value, value, value.size);
    else if (Array.isArray(value)) this.writeList(value);
    else if (value instanceof Set) this.writeSet(value);
    else if (value instanceof PythonClass) this.writeClass(value);
    else this.writeAtom(value);
    this.depth--;
  }

  private writeAtom(value: object): void {
    if (value instanceof PythonFloat) this.writeFloat(value.value);
    else if (value instanceof PythonUnicode) this.writePythonUnicode(value);
    else if (value instanceof Uint8Array) this.writeString(value);
    else if (value instanceof PythonInteger) this.textLine(Opcode.INT, String(value.value));
    else if (value instanceof PythonExtension) this.writeExtension(value.code);
    else if (value instanceof PythonPersistentID) this.writePersistentID(value);
    else if (value instanceof Date) this.writeDate(value);
    else this.writePlainObject(value);
  }

  private writeNumber(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) this.writeFloat(value);
    else if (this.protocol === 0 || value !== (value | 0)) this.textLine(Opcode.INT, String(value));
    else if (value >= 0 && value <= 0xff) this.twoBytes(Opcode.BININT1, value);
    else if (value >= 0 && value <= 0xffff) this.withUint16(Opcode.BININT2, value);
    else this.withUint32(Opcode.BININT, value >>> 0);
  }

  private writeFloat(value: number): void {
    if (this.protocol === 0) {
      this.textLine(Opcode.FLOAT, floatText(value));
      return;
    }
    this.byte(Opcode.BINFLOAT);
    this.reserve(8);
    this.length = this.buffer.writeDoubleBE(value, this.length);
  }

  private writeBoolean(value: boolean): void {
    if (this.protocol === 2) this.byte(value ? Opcode.NEWTRUE : Opcode.NEWFALSE);
    else this.textLine(Opcode.INT, value ? '01' : '00');
  }

  private writeLong(value: bigint): void {
    if (this.protocol < 2) {
      this.textLine(Opcode.LONG, `${value}L`);
      return;
    }
    const bytes = twosComplement(value);
    if (bytes.length < 256) this.twoBytes(Opcode.LONG1, bytes.length);
    else this.withUint32(Opcode.LONG4, bytes.length);
    this.copy(bytes);
  }

  /** A str where it is ASCII, else unicode. */
  private writeText(text: string): void {
    if (text.length >= MEMOIZED_LENGTH && this.recall(text)) return;
    if (!isASCII(text)) this.writeUnicode(text);
    else if (this.protocol === 0) this.textLine(Opcode.STRING, pythonRepr(text));
    else {
      this.stringHeader(text.length);
      this.reserve(text.length);
      this.length += this.buffer.write(text, this.length, 'latin1');
    }
    if (text.length >= MEMOIZED_LENGTH) this.memoizeText(text);
  }

  private writePythonUnicode(unicode: PythonUnicode): void {
    this.writeUnicode(unicode.value);
    if (unicode.value.length >= MEMOIZED_LENGTH) this.memoize(unicode);
  }

  private memoizeText(text: string): void {
    if (text.length <= LONG_TEXT || ++this.longTexts <= MEMOIZED_LONG_TEXTS) this.memoize(text);
  }

  private writeUnicode(text: string): void {
    if (this.protocol === 0) {
      this.byte(Opcode.UNICODE);
      this.copy(encodeRawUnicodeEscape(text));
      this.byte(LINE_END);
      return;
    }
    const bytes = encodeUTF8(text);
    this.withUint32(Opcode.BINUNICODE, bytes.length);
    this.copy(bytes);
  }

  private writeString(bytes: Uint8Array): void {
    if (this.protocol === 0) {
      this.textLine(Opcode.STRING, pythonRepr(Buffer.from(bytes).toString('latin1')));
    } else {
      this.stringHeader(bytes.length);
      this.copy(bytes);
    }
    if (bytes.length >= MEMOIZED_LENGTH) this.memoize(bytes);
  }

  private stringHeader(length: number): void {
    if (length < 256) this.twoBytes(Opcode.SHORT_BINSTRING, length);
    else this.withUint32(Opcode.BINSTRING, length);
  }

  private writeTuple(tuple: PythonTuple<readonly PythonWritable[]>): void {
    const { items } = tuple;
    if (items.length === 0) {
      this.writeTupleOf(items);
      return;
    }
    const hasMark = this.openTuple(items.length);
    for (const item of items) this.write(item);
    if (this.recallInstead(tuple, items.length, hasMark)) return;
    this.closeTuple(items.length);
    this.memoize(tuple);
  }

  /** A tuple that nothing else refers to. */
  private writeTupleOf(items: readonly PythonWritable[]): void {
    this.openTuple(items.length);
    for (const item of items) this.write(item);
    this.closeTuple(items.length);
  }

  private openTuple(length: number): boolean {
    const hasMark = this.protocol === 0 || length > 3 || (this.protocol === 1 && length > 0);
    if (hasMark) this.byte(Opcode.MARK);
    return hasMark;
  }

  private closeTuple(length: number): void {
    if (this.protocol > 0 && length === 0) this.byte(Opcode.EMPTY_TUPLE);
    else if (this.protocol === 2 && length === 1) this.byte(Opcode.TUPLE1);
    else if (this.protocol === 2 && length === 2) this.byte(Opcode.TUPLE2);
    else if (this.protocol === 2 && length === 3) this.byte(Opcode.TUPLE3);
    else this.byte(Opcode.TUPLE);
  }

  private writeList(list: readonly PythonWritable[]): void {
    this.openList();
    this.memoize(list);
    this.writeItems(list);
  }

  private openList(): void {
    if (this.protocol === 0) this.twoBytes(Opcode.MARK, Opcode.LIST);
    else this.byte(Opcode.EMPTY_LIST);
  }

  /** Appends the items to what is topmost on the reader's stack. */
  private writeItems(items: readonly PythonWritable[]): void {
    for (let start = 0; start < items.length; start += BATCH_SIZE) {
      const end = Math.min(start + BATCH_SIZE, items.length);
      const isBatch = this.protocol > 0 && end - start > 1;
      if (isBatch) this.byte(Opcode.MARK);
      for (let index = start; index < end; index++) {
        this.write(items[index]);
        if (!isBatch) this.byte(Opcode.APPEND);
      }
      if (isBatch) this.byte(Opcode.APPENDS);
    }
  }

  private writeDict(dict: object, entries: Iterable<readonly [PythonWritable, PythonWritable]>, size: number): void {
    if (this.protocol === 0) this.twoBytes(Opcode.MARK, Opcode.DICT);
    else this.byte(Opcode.EMPTY_DICT);
    this.memoize(dict);
    this.writeEntries(entries, size);
  }

  /** Adds the entries to what is topmost on the reader's stack. */
  private writeEntries(entries: Iterable<readonly [PythonWritable, PythonWritable]>, size: number): void {
    const isBatch = this.protocol > 0 && size > 1;
    let count = 0;
    for (const [key, value] of entries) {
      if (isBatch && count % BATCH_SIZE === 0) this.byte(Opcode.MARK);
      this.write(key);
      this.write(value);
      count++;
      if (!isBatch) this.byte(Opcode.SETITEM);
      else if (count % BATCH_SIZE === 0 || count === size) this.byte(Opcode.SETITEMS);
    }
  }

  private writeSet(set: ReadonlySet<PythonWritable>): void {
    this.write(SET);
    this.openTuple(1);
    this.openList();
    this.writeItems([...set]);
    this.closeTuple(1);
    if (this.recallInstead(set, 2, false)) return;
    this.byte(Opcode.REDUCE);
    this.memoize(set);
  }

  private writeClass(cls: PythonClass): void {
    this.byte(Opcode.GLOBAL);
    this.writeClassName(cls);
    this.memoize(cls);
  }

  private writeClassName({ module, name }: PythonClass): void {
    this.line(module);
    this.line(name);
  }

  private writeInstance(instance: PythonInstance): void {
    const { construction, callable, args, state, listItems, dictItems } = instance;
    if (construction === 'obj') {
      const isInst = this.protocol === 0 && callable instanceof PythonClass;
      this.byte(Opcode.MARK);
      if (!isInst) this.write(callable);
      for (const item of args.items) this.write(item);
      if (this.recallInstead(instance, args.length + (isInst ? 0 : 1), true)) return;
      this.byte(isInst ? Opcode.INST : Opcode.OBJ);
      if (isInst) this.writeClassName(callable);
    } else {
      const isNewObject = construction === 'newobj' && this.protocol === 2;
      this.write(construction === 'reduce' || isNewObject ? callable : NEWOBJ_FUNCTION);
      if (construction === 'reduce' || isNewObject) this.write(args);
      else this.writeTupleOf([callable, ...args.items]);
      if (this.recallInstead(instance, 2, false)) return;
      this.byte(isNewObject ? Opcode.NEWOBJ : Opcode.REDUCE);
    }
    this.memoize(instance);
    if (listItems !== undefined) this.writeItems(listItems);
    if (dictItems !== undefined) this.writeEntries(dictItems, dictItems.size);
    if (state !== undefined) this.write(state).opcode('BUILD');
  }

  /** A persistent id is text in protocol 0; what is no line of text is written as any value. */
  private writePersistentID({ id }: PythonPersistentID): void {
    if (this.protocol === 0 && typeof id === 'string' && isASCII(id) && !id.includes('\n')) {
      this.textLine(Opcode.PERSID, id);
      return;
    }
    this.write(id).opcode('BINPERSID');
  }

  private writeExtension(code: number): void {
    if (!(Number.isInteger(code) && code > 0 && code <= 0x7fffffff))
      throw new PickleError(`can't pickle the extension code ${code}`);
    if (code <= 0xff) this.twoBytes(Opcode.EXT1, code);
    else if (code <= 0xffff) this.withUint16(Opcode.EXT2, code);
    else this.withUint32(Opcode.EXT4, code);
  }

  private writeDate(date: Date): void {
    const year = date.getUTCFullYear();
    if (!(year >= 1 && year <= 9999))
      throw new PickleError(`can't pickle the date ${String(date)}: Python has the years 1 to 9999`);
    const microseconds = date.getUTCMilliseconds() * 1000;
    const state = Uint8Array.of(
      year >> 8,
      year & 0xff,
      date.getUTCMonth() + 1,
      date.getUTCDate(),
      date.getUTCHours(),
      date.getUTCMinutes(),
      date.getUTCSeconds(),
      microseconds >> 16,
      (microseconds >> 8) & 0xff,
      microseconds & 0xff,
    );
    this.write(DATETIME);
    this.writeTupleOf([state]);
    this.byte(Opcode.REDUCE);
    this.memoize(date);
  }

  private writePlainObject(object: object): void {
    if (!isPlainObject(object)) throw new PickleError(`can't pickle ${describe(object)}`);
    const entries = Object.entries(object);
    this.writeDict(object, entries, entries.length);
  }

  /** Remembers what the reader now has on top of its stack. */
  private memoize(value: unknown): void {
    if (this.fast) return;
    const index = this.memo.size;
    this.memo.set(value, index);
    if (this.protocol === 0) this.textLine(Opcode.PUT, String(index));
    else if (index <= 0xff) this.twoBytes(Opcode.BINPUT, index);
    else this.withUint32(Opcode.LONG_BINPUT, index);
  }

  /** Refers to a value that was written before. @returns false where it was not */
  private recall(value: unknown): boolean {
    const index = this.memo.get(value);
    if (index === undefined) return false;
    if (this.protocol === 0) this.textLine(Opcode.GET, String(index));
    else if (index <= 0xff) this.twoBytes(Opcode.BINGET, index);
    else this.withUint32(Opcode.LONG_BINGET, index);
    return true;
  }

  /**
   * A value that holds itself was completed while its parts were written: then throws those parts away, and refers to
   * it. As Python does.
   * @param count how many parts are on the reader's stack
   * @param hasMark whether a mark is below them
   */
  private recallInstead(value: unknown, count: number, hasMark: boolean): boolean {
    if (!this.memo.has(value)) return false;
    if (hasMark && this.protocol > 0) this.byte(Opcode.POP_MARK);
    else for (let pops = hasMark ? count + 1 : count; pops > 0; pops--) this.byte(Opcode.POP);
    return this.recall(value);
  }

  /** An opcode with its argument as a line of text. */
  private textLine(opcode: number, text: string): void {
    this.byte(opcode);
    this.line(text);
  }

  /** A line of text, one byte per character. */
  private line(text: string): void {
    if (/[\n\u0100-\uffff]/.test(text)) throw new PickleError(`can't pickle the name ${JSON.stringify(text)}`);
    this.reserve(text.length + 1);
    this.length += this.buffer.write(text, this.length, 'latin1');
    this.byte(LINE_END);
  }

  private withUint32(opcode: number, argument: number): void {
    this.reserve(5);
    this.buffer[this.length++] = opcode;
    this.length = this.buffer.writeUInt32LE(argument, this.length);
  }

  private withUint16(opcode: number, argument: number): void {
    this.twoBytes(opcode, argument & 0xff);
    this.byte(argument >> 8);
  }

  private byte(byte: number): void {
    this.reserve(1);
    this.buffer[this.length++] = byte;
  }

  private twoBytes(first: number, second: number): void {
    this.reserve(2);
    this.buffer[this.length++] = first;
    this.buffer[this.length++] = second;
  }

  private copy(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  private reserve(count: number): void {
    if (this.length + count <= this.buffer.length) return;
    if (this.length + count > this.maxLength) throw new PickleError(`can't pickle more than ${this.maxLength} bytes`);
    const larger = Buffer.allocUnsafe(Math.max(this.length + count, 2 * this.buffer.length, INITIAL_SIZE));
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
  }
}

/** Two's complement in as few bytes as hold the sign, the lowest first; none for 0. */
function twosComplement(value: bigint): Uint8Array {
  if (value === 0n) return new Uint8Array();
  const magnitude = value < 0n ? ~value : value;
  const size = (magnitude.toString(16).length >> 1) + 1;
  const bytes = Buffer.from(
    BigInt.asUintN(size * 8, value)
      .toString(16)
      .padStart(size * 2, '0'),
    'hex',
  ).reverse();
  const isWide = bytes.length > 1 && isSignExtension(bytes[size - 1] ?? 0, bytes[size - 2] ?? 0);
  return isWide ? bytes.subarray(0, -1) : bytes;
}

/** True if the highest byte of a two's complement number only repeats the sign of the byte below it. */
function isSignExtension(highest: number, below: number): boolean {
  return highest === (below < 0x80 ? 0 : 0xff);
}

function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  return Object.is(value, -0) ? '-0.0' : String(value);
}

function isASCII(text: string): boolean {
  return Buffer.byteLength(text) === text.length;
}

/** An object literal or one without a prototype, also of another realm: no instance of a class. */
function isPlainObject(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function describe(object: object): string {
  const { constructor } = object;
  return typeof constructor === 'function' && constructor.name !== '' ? `a ${constructor.name}` : 'this object';
}

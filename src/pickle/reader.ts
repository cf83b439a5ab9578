import { completeLimits, DEFAULT_PICKLE_LIMITS, PickleMachine } from './machine.js';
import type { PickleLimits } from './machine.js';
import { isNestedDeeper } from './nesting.js';
import { addMember, setEntry } from './number-keys.js';
import { Opcode, opcodeName } from './opcodes.js';
import type { OpcodeName } from './opcodes.js';
import { decodeASCII, decodeRawUnicodeEscape, decodeStringEscape, decodeUTF8 } from './strings.js';
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
import type { PythonValue } from './values.js';

/** How to read a pickle; each limit has its default in `DEFAULT_PICKLE_LIMITS`. */
export interface PickleReadOptions extends Partial<PickleLimits> {
  /** The byte at which the pickle begins; 0 by default. What comes after its STOP is ignored. */
  readonly offset?: number;
  /** `exact` (default): ASCII unicode is a `PythonUnicode`, so that it is written as unicode again; `text`: a string. */
  readonly unicode?: 'exact' | 'text';
  /** Large strings of bytes are views of the input, which must not change afterwards, rather than copies of their own. */
  readonly views?: boolean;
  /** `exact` (default): a whole float is a `PythonFloat`, so that it is written as float again; `number`: a number. */
  readonly floats?: 'exact' | 'number';
}

/**
 * Reads a pickle of protocol 0, 1 or 2 as data: no class is looked up and nothing is called, whatever it says.
 * @throws PickleError where the bytes are no pickle, or it asks for more than the limits
 */
export function loads(bytes: Uint8Array, options?: PickleReadOptions): PythonValue {
  const reader = new PickleReader(bytes, options);
  for (;;) {
    const opcode = reader.nextOpcode();
    if (opcode === Opcode.STOP) return reader.result();
    const operation = OPERATIONS[opcode];
    if (operation === undefined) throw reader.error('no opcode of protocols 0, 1 and 2');
    operation(reader);
  }
}

/** The machine, and what several opcodes do with its values. */
class PickleReader extends PickleMachine {
  private readonly plainUnicode: boolean;
  private readonly plainFloats: boolean;
  private readonly views: boolean;
  /** How many values may still be copied out of containers that stay in use: see `takeCopies`. */
  private copies: number;
  /** How many characters of long keys may still be compared, and how many texts without a hash were keys: see `takeComparisons`. */
  private comparisons: number;
  private longTexts = 0;

  constructor(bytes: Uint8Array, options: PickleReadOptions | undefined) {
    const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    super(buffer, options?.offset ?? 0, options === undefined ? DEFAULT_PICKLE_LIMITS : completeLimits(options));
    this.plainUnicode = options?.unicode === 'text';
    this.plainFloats = options?.floats === 'number';
    this.views = options?.views === true;
    this.copies = buffer.length;
    this.comparisons = COMPARISONS_PER_BYTE * buffer.length;
  }

  /** What the pickle was about. */
  result(): PythonValue {
    const value = this.pop();
    const { depth } = this.limits;
    // Most pickles make too few objects for that, and are not looked through. An instance has a tuple of its own.
    const mayBeTooDeep = 2 * this.objects + 1 > depth;
    if (mayBeTooDeep && isNestedDeeper(value, depth)) throw this.limited('depth');
    return value;
  }

  pushFloat(value: number): void {
    const isExact = this.plainFloats || !isInteger(value);
    this.push(isExact ? value : new PythonFloat(value));
  }

  /** A str of that many bytes. */
  pushString(length: number): void {
    if (length > this.limits.stringBytes) throw this.limited('stringBytes');
    const start = this.skip(length);
    this.pushStringOf(this.bytes, start, start + length);
  }

  /** A str: text where the bytes are ASCII. */
  pushStringOf(bytes: Buffer, start: number, end: number): void {
    const text = decodeASCII(bytes, start, end);
    if (text === undefined) this.pushObject(this.bytesOf(bytes, start, end));
    else this.push(text);
  }

  private bytesOf(bytes: Buffer, start: number, end: number): Uint8Array {
    const isView = this.views && end - start >= SMALLEST_VIEW;
    return isView
      ? new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)
      : new Uint8Array(bytes.subarray(start, end));
  }

  /** A unicode string of that many bytes in UTF-8. */
  pushUnicode(length: number): void {
    if (length > this.limits.stringBytes) throw this.limited('stringBytes');
    const start = this.skip(length);
    const end = start + length;
    const ascii = decodeASCII(this.bytes, start, end);
    const text = ascii ?? decodeUTF8(this.bytes, start, end);
    if (text === undefined) throw this.error('expected text in UTF-8');
    this.push(ascii === undefined || this.plainUnicode ? text : new PythonUnicode(ascii));
  }

  /** A unicode string in a line. */
  pushUnicodeLine(): void {
    const text = decodeRawUnicodeEscape(this.line());
    if (text === undefined) throw this.error('expected text with valid escapes');
    this.pushObject(this.plainUnicode || !/^[\0-\x7f]*$/.test(text) ? text : new PythonUnicode(text));
  }

  /** An int, which outside the range of Python's 64 bits is a long. */
  pushInteger(digits: string): void {
    const integer = this.parseLong(digits);
    const value = Number(integer);
    if (Number.isSafeInteger(value)) this.pushObject(value);
    else this.pushObject(BigInt.asIntN(64, integer) === integer ? new PythonInteger(integer) : integer);
  }

  parseLong(digits: string): bigint {
    if (digits.length > this.limits.longDigits) throw this.limited('longDigits');
    if (!/^[+-]?[0-9]+$/.test(digits)) throw this.error('expected decimal digits');
    // Reading them takes quadratic time.
    this.countObject(Math.floor((digits.length / DIGITS_PER_OBJECT) ** 2));
    return BigInt(digits);
  }

  /** A two's complement number of that many bytes, the lowest first. */
  pushLong(length: number): void {
    if (length * DIGITS_PER_BYTE > this.limits.longDigits) throw this.limited('longDigits');
    const start = this.skip(length);
    const highestFirst = Buffer.from(this.bytes.subarray(start, start + length)).reverse();
    const magnitude = length === 0 ? 0n : BigInt(`0x${highestFirst.toString('hex')}`);
    this.pushObject(BigInt.asIntN(length * 8, magnitude));
  }

  /** The number of a memo entry in text. */
  memoIndex(): number {
    const digits = this.textLine();
    if (!/^[0-9]{1,15}$/.test(digits)) throw this.error('expected the number of a memo entry');
    return Number(digits);
  }

  readClass(): PythonClass {
    return new PythonClass(this.textLine(), this.textLine());
  }

  popTuple(): PythonTuple {
    const value = this.pop();
    if (!(value instanceof PythonTuple)) throw this.error('expected a tuple of arguments');
    return value;
  }

  /** Calls nothing: says what Python would call. A set is a set; what else comes of a call is an instance. */
  reduce(): void {
    const args = this.popTuple();
    const callable = this.pop();
    this.pushObject(this.knownReduction(callable, args) ?? new PythonInstance('reduce', callable, args));
  }

  private knownReduction(callable: PythonValue, args: PythonTuple): PythonValue | undefined {
    if (!(callable instanceof PythonClass)) return undefined;
    const [first] = args.items;
    if (callable.is('__builtin__', 'set') && args.length === 1 && Array.isArray(first)) {
      this.takeCopies(first.length);
      return this.setOf(first);
    }
    // How a new-style instance is written in protocols 0 and 1, which have no NEWOBJ.
    if (callable.is('copy_reg', '__newobj__') && first !== undefined) {
      this.takeCopies(args.length);
      return new PythonInstance('newobj', first, new PythonTuple(args.items.slice(1)));
    }
    return undefined;
  }

  /**
   * Copying lists out of the memo, a few bytes of pickle could make values without end. What Python pickles itself it
   * copies once, so there are never more copies than bytes.
   */
  private takeCopies(count: number): void {
    this.copies -= count;
    if (this.copies < 0) throw this.error('it copies the same values again and again');
  }

  append(items: readonly PythonValue[]): void {
    const target = this.peek();
    const list = target instanceof PythonInstance ? (target.listItems ??= []) : target;
    if (!Array.isArray(list)) throw this.error('expected a list below the items');
    for (const item of items) list.push(item);
  }

  setItems(items: readonly PythonValue[]): void {
    const target = this.peek();
    const dict = target instanceof PythonInstance ? (target.dictItems ??= new Map<PythonValue, PythonValue>()) : target;
    if (!(dict instanceof Map)) throw this.error('expected a dict below the items');
    this.fill(dict, items);
  }

  /** @param items keys and values by turns */
  fill(dict: Map<PythonValue, PythonValue>, items: readonly PythonValue[]): void {
    if (items.length % 2 !== 0) throw this.error('a key has no value');
    for (let index = 0; index < items.length; index += 2) {
      setEntry(dict, this.key(items[index] ?? null), items[index + 1] ?? null);
    }
  }

  private setOf(items: readonly PythonValue[]): Set<PythonValue> {
    const set = new Set<PythonValue>();
    for (const item of items) addMember(set, this.key(item));
    return set;
  }

  /** Maps and sets take all NaN for one key, and -0 for 0: to Python they are keys of their own, and floats. */
  private key(value: PythonValue): PythonValue {
    this.takeComparisons(value);
    const isLost = typeof value === 'number' && !this.plainFloats && (Number.isNaN(value) || Object.is(value, -0));
    return isLost ? new PythonFloat(value) : value;
  }

  /**
   * V8 finds a key among others by comparing it with those of the same hash: with equal ones, and with all texts of the same
   * length above HASHED_LENGTH. A few bytes of pickle can name a long key of the memo again and again, so how much is
   * compared is bounded by the pickle's length.
   */
  private takeComparisons(key: PythonValue): void {
    if (typeof key === 'string') {
      if (key.length <= SHORT_KEY) return;
      if (key.length > HASHED_LENGTH) this.longTexts++;
      this.comparisons -= key.length * (this.longTexts + 1);
    } else {
      if (typeof key !== 'bigint' || BigInt.asIntN(SHORT_KEY, key) === key) return;
      this.comparisons -= COMPARISONS_PER_DIGIT * key.toString(16).length;
    }
    if (this.comparisons < 0) throw this.error('it has too many long keys of dicts or sets');
  }

  build(): void {
    const state = this.pop();
    const target = this.peek();
    if (!(target instanceof PythonInstance)) throw this.error('expected an instance below its state');
    if (target.state !== undefined) throw this.error('the instance has its state already');
    target.state = state;
  }
}

type Operation = (reader: PickleReader) => void;

/** Below this, a view would keep more of the input in memory than it saves. */
const SMALLEST_VIEW = 0x10000;

/** Keys of so many characters or bits are compared in less time than it takes to read an opcode. */
const SHORT_KEY = 1000;
/** V8 gives longer texts their length for a hash. */
const HASHED_LENGTH = 16_383;
const COMPARISONS_PER_BYTE = 32;
/** Of a long: it is compared digit by digit, with some dozens of others, and written as text. */
const COMPARISONS_PER_DIGIT = 16;

const DIGITS_PER_OBJECT = 500;
const DIGITS_PER_BYTE = 2.41;
const EMPTY_TUPLE = new PythonTuple([]);

const OPERATION_BY_NAME: Record<Exclude<OpcodeName, 'STOP'>, Operation> = {
  PROTO: (reader) => {
    const protocol = reader.uint8();
    if (protocol > 2) throw reader.error(`protocol ${protocol} is not supported, only 0, 1 and 2 are`);
  },

  // The stack and the memo.
  MARK: (reader) => {
    reader.mark();
  },
  POP: (reader) => {
    reader.popAny();
  },
  POP_MARK: (reader) => {
    reader.popMark();
  },
  DUP: (reader) => {
    reader.push(reader.peek());
  },
  PUT: (reader) => {
    reader.memoize(reader.memoIndex());
  },
  BINPUT: (reader) => {
    reader.memoize(reader.uint8());
  },
  LONG_BINPUT: (reader) => {
    reader.memoize(reader.int32() >>> 0);
  },
  GET: (reader) => {
    reader.pushObject(reader.recall(reader.memoIndex()));
  },
  BINGET: (reader) => {
    reader.push(reader.recall(reader.uint8()));
  },
  LONG_BINGET: (reader) => {
    reader.push(reader.recall(reader.int32() >>> 0));
  },

  // None, bool, numbers.
  NONE: (reader) => {
    reader.push(null);
  },
  NEWTRUE: (reader) => {
    reader.push(true);
  },
  NEWFALSE: (reader) => {
    reader.push(false);
  },
  INT: (reader) => {
    const digits = reader.textLine();
    // Protocols 0 and 1 have no opcode for a bool.
    if (digits === '00' || digits === '01') reader.pushObject(digits === '01');
    else reader.pushInteger(digits);
  },
  BININT: (reader) => {
    reader.push(reader.int32());
  },
  BININT1: (reader) => {
    reader.push(reader.uint8());
  },
  BININT2: (reader) => {
    reader.push(reader.uint16());
  },
  LONG: (reader) => {
    reader.pushObject(reader.parseLong(reader.textLine().replace(/L$/, '')));
  },
  LONG1: (reader) => {
    reader.pushLong(reader.uint8());
  },
  LONG4: (reader) => {
    reader.pushLong(reader.int32());
  },
  FLOAT: (reader) => {
    reader.countObject();
    reader.pushFloat(parseFloatLine(reader));
  },
  BINFLOAT: (reader) => {
    reader.pushFloat(reader.float64());
  },

  // Strings.
  STRING: (reader) => {
    const literal = reader.line();
    const quote = literal[0];
    const isQuoted = literal.length > 1 && (quote === 0x22 || quote === 0x27) && literal.at(-1) === quote;
    const bytes = isQuoted ? decodeStringEscape(literal.subarray(1, -1)) : undefined;
    if (bytes === undefined) throw reader.error('expected a quoted string with valid escapes');
    reader.countObject();
    reader.pushStringOf(bytes, 0, bytes.length);
  },
  SHORT_BINSTRING: (reader) => {
    reader.pushString(reader.uint8());
  },
  BINSTRING: (reader) => {
    reader.pushString(reader.int32());
  },
  UNICODE: (reader) => {
    reader.pushUnicodeLine();
  },
  BINUNICODE: (reader) => {
    reader.pushUnicode(reader.int32());
  },

  // Containers.
  EMPTY_TUPLE: (reader) => {
    reader.push(EMPTY_TUPLE);
  },
  TUPLE: (reader) => {
    reader.pushObject(new PythonTuple(reader.popMark()));
  },
  TUPLE1: (reader) => {
    reader.pushObject(new PythonTuple([reader.pop()]));
  },
  TUPLE2: (reader) => {
    const second = reader.pop();
    reader.pushObject(new PythonTuple([reader.pop(), second]));
  },
  TUPLE3: (reader) => {
    const third = reader.pop();
    const second = reader.pop();
    reader.pushObject(new PythonTuple([reader.pop(), second, third]));
  },
  EMPTY_LIST: (reader) => {
    reader.pushObject([]);
  },
  LIST: (reader) => {
    reader.pushObject(reader.popMark());
  },
  APPEND: (reader) => {
    reader.append([reader.pop()]);
  },
  APPENDS: (reader) => {
    reader.append(reader.popMark());
  },
  EMPTY_DICT: (reader) => {
    reader.pushObject(new Map());
  },
  DICT: (reader) => {
    const dict = new Map<PythonValue, PythonValue>();
    reader.fill(dict, reader.popMark());
    reader.pushObject(dict);
  },
  SETITEM: (reader) => {
    const value = reader.pop();
    reader.setItems([reader.pop(), value]);
  },
  SETITEMS: (reader) => {
    reader.setItems(reader.popMark());
  },

  // Classes, and what is made of them.
  GLOBAL: (reader) => {
    reader.pushObject(reader.readClass());
  },
  EXT1: (reader) => {
    pushExtension(reader, reader.uint8());
  },
  EXT2: (reader) => {
    pushExtension(reader, reader.uint16());
  },
  EXT4: (reader) => {
    pushExtension(reader, reader.int32());
  },
  REDUCE: (reader) => {
    reader.reduce();
  },
  NEWOBJ: (reader) => {
    const args = reader.popTuple();
    reader.pushObject(new PythonInstance('newobj', reader.pop(), args));
  },
  OBJ: (reader) => {
    const [callable, ...args] = reader.popMark();
    if (callable === undefined) throw reader.error('expected a class above the mark');
    reader.pushObject(new PythonInstance('obj', callable, new PythonTuple(args)));
  },
  INST: (reader) => {
    const callable = reader.readClass();
    reader.pushObject(new PythonInstance('obj', callable, new PythonTuple(reader.popMark())));
  },
  BUILD: (reader) => {
    reader.build();
  },
  PERSID: (reader) => {
    const id = reader.line();
    reader.pushStringOf(id, 0, id.length);
    reader.pushObject(new PythonPersistentID(reader.pop()));
  },
  BINPERSID: (reader) => {
    reader.pushObject(new PythonPersistentID(reader.pop()));
  },
};

/** The operations by their opcodes. */
const OPERATIONS: (Operation | undefined)[] = Array.from({ length: 256 }, (_, code) => {
  const name = opcodeName(code);
  return Object.entries(OPERATION_BY_NAME).find(([key]) => key === name)?.[1];
});

function pushExtension(reader: PickleReader, code: number): void {
  if (code <= 0) throw reader.error(`expected an extension code above 0, found ${code}`);
  reader.pushObject(new PythonExtension(code));
}

function parseFloatLine(reader: PickleReader): number {
  const text = reader.textLine().trim();
  const special = /^([+-]?)(?:(inf(?:inity)?)|nan)$/i.exec(text);
  if (special !== null) return special[2] === undefined ? NaN : special[1] === '-' ? -Infinity : Infinity;
  if (!/^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?$/i.test(text)) throw reader.error('expected a float');
  return Number(text);
}

/** True for a number that is written as an int. */
function isInteger(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

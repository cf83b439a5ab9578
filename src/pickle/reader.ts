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

/** Options of `loads`. The limits default to `DEFAULT_PICKLE_LIMITS`. */
export interface PickleReadOptions extends Partial<PickleLimits> {
  /** The offset in bytes at which the pickle begins; 0 by default. Bytes after its STOP are ignored. */
  readonly offset?: number;
  /**
   * For ASCII unicode: `exact` (default) gives a `PythonUnicode`, which is written as unicode again; `text` a string.
   */
  readonly unicode?: 'exact' | 'text';
  /** True: large byte strings are views of the input, which must not change afterwards; false (default): copies. */
  readonly views?: boolean;
  /**
   * For a float such as 2.0: `exact` (default) gives a `PythonFloat`, which is written as float again; `number` a
   * number.
   */
  readonly floats?: 'exact' | 'number';
}

/**
 * Reads a pickle of protocol 0, 1 or 2 as data: no class is looked up and nothing is called, so untrusted pickles are
 * safe.
 * @throws PickleError where the bytes are no valid pickle, or exceed a limit
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

/** The stack machine with the operations that several opcodes share. */
class PickleReader extends PickleMachine {
  private readonly plainUnicode: boolean;
  private readonly plainFloats: boolean;
  private readonly views: boolean;
  /** Budget: how many values may still be copied out of containers that remain in use; see `chargeCopies`. */
  private copyBudget: number;
  /** Budget: how many characters of long keys may still be compared; see `chargeComparisons`. */
  private comparisonBudget: number;
  /** How many keys so far were texts too long for V8 to hash. */
  private unhashedKeys = 0;

  constructor(bytes: Uint8Array, options: PickleReadOptions | undefined) {
    const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    super(buffer, options?.offset ?? 0, options === undefined ? DEFAULT_PICKLE_LIMITS : completeLimits(options));
    this.plainUnicode = options?.unicode === 'text';
    this.plainFloats = options?.floats === 'number';
    this.views = options?.views === true;
    this.copyBudget = buffer.length;
    this.comparisonBudget = COMPARISONS_PER_BYTE * buffer.length;
  }

  /** The value that the pickle describes: what is on top of the stack at STOP. */
  result(): PythonValue {
    const value = this.pop();
    const { depth } = this.limits;
    // Most pickles have too few objects to be that deep, and are not searched. Times 2, as an instance has a tuple of
    // its own.
    const mayBeTooDeep = 2 * this.objects + 1 > depth;
    if (mayBeTooDeep && isNestedDeeper(value, depth)) throw this.limited('depth');
    return value;
  }

  pushFloat(value: number): void {
    const isExact = this.plainFloats || !isInteger(value);
    this.push(isExact ? value : new PythonFloat(value));
  }

  /** Reads and pushes a str of that many bytes. */
  pushString(length: number): void {
    if (length > this.limits.stringBytes) throw this.limited('stringBytes');
    const start = this.skip(length);
    this.pushStringOf(this.bytes, start, start + length);
  }

  /** Pushes a str: as a string if the bytes are ASCII, else as bytes. */
  pushStringOf(bytes: Buffer, start: number, end: number): void {
    const text = decodeASCII(bytes, start, end);
    if (text === undefined) this.pushObject(this.bytesOf(bytes, start, end));
    else this.push(text);
  }

  private bytesOf(bytes: Buffer, start: number, end: number): Uint8Array {
    const isView = this.views && end - start >= MIN_VIEW_BYTES;
    return isView
      ? new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)
      : new Uint8Array(bytes.subarray(start, end));
  }

  /** Reads and pushes a unicode string of that many bytes in UTF-8. */
  pushUnicode(length: number): void {
    if (length > this.limits.stringBytes) throw this.limited('stringBytes');
    const start = this.skip(length);
    const end = start + length;
    const ascii = decodeASCII(this.bytes, start, end);
    const text = ascii ?? decodeUTF8(this.bytes, start, end);
    if (text === undefined) throw this.error('expected text in UTF-8');
    this.push(ascii === undefined || this.plainUnicode ? text : new PythonUnicode(ascii));
  }

  /** Reads and pushes a unicode string that is a line in `raw-unicode-escape`. */
  pushUnicodeLine(): void {
    const text = decodeRawUnicodeEscape(this.line());
    if (text === undefined) throw this.error('expected text with valid escapes');
    this.pushObject(this.plainUnicode || !/^[\0-\x7f]*$/.test(text) ? text : new PythonUnicode(text));
  }

  /** Pushes an int, or a long outside of the range of Python's 64 bits. */
  pushInteger(digits: string): void {
    const integer = this.parseLong(digits);
    const value = Number(integer);
    if (Number.isSafeInteger(value)) this.pushObject(value);
    else this.pushObject(BigInt.asIntN(64, integer) === integer ? new PythonInteger(integer) : integer);
  }

  parseLong(digits: string): bigint {
    if (digits.length > this.limits.longDigits) throw this.limited('longDigits');
    if (!/^[+-]?[0-9]+$/.test(digits)) throw this.error('expected decimal digits');
    // Parsing decimal digits takes quadratic time, so the limit on objects bounds it.
    this.countObject(Math.floor((digits.length / DIGITS_PER_OBJECT) ** 2));
    return BigInt(digits);
  }

  /** Reads and pushes a long: two's complement, little-endian, of that many bytes. */
  pushLong(length: number): void {
    if (length * DIGITS_PER_BYTE > this.limits.longDigits) throw this.limited('longDigits');
    const start = this.skip(length);
    // Read as two integers, the upper of at most 6 bytes: by way of text it takes three times as long, and a pickle may have
    // very many of them.
    if (length > 8 && length <= 14) {
      const low = this.bytes.readBigUInt64LE(start);
      this.pushObject((BigInt(this.bytes.readIntLE(start + 8, length - 8)) << 64n) | low);
      return;
    }
    const bigEndian = Buffer.from(this.bytes.subarray(start, start + length)).reverse();
    const magnitude = length === 0 ? 0n : BigInt(`0x${bigEndian.toString('hex')}`);
    this.pushObject(BigInt.asIntN(length * 8, magnitude));
  }

  /** Reads the number of a memo entry, which is a line of digits. */
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

  /**
   * REDUCE without a call: the result is a PythonInstance that describes the call, except for the calls that we know.
   */
  reduce(): void {
    const args = this.popTuple();
    const callable = this.pop();
    this.pushObject(this.knownReduction(callable, args) ?? new PythonInstance('reduce', callable, args));
  }

  private knownReduction(callable: PythonValue, args: PythonTuple): PythonValue | undefined {
    if (!(callable instanceof PythonClass)) return undefined;
    const [first] = args.items;
    if (callable.is('__builtin__', 'set') && args.length === 1 && Array.isArray(first)) {
      this.chargeCopies(first.length);
      return this.setOf(first);
    }
    // Protocols 0 and 1 have no NEWOBJ: this is how they write a new-style instance.
    if (callable.is('copy_reg', '__newobj__') && first !== undefined) {
      this.chargeCopies(args.length);
      return new PythonInstance('newobj', first, new PythonTuple(args.items.slice(1)));
    }
    return undefined;
  }

  /**
   * Charges the copy of a list to the budget. Without it, a few bytes of pickle that copy the same large list of the
   * memo again and again could use up memory. Python's own pickles copy each value once, so they never copy more values
   * than they have bytes.
   */
  private chargeCopies(count: number): void {
    this.copyBudget -= count;
    if (this.copyBudget < 0) throw this.error('it copies the same values again and again');
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

  /** Adds entries to a dict. @param items keys and values, alternating */
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

  /**
   * What is used as key for a value. Map and Set treat all NaN as one key, and -0 as 0; in Python these are floats and
   * keys of their own, so they become PythonFloat objects.
   */
  private key(value: PythonValue): PythonValue {
    this.chargeComparisons(value);
    const isLost = typeof value === 'number' && !this.plainFloats && (Number.isNaN(value) || Object.is(value, -0));
    return isLost ? new PythonFloat(value) : value;
  }

  /**
   * Charges the comparisons for a key to the budget, which is proportional to the pickle's length. V8 compares a key
   * with those of the same hash: equal keys, and all texts of the same length if that is above MAX_HASHED_LENGTH.
   * Without a budget, a few bytes of pickle could look up a long key of the memo again and again.
   */
  private chargeComparisons(key: PythonValue): void {
    if (typeof key === 'string') {
      if (key.length <= SHORT_KEY) return;
      if (key.length > MAX_HASHED_LENGTH) this.unhashedKeys++;
      this.comparisonBudget -= key.length * (this.unhashedKeys + 1);
    } else {
      if (typeof key !== 'bigint' || BigInt.asIntN(SHORT_KEY, key) === key) return;
      this.comparisonBudget -= COMPARISONS_PER_DIGIT * key.toString(16).length;
    }
    if (this.comparisonBudget < 0) throw this.error('it has too many long keys of dicts or sets');
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

/** Smaller byte strings are copied: a view would keep more of the input in memory than it saves. */
const MIN_VIEW_BYTES = 0x10000;

/** Comparing keys of up to this many characters or bits takes less time than reading an opcode, and is not charged. */
const SHORT_KEY = 1000;
/** V8 uses the length of longer texts as their hash. */
const MAX_HASHED_LENGTH = 16_383;
/** The budget of comparisons, in characters for each byte of the pickle. */
const COMPARISONS_PER_BYTE = 32;
/**
 * What each hexadecimal digit of a long key is charged: it is compared with some dozens of others, and written as text.
 */
const COMPARISONS_PER_DIGIT = 16;

/** A long of this many decimal digits counts as one object; the count grows with the square of the digits. */
const DIGITS_PER_OBJECT = 500;
/** Decimal digits for each byte of a binary long: the logarithm of 256 to the base 10. */
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

/** The operations by opcode; undefined for bytes that are no opcode. */
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

/** True for a number that the writer writes as an int. */
function isInteger(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

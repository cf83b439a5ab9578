import { PickleError } from './pickle-error.js';
import { opcodeName } from './opcodes.js';
import type { PythonValue } from './values.js';

const LINE_END = 0x0a;

/** Resource limits of reading a pickle. A pickle that exceeds one is refused with a PickleError. */
export interface PickleLimits {
  /**
   * Nesting depth of containers. Reading does not recurse; this protects programs that recurse over the value. Python's
   * own pickler, which recurses, gets to some 330.
   */
  readonly depth: number;
  /**
   * Number of objects: tuples, lists, dicts, sets, classes, instances, byte strings. One byte of pickle can make one,
   * and each takes 40 (a list) to 200 bytes (a dict) of memory. Longs count too, and so do values that are written as
   * lines of text, because each takes ten times as long to read as another. A long of thousands of decimal digits
   * counts as many objects.
   */
  readonly objects: number;
  /**
   * Number of opcodes, which bounds the time, also for values that are dropped again. Ten times `objects` by default.
   */
  readonly opcodes: number;
  /**
   * Values on the stack at one time: such as the members of one tuple, or of a list or dict written without batches.
   */
  readonly stack: number;
  /** Entries of the memo. */
  readonly memo: number;
  /** Bytes of one string, or of one line of text. */
  readonly stringBytes: number;
  /** Decimal digits of one long: parsing and printing take more than linear time. */
  readonly longDigits: number;
}

const DEFAULT_OBJECTS = 5_000_000;
const OPCODES_PER_OBJECT = 10;

/**
 * Generous limits, for replies of a trusted server. A server that reads requests of unknown clients sets lower ones.
 */
export const DEFAULT_PICKLE_LIMITS: PickleLimits = {
  depth: 500,
  objects: DEFAULT_OBJECTS,
  opcodes: OPCODES_PER_OBJECT * DEFAULT_OBJECTS,
  stack: 10_000_000,
  memo: 10_000_000,
  stringBytes: 256 * 1024 * 1024,
  longDigits: 20_000,
};

/** Fills in the defaults. Field by field, because an object spread takes as long as reading a short pickle. */
export function completeLimits(limits: Partial<PickleLimits>): PickleLimits {
  return {
    depth: limits.depth ?? DEFAULT_PICKLE_LIMITS.depth,
    objects: limits.objects ?? DEFAULT_PICKLE_LIMITS.objects,
    opcodes: limits.opcodes ?? OPCODES_PER_OBJECT * (limits.objects ?? DEFAULT_PICKLE_LIMITS.objects),
    stack: limits.stack ?? DEFAULT_PICKLE_LIMITS.stack,
    memo: limits.memo ?? DEFAULT_PICKLE_LIMITS.memo,
    stringBytes: limits.stringBytes ?? DEFAULT_PICKLE_LIMITS.stringBytes,
    longDigits: limits.longDigits ?? DEFAULT_PICKLE_LIMITS.longDigits,
  };
}

/**
 * The stack machine that executes a pickle: input, stack with marks, memo, limits. The meaning of the opcodes is in
 * reader.ts.
 */
export class PickleMachine {
  private readonly stack: PythonValue[] = [];
  /** The stack pointer: the number of values on the stack. Array elements from here on are popped values. */
  private top = 0;
  /** The stack's height at the topmost mark; 0 without marks. */
  private floor = 0;
  /** The `floor` to restore for each mark, the topmost mark last. */
  private readonly marks: number[] = [];
  private memoSize = 0;
  // Python numbers memo entries from 0 or 1 without gaps: those are in the array. Any others are in the map, with text
  // as keys, because of hash flooding: see number-keys.ts.
  private readonly memo: (PythonValue | undefined)[] = [undefined];
  private sparseMemo: Map<string, PythonValue> | undefined;
  /** The number of objects so far, for the limit. */
  protected objects = 0;
  private opcodeOffset = 0;
  private opcodes = 0;

  /** @param position where in the bytes the pickle begins */
  constructor(
    readonly bytes: Buffer,
    private position: number,
    readonly limits: PickleLimits,
  ) {}

  nextOpcode(): number {
    this.opcodeOffset = this.position;
    if (++this.opcodes > this.limits.opcodes) throw this.limited('opcodes');
    return this.uint8();
  }

  uint8(): number {
    const byte = this.bytes[this.position];
    if (byte === undefined) throw this.truncated();
    this.position++;
    return byte;
  }

  uint16(): number {
    return this.uint8() | (this.uint8() << 8);
  }

  int32(): number {
    return this.uint16() | (this.uint16() << 16);
  }

  float64(): number {
    return this.bytes.readDoubleBE(this.skip(8));
  }

  /** Advances by that many bytes. @returns the position of the first */
  skip(length: number): number {
    const start = this.position;
    if (length < 0) throw this.error(`a length of ${length}`);
    if (length > this.bytes.length - start) throw this.truncated();
    this.position = start + length;
    return start;
  }

  /** The bytes up to the end of the line, without it. */
  line(): Buffer {
    const start = this.position;
    const end = this.bytes.indexOf(LINE_END, start);
    if (end < 0) throw this.truncated();
    if (end - start > this.limits.stringBytes) throw this.limited('stringBytes');
    this.position = end + 1;
    return this.bytes.subarray(start, end);
  }

  /** The same as Latin-1 text. */
  textLine(): string {
    return this.line().toString('latin1');
  }

  push(value: PythonValue): void {
    if (this.top >= this.limits.stack) throw this.limited('stack');
    this.stack[this.top++] = value;
  }

  /** Pushes a value that counts as an object. */
  pushObject(value: PythonValue): void {
    this.countObject();
    this.push(value);
  }

  /** @param weight as how many objects it counts */
  countObject(weight = 1): void {
    this.objects += weight;
    if (this.objects > this.limits.objects) throw this.limited('objects');
  }

  pop(): PythonValue {
    const value = this.peek();
    this.top--;
    return value;
  }

  /** The topmost value, without popping it. */
  peek(): PythonValue {
    const value = this.stack[this.top - 1];
    if (this.top <= this.floor || value === undefined) throw this.error('expected a value on the stack, found none');
    return value;
  }

  mark(): void {
    if (this.marks.length >= this.limits.stack) throw this.limited('stack');
    this.marks.push(this.floor);
    this.floor = this.top;
  }

  /** Pops everything down to the topmost mark, and the mark. @returns the values above it */
  popMark(): PythonValue[] {
    const start = this.dropMark();
    const items = this.stack.slice(start, this.top);
    this.top = start;
    return items;
  }

  /** Pops the topmost value, or the mark if that is on top. */
  popAny(): void {
    if (this.top === this.floor && this.marks.length > 0) this.dropMark();
    else this.pop();
  }

  private dropMark(): number {
    const start = this.floor;
    const below = this.marks.pop();
    if (below === undefined) throw this.error('expected a mark, found none');
    this.floor = below;
    return start;
  }

  memoize(index: number): void {
    const value = this.peek();
    if (++this.memoSize > this.limits.memo) throw this.limited('memo');
    if (index <= this.memo.length) this.memo[index] = value;
    else (this.sparseMemo ??= new Map<string, PythonValue>()).set(sparseKey(index), value);
  }

  recall(index: number): PythonValue {
    const dense = this.memo[index];
    const value = dense === undefined ? this.sparseMemo?.get(sparseKey(index)) : dense;
    if (value === undefined) throw this.error(`nothing was memoized as ${index}`);
    return value;
  }

  /** An error about the current opcode. */
  error(problem: string): PickleError {
    const name = opcodeName(this.bytes[this.opcodeOffset] ?? 0);
    return new PickleError(`invalid pickle: ${name} at byte ${this.opcodeOffset}: ${problem}`);
  }

  limited(limit: keyof PickleLimits): PickleError {
    return this.error(`more than the limit of ${this.limits[limit]} (${limit})`);
  }

  private truncated(): PickleError {
    if (this.opcodeOffset < this.bytes.length) return this.error('the pickle ends within it');
    return new PickleError(`invalid pickle: it ends at byte ${this.bytes.length} without STOP`);
  }
}

/** With a prefix, because versions of V8 before 2026 hash a text of digits like the number, that is, without a seed. */
const sparseKey = (index: number): string => `m${index}`;

import { PickleError } from './pickle-error.js';

const LINE_END = 0x0a;

/** Buffer pooling: short pickles are written one after another into a shared buffer of this many bytes. */
const SHARED_SIZE = 16 * 1024;

/** Above this length, native code copies characters faster than a loop. */
const MAX_LOOP_LENGTH = 48;

// The shared buffer, and where its free part begins. Undefined while a pickle is being written into it.
let sharedBuffer: Buffer | undefined;
let sharedStart = 0;

/** The output buffer of a pickle writer; it grows. */
export class PickleOutput {
  private buffer: Buffer;
  private start: number;
  private end: number;
  private capacity: number;

  /** @param maxLength the most bytes that may be written between two calls of `take`; more is a PickleError */
  constructor(private readonly maxLength: number) {
    this.buffer = sharedBuffer ?? Buffer.allocUnsafeSlow(SHARED_SIZE);
    this.start = sharedBuffer === undefined ? 0 : sharedStart;
    this.end = this.start;
    this.capacity = Math.min(this.buffer.length, this.start + maxLength);
    sharedBuffer = undefined;
  }

  /** Returns the bytes that were written since the last call. */
  take(): Buffer {
    const taken = this.buffer.subarray(this.start, this.end);
    this.start = this.end;
    this.capacity = Math.min(this.buffer.length, this.start + this.maxLength);
    return taken;
  }

  /** As `take`, and returns the rest of the buffer to the pool: no more can be written. */
  finish(): Buffer {
    const taken = this.take();
    if (this.buffer.length === SHARED_SIZE) {
      sharedBuffer = this.buffer;
      sharedStart = this.end;
    }
    this.buffer = taken;
    this.capacity = 0;
    return taken;
  }

  byte(byte: number): void {
    this.reserve(1);
    this.buffer[this.end++] = byte;
  }

  twoBytes(first: number, second: number): void {
    this.reserve(2);
    this.buffer[this.end++] = first;
    this.buffer[this.end++] = second;
  }

  /** An opcode and its argument: two bytes, little-endian. */
  withUint16(opcode: number, argument: number): void {
    this.twoBytes(opcode, argument & 0xff);
    this.byte(argument >> 8);
  }

  /** An opcode and its argument: four bytes, little-endian. */
  withUint32(opcode: number, argument: number): void {
    this.withUint16(opcode, argument & 0xffff);
    this.twoBytes((argument >> 16) & 0xff, argument >>> 24);
  }

  /** An opcode and its argument: eight bytes, big-endian. */
  withFloat64(opcode: number, argument: number): void {
    this.byte(opcode);
    this.reserve(8);
    this.end = this.buffer.writeDoubleBE(argument, this.end);
  }

  bytes(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.end);
    this.end += bytes.length;
  }

  /** An opcode and its argument: a line of Latin-1 text. */
  withLine(opcode: number, text: string): void {
    this.byte(opcode);
    this.line(text);
  }

  line(text: string): void {
    if (/[\n\u0100-\uffff]/.test(text)) {
      throw new PickleError(`can't pickle ${JSON.stringify(text.slice(0, 64))} as a line of text`);
    }
    this.text(text, text.length, 'latin1');
    this.byte(LINE_END);
  }

  text(text: string, byteLength: number, encoding: 'latin1' | 'utf8'): void {
    this.reserve(byteLength);
    this.end += this.buffer.write(text, this.end, encoding);
  }

  /**
   * An opcode, the length of a text in one byte, and the text, if the text is short and ASCII.
   * @returns false if it is not; nothing was written then
   */
  withShortASCII(opcode: number, text: string): boolean {
    const { length } = text;
    if (length > MAX_LOOP_LENGTH) return false;
    this.reserve(2 + length);
    const { buffer } = this;
    let end = this.end;
    buffer[end++] = opcode;
    buffer[end++] = length;
    for (let index = 0; index < length; index++) {
      const code = text.charCodeAt(index);
      if (code > 0x7f) return false;
      buffer[end++] = code;
    }
    this.end = end;
    return true;
  }

  private reserve(count: number): void {
    if (this.end + count > this.capacity) this.grow(count);
  }

  private grow(count: number): void {
    const length = this.end - this.start;
    if (length + count > this.maxLength) throw new PickleError(`can't pickle more than ${this.maxLength} bytes`);
    // More than asked for, so that what follows a large string fits without another copy.
    const larger = Buffer.allocUnsafeSlow(Math.max(length + count + SHARED_SIZE, 2 * length));
    larger.set(this.buffer.subarray(this.start, this.end));
    this.buffer = larger;
    this.start = 0;
    this.end = length;
    this.capacity = Math.min(larger.length, this.maxLength);
  }
}

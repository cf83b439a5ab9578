import { isAscii, isUtf8 } from 'node:buffer';

const BACKSLASH = 0x5c;
const LINE_END = 0x0a;

/** Texts up to this length are remembered: names of objects and methods, ids. */
const SHORT_TEXT = 64;
/** How many texts are remembered; a power of two. */
const REMEMBERED_TEXTS = 4096;
/**
 * The last short texts, by a hash of their bytes. Peers say the same few words again and again; comparing one with what
 * is there takes less than making it, and V8 knows the hash of a text that it has looked up before.
 */
const remembered = new Array<string>(REMEMBERED_TEXTS).fill('');
/** Up to this length, text is looked through here: calling into native code takes longer. */
const MEDIUM_TEXT = 256;

/** The bytes as text, or undefined where one of them is not ASCII. */
export function decodeASCII(bytes: Buffer, start: number, end: number): string | undefined {
  if (end - start <= SHORT_TEXT) return decodeShortASCII(bytes, start, end);
  if (end - start > MEDIUM_TEXT) {
    return isAscii(bytes.subarray(start, end)) ? bytes.toString('latin1', start, end) : undefined;
  }
  let union = 0;
  for (let index = start; index < end; index++) union |= bytes[index] ?? 0;
  return union < 0x80 ? bytes.toString('latin1', start, end) : undefined;
}

function decodeShortASCII(bytes: Buffer, start: number, end: number): string | undefined {
  let union = 0;
  let hash = 0;
  for (let index = start; index < end; index++) {
    const byte = bytes[index] ?? 0;
    union |= byte;
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  if (union > 0x7f) return undefined;
  const slot = (hash ^ (hash >>> 15)) & (REMEMBERED_TEXTS - 1);
  const known = remembered[slot];
  if (known !== undefined && isTextOf(known, bytes, start, end)) return known;
  return (remembered[slot] = bytes.toString('latin1', start, end));
}

function isTextOf(text: string, bytes: Buffer, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let index = start; index < end; index++) {
    if (text.charCodeAt(index - start) !== bytes[index]) return false;
  }
  return true;
}

/**
 * UTF-8 as Python 2 reads it: surrogates may stand alone, encoded like any other character.
 * @returns undefined where the bytes are not UTF-8
 */
export function decodeUTF8(bytes: Buffer, start: number, end: number): string | undefined {
  if (isUtf8(bytes.subarray(start, end))) return bytes.toString('utf8', start, end);
  const units = new CodeUnits(end - start);
  for (let index = start; index < end;) {
    const length = utf8Length(bytes[index] ?? 0);
    const character = index + length > end ? undefined : utf8Character(bytes, index, length);
    if (character === undefined) return undefined;
    units.add(character);
    index += length;
  }
  return units.toString();
}

/** How many bytes a character takes whose first byte this is; 1 for what can't be a first byte. */
function utf8Length(lead: number): number {
  if (lead < 0xc2) return 1;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}

function utf8Character(bytes: Buffer, index: number, length: number): number | undefined {
  const lead = bytes[index] ?? 0;
  if (length === 1) return lead < 0x80 ? lead : undefined;
  let character = lead & (0x7f >> length);
  for (let offset = 1; offset < length; offset++) {
    const byte = bytes[index + offset] ?? 0;
    if ((byte & 0xc0) !== 0x80) return undefined;
    character = (character << 6) | (byte & 0x3f);
  }
  const least = length === 2 ? 0x80 : length === 3 ? 0x800 : 0x10000;
  return lead > 0xf4 || character < least || character > 0x10ffff ? undefined : character;
}

/** Text with lone surrogates as Python 2's UTF-8: each becomes three bytes, as any other character of its size. */
export function encodeSurrogates(text: string): Buffer {
  const bytes = Buffer.allocUnsafe(text.length * 3);
  let length = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (isSurrogate(code)) {
      bytes[length++] = 0xe0 | (code >> 12);
      bytes[length++] = 0x80 | ((code >> 6) & 0x3f);
      bytes[length++] = 0x80 | (code & 0x3f);
    } else {
      length += bytes.write(character, length, 'utf8');
    }
  }
  return bytes.subarray(0, length);
}

function isSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdfff;
}

/** True if a surrogate is not half of a pair: with the u flag, those of pairs are not matched. */
export function hasLoneSurrogate(text: string): boolean {
  return /[\ud800-\udfff]/u.test(text);
}

/** What Python's escapes of one letter stand for, by the letter's code. */
const ESCAPED_BYTES = new Map(
  Object.entries({ '\\': 92, "'": 39, '"': 34, a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 }).map(([letter, byte]) => [
    letter.charCodeAt(0),
    byte,
  ]),
);
const LETTER_X = 0x78;

/**
 * The inside of a quoted str literal, as Python's codec `string-escape` reads it.
 * @returns undefined where an escape is broken
 */
export function decodeStringEscape(literal: Buffer): Buffer | undefined {
  if (!literal.includes(BACKSLASH)) return literal;
  const bytes = Buffer.allocUnsafe(literal.length);
  let length = 0;
  for (let index = 0; index < literal.length;) {
    const byte = literal[index++] ?? 0;
    if (byte !== BACKSLASH) {
      bytes[length++] = byte;
      continue;
    }
    const letter = literal[index++];
    if (letter === undefined) return undefined;
    const simple = ESCAPED_BYTES.get(letter);
    const octal = octalDigits(literal, index - 1);
    if (simple !== undefined) {
      bytes[length++] = simple;
    } else if (letter === LETTER_X) {
      const byteValue = parseDigits(literal, index, 2, 16);
      if (byteValue === undefined) return undefined;
      bytes[length++] = byteValue;
      index += 2;
    } else if (octal > 0) {
      bytes[length++] = (parseDigits(literal, index - 1, octal, 8) ?? 0) & 0xff;
      index += octal - 1;
    } else if (letter !== LINE_END) {
      // What is no escape stands for itself, backslash included; an escaped line end for nothing.
      bytes[length++] = BACKSLASH;
      bytes[length++] = letter;
    }
  }
  return bytes.subarray(0, length);
}

/** How many octal digits are there from `start` on; three at most belong together. */
function octalDigits(bytes: Buffer, start: number): number {
  let count = 0;
  while (count < 3 && digitOf(bytes[start + count]) < 8) count++;
  return count;
}

/** The value of that many digits, or undefined where they are not there. */
function parseDigits(bytes: Buffer, start: number, count: number, base: 8 | 16): number | undefined {
  let value = 0;
  for (let index = start; index < start + count; index++) {
    const digit = digitOf(bytes[index]);
    if (digit >= base) return undefined;
    value = value * base + digit;
  }
  return value;
}

/** The value of a hexadecimal digit; 16 for what is none. */
function digitOf(byte = 0): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : 16;
}

/** Characters as Python's `repr` shows them, by their codes. */
const SHOWN = Array.from({ length: 256 }, (_, code) => `\\x${hex(code, 2)}`);
Object.entries({ '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }).forEach(([character, shown]) => {
  SHOWN[character.charCodeAt(0)] = shown;
});

/** A str in quotes as Python's `repr` shows it. The text holds one character per byte. */
export function pythonRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[^ -[\]-~]/g, (character) => SHOWN[character.charCodeAt(0)] ?? character);
  // Double quotes are only taken where none is within.
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/**
 * Python's codec `raw-unicode-escape`: Latin-1, and `\uXXXX` or `\UXXXXXXXX` after an odd number of backslashes.
 * @returns undefined where an escape is broken
 */
export function decodeRawUnicodeEscape(bytes: Buffer): string | undefined {
  if (!bytes.includes(BACKSLASH)) return bytes.toString('latin1', 0, bytes.length);
  const units = new CodeUnits(bytes.length);
  let backslashes = 0;
  for (let index = 0; index < bytes.length;) {
    const byte = bytes[index++] ?? 0;
    const count = backslashes % 2 === 0 ? 0 : byte === 0x75 ? 4 : byte === 0x55 ? 8 : 0;
    backslashes = byte === BACKSLASH ? backslashes + 1 : 0;
    if (count === 0) {
      units.add(byte);
      continue;
    }
    const character = parseDigits(bytes, index, count, 16);
    if (character === undefined || character > 0x10ffff) return undefined;
    units.replaceLast(character);
    index += count;
  }
  return units.toString();
}

/** Text as Python's pickle writes it after the opcode UNICODE: one line, so without bare backslashes and line ends;
 * one character per byte. */
export function encodeRawUnicodeEscape(text: string): string {
  return text.replace(/[\\\n\u0100-\u{10ffff}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
  });
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

/** UTF-16 in the making: text that a TextDecoder would refuse, lone surrogates, goes through unchanged. */
class CodeUnits {
  private readonly bytes: Buffer;
  private length = 0;

  /** @param capacity the most code units that there will be */
  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafe(capacity * 2);
  }

  add(character: number): void {
    if (character > 0xffff) {
      this.add(0xd800 | ((character - 0x10000) >> 10));
      this.add(0xdc00 | (character & 0x3ff));
      return;
    }
    this.bytes[this.length++] = character & 0xff;
    this.bytes[this.length++] = character >> 8;
  }

  replaceLast(character: number): void {
    this.length -= 2;
    this.add(character);
  }

  toString(): string {
    return this.bytes.toString('utf16le', 0, this.length);
  }
}

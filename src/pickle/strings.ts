import { isAscii, isUtf8 } from 'node:buffer';

const BACKSLASH = 0x5c;
const LINE_END = 0x0a;

/** Texts up to this length are interned: names of objects and methods, ids. */
const MAX_INTERNED_LENGTH = 64;
/** The number of slots for interned texts; a power of two. */
const INTERNED_TEXTS = 4096;
/**
 * Interned strings: a direct-mapped cache of short texts, by a hash of their bytes. Peers send the same few words again
 * and again: comparing bytes with a cached string costs less than making a string, and V8 has hashed the cached one
 * already.
 */
const interned = new Array<string>(INTERNED_TEXTS).fill('');
/** Up to this length a loop in JavaScript is faster than a call of native code. */
const MAX_LOOP_LENGTH = 256;

/** The bytes as text; undefined if one of them is not ASCII. */
export function decodeASCII(bytes: Buffer, start: number, end: number): string | undefined {
  if (end - start <= MAX_INTERNED_LENGTH) return decodeShortASCII(bytes, start, end);
  if (end - start > MAX_LOOP_LENGTH) {
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
  const slot = (hash ^ (hash >>> 15)) & (INTERNED_TEXTS - 1);
  const known = interned[slot];
  if (known !== undefined && isTextOf(known, bytes, start, end)) return known;
  return (interned[slot] = bytes.toString('latin1', start, end));
}

function isTextOf(text: string, bytes: Buffer, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let index = start; index < end; index++) {
    if (text.charCodeAt(index - start) !== bytes[index]) return false;
  }
  return true;
}

/**
 * Decodes UTF-8 as Python 2 does: lone surrogates are accepted, encoded like any other character (WTF-8).
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

/** The length of a UTF-8 sequence by its first byte; 1 for an invalid first byte. */
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

/** Encodes text with lone surrogates in UTF-8 as Python 2 does: each becomes three bytes (WTF-8). */
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

/** True if a surrogate is not part of a pair: with the u flag, the pattern does not match those in pairs. */
export function hasLoneSurrogate(text: string): boolean {
  return /[\ud800-\udfff]/u.test(text);
}

/** The bytes of Python's one-letter escapes, by the letter's code. */
const ESCAPED_BYTES = new Map(
  Object.entries({ '\\': 92, "'": 39, '"': 34, a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 }).map(([letter, byte]) => [
    letter.charCodeAt(0),
    byte,
  ]),
);
const LETTER_X = 0x78;

/**
 * Decodes the contents of a quoted str literal, as Python's codec `string-escape` does.
 * @returns undefined where an escape is invalid
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
      // An unknown escape stands for itself, including its backslash; an escaped line end is dropped.
      bytes[length++] = BACKSLASH;
      bytes[length++] = letter;
    }
  }
  return bytes.subarray(0, length);
}

/** The number of octal digits from `start` on, at most three. */
function octalDigits(bytes: Buffer, start: number): number {
  let count = 0;
  while (count < 3 && digitOf(bytes[start + count]) < 8) count++;
  return count;
}

/** The value of that many digits; undefined if there are fewer. */
function parseDigits(bytes: Buffer, start: number, count: number, base: 8 | 16): number | undefined {
  let value = 0;
  for (let index = start; index < start + count; index++) {
    const digit = digitOf(bytes[index]);
    if (digit >= base) return undefined;
    value = value * base + digit;
  }
  return value;
}

/** The value of a hexadecimal digit; 16 for any other byte. */
function digitOf(byte = 0): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : 16;
}

/** Characters as Python's `repr` escapes them, by their codes. */
const ESCAPED_CHARACTERS = Array.from({ length: 256 }, (_, code) => `\\x${hex(code, 2)}`);
Object.entries({ '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }).forEach(([character, shown]) => {
  ESCAPED_CHARACTERS[character.charCodeAt(0)] = shown;
});

/** A str literal as Python's `repr` writes it. @param text the str as Latin-1 */
export function pythonRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[^ -[\]-~]/g, (character) => ESCAPED_CHARACTERS[character.charCodeAt(0)] ?? character);
  // Double quotes are only used for a text without any, so there is none to escape.
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/**
 * Decodes Python's codec `raw-unicode-escape`: Latin-1, and `\uXXXX` or `\UXXXXXXXX` after an odd number of
 * backslashes.
 * @returns undefined where an escape is invalid
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

/**
 * Encodes text as the argument of the opcode UNICODE: `raw-unicode-escape`, with backslashes and line ends escaped too,
 * so that it is one line. @returns Latin-1 text
 */
export function encodeRawUnicodeEscape(text: string): string {
  return text.replace(/[\\\n\u0100-\u{10ffff}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
  });
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

/** A builder of UTF-16 text. Unlike a TextDecoder it accepts lone surrogates. */
class CodeUnits {
  private readonly bytes: Buffer;
  private length = 0;

  /** @param capacity the most code units that will be added */
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

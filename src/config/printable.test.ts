import { expect, it } from '@jest/globals';
import fc from 'fast-check';
import { printable, printableJSON } from './printable.js';

it('escapes what would break a line or command a terminal', () => {
  expect(printable('a\nb\r\t\u001b[2J\u009b\u2028 é \\n')).toBe('a\\nb\\r\\t\\x1b[2J\\x9b\\u2028 é \\n');
});

it.each([
  ['\u0000', '\\x00'],
  ['\u001f', '\\x1f'],
  [' ', ' '],
  ['~', '~'],
  ['\u007f', '\\x7f'],
  ['\u0080', '\\x80'],
  ['\u009f', '\\x9f'],
  ['\u00a0', '\u00a0'],
  ['\u2027', '\u2027'],
  ['\u2028', '\\u2028'],
  ['\u2029', '\\u2029'],
  ['\u202a', '\u202a'],
])('writes %j as %j', (text, shown) => {
  expect(printable(text)).toBe(shown);
});

it('cuts, and says so', () => {
  expect(printable('x'.repeat(12), 10)).toBe('xxxxxxxxxx... (12 characters)');
  expect(printable('x'.repeat(10), 10)).toBe('xxxxxxxxxx');
});

it('leaves no control character in any text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(printable(text)).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
    }),
  );
});

it('escapes what JSON leaves as it is, and stays the same value', () => {
  const value = { name: '\u001b[2J\u007f\u0080\u009f\u00a0é\u2028\u2029\n' };
  expect(printableJSON(value)).toBe('{"name":"\\u001b[2J\\u007f\\u0080\\u009f\u00a0é\\u2028\\u2029\\n"}');
  expect(JSON.parse(printableJSON(value))).toEqual(value);
});

import { expect, it } from '@jest/globals';
import fc from 'fast-check';
import { printable } from './printable.js';

it('escapes what would break a line or command a terminal', () => {
  expect(printable('a\nb\r\t\u001b[2J\u009b\u2028 é \\n')).toBe('a\\nb\\r\\t\\x1b[2J\\x9b\\u2028 é \\n');
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

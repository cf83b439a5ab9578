import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { deflateSync } from 'node:zlib';
import { adler32 } from './adler32.js';

// zlib's own checksum of what it compressed ends its stream.
const zlibsOwn = (bytes: Uint8Array): number =>
  deflateSync(bytes, { level: 0 }).readInt32BE(deflateSync(bytes, { level: 0 }).length - 4);

test('is what zlib computes, in pieces too', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20_000 }), fc.nat(), (bytes, place) => {
      const middle = place % (bytes.length + 1);
      expect(adler32([bytes.subarray(0, middle), bytes.subarray(middle)])).toBe(zlibsOwn(bytes));
    }),
  );
});

test('keeps to 32 bits with the largest bytes', () => {
  const bytes = Buffer.alloc(100_000, 0xff);
  expect(adler32([bytes])).toBe(zlibsOwn(bytes));
});

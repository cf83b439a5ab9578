import { describe, expect, test } from '@jest/globals';
import { LineReader, TOO_LONG } from './lines.js';

const linesOf = (pieces: readonly string[], maxLength?: number) => {
  const reader = new LineReader(maxLength);
  return [...pieces.flatMap((piece) => [...reader.push(piece)]), ...reader.end()];
};

describe('lines', () => {
  test('are put together, however their text is cut', () => {
    const text = 'one\n\nthree\r\nlast';
    const lines = ['one', '', 'three\r', 'last'];
    expect(linesOf([text])).toEqual(lines);
    expect(linesOf(Array.from(text))).toEqual(lines);
    expect(linesOf([])).toEqual([]);
    expect(linesOf(['ended\n'])).toEqual(['ended']);
  });

  test('have a longest length, and what comes behind a longer one is read', () => {
    expect(linesOf(['12345\n123456\n', '123', '45', '6789\n', '1\n1234', '56'], 5)).toEqual([
      '12345',
      TOO_LONG,
      TOO_LONG,
      '1',
      TOO_LONG,
    ]);
  });

  test('are read in a time that grows with them only', () => {
    // Each piece of it is looked at once: put together anew with each piece, it would be 100 GB.
    const pieces = Array.from({ length: 100_000 }, () => 'x'.repeat(20));
    expect(linesOf(pieces).map(String)).toEqual(['x'.repeat(2_000_000)]);
  });
});

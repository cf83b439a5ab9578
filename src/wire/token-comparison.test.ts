import { beforeEach, expect, jest, test } from '@jest/globals';
import * as crypto from 'node:crypto';

const timingSafeEqual = jest.fn(crypto.timingSafeEqual);
jest.unstable_mockModule('node:crypto', () => ({ ...crypto, timingSafeEqual }));

const { tokensEqual } = await import('./handshake.js');

beforeEach(() => {
  timingSafeEqual.mockClear();
});

// How long a comparison takes must not tell a client how much of its token is right: so that is for timingSafeEqual alone.
test.each([
  ['the same', 'abcdefghijklmnop', true],
  ['different from the first byte on', 'Xbcdefghijklmnop', false],
  ['different in the last byte', 'abcdefghijklmnoX', false],
])('tokens that are %s are compared by timingSafeEqual, whole', (_what, other, isEqual) => {
  const [token, answer] = [Buffer.from('abcdefghijklmnop'), Buffer.from(other)];
  expect(tokensEqual(token, answer)).toBe(isEqual);
  expect(timingSafeEqual.mock.calls).toEqual([[token, answer]]);
  expect(timingSafeEqual.mock.results).toEqual([{ type: 'return', value: isEqual }]);
});

test.each([
  ['shorter', 'abcdefghijklmno'],
  ['longer', 'abcdefghijklmnopq'],
  ['empty', ''],
])('a token that is %s is another one, and no error', (_what, other) => {
  expect(tokensEqual(Buffer.from('abcdefghijklmnop'), Buffer.from(other))).toBe(false);
});

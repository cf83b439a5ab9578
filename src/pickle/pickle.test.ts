import { describe, expect, test } from '@jest/globals';
import { dumps, loads, PickleError, PythonFloat, PythonUnicode, tuple } from './index.js';

// cPickle.dumps(('7f0000010c1a29cd30a12c59fca40cea99', 'resolve', 0, (':Default.x',)), 2)
const REQUEST = Buffer.from(
  '\x80\x02(U"7f0000010c1a29cd30a12c59fca40cea99U\x07resolveK\x00U\n:Default.x\x85tq\x01.',
  'latin1',
);

describe('a request', () => {
  const request = tuple('7f0000010c1a29cd30a12c59fca40cea99', 'resolve', 0, tuple(':Default.x'));

  test('is read', () => {
    expect(loads(REQUEST)).toEqual(request);
  });

  test.each([0, 1, 2] as const)('is written in protocol %i and read back', (protocol) => {
    expect(loads(dumps(request, { protocol }))).toEqual(request);
  });
});

test('what JavaScript has and Python has not', () => {
  expect(loads(dumps({ a: undefined, b: [new PythonUnicode('x'), new PythonFloat(2)] }))).toEqual(
    new Map([
      ['a', null],
      ['b', [new PythonUnicode('x'), new PythonFloat(2)]],
    ]),
  );
});

test('what is no pickle', () => {
  expect(() => loads(Buffer.from('\x80\x02t.', 'latin1'))).toThrow(
    new PickleError('invalid pickle: TUPLE at byte 2: expected a mark, found none'),
  );
});

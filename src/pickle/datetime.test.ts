import { expect, test } from '@jest/globals';
import { dumps, fromDate, loads, PickleError, PythonClass, PythonInstance, toDate, tuple } from './index.js';

const DATETIME = new PythonClass('datetime', 'datetime');

test.each([
  '2016-02-29T23:59:58.999Z',
  '0001-01-01T00:00:00.000Z',
  '9999-12-31T23:59:59.999Z',
  '1969-12-31T23:59:59.001Z',
])('%s is written as a datetime and read as a Date', (text) => {
  const value = loads(dumps(new Date(text)));
  expect(value).toMatchObject({ construction: 'reduce', callable: DATETIME });
  expect(toDate(value)?.toISOString()).toBe(text);
  expect(toDate(fromDate(new Date(text)))?.toISOString()).toBe(text);
});

test('microseconds are cut to milliseconds', () => {
  const state = Uint8Array.of(0x07, 0xe0, 2, 29, 23, 59, 58, 0x0f, 0x42, 0x3f);
  expect(toDate(new PythonInstance('reduce', DATETIME, tuple(state)))?.toISOString()).toBe('2016-02-29T23:59:58.999Z');
});

test('a datetime whose bytes are all ASCII', () => {
  const instance = new PythonInstance('reduce', DATETIME, tuple('\x07\x7f\x01\x02\x03\x04\x05\0\0\0'));
  expect(toDate(instance)?.toISOString()).toBe('1919-01-02T03:04:05.000Z');
});

test('what is no datetime, or has a time zone, is no Date', () => {
  const state = Uint8Array.of(0x07, 0xe0, 2, 29, 23, 59, 58, 0, 0, 0);
  for (const value of [
    null,
    'x',
    new PythonInstance('reduce', new PythonClass('datetime', 'date'), tuple(state)),
    new PythonInstance('reduce', DATETIME, tuple(state, new PythonClass('zones', 'UTC'))),
    new PythonInstance('reduce', DATETIME, tuple(state.subarray(1))),
    new PythonInstance('reduce', DATETIME, tuple(7)),
    new PythonInstance('reduce', DATETIME, tuple([...state])),
    new PythonInstance('reduce', DATETIME, tuple(tuple(...state))),
    new PythonInstance('reduce', DATETIME, tuple('\x07\x7f\x01')),
    new PythonInstance('reduce', DATETIME, tuple()),
  ]) {
    expect(toDate(value)).toBeUndefined();
  }
});

test('a Date that Python does not have', () => {
  for (const date of [new Date(NaN), new Date(Date.UTC(10_000, 0)), new Date('0000-12-31T23:59:59.999Z')]) {
    expect(() => dumps(date)).toThrow(
      new PickleError(`can't pickle the Date ${String(date)}: Python has the years 1 to 9999`),
    );
  }
});

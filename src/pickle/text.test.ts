import { describe, expect, test } from '@jest/globals';
import {
  characters,
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonTuple,
  PythonUnicode,
  readableText,
  textOf,
  tuple,
} from './index.js';
import type { PythonValue } from './index.js';

describe('the text of a value', () => {
  test.each<[string, PythonValue | undefined, string | undefined, string | undefined, string | undefined]>([
    ['a str of ASCII', 'abc', 'abc', 'abc', 'abc'],
    ['unicode', '\u20ac', '\u20ac', '\u20ac', '\u20ac'],
    ['unicode of ASCII', new PythonUnicode('abc'), 'abc', 'abc', 'abc'],
    ['bytes that are UTF-8', Uint8Array.of(0xc3, 0xa9), undefined, '\xc3\xa9', '\xe9'],
    ['bytes that are not', Uint8Array.of(0xe9, 0x61), undefined, '\xe9a', '\xe9a'],
    ['a number', 7, undefined, undefined, undefined],
    ['None', null, undefined, undefined, undefined],
    ['nothing', undefined, undefined, undefined, undefined],
    ['a list of texts', ['abc'], undefined, undefined, undefined],
  ])('%s', (_, value, text, ofAnyBytes, forPeople) => {
    expect([textOf(value), characters(value), readableText(value)]).toEqual([text, ofAnyBytes, forPeople]);
  });
});

describe('values count as what they stand for', () => {
  test.each([
    [new PythonFloat(2), 2, '2.0', 2],
    [new PythonFloat(2.5), 2.5, '2.5', 2.5],
    [new PythonInteger(2n ** 60n), 2n ** 60n, '1152921504606846976', '1152921504606846976'],
    [new PythonUnicode('a'), 'a', 'a', 'a'],
  ])('%s', (value, primitive, text, inJSON) => {
    expect(value.valueOf()).toBe(primitive);
    expect(value.toString()).toBe(text);
    expect(value.toJSON()).toBe(inJSON);
  });

  test('a tuple has its items, in order', () => {
    const items = [1, 'a', null];
    const made = tuple(...items);
    expect(made).toBeInstanceOf(PythonTuple);
    expect(made.length).toBe(3);
    expect([...made]).toEqual(items);
    expect(made.toJSON()).toEqual(items);
  });
});

describe('what an instance is made of', () => {
  const cls = new PythonClass('m', 'c');

  test('a class is one if module and name are both the same', () => {
    expect(cls.is('m', 'c')).toBe(true);
    expect(cls.is('m', 'd')).toBe(false);
    expect(cls.is('n', 'c')).toBe(false);
    expect(new PythonInstance('obj', cls, tuple()).isOf('m', 'd')).toBe(false);
    expect(new PythonInstance('obj', new PythonExtension(1), tuple(cls)).isOf('m', 'c')).toBe(false);
  });

  test('only _reconstructor of copy_reg gives the class as its argument', () => {
    for (const callable of [new PythonClass('copy_reg', 'other'), new PythonClass('other', '_reconstructor')]) {
      expect(new PythonInstance('reduce', callable, tuple(cls)).class).toBe(callable);
    }
    expect(new PythonInstance('reduce', new PythonClass('copy_reg', '_reconstructor'), tuple(cls)).class).toBe(cls);
  });

  test('an attribute is found by its name, as str first, else as unicode', () => {
    const state = new Map<PythonValue, PythonValue>([
      [new PythonUnicode('a'), 1],
      ['a', 2],
      [new PythonUnicode('b'), 3],
      [7, 4],
    ]);
    const instance = new PythonInstance('obj', cls, tuple(), state);
    expect(['a', 'b', '7', 'c'].map((name) => instance.attribute(name))).toEqual([2, 3, undefined, undefined]);
    expect(new PythonInstance('obj', cls, tuple(), 'a').attribute('a')).toBeUndefined();
  });
});

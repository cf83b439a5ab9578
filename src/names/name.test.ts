import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { NamingError } from '../errors.js';
import { MAX_NAME_LENGTH, Name, requireNewName } from './name.js';

const part = fc.stringMatching(/^[!-\-/-9;-[\]-~]{1,12}$/);
const parts = fc.array(part, { minLength: 1, maxLength: 5 });
const defaultGroup = Name.parse(':Default');

const errorOf = (action: () => unknown): unknown => {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('Name', () => {
  test('parses what the grammar allows, and takes it apart', () => {
    fc.assert(
      fc.property(parts, (names) => {
        const text = `:${names.join('.')}`;
        const name = Name.parse(text);
        expect(name.toString()).toBe(text);
        expect(name.parts).toEqual(names);
        expect(name.part).toBe(names.at(-1));
        expect(name.parent.parts).toEqual(names.slice(0, -1));
        expect(name.parent.child(name.part).equals(name)).toBe(true);
        expect(name.isWithin(name.parent)).toBe(true);
        expect(name.parent.isWithin(name)).toBe(false);
      }),
    );
  });

  test('random text is a name or a NamingError', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[:.a\\/ ]*$/)), (text) => {
        const error = errorOf(() => Name.parse(text));
        expect(error === undefined || error instanceof NamingError).toBe(true);
      }),
    );
  });

  test.each([
    ['', 'invalid name'],
    ['relative', 'invalid name'],
    [':.', 'invalid name'],
    [':a.', 'invalid name'],
    [':.a', 'invalid name'],
    [':a..b', 'invalid name'],
    [':a .', 'invalid name'],
    [':.a ', 'invalid name'],
    ['a b', 'invalid name'],
    ['x:a', 'invalid name'],
    ['..:', 'invalid name'],
    [':a b', 'invalid character(s) in name'],
    [':a\n', 'invalid character(s) in name'],
    [':a\\b', 'invalid character(s) in name'],
    [':caf\u00e9', 'invalid character(s) in name'],
  ])('%j is refused: %s', (text, message) => {
    const error = errorOf(() => Name.parse(text));
    expect(error).toBeInstanceOf(NamingError);
    expect(error).toHaveProperty('args', [message, text]);
  });

  test('may have MAX_NAME_LENGTH characters, and not one more: the error has the first of them', () => {
    const longest = `:${'a'.repeat(MAX_NAME_LENGTH - 1)}`;
    expect(Name.parse(longest).toString()).toBe(longest);
    const error = errorOf(() => Name.parse(`${longest}a`));
    expect(error).toBeInstanceOf(NamingError);
    expect(error).toHaveProperty('args', ['name too long', `:${'a'.repeat(63)}...`]);
  });

  test('equals the same name only, and is its text in JSON', () => {
    const name = Name.parse(':a.b');
    expect([':a.b', ':a', ':a.B', ':a.b.c'].map((text) => name.equals(Name.parse(text)))).toEqual([
      true,
      false,
      false,
      false,
    ]);
    expect(JSON.stringify([name])).toBe('[":a.b"]');
  });

  test('is within itself, its group and the root; not within what only begins alike', () => {
    const name = Name.parse(':a.b');
    expect([':a.b', ':a', ':', ':a.b.c', ':a.bc', ':b'].map((text) => name.isWithin(Name.parse(text)))).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
    expect(Name.parse(':ab.c').isWithin(Name.parse(':a'))).toBe(false);
  });

  test('the parent of a name below the root is the root itself', () => {
    expect(Name.parse(':a').parent).toBe(Name.root);
    expect(Name.parse(':a.b').parent.toString()).toBe(':a');
  });

  test('a part may begin with anything that it may hold, a slash too', () => {
    expect(Name.parse(':/srv/a.-x.~').parts).toEqual(['/srv/a', '-x', '~']);
  });

  test('the root is its own parent, and has no parts', () => {
    expect(Name.root.parts).toEqual([]);
    expect(Name.root.part).toBe('');
    expect(Name.root.parent).toBe(Name.root);
    expect(Name.parse(':')).toBe(Name.root);
    expect(Name.root.child('a').toString()).toBe(':a');
  });

  test('relative names are below the default group, and validated after expansion', () => {
    expect(Name.expand('a.b', defaultGroup).toString()).toBe(':Default.a.b');
    expect(Name.expand('a', Name.root).toString()).toBe(':a');
    expect(Name.expand('', defaultGroup)).toBe(defaultGroup);
    expect(Name.expand(':a', defaultGroup).toString()).toBe(':a');
    expect(() => Name.expand('a..b', defaultGroup)).toThrow('invalid name');
    expect(() => Name.expand('a b', defaultGroup)).toThrow('invalid character(s) in name');
  });

  test('a name with a colon in a part can be read, but not made', () => {
    const old = Name.parse(':a:b.c');
    expect(old.parts).toEqual(['a:b', 'c']);
    expect(() => {
      requireNewName(old);
    }).toThrow('invalid character(s) in name');
    expect(() => {
      requireNewName(Name.parse(':a.b'));
    }).not.toThrow();
  });
});

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
    ['a:b', 'invalid name'],
    ['a b', 'invalid name'],
    ['relative', 'invalid name'],
    [':.', 'invalid name'],
    [':a.', 'invalid name'],
    [':.a', 'invalid name'],
    [':a..b', 'invalid name'],
    [':a b..c', 'invalid name'],
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
    expect(errorOf(() => Name.parse(text))).toStrictEqual(new NamingError(message, text));
    expect(errorOf(() => Name.parse(text))).toMatchObject({ message, args: [message, text] });
  });

  test('the longest name is read; of a longer one, the error holds only the start', () => {
    const longest = `:${'a'.repeat(MAX_NAME_LENGTH - 1)}`;
    expect(Name.parse(longest).toString()).toBe(longest);
    expect(errorOf(() => Name.parse(`${longest}b`))).toMatchObject({
      message: 'name too long',
      args: ['name too long', `:${'a'.repeat(63)}...`],
    });
  });

  test('two names are equal if and only if their texts are', () => {
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        const [first, second] = [`:${one.join('.')}`, `:${other.join('.')}`];
        expect(Name.parse(first).equals(Name.parse(second))).toBe(first === second);
      }),
    );
    expect(Name.parse(':a').equals(Name.parse(':b'))).toBe(false);
    expect(Name.parse(':a').equals(Name.parse(':A'))).toBe(false);
    expect(Name.parse(':a').equals(Name.root)).toBe(false);
  });

  test.each([
    [':a', ':a', true],
    [':a.b', ':a', true],
    [':a.b.c', ':a', true],
    [':ab', ':a', false],
    [':a', ':a.b', false],
    [':b.a', ':a', false],
    [':', ':', true],
    [':a', ':', true],
    [':', ':a', false],
  ])('%s is within %s: %s', (name, group, isWithin) => {
    expect(Name.parse(name).isWithin(Name.parse(group))).toBe(isWithin);
  });

  test('in JSON a name is its text', () => {
    expect(JSON.stringify([Name.root, Name.parse(':a.b')])).toBe('[":",":a.b"]');
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
    expect(() => {
      requireNewName(Name.root);
    }).not.toThrow();
    expect(
      errorOf(() => {
        requireNewName(Name.parse('::'));
      }),
    ).toMatchObject({ args: ['invalid character(s) in name', '::'] });
  });
});

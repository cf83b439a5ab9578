import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Name, PyroURI } from '../../names/index.js';
import * as layout from './layout.js';

const VISIBLE = Array.from({ length: 94 }, (_, index) => String.fromCharCode(0x21 + index));
/** The characters of a part: all visible ones of ASCII but the dot and the backslash. */
const PART_CHARACTERS = VISIBLE.filter((character) => character !== '.' && character !== '\\');
const parts = fc.string({ unit: fc.constantFrom(...PART_CHARACTERS), minLength: 1, maxLength: 20 });

/** A character escaped, in lower or upper case. */
const escaped = (character: string, isUpper: boolean) => {
  const digits = character.charCodeAt(0).toString(16).padStart(2, '0');
  return `\\${isUpper ? digits.toUpperCase() : digits}`;
};

describe('the file name of a part', () => {
  it('is read back as the part, is no path, and is its usual spelling', () => {
    fc.assert(
      fc.property(parts, (part) => {
        const fileName = layout.fileNameOf(part);
        expect(fileName).not.toMatch(/[/:]/);
        expect(layout.partOf(fileName)).toBe(part);
        expect(layout.isUsualSpelling(fileName, part)).toBe(true);
      }),
    );
  });

  it('may have any of its characters escaped, which is then not the usual spelling', () => {
    const spellings = fc.array(
      fc.tuple(fc.constantFrom(...PART_CHARACTERS), fc.constantFrom('plain', 'lower', 'upper')),
      {
        minLength: 1,
      },
    );
    fc.assert(
      fc.property(spellings, (characters) => {
        const part = characters.map(([character]) => character).join('');
        const fileName = characters
          .map(([character, how]) =>
            how === 'plain' && character !== '/' ? character : escaped(character, how === 'upper'),
          )
          .join('');
        expect(layout.partOf(fileName)).toBe(part);
        expect(layout.isUsualSpelling(fileName, part)).toBe(fileName === layout.fileNameOf(part));
      }),
    );
  });

  it.each([
    ['a/b', 'a\\2fb'],
    ['a:b', 'a\\3ab'],
    ['//::', '\\2f\\2f\\3a\\3a'],
  ])('of %s is %s, as Pyro 3 has it', (part, fileName) => {
    expect(layout.fileNameOf(part)).toBe(fileName);
  });

  it.each([
    '',
    '.',
    'a.b',
    '.a',
    'a.',
    'a b',
    ' a',
    'a ',
    '\ta',
    'a\n',
    'ü',
    '\x7f',
    '\\',
    '\\2',
    'a\\zz',
    '\\2e',
    '\\20',
    '\\5c',
    '\\7f',
    'a\\00',
  ])('is not %j', (fileName) => {
    expect(layout.partOf(fileName)).toBeUndefined();
    expect(layout.isOfDatabase(fileName)).toBe(false);
    expect(layout.isOfDatabase(fileName + layout.META_SUFFIX)).toBe(fileName === '');
    expect(layout.isMetadataOfMember(fileName + layout.META_SUFFIX)).toBe(false);
  });

  it('is one of the database, as is that of its metadata; it alone is no metadata', () => {
    fc.assert(
      fc.property(parts, (part) => {
        const fileName = layout.fileNameOf(part);
        expect([fileName, `${fileName}.ns_meta`].map(layout.isOfDatabase)).toEqual([true, true]);
        expect([fileName, `${fileName}.ns_meta`].map(layout.isMetadataOfMember)).toEqual([false, true]);
        expect(layout.isOfDatabase(`${fileName}.ns_meta~`)).toBe(false);
      }),
    );
  });
});

it("the metadata of the root is of the database, and no member's; the server's own directory is neither", () => {
  expect(layout.isOfDatabase('.ns_meta')).toBe(true);
  expect(layout.isMetadataOfMember('.ns_meta')).toBe(false);
  expect(layout.isOfDatabase('.pyro-ns.ns_meta')).toBe(false);
  expect(layout.isMetadataOfMember('.pyro-ns.ns_meta')).toBe(false);
  expect(layout.OWN_DIRECTORY).toBe('.pyro-ns.ns_meta');
  expect(layout.MAX_URI_FILE_SIZE).toBe(8192);
});

it.each([
  [':', '/db', '/db/.ns_meta'],
  [':G', '/db/G', '/db/G.ns_meta'],
  [':G.a/b', '/db/G/a\\2fb', '/db/G/a\\2fb.ns_meta'],
])('%s is at %s, and its metadata at %s', (text, path, metaPath) => {
  const name = Name.parse(text);
  expect(layout.pathOf('/db', name)).toBe(path);
  expect(layout.metaPathOf(path, name)).toBe(metaPath);
});

describe('the file of an object', () => {
  const text = 'PYRO://127.0.0.1:7766/7f00000100a1b2c3';

  it('is its URI and a newline, and is read back', () => {
    expect(layout.uriFileContent(PyroURI.parse(text)).toString('latin1')).toBe(`${text}\n`);
    const ids = fc.nat().map((id) => id.toString(16));
    fc.assert(
      fc.property(ids, fc.integer({ min: 1, max: 65535 }), (id, port) => {
        const uri = new PyroURI('PYRO', 'host.example', port, id);
        expect(layout.readURIFile(layout.uriFileContent(uri))?.toString()).toBe(uri.toString());
      }),
    );
  });

  it.each([
    ['white space before it', ` \t\r\n${text}`],
    ['a byte order mark', `\ufeff${text}`],
    ['a byte order mark, and white space', `\ufeff\n ${text}\n`],
    ['something behind it', `${text} more\nand more`],
    ['a newline of another system behind it', `${text}\r\n`],
  ])('may have %s', (_, content) => {
    expect(layout.readURIFile(Buffer.from(content))?.toString()).toBe(text);
  });

  it.each([
    ['nothing', ''],
    ['white space', ' \n'],
    ['something else', 'nothing'],
    ['something before it', `# ${text}`],
  ])('has no URI where there is %s', (_, content) => {
    expect(layout.readURIFile(Buffer.from(content))).toBeUndefined();
  });
});

import { readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import * as errors from './errors.js';
import { codeOfText, ERROR_CODES, REFUSALS, refusalText } from './refusals.js';

/** Each text, with something in place of what differs from case to case. */
const examples = ERROR_CODES.flatMap((code) => {
  const { text } = REFUSALS[code];
  return text === undefined ? [] : [[code, text.replaceAll('{}', 'this (or: that)')] as const];
});

it('has a code that nothing else has for each text', () => {
  const texts = examples.map(([, text]) => text);
  expect(new Set(texts).size).toBe(texts.length);
  expect(ERROR_CODES.filter((code) => !/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/.test(code))).toEqual([]);
  // Those of the operating system look like this.
  expect(ERROR_CODES.filter((code) => /^E[A-Z0-9]+$/.test(code))).toEqual([]);
});

it.each(examples)('%s is the code of its text', (code, text) => {
  expect(codeOfText(text)).toBe(code);
  expect(new errors.PyroError(text, ':name').code).toBe(code);
});

it('puts values into texts', () => {
  expect(refusalText('NAME_NOT_FOUND')).toBe('name not found');
  const text = refusalText('METADATA_TOO_LARGE', 7, '{}');
  expect(text).toBe('metadata too large: 7 bytes, PYRO_NS_MAX_META_SIZE is {}');
  expect(codeOfText(text)).toBe('METADATA_TOO_LARGE');
  expect(codeOfText(refusalText('NAME_SERVER_NOT_FOUND', ''))).toBe('NAME_SERVER_NOT_FOUND');
});

it.each([
  '',
  'name not found ',
  'Name not found',
  'metadata too large: 7 bytes',
  "the database can't be",
  'the database is in use by',
  'both name servers are : one must be started with -1',
  // The parts of a text may not overlap.
  'the clocks differ by seconds, and may by : set them, best by NTP',
])('has no code for %j', (text) => {
  expect(codeOfText(text)).toBeUndefined();
});

it('has no code for a long text made of the parts of another', () => {
  expect(codeOfText("the database can't be ".repeat(200_000))).toBeUndefined();
});

it.each([
  [errors.PyroError, 'PYRO_ERROR'],
  [errors.URIError, 'URI_ERROR'],
  [errors.NamingError, 'NAMING_ERROR'],
  [errors.DaemonError, 'DAEMON_ERROR'],
  [errors.NoModuleError, 'MODULE_MISSING'],
  [errors.ProtocolError, 'PROTOCOL_ERROR'],
  [errors.ConnectionClosedError, 'CONNECTION_CLOSED'],
  [errors.TimeoutError, 'TIMEOUT'],
  [errors.ConnectionDeniedError, 'CONNECTION_DENIED'],
  [errors.ConfigError, 'CONFIG_INVALID'],
  [class extends errors.NamingError {}, 'NAMING_ERROR'],
])('an error with a text of its own has the code of its class: %p', (errorClass, code) => {
  expect(new errorClass('something else').code).toBe(code);
});

it('agrees with docs/errors.md', () => {
  const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');
  const documented = page
    .slice(page.indexOf('## Codes'))
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => {
      const [, code, text, meaning] = line.split('|').map((cell) => cell.trim());
      return [code, text, meaning];
    });
  const expected = ERROR_CODES.map((code) => {
    const { text, meaning } = REFUSALS[code];
    return [`\`${code}\``, text === undefined ? '' : `\`${text}\``, meaning];
  });
  expect(documented).toEqual(expected);
});

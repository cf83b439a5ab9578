import { describe, expect, it, test } from '@jest/globals';
import fc from 'fast-check';
import { Stats } from 'node:fs';
import { dumps, tuple } from '../../pickle/index.js';
import type { PythonValue } from '../../pickle/index.js';
import { GROUP, OBJECT } from '../namespace.js';
import { metaFileContent, microseconds, readMetaFile, systemMetaOf } from './metadata.js';

describe('a file of metadata', () => {
  const systems = fc.record({
    type: fc.constantFrom(GROUP, OBJECT),
    timestamp: fc.double({ noNaN: true, noDefaultInfinity: true }),
    owner: fc.constantFrom(null, 'somebody'),
  });

  it('is read back', () => {
    fc.assert(
      fc.property(systems, fc.constantFrom(null, 'text', 5), (system, user) => {
        expect(readMetaFile(metaFileContent(system, user))).toEqual({ system, user });
      }),
    );
  });

  it('may tell nothing of the system, as those of older servers', () => {
    expect(readMetaFile(dumps(tuple(null, 'of the user')))).toEqual({ system: undefined, user: 'of the user' });
  });

  it.each<[string, PythonValue]>([
    ['a text', 'ab'],
    ['a list of two', [null, null]],
    ['a tuple of one', tuple(null)],
    ['a tuple of three', tuple(null, null, null)],
  ])('is no %s', (_, value) => {
    expect(() => readMetaFile(dumps(value))).toThrow(new TypeError('not a tuple of two'));
  });
});

describe('a name without metadata of its own', () => {
  const [born, modified] = [1_000_000_000_250, 1_000_000_000_750.5];

  /** What the system tells of a file or directory. */
  function statsOf(isDirectory: boolean, birthtimeMs: number, mtimeMs: number): Stats {
    return Object.assign(new Stats(), { birthtimeMs, mtimeMs, isDirectory: () => isDirectory });
  }

  it.each([
    ['an object was made when its file was modified', false, born, modified, OBJECT, 1_000_000_000.7505],
    ['a group was made when its directory was born', true, born, modified, GROUP, 1_000_000_000.25],
    ['a group was made no later than its directory was modified', true, modified, born, GROUP, 1_000_000_000.25],
    ['a group was made when it was modified, where no birth is known', true, 0, modified, GROUP, 1_000_000_000.7505],
  ])('%s', (_, isDirectory, birthtimeMs, mtimeMs, type, timestamp) => {
    expect(systemMetaOf(statsOf(isDirectory, birthtimeMs, mtimeMs))).toEqual({ type, timestamp, owner: null });
  });

  it('was made at a whole microsecond', () => {
    expect(systemMetaOf(statsOf(false, 0, 1234.567_890_1)).timestamp).toBe(1.234568);
  });
});

test('microseconds are rounded', () => {
  expect([0, 1.5, 1e-6, 1.4e-6, 1.6e-6].map(microseconds)).toEqual([0, 1_500_000, 1, 1, 2]);
});

import { expect, it } from '@jest/globals';
import { childName, lastPart, parentName, treeRows } from './tree-rows.js';

it('takes names apart and puts them together', () => {
  expect([childName(':', 'a'), childName(':a', 'b')]).toEqual([':a', ':a.b']);
  expect([parentName(':a.b'), parentName(':a'), parentName(':')]).toEqual([':a', ':', ':']);
  expect([lastPart(':a.b'), lastPart(':a')]).toEqual(['b', 'a']);
});

it('shows what is open, groups first, each with its place among its siblings', () => {
  const listings = new Map([
    [':', { group: ':', version: '1', groups: ['g', 'shut'], objects: ['a'] }],
    [':g', { group: ':g', version: '1', groups: [], objects: ['b'] }],
  ]);
  const rows = treeRows(listings, new Set([':', ':g', ':unlisted']));
  expect(rows.map(({ name, level, position, siblings, isOpen }) => [name, level, position, siblings, isOpen])).toEqual([
    [':', 1, 1, 1, true],
    [':g', 2, 1, 3, true],
    [':g.b', 3, 1, 1, false],
    [':shut', 2, 2, 3, false],
    [':a', 2, 3, 3, false],
  ]);
});

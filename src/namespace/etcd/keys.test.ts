import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Name } from '../../names/index.js';
import { Keys, type TreeKeys } from './keys.js';
import type { KeyRange } from './protocol.js';

const part = fc.stringMatching(/^[!-\-/-[\]-~]{1,3}$/);
const name = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => Name.parse(`:${parts.join('.')}`));

/** Etcd's order is that of bytes; keys are ASCII here. */
const isIn = ({ key, end }: KeyRange, text: string): boolean =>
  text >= key && (end === undefined ? text === key : text < end);

describe('keys', () => {
  const keys = new Keys('/pyro');
  const tree = keys.treeOf(1);
  const keysOf = (one: Name): string[] => [tree.name(one), tree.meta(one)];

  it('of what is in a group are in its ranges, and no others are', () => {
    fc.assert(
      fc.property(name, name, fc.boolean(), (group, one, isBelow) => {
        const tested = isBelow ? Name.parse(`${group.toString()}.${one.toString().slice(1)}`) : one;
        const expected = tested.isWithin(group) && !tested.equals(group);
        for (const key of keysOf(tested)) {
          expect(tree.contents(group).some((range) => isIn(range, key))).toBe(expected);
        }
      }),
    );
  });

  it('are read back', () => {
    fc.assert(
      fc.property(name, (one) => {
        expect(tree.parse(tree.name(one))).toEqual({ of: 'name', text: one.toString() });
        expect(tree.parse(tree.meta(one))).toEqual({ of: 'meta', text: one.toString() });
      }),
    );
    expect(tree.parse('/pyro/10/:x')).toBeUndefined();
    expect(tree.parse('/pyro/change')).toBeUndefined();
  });

  it('of one tree are not those of another', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 2000 }), name, (number, other, one) => {
        const [served, tested]: [TreeKeys, TreeKeys] = [keys.treeOf(number), keys.treeOf(other)];
        for (const key of [tested.name(one), tested.meta(one), tested.name(Name.root)]) {
          expect(isIn(served.all, key)).toBe(number === other);
          expect(keys.otherTrees(served).some((range) => isIn(range, key))).toBe(number !== other);
          expect(isIn(keys.everything, key)).toBe(true);
        }
      }),
    );
  });

  it('beside the trees are not deleted with them', () => {
    for (const key of [keys.tree, keys.change, keys.fence('token')]) {
      expect(keys.otherTrees(tree).some((range) => isIn(range, key))).toBe(false);
      expect(isIn(keys.everything, key)).toBe(true);
    }
  });
});

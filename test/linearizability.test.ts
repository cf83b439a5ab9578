/** The checker that the histories of test/etcd-cluster.test.ts are held against: it must see what is wrong. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Operation, Outcome } from './support/linearizability.js';
import { isLinearizable } from './support/linearizability.js';

const register = (from: number, to: number, uri: string, outcome: Outcome | undefined = 'done'): Operation => ({
  method: 'register',
  uri,
  outcome,
  from,
  to,
});
const unregister = (from: number, to: number, outcome: Outcome | undefined = 'done'): Operation => ({
  method: 'unregister',
  outcome,
  from,
  to,
});
const resolve = (from: number, to: number, uri?: string): Operation => ({
  method: 'resolve',
  outcome: uri === undefined ? 'missing' : { uri },
  from,
  to,
});

describe('isLinearizable', () => {
  it.each<[string, Operation[]]>([
    ['nothing', []],
    ['one after the other', [register(0, 1, 'a'), resolve(2, 3, 'a'), unregister(4, 5), resolve(6, 7)]],
    ['a read during a registration that sees it', [register(0, 9, 'a'), resolve(1, 2, 'a')]],
    ['a read during a registration that does not', [register(0, 9, 'a'), resolve(1, 2)]],
    ['one of two registrations', [register(0, 9, 'a'), register(0, 9, 'b', 'taken'), resolve(10, 11, 'a')]],
    ['an unanswered one that came to pass', [register(0, Infinity, 'a', undefined), resolve(5, 6, 'a')]],
    ['an unanswered one that did not', [register(0, Infinity, 'a', undefined), resolve(5, 6)]],
    [
      'an unanswered one that came to pass late',
      [register(0, Infinity, 'a', undefined), resolve(5, 6), resolve(7, 8, 'a')],
    ],
  ])('accepts %s', (_, history) => {
    expect(isLinearizable(history)).toBe(true);
  });

  it.each<[string, Operation[]]>([
    ['a read of what was never registered', [resolve(0, 1, 'a')]],
    ['a name registered twice', [register(0, 1, 'a'), register(2, 3, 'b')]],
    ['a name registered twice at once', [register(0, 9, 'a'), register(0, 9, 'b')]],
    ['a registration that was lost', [register(0, 1, 'a'), resolve(2, 3)]],
    ['a read that is out of date', [register(0, 1, 'a'), unregister(2, 3), resolve(4, 5, 'a')]],
    ['reads that go back', [register(0, 9, 'a'), resolve(1, 2, 'a'), resolve(3, 4)]],
    ['a removal that counts twice', [register(0, 1, 'a'), unregister(2, 9), unregister(2, 9)]],
    ['a refusal without a reason', [register(0, 1, 'a', 'taken')]],
    [
      'an unanswered one that came and went',
      [register(0, Infinity, 'a', undefined), resolve(1, 2, 'a'), resolve(3, 4)],
    ],
  ])('rejects %s', (_, history) => {
    expect(isLinearizable(history)).toBe(false);
  });

  /** Operations that overlap, but take effect in the middle of their time, one after the other. */
  const honest = fc
    .array(
      fc.record({
        method: fc.constantFrom('register' as const, 'unregister' as const, 'resolve' as const),
        before: fc.double({ min: 0, max: 3, noNaN: true }),
        after: fc.double({ min: 0, max: 3, noNaN: true }),
        answered: fc.boolean(),
      }),
      { maxLength: 40 },
    )
    .map((steps) => {
      let state: string | undefined;
      return steps.map(({ method, before, after, answered }, index): Operation => {
        const uri = `uri${index}`;
        let outcome: Outcome = 'done';
        if (method === 'resolve') outcome = state === undefined ? 'missing' : { uri: state };
        else if (method === 'register' && state !== undefined) outcome = 'taken';
        else if (method === 'unregister' && state === undefined) outcome = 'missing';
        else state = method === 'register' ? uri : undefined;
        const isKnown = answered || method === 'resolve';
        return {
          method,
          uri,
          outcome: isKnown ? outcome : undefined,
          from: index - before,
          to: isKnown ? index + after : Infinity,
        };
      });
    });

  it('accepts whatever an honest server did', () => {
    fc.assert(
      fc.property(honest, (history) => {
        expect(isLinearizable(history)).toBe(true);
      }),
    );
  });

  it('rejects what no server could have seen', () => {
    fc.assert(
      fc.property(honest, fc.nat(100), (history, at) => {
        const stray = resolve(at, at + 1, 'never registered');
        expect(isLinearizable([...history, stray])).toBe(false);
      }),
    );
  });
});

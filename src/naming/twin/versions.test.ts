import { describe, expect, test } from '@jest/globals';
import { Name } from '../../names/index.js';
import type { Timestamp } from './records.js';
import { MAX_TOMBSTONES, Versions, type Version } from './versions.js';

const A = Name.parse(':a');
const at = (time: number): Timestamp => ({ time, role: 'primary' });
const version = (time: number, confirmed = false): Version => ({
  timestamp: at(time),
  confirmed,
  systemMetaSet: false,
});
const removal = (time: number, confirmed = false) => ({ timestamp: at(time), confirmed });

describe('stamps', () => {
  test('are of the clock, in seconds, and of the role', () => {
    expect(new Versions('secondary', () => 5500).next()).toEqual({ time: 5.5, role: 'secondary' });
  });

  test('go up although the clock stands still or is set back', () => {
    let now = 5000;
    const versions = new Versions('primary', () => now);
    const times = [versions.next().time];
    times.push(versions.next().time);
    now = 1000;
    times.push(versions.next().time);
    now = 6000;
    times.push(versions.next().time);
    expect(times).toEqual([5, 5.000001, 5.000002, 6].map((time) => expect.closeTo(time, 9)));
  });

  test('are later than every version and removal that was seen, whichever came last', () => {
    const versions = new Versions('primary', () => 1000);
    versions.set(A, version(9));
    versions.set(A, version(3));
    expect(versions.next().time).toBeGreaterThan(9);
    versions.remove(A, removal(20));
    versions.remove(A, removal(12));
    expect(versions.next().time).toBeGreaterThan(20);
    expect(versions.next().time).toBeLessThan(21);
  });
});

describe('a confirmation', () => {
  test.each([
    ['an older change leaves a newer one unconfirmed', 1, false],
    ['this change', 2, true],
    ['a later change', 3, true],
  ])('of %s', (_what, time, confirmed) => {
    const versions = new Versions('primary');
    versions.set(A, version(2));
    versions.confirm(A, at(time));
    expect(versions.get(A)).toEqual(version(2, confirmed));
    const removals = new Versions('primary');
    removals.remove(A, removal(2));
    removals.confirm(A, at(time));
    expect(removals.tombstoneOf(A)).toEqual(removal(2, confirmed));
  });

  test('of what is not known here is nothing', () => {
    const versions = new Versions('primary');
    versions.confirm(A, at(1));
    expect([versions.get(A), versions.allTombstones()]).toEqual([undefined, []]);
  });
});

describe('a removal', () => {
  test.each([
    ['takes an older version away', 1, undefined],
    ['takes away what was made at the same time', 2, undefined],
    ['leaves a later version', 3, version(3)],
  ])('%s', (_what, time, left) => {
    const versions = new Versions('primary');
    versions.set(A, version(time));
    versions.remove(A, removal(2));
    expect(versions.get(A)).toEqual(left);
    expect(versions.tombstoneOf(A)).toEqual(removal(2));
  });

  test('is forgotten for a later one, or one of the same time, but not for an earlier', () => {
    const versions = new Versions('primary');
    versions.remove(A, removal(2));
    versions.remove(A, removal(1, true));
    expect(versions.tombstoneOf(A)).toEqual(removal(2));
    versions.remove(A, removal(2, true));
    expect(versions.tombstoneOf(A)).toEqual(removal(2, true));
    versions.remove(A, removal(3));
    expect(versions.allTombstones()).toEqual([[':a', removal(3)]]);
  });

  test('holds for what was within the group; the latest counts', () => {
    const versions = new Versions('primary');
    const inner = Name.parse(':g.h.a');
    expect(versions.tombstoneOf(inner)).toBeUndefined();
    versions.remove(Name.parse(':g'), removal(2));
    expect(versions.tombstoneOf(inner)).toEqual(removal(2));
    versions.remove(Name.parse(':g.h'), removal(3));
    expect(versions.tombstoneOf(inner)).toEqual(removal(3));
    versions.remove(inner, removal(1));
    expect(versions.tombstoneOf(inner)).toEqual(removal(3));
    expect(versions.tombstoneOf(Name.parse(':g'))).toEqual(removal(2));
    expect(versions.tombstoneOf(Name.parse(':gh'))).toBeUndefined();
  });

  test('is remembered until there are more than the limit: then the oldest goes, one that was renewed last', () => {
    const versions = new Versions('primary');
    for (let number = 0; number < MAX_TOMBSTONES; number += 1)
      versions.remove(Name.parse(`:n${number}`), removal(number));
    versions.remove(Name.parse(':n0'), removal(MAX_TOMBSTONES));
    expect(versions.allTombstones()).toHaveLength(MAX_TOMBSTONES);
    versions.remove(A, removal(MAX_TOMBSTONES + 1));
    expect(versions.allTombstones()).toHaveLength(MAX_TOMBSTONES);
    expect(versions.tombstoneOf(Name.parse(':n1'))).toBeUndefined();
    expect(versions.tombstoneOf(Name.parse(':n0'))).toEqual(removal(MAX_TOMBSTONES));
    expect(versions.tombstoneOf(Name.parse(':n2'))).toEqual(removal(2));
  });
});

test('what was within a deleted group is forgotten, and nothing else', () => {
  const versions = new Versions('primary');
  const names = [':g', ':g.a', ':g.h.a', ':gh', ':gh.a', ':a.g.b'].map((text) => Name.parse(text));
  for (const name of names) versions.set(name, version(1));
  versions.dropVersionsWithin(Name.parse(':g'));
  expect(names.filter((name) => versions.get(name)).map(String)).toEqual([':g', ':gh', ':gh.a', ':a.g.b']);
});

describe('a clock that was far ahead, and is set back', () => {
  test.each([
    [299, false],
    [301, true],
  ])('by %d seconds: what is dated in the future is of now then (%s)', (seconds, redated) => {
    let now = 1_000_000;
    const versions = new Versions('primary', () => now);
    const [a, b] = [Name.parse(':a'), Name.parse(':b')];
    versions.set(a, { timestamp: versions.next(), confirmed: true, systemMetaSet: true });
    versions.remove(b, { timestamp: { time: 1000, role: 'secondary' }, confirmed: false });
    versions.set(A.child('old'), version(500));
    now -= seconds * 1000;
    const { time } = versions.next();
    const dated = redated ? 1000 - seconds : 1000;
    expect(time).toBeCloseTo(dated, 3);
    expect(time).toBeGreaterThan(dated);
    expect(versions.get(a)).toEqual({ timestamp: at(dated), confirmed: true, systemMetaSet: true });
    expect(versions.tombstoneOf(b)).toEqual({ timestamp: { time: dated, role: 'secondary' }, confirmed: false });
    expect(versions.get(A.child('old'))).toEqual(version(500));
  });
});

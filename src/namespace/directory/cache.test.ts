import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Name, PyroURI } from '../../names/index.js';
import { Cache } from './cache.js';

const VALID = { valid: true, ttlMs: 60_000 };
const uriOf = (id: number) => PyroURI.parse(`PYRO://127.0.0.1:7766/${id}`);
const nameOf = (number: number) => Name.parse(`:n${number}`);

describe('cached URIs', () => {
  test('are what was read last, however often they were asked for before', async () => {
    const step = fc.record({ kind: fc.constantFrom('ask', 'change', 'abandon'), number: fc.nat(5) });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 60 }), async (capacity, steps) => {
        const { uris } = new Cache(capacity);
        const disk = [0, 0, 0, 0, 0, 0];
        const wrong: string[] = [];
        for (const { kind, number } of steps) {
          const key = nameOf(number).toString();
          if (kind === 'change') {
            disk[number] = (disk[number] ?? 0) + 1;
            uris.invalidate(key);
          } else if (kind === 'abandon') uris.abandonLoads();
          else {
            const current = disk[number] ?? 0;
            const read = () => Promise.resolve({ value: uriOf(current), validity: VALID });
            const answers = [await uris.getOrLoad(key, read), uris.get(key), uris.get(key)].map((uri) => uri?.objectID);
            if (answers.some((answer) => answer !== String(current))) wrong.push(`${String(answers)}: not ${current}`);
          }
          if (uris.size > capacity) wrong.push(`${uris.size} are kept`);
        }
        expect(wrong).toEqual([]);
      }),
    );
  });

  test('are the same object each time, so that what was made of one is found again', async () => {
    const { uris } = new Cache(10);
    await uris.getOrLoad(':n', () => Promise.resolve({ value: uriOf(1), validity: VALID }));
    const first = uris.get(':n');
    expect(first).toBeDefined();
    expect(uris.get(':n')).toBe(first);
  });

  test('count for nothing once their validity is not valid any more, and are read again', async () => {
    const { uris } = new Cache(10);
    const validity = { valid: true, ttlMs: 60_000 };
    await uris.getOrLoad(':n', () => Promise.resolve({ value: uriOf(1), validity }));
    expect(uris.get(':n')?.objectID).toBe('1');
    validity.valid = false;
    expect(uris.get(':n')).toBeUndefined();
    const read = () => Promise.resolve({ value: uriOf(2), validity: VALID });
    expect((await uris.getOrLoad(':n', read)).objectID).toBe('2');
    expect(uris.get(':n')?.objectID).toBe('2');
  });

  test('are read again when their TTL is over, and then cached again', async () => {
    const { uris } = new Cache(10);
    await uris.getOrLoad(':n', () => Promise.resolve({ value: uriOf(1), validity: { valid: true, ttlMs: 0 } }));
    expect(uris.get(':n')).toBeUndefined();
    await uris.getOrLoad(':n', () => Promise.resolve({ value: uriOf(2), validity: VALID }));
    expect(uris.get(':n')?.objectID).toBe('2');
  });
});

describe('URIs that are asked for again', () => {
  const remember = (uris: Cache['uris'], key: string, id = 1) =>
    uris.getOrLoad(key, () => Promise.resolve({ value: uriOf(id), validity: VALID }));

  test('are copied close together once, equal to what was read', async () => {
    const { uris } = new Cache(10);
    const read = await remember(uris, ':n');
    const copy = uris.get(':n');
    expect(copy).toEqual(read);
    expect(copy).not.toBe(read);
    expect(uris.peek(':n')).toBe(read);
  });

  test.each([
    [2, 2],
    [5000, 2000],
  ])('are copied anew, all of them, once there are too many copies: of %i names, %i', async (capacity, maxCopies) => {
    const { uris } = new Cache(capacity);
    const keys = Array.from({ length: maxCopies }, (_, index) => `:n${index}`);
    for (const key of keys) await remember(uris, key);
    const copies = keys.map((key) => uris.get(key));
    expect(keys.every((key, index) => uris.get(key) === copies[index])).toBe(true);
    await remember(uris, ':one more');
    expect(uris.get(':one more')).toBeDefined();
    // The oldest has been dropped where there is no room for one more.
    const last = keys.at(-1) ?? '';
    expect(uris.get(last)).toEqual(copies.at(-1));
    expect(uris.get(last)).not.toBe(copies.at(-1));
  });

  test('stay known when others are read, though only their copies were asked for', async () => {
    const { uris } = new Cache(3);
    for (const key of [':a', ':b', ':c']) await remember(uris, key);
    for (const key of [':a', ':d', ':a']) await remember(uris, key);
    expect([':a', ':b', ':c', ':d'].map((key) => uris.peek(key) !== undefined)).toEqual([true, false, true, true]);
  });
});

describe('the cache of a database', () => {
  const LISTING = [{ part: 'x', type: 1 }] as const;
  const GROUPS = [':', ':G', ':H'];
  const NAMES = [':x', ':G', ':G.x', ':G.a/b', ':G.y', ':H.x'];

  /** All that can be remembered of these names and groups. */
  async function filled(hasMetadata = false): Promise<Cache> {
    const cache = new Cache(100);
    for (const name of NAMES)
      await cache.uris.getOrLoad(name, () => Promise.resolve({ value: uriOf(1), validity: VALID }));
    for (const group of GROUPS) {
      await cache.listings.getOrLoad(group, () => Promise.resolve({ value: LISTING, validity: VALID }));
      const value = { unusual: new Map<string, string>(), hasMetadata };
      await cache.scans.getOrLoad(group, () => Promise.resolve({ value, validity: VALID }));
    }
    return cache;
  }

  /** What is not known any more. */
  const dropped = ({ uris, listings, scans }: Cache) => ({
    uris: NAMES.filter((name) => uris.get(name) === undefined),
    listings: GROUPS.filter((group) => listings.get(group) === undefined),
    scans: GROUPS.filter((group) => scans.get(group) === undefined),
  });

  const root = Name.root;
  const group = Name.parse(':G');

  test.each([
    ['a file that was changed', group, 'x', false, { uris: [':G.x'] }],
    ['a file that came or went', group, 'x', true, { uris: [':G.x'], listings: [':G'] }],
    ['a file below the root', root, 'x', true, { uris: [':x'], listings: [':'] }],
    ['a group', root, 'G', true, { uris: [':G'], listings: [':'] }],
    ['a usual spelling', group, 'a\\2fb', true, { uris: [':G.a/b'], listings: [':G'] }],
    ['an unusual spelling', group, '\\78', true, { uris: [':G.x'], listings: [':G'], scans: [':G'] }],
    ['an unusual spelling that was changed', group, '\\78', false, { uris: [':G.x'], scans: [':G'] }],
    ['metadata', group, 'x.ns_meta', true, { scans: [':G'] }],
    ['metadata of an unusual spelling', group, '\\78.ns_meta', true, { scans: [':G'] }],
    ['the metadata of the root', root, '.ns_meta', true, {}],
    ['what is no name', group, '.hidden', true, {}],
  ])('is dropped as far as a change tells: %s', async (_, name, fileName, membershipChanged, expected) => {
    const cache = await filled();
    cache.changed(name, fileName, membershipChanged);
    expect(dropped(cache)).toEqual({ uris: [], listings: [], scans: [], ...expected });
  });

  test('of metadata stays, where there is some already', async () => {
    const cache = await filled(true);
    cache.changed(group, 'x.ns_meta', true);
    cache.metadataAdded(':H');
    expect(dropped(cache).scans).toEqual([]);
    const without = await filled(false);
    without.metadataAdded(':H');
    expect(dropped(without)).toEqual({ uris: [], listings: [], scans: [':H'] });
  });

  test('of metadata is read again, where it is being read while some comes', async () => {
    const cache = new Cache(10);
    const read = (hasMetadata: boolean) =>
      jest.fn(() => Promise.resolve({ value: { unusual: new Map<string, string>(), hasMetadata }, validity: VALID }));
    const before = cache.scans.getOrLoad(':G', read(false));
    cache.metadataAdded(':G');
    await before;
    expect((await cache.scans.getOrLoad(':G', read(true))).hasMetadata).toBe(true);
  });

  test('of a name that this server changes is dropped, with what lists it and what it lists', async () => {
    const cache = await filled();
    cache.invalidate(group);
    expect(dropped(cache)).toEqual({ uris: [':G'], listings: [':', ':G'], scans: [] });
    cache.invalidate(Name.parse(':H.x'));
    expect(dropped(cache)).toEqual({ uris: [':G', ':H.x'], listings: GROUPS, scans: [] });
  });

  test.each(['uris', 'listings', 'scans'] as const)('is read again after invalidatedAll(): %s', async (which) => {
    const cache = new Cache(10);
    let reads = 0;
    const ask = () => {
      const read = <Value>(value: Value) => {
        reads += 1;
        return Promise.resolve({ value, validity: VALID });
      };
      if (which === 'uris') return cache.uris.getOrLoad(':G', () => read(uriOf(1)));
      if (which === 'listings') return cache.listings.getOrLoad(':G', () => read(LISTING));
      return cache.scans.getOrLoad(':G', () => read({ unusual: new Map<string, string>(), hasMetadata: false }));
    };
    const asked = [ask(), ask()];
    expect(reads).toBe(1);
    cache.invalidatedAll();
    asked.push(ask());
    expect(reads).toBe(2);
    await Promise.all(asked);
  });

  test('is of as many names as said, of which those in groups count by their number', async () => {
    const cache = new Cache(10);
    const list = (name: string, length: number) =>
      cache.listings.getOrLoad(name, () => Promise.resolve({ value: Array(length).fill(LISTING[0]), validity: VALID }));
    await list(':a', 4);
    await list(':b', 4);
    expect(cache.listings.size).toBe(2);
    await list(':c', 0);
    expect([':a', ':b', ':c'].map((name) => cache.listings.peek(name) !== undefined)).toEqual([false, true, true]);
    // One that is too large is given, and not remembered.
    expect(await list(':d', 10)).toHaveLength(10);
    expect(cache.listings.peek(':d')).toBeUndefined();
    expect(await list(':e', 9)).toHaveLength(9);
    expect([':b', ':c', ':e'].map((name) => cache.listings.peek(name) !== undefined)).toEqual([false, false, true]);
  });

  test('is of no more than 10,000 groups, whether they have unusual spellings', async () => {
    const { scans } = new Cache(1);
    const value = { unusual: new Map<string, string>(), hasMetadata: false };
    for (let index = 0; index <= 10_000; index += 1) {
      await scans.getOrLoad(`:n${index}`, () => Promise.resolve({ value, validity: VALID }));
    }
    expect([scans.size, scans.get(':n0'), scans.get(':n1')]).toEqual([10_000, undefined, value]);
  });

  test('is dropped in the order of its use, by which peek() is none', async () => {
    const { listings } = new Cache(6);
    const list = (name: string) => listings.getOrLoad(name, () => Promise.resolve({ value: LISTING, validity: VALID }));
    for (const name of [':a', ':b', ':c']) await list(name);
    listings.peek(':a');
    listings.get(':b');
    await list(':d');
    const known = [':a', ':b', ':c', ':d'].filter((name) => listings.peek(name) !== undefined);
    expect(known).toEqual([':b', ':c', ':d']);
  });
});

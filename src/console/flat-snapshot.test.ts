import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { compareSnapshots, FlatSnapshot } from './flat-snapshot.js';

const snapshot = (uris: Record<string, string>) => new FlatSnapshot(new Map(Object.entries(uris)));
const all = { offset: 0, limit: 1000 };

describe('FlatSnapshot', () => {
  const some = snapshot({ ':a.b.c': 'PYRO://h:1/x', ':a.d': 'PYRO://H:2/y', ':e': 'PYRO://i:1/z' });

  it('holds the groups that names are in, sorted', () => {
    expect(some.page({ filter: '', ...all }).entries.map(({ name }) => name)).toEqual([
      ':a',
      ':a.b',
      ':a.b.c',
      ':a.d',
      ':e',
    ]);
  });

  it('finds all words in names and URIs, in any case', () => {
    expect(some.page({ filter: 'H: A', ...all }).entries.map(({ name }) => name)).toEqual([':a.b.c', ':a.d']);
    expect(some.page({ filter: 'none', ...all })).toMatchObject({ total: 0, entries: [] });
  });

  it('answers a filter the same, whatever was typed before', () => {
    const text = fc.stringMatching(/^[a-c: ]{0,4}$/);
    const names = fc.dictionary(fc.stringMatching(/^:[a-c]{1,3}(\.[a-c]{1,3})?$/), fc.constant('PYRO://h:1/abc'));
    fc.assert(
      fc.property(names, fc.array(text), text, (uris, before, filter) => {
        const used = snapshot(uris);
        for (const earlier of before) used.page({ filter: earlier, ...all });
        expect(used.page({ filter, ...all })).toEqual(snapshot(uris).page({ filter, ...all }));
      }),
    );
  });

  it('pages', () => {
    expect(some.page({ filter: '', offset: 3, limit: 1 })).toMatchObject({
      total: 5,
      offset: 3,
      entries: [{ name: ':a.d' }],
    });
  });
});

it('compares two servers', () => {
  const first = snapshot({ ':same': 'u', ':moved': 'u', ':first': 'u', ':own': 'u' });
  const second = snapshot({ ':same': 'u', ':moved': 'v', ':second': 'u', ':own': 'w' });
  expect(compareSnapshots(first, second, ':own')).toEqual({
    same: 1,
    onlyFirst: { count: 1, names: [':first'] },
    onlySecond: { count: 1, names: [':second'] },
    otherURI: { count: 1, names: [':moved'] },
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Name, PyroURI } from '../../names/index.js';
import { Cache } from './cache.js';

const GROUND = { trusted: true, believedMs: 60_000 };
const uriOf = (id: number) => PyroURI.parse(`PYRO://127.0.0.1:7766/${id}`);
const nameOf = (number: number) => Name.parse(`:n${number}`);

describe('URIs that are remembered', () => {
  test('are what was read last, however often they were asked for before', async () => {
    const step = fc.record({ kind: fc.constantFrom('ask', 'change', 'doubt'), number: fc.nat(5) });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 60 }), async (capacity, steps) => {
        const { uris } = new Cache(capacity);
        const disk = [0, 0, 0, 0, 0, 0];
        const wrong: string[] = [];
        for (const { kind, number } of steps) {
          const key = nameOf(number).toString();
          if (kind === 'change') {
            disk[number] = (disk[number] ?? 0) + 1;
            uris.forget(key);
          } else if (kind === 'doubt') uris.doubt();
          else {
            const current = disk[number] ?? 0;
            const read = () => Promise.resolve({ value: uriOf(current), ground: GROUND });
            const answers = [await uris.recall(key, read), uris.get(key), uris.get(key)].map((uri) => uri?.objectID);
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
    await uris.recall(':n', () => Promise.resolve({ value: uriOf(1), ground: GROUND }));
    const first = uris.get(':n');
    expect(first).toBeDefined();
    expect(uris.get(':n')).toBe(first);
  });

  test('count for nothing once their ground is not trusted any more, and are read again', async () => {
    const { uris } = new Cache(10);
    const ground = { trusted: true, believedMs: 60_000 };
    await uris.recall(':n', () => Promise.resolve({ value: uriOf(1), ground }));
    expect(uris.get(':n')?.objectID).toBe('1');
    ground.trusted = false;
    expect(uris.get(':n')).toBeUndefined();
    const read = () => Promise.resolve({ value: uriOf(2), ground: GROUND });
    expect((await uris.recall(':n', read)).objectID).toBe('2');
    expect(uris.get(':n')?.objectID).toBe('2');
  });

  test('are read again when they have been believed long enough, and then believed again', async () => {
    const { uris } = new Cache(10);
    await uris.recall(':n', () => Promise.resolve({ value: uriOf(1), ground: { trusted: true, believedMs: 0 } }));
    expect(uris.get(':n')).toBeUndefined();
    await uris.recall(':n', () => Promise.resolve({ value: uriOf(2), ground: GROUND }));
    expect(uris.get(':n')?.objectID).toBe('2');
  });
});

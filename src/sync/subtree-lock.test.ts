import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SubtreeLock } from './subtree-lock.js';

/** A node of a tree, by its path from the root `:`. */
class Node {
  static readonly root = new Node(':');

  constructor(readonly path: string) {}

  isWithin(ancestor: Node): boolean {
    return ancestor.path === ':' || `${this.path}.`.startsWith(`${ancestor.path}.`);
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Begins an action on each name in turn, and ends the earliest that runs until all are done. */
async function run(...texts: string[]): Promise<string[]> {
  const lock = new SubtreeLock<Node>();
  const events: string[] = [];
  const ends: (() => void)[] = [];
  const taken = texts.map((text, index) =>
    lock.run(new Node(text), async () => {
      events.push(`begin ${index} ${text}`);
      await new Promise<void>((resolve) => ends.push(resolve));
      events.push(`end ${index} ${text}`);
    }),
  );
  while (events.filter((event) => event.startsWith('end')).length < texts.length) {
    await settle();
    ends.shift()?.();
  }
  await Promise.all(taken);
  return events;
}

test.each([
  [':a', ':a'],
  [':g', ':g.a'],
  [':g.a', ':g'],
  [':g', ':g.h.a'],
  [':g.h.a', ':g'],
  [':', ':a'],
  [':a', ':'],
])('an action on %s is over before one on %s begins', async (first, second) => {
  expect(await run(first, second)).toEqual([
    `begin 0 ${first}`,
    `end 0 ${first}`,
    `begin 1 ${second}`,
    `end 1 ${second}`,
  ]);
});

test.each([
  [':a', ':b'],
  [':g.a', ':g.b'],
  [':g', ':gh'],
])('actions on %s and %s run at the same time', async (first, second) => {
  expect((await run(first, second)).slice(0, 2)).toEqual([`begin 0 ${first}`, `begin 1 ${second}`]);
});

test('an action begins at once where nothing is before it, also after others are done', async () => {
  const lock = new SubtreeLock<Node>();
  let begun = 0;
  const begin = (): Promise<void> => {
    begun += 1;
    return Promise.resolve();
  };
  const first = lock.run(new Node(':a'), begin);
  expect(begun).toBe(1);
  await first;
  await settle();
  void lock.run(new Node(':a'), begin);
  expect(begun).toBe(2);
});

test('what an action returns or throws is its own: the next one runs in any case', async () => {
  const lock = new SubtreeLock<Node>();
  const name = new Node(':a');
  const failing = lock.run(name, () => Promise.reject(new Error('no')));
  const next = lock.run(name, () => Promise.resolve('value'));
  await expect(failing).rejects.toThrow('no');
  expect(await next).toBe('value');
});

test('under every schedule: what depends on each other never overlaps, and keeps the order of the calls', async () => {
  const names = fc.array(fc.constantFrom(':', ':a', ':g', ':g.a', ':g.b', ':g.h', ':g.h.a'), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), names, async (scheduler, texts) => {
      const lock = new SubtreeLock<Node>();
      const running = new Set<number>();
      const begun: number[] = [];
      const parsed = texts.map((text) => new Node(text));
      const depends = (one: number, other: number): boolean => {
        const [first = Node.root, second = Node.root] = [parsed[one], parsed[other]];
        return first.isWithin(second) || second.isWithin(first);
      };
      const taken = parsed.map((name, index) =>
        lock.run(name, async () => {
          expect([...running].filter((other) => depends(index, other))).toEqual([]);
          running.add(index);
          begun.push(index);
          await scheduler.schedule(Promise.resolve());
          running.delete(index);
        }),
      );
      await scheduler.waitFor(Promise.all(taken));
      for (const [place, index] of begun.entries()) {
        expect(begun.slice(place + 1).filter((other) => other < index && depends(index, other))).toEqual([]);
      }
    }),
    { numRuns: 60 },
  );
});

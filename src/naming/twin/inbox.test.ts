import { beforeEach, describe, expect, test } from '@jest/globals';
import { Name } from '../../names/index.js';
import { Inbox } from './inbox.js';
import type { NameRecord } from './records.js';

const records = (...numbers: number[]): NameRecord[] =>
  numbers.map((number) => ({
    name: Name.parse(`:n${number}`),
    timestamp: { time: number, role: 'primary' },
    observed: true,
    state: undefined,
  }));

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Merges that were begun: which records, and how to end each. */
let merges: { names: string; succeed: () => void; fail: (error: Error) => void }[];
/** What the twin was to be told: up to where all was merged, or why not. */
let told: unknown[];
let inbox: Inbox;

beforeEach(() => {
  merges = [];
  told = [];
  const replica = {
    mergeAll: (taken: readonly NameRecord[]): Promise<void> =>
      new Promise<void>((succeed, fail) => {
        merges.push({ names: taken.map(({ name }) => name.part).join(' '), succeed, fail });
      }),
  };
  inbox = new Inbox('run', replica, (error) => told.push(error instanceof Error ? error.message : inbox.received));
});

async function succeed(): Promise<void> {
  merges.at(-1)?.succeed();
  await settle();
}

const merged = (): string[] => merges.map(({ names }) => names);

test('belongs to one run of the twin', () => {
  expect(inbox.instance).toBe('run');
});

describe('changes are refused', () => {
  const missing = 'changes before these are missing';

  test('before a merge has begun', () => {
    expect(() => {
      inbox.take(1, records(1));
    }).toThrow(missing);
    expect([inbox.received, merges]).toEqual([undefined, []]);
  });

  test('where one before them is missing, also behind those that are not merged yet', async () => {
    inbox.begin(5);
    expect(() => {
      inbox.take(6, records(6));
    }).toThrow(missing);
    inbox.take(5, records(5, 6));
    expect(() => {
      inbox.take(8, records(8));
    }).toThrow(missing);
    await succeed();
    expect([merged(), told, inbox.received]).toEqual([['n5 n6'], [6], 6]);
  });
});

test('changes are merged at once, and confirmed when they are merged and not before', async () => {
  inbox.begin(1);
  expect(inbox.received).toBe(0);
  inbox.take(1, records(1, 2));
  expect([merged(), inbox.received, told]).toEqual([['n1 n2'], 0, []]);
  await succeed();
  expect([inbox.received, told]).toEqual([2, [2]]);
  inbox.take(3, records(3));
  await succeed();
  expect([merged(), inbox.received, told]).toEqual([['n1 n2', 'n3'], 3, [2, 3]]);
});

test('what comes while others are merged is merged after them, together', async () => {
  inbox.begin(1);
  inbox.take(1, records(1));
  inbox.take(2, records(2));
  inbox.take(3, records(3, 4));
  expect(merged()).toEqual(['n1']);
  await succeed();
  expect([merged(), told]).toEqual([['n1', 'n2 n3 n4'], [1]]);
  await succeed();
  expect([merged(), told]).toEqual([
    ['n1', 'n2 n3 n4'],
    [1, 4],
  ]);
});

test('what comes twice is merged once, and counts once', async () => {
  inbox.begin(1);
  inbox.take(1, records(1, 2, 3));
  await succeed();
  inbox.take(2, records(2));
  await succeed();
  expect([merged(), told, inbox.received]).toEqual([['n1 n2 n3'], [3], 3]);
  inbox.take(4, records(4));
  await succeed();
  expect(inbox.received).toBe(4);
});

test('what could not be merged is to come again, with what came meanwhile', async () => {
  inbox.begin(1);
  inbox.take(1, records(1));
  await succeed();
  inbox.take(2, records(2));
  inbox.take(3, records(3));
  merges.at(-1)?.fail(new Error('disk full'));
  await settle();
  expect([merged(), told, inbox.received]).toEqual([['n1', 'n2'], [1, 'disk full'], 1]);
  expect(() => {
    inbox.take(3, records(3));
  }).toThrow('changes before these are missing');
  inbox.take(2, records(2, 3));
  await succeed();
  expect([merged(), told, inbox.received]).toEqual([['n1', 'n2', 'n2 n3'], [1, 'disk full', 3], 3]);
});

test('what is not to be merged counts all the same', async () => {
  inbox.begin(1);
  inbox.take(1, [undefined, ...records(2), undefined]);
  await succeed();
  expect([merged(), told, inbox.received]).toEqual([['n2'], [3], 3]);
  inbox.take(4, [undefined]);
  await succeed();
  expect([told, inbox.received]).toEqual([[3, 4], 4]);
});

test('of what waits to be merged there is a bound, in bytes', async () => {
  const large = records(1).map((record): NameRecord => ({
    ...record,
    state: { uri: undefined, userMeta: 'm'.repeat(65 * 1024 * 1024), systemMeta: undefined, systemMetaSet: false },
  }));
  inbox.begin(1);
  inbox.take(1, records(1));
  inbox.take(2, large);
  inbox.take(3, large);
  expect(() => {
    inbox.take(4, records(4));
  }).toThrow('too many changes wait to be merged');
  await succeed();
  inbox.take(4, records(4));
  await succeed();
  await succeed();
  expect(inbox.received).toBe(4);
});

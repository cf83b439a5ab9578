import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Name, PyroURI } from '../names/index.js';
import { GROUP, OBJECT } from '../namespace/index.js';
import { ChangeFeed, type ChangesSince } from './change-feed.js';

const START = Date.UTC(2026, 0, 2);
const uri = PyroURI.parse('PYRO://127.0.0.1:7766/id');

let feed: ChangeFeed;
/** The position of a feed that has not told anything yet. */
let first: number;

beforeEach(() => {
  jest.useFakeTimers({ now: START });
  feed = new ChangeFeed();
  first = START * 1000;
});

afterEach(() => {
  feed.close();
  jest.useRealTimers();
});

const nameAt = (index: number): string => `:g${index}`;

function createGroups(count: number): void {
  for (let index = 0; index < count; index += 1) feed.append({ kind: 'createGroup', name: Name.parse(nameAt(index)) });
}

/** What was answered so far; undefined while the one who asks is kept waiting. */
async function answeredSoFar(answer: Promise<ChangesSince>): Promise<ChangesSince | undefined> {
  let answered: ChangesSince | undefined;
  void answer.then((value) => {
    answered = value;
  });
  await jest.advanceTimersByTimeAsync(0);
  return answered;
}

describe('who asks for changes', () => {
  test('is told each in its order: what was done, to which name, and the URI of a registration only', async () => {
    const name = Name.parse(':G.a');
    feed.append({ kind: 'createGroup', name: name.parent });
    feed.append({ kind: 'register', name, uri });
    feed.append({ kind: 'setMeta', name, meta: 'secret' });
    feed.append({ kind: 'unregister', name });
    feed.append({ kind: 'deleteGroup', name: name.parent });
    expect(await feed.since(first)).toEqual({
      position: first + 5,
      changes: [
        { operation: 'createGroup', name: ':G', uri: undefined },
        { operation: 'register', name: ':G.a', uri: uri.toString() },
        { operation: 'setMeta', name: ':G.a', uri: undefined },
        { operation: 'unregister', name: ':G.a', uri: undefined },
        { operation: 'deleteGroup', name: ':G', uri: undefined },
      ],
    });
  });

  test.each([0, 1, 2])('is told those after the position that is known, and no others: %i', async (known) => {
    createGroups(3);
    const { position, changes } = await feed.since(first + known);
    expect(position).toBe(first + 3);
    expect(changes?.map(({ name }) => name)).toEqual([0, 1, 2].slice(known).map(nameAt));
  });

  test('without a position is told the present one at once, and no changes', async () => {
    createGroups(2);
    expect(await answeredSoFar(feed.since(undefined))).toEqual({ position: first + 2, changes: undefined });
  });

  test.each([
    ['before the first', -1],
    ['not reached yet', 3],
    ['of an earlier server', -1_000_000],
  ])('with a position that is none here, %s, is told at once to look at the names', async (_what, offset) => {
    createGroups(2);
    expect(await answeredSoFar(feed.since(first + offset))).toEqual({ position: first + 2, changes: undefined });
  });

  test('learns nothing of system metadata, and is not woken by it', async () => {
    const waiting = feed.since(first);
    for (const type of [GROUP, OBJECT] as const) {
      feed.append({ kind: 'setSystemMeta', name: Name.parse(':a'), meta: { type, timestamp: 1, owner: null } });
    }
    expect(await answeredSoFar(waiting)).toBeUndefined();
    createGroups(1);
    expect(await waiting).toEqual({
      position: first + 1,
      changes: [{ operation: 'createGroup', name: nameAt(0), uri: undefined }],
    });
  });

  test('has to look at the names where anything may have changed', async () => {
    createGroups(2);
    const waiting = feed.since(first + 2);
    feed.skip();
    expect(await answeredSoFar(waiting)).toEqual({ position: first + 3, changes: undefined });
    expect(await feed.since(first + 1)).toEqual({ position: first + 3, changes: undefined });
    createGroups(1);
    const later = await feed.since(first + 3);
    expect(later).toEqual({
      position: first + 4,
      changes: [{ operation: 'createGroup', name: nameAt(0), uri: undefined }],
    });
    // What was changed before is not told in place of what is not known.
    expect(await feed.since(first + 2)).toEqual({ position: first + 4, changes: undefined });
  });
});

describe('where there is nothing new, who asks', () => {
  test('waits for 25 s, and no longer', async () => {
    const waiting = feed.since(first);
    await jest.advanceTimersByTimeAsync(24_999);
    expect(await answeredSoFar(waiting)).toBeUndefined();
    await jest.advanceTimersByTimeAsync(1);
    expect(await answeredSoFar(waiting)).toEqual({ position: first, changes: [] });
  });

  test('is answered with the first change, all who wait together, and leaves no timer', async () => {
    const all = [feed.since(first), feed.since(first)];
    await answeredSoFar(Promise.race(all));
    expect(jest.getTimerCount()).toBe(2);
    createGroups(1);
    expect(jest.getTimerCount()).toBe(0);
    const answer = { position: first + 1, changes: [{ operation: 'createGroup', name: nameAt(0), uri: undefined }] };
    expect(await Promise.all(all)).toEqual([answer, answer]);
  });

  test('waits no longer once the feed is closed, and never again', async () => {
    const waiting = feed.since(first);
    feed.close();
    expect(await answeredSoFar(waiting)).toEqual({ position: first, changes: [] });
    expect(await answeredSoFar(feed.since(first))).toEqual({ position: first, changes: [] });
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('changes are remembered', () => {
  test('10,000 of them', async () => {
    createGroups(10_000);
    expect((await feed.since(first)).changes).toHaveLength(10_000);
  });

  test('of more than 10,000 the latest half', async () => {
    createGroups(10_001);
    expect(await feed.since(first + 4999)).toEqual({ position: first + 10_001, changes: undefined });
    const { position, changes } = await feed.since(first + 5000);
    expect(position).toBe(first + 10_001);
    expect(changes).toHaveLength(5001);
    expect([changes?.[0]?.name, changes?.at(-1)?.name]).toEqual([nameAt(5000), nameAt(10_000)]);
  });
});

test('a feed that is started later knows no position of an earlier one', () => {
  jest.setSystemTime(START + 1);
  const later = new ChangeFeed();
  createGroups(999);
  return expect(later.since(first + 999)).resolves.toEqual({ position: first + 1000, changes: undefined });
});

test('remembers no more than 8 Mi characters of names and URIs', async () => {
  const long = `:${'x'.repeat(4000)}`;
  for (let count = 0; count < 3000; count += 1) feed.append({ kind: 'createGroup', name: Name.parse(long) });
  expect((await feed.since(first)).changes).toBeUndefined();
  expect((await feed.since(first + 2000)).changes).toHaveLength(1000);
  // Forgotten when the 2097th came, and half of them: of 8 Mi characters, no more are left than were told since.
  expect((await feed.since(first + 1000)).changes).toBeUndefined();
});

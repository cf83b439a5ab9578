import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HostRoundRobin, type HasRemoteAddress } from './host-round-robin.js';

const from = (remoteAddress: string | undefined): HasRemoteAddress => ({ remoteAddress });

test('hosts have their turns one after the other, and each its connections in the order in which they came', () => {
  const turns = new HostRoundRobin();
  const a = Array.from({ length: 3 }, () => from('10.0.0.1'));
  const b = Array.from({ length: 2 }, () => from('10.0.0.2'));
  const order = [];
  const waiting = new Set([...a, ...b]);
  for (let next = turns.next(waiting); next; next = turns.next(waiting)) {
    order.push(next);
    waiting.delete(next);
    turns.recordTurn(next);
  }
  expect(order.map((one) => [a.indexOf(one), b.indexOf(one)])).toEqual([
    [0, -1],
    [-1, 0],
    [1, -1],
    [-1, 1],
    [2, -1],
  ]);
});

test('of hosts without number, the latest are remembered', () => {
  const turns = new HostRoundRobin();
  for (let host = 0; host < 5000; host++) turns.recordTurn(from(`host ${host}`));
  const [forgotten, known] = [from('host 1'), from('host 4998')];
  const latest = from('host 4999');
  expect(turns.next([latest, known])).toBe(known);
  expect(turns.next([known, forgotten])).toBe(forgotten);
});

test('exactly the latest 1000 hosts are remembered, and who has another turn is among them again', () => {
  const turns = new HostRoundRobin();
  for (let host = 0; host < 1000; host++) turns.recordTurn(from(`host ${host}`));
  const [first, second, stranger] = [from('host 0'), from('host 1'), from('stranger')];
  // All thousand are known: the stranger, who had no turn, comes before the one whose turn is the longest ago.
  expect(turns.next([first, stranger])).toBe(stranger);
  turns.recordTurn(first);
  turns.recordTurn(from('host 1000'));
  // Now the second is forgotten, whose turn was the longest ago, and not the first.
  expect(turns.next([first, second])).toBe(second);
  expect(turns.next([second, stranger])).toBe(second);
  expect(turns.next([first, from('host 2'), second])).toBe(second);
  expect(turns.next([first, from('host 2')])).toEqual(from('host 2'));
  expect(turns.next([from('host 2'), stranger])).toBe(stranger);
});

test('nobody has a turn where nobody waits, and asking takes nobody the turn', () => {
  const turns = new HostRoundRobin();
  const nobody: HasRemoteAddress[] = [];
  expect(turns.next(nobody)).toBeUndefined();
  const [one, other] = [from('10.0.0.1'), from('10.0.0.2')];
  expect([turns.next([one, other]), turns.next([one, other])]).toEqual([one, one]);
  turns.recordTurn(one);
  expect(turns.next(nobody)).toBeUndefined();
  expect([turns.next([one, other]), turns.next([one, other])]).toEqual([other, other]);
});

test('the turn is that of the host that has waited the longest, and of its first connection', () => {
  const address = fc.constantFrom(undefined, '10.0.0.1', '10.0.0.2', '10.0.0.3');
  fc.assert(
    fc.property(
      fc.array(address, { maxLength: 20 }),
      fc.array(address, { minLength: 1, maxLength: 10 }),
      (had, want) => {
        const turns = new HostRoundRobin();
        for (const host of had) turns.recordTurn(from(host));
        const waiting = want.map(from);
        const lasts = want.map((host) => had.lastIndexOf(host));
        expect(turns.next(waiting)).toBe(waiting[lasts.indexOf(Math.min(...lasts))]);
      },
    ),
  );
});

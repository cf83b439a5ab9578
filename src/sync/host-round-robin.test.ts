import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HostRoundRobin, type HasRemoteAddress } from './host-round-robin.js';

const from = (remoteAddress: string | undefined): HasRemoteAddress => ({ remoteAddress });

test('hosts have their roundRobin one after the other, and each its connections in the order in which they came', () => {
  const roundRobin = new HostRoundRobin();
  const a = Array.from({ length: 3 }, () => from('10.0.0.1'));
  const b = Array.from({ length: 2 }, () => from('10.0.0.2'));
  const order = [];
  const waiting = new Set([...a, ...b]);
  for (let next = roundRobin.next(waiting); next; next = roundRobin.next(waiting)) {
    order.push(next);
    waiting.delete(next);
    roundRobin.recordTurn(next);
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
  const roundRobin = new HostRoundRobin();
  for (let host = 0; host < 5000; host++) roundRobin.recordTurn(from(`host ${host}`));
  const [forgotten, known] = [from('host 1'), from('host 4998')];
  const latest = from('host 4999');
  expect(roundRobin.next([latest, known])).toBe(known);
  expect(roundRobin.next([known, forgotten])).toBe(forgotten);
});

test('exactly the latest 1000 hosts are remembered, and who has another turn is among them again', () => {
  const roundRobin = new HostRoundRobin();
  for (let host = 0; host < 1000; host++) roundRobin.recordTurn(from(`host ${host}`));
  const [first, second, stranger] = [from('host 0'), from('host 1'), from('stranger')];
  // All thousand are known: the stranger, who had no turn, comes before the one whose turn is the longest ago.
  expect(roundRobin.next([first, stranger])).toBe(stranger);
  roundRobin.recordTurn(first);
  roundRobin.recordTurn(from('host 1000'));
  // Now the second is forgotten, whose turn was the longest ago, and not the first.
  expect(roundRobin.next([first, second])).toBe(second);
  expect(roundRobin.next([second, stranger])).toBe(second);
  expect(roundRobin.next([first, from('host 2'), second])).toBe(second);
  expect(roundRobin.next([first, from('host 2')])).toEqual(from('host 2'));
  expect(roundRobin.next([from('host 2'), stranger])).toBe(stranger);
});

test('nobody has a turn where nobody waits, and asking takes nobody the turn', () => {
  const roundRobin = new HostRoundRobin();
  const nobody: HasRemoteAddress[] = [];
  expect(roundRobin.next(nobody)).toBeUndefined();
  const [one, other] = [from('10.0.0.1'), from('10.0.0.2')];
  expect([roundRobin.next([one, other]), roundRobin.next([one, other])]).toEqual([one, one]);
  roundRobin.recordTurn(one);
  expect(roundRobin.next(nobody)).toBeUndefined();
  expect([roundRobin.next([one, other]), roundRobin.next([one, other])]).toEqual([other, other]);
});

test('the turn is that of the host that has waited the longest, and of its first connection', () => {
  const address = fc.constantFrom(undefined, '10.0.0.1', '10.0.0.2', '10.0.0.3');
  fc.assert(
    fc.property(
      fc.array(address, { maxLength: 20 }),
      fc.array(address, { minLength: 1, maxLength: 10 }),
      (had, want) => {
        const roundRobin = new HostRoundRobin();
        for (const host of had) roundRobin.recordTurn(from(host));
        const waiting = want.map(from);
        const lasts = want.map((host) => had.lastIndexOf(host));
        expect(roundRobin.next(waiting)).toBe(waiting[lasts.indexOf(Math.min(...lasts))]);
      },
    ),
  );
});

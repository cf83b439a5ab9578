import { expect, test } from '@jest/globals';
import { HostTurns } from './host-turns.js';

const from = (remoteAddress: string) => ({ remoteAddress });

test('hosts have their turns one after the other, and each its connections in the order in which they came', () => {
  const turns = new HostTurns();
  const a = Array.from({ length: 3 }, () => from('10.0.0.1'));
  const b = Array.from({ length: 2 }, () => from('10.0.0.2'));
  const order = [];
  const waiting = new Set([...a, ...b]);
  for (let next = turns.next(waiting); next; next = turns.next(waiting)) {
    order.push(next);
    waiting.delete(next);
    turns.note(next);
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
  const turns = new HostTurns();
  for (let host = 0; host < 5000; host++) turns.note(from(`host ${host}`));
  const [forgotten, known] = [from('host 1'), from('host 4998')];
  const latest = from('host 4999');
  expect(turns.next([latest, known])).toBe(known);
  expect(turns.next([known, forgotten])).toBe(forgotten);
});

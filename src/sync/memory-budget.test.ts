import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { MemoryBudget } from './memory-budget.js';

const LIMIT = 100;
const STALL_TIMEOUT = 1000;

let budget: MemoryBudget;
/** Those that are read now, and those that wait, each in the order in which they came. */
let arriving: Sender[];
let waiting: Sender[];

/** A connection with a large frame. */
class Sender {
  constructor(
    readonly size: number,
    readonly remoteAddress = '10.0.0.1',
  ) {
    const onGranted = (): void => {
      waiting = waiting.filter((sender) => sender !== this);
      arriving.push(this);
    };
    (budget.reserve(this, size, onGranted) ? arriving : waiting).push(this);
  }

  destroy(): void {
    arriving = arriving.filter((sender) => sender !== this);
    waiting = waiting.filter((sender) => sender !== this);
    budget.release(this);
  }
}

beforeEach(() => {
  jest.useFakeTimers();
  budget = new MemoryBudget(LIMIT, STALL_TIMEOUT);
  arriving = [];
  waiting = [];
});

afterEach(() => {
  jest.useRealTimers();
});

describe('large budget', () => {
  test('never have more room than there is, but for one of any size, and never wait where there is some', () => {
    const comings = fc.record({ size: fc.nat(150), address: fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3') });
    const endings = fc.nat().map((place) => ({ place }));
    fc.assert(
      fc.property(fc.array(fc.oneof(comings, endings)), (steps) => {
        budget = new MemoryBudget(LIMIT, STALL_TIMEOUT);
        arriving = [];
        waiting = [];
        for (const step of steps) {
          const all = [...arriving, ...waiting];
          if ('size' in step) new Sender(step.size, step.address);
          else all[step.place % all.length]?.destroy();
          const size = arriving.reduce((sum, sender) => sum + sender.size, 0);
          expect(size <= LIMIT || arriving.length === 1).toBe(true);
          const hasToWait = arriving.length > 0 && waiting.some((sender) => size + sender.size > LIMIT);
          expect(hasToWait).toBe(waiting.length > 0);
        }
        for (let left = arriving[0]; left; left = arriving[0]) left.destroy();
        expect(waiting).toEqual([]);
      }),
    );
  });

  test('are taken in the order in which they came', () => {
    const all = Array.from({ length: 4 }, () => new Sender(LIMIT));
    for (const sender of all) {
      expect(arriving).toEqual([sender]);
      sender.destroy();
    }
  });

  test('come from hosts in turn', () => {
    const many = Array.from({ length: 5 }, () => new Sender(LIMIT / 2));
    const others = ['10.0.0.2', '10.0.0.3', '10.0.0.2'].map((address) => new Sender(LIMIT / 2, address));
    many[0]?.destroy();
    expect(arriving).toEqual([many[1], others[0]]);
    others[0]?.destroy();
    expect(arriving).toEqual([many[1], others[1]]);
    others[1]?.destroy();
    expect(arriving).toEqual([many[1], many[2]]);
    many[1]?.destroy();
    expect(arriving).toEqual([many[2], others[2]]);
  });

  test('that make others wait end when their time is over, from when others wait', () => {
    const holders = [new Sender(LIMIT / 2), new Sender(LIMIT / 2)];
    jest.advanceTimersByTime(STALL_TIMEOUT * 10);
    expect(arriving).toEqual(holders);
    const next = [new Sender(LIMIT), new Sender(LIMIT)];
    jest.advanceTimersByTime(STALL_TIMEOUT - 1);
    expect(arriving).toEqual(holders);
    jest.advanceTimersByTime(2);
    expect(arriving).toEqual(next.slice(0, 1));
    jest.advanceTimersByTime(STALL_TIMEOUT + 1);
    expect(arriving).toEqual(next.slice(1));
    jest.advanceTimersByTime(STALL_TIMEOUT * 10);
    expect(arriving).toEqual(next.slice(1));
  });

  test('have their time again when those who waited are gone', () => {
    const holder = new Sender(LIMIT);
    for (let count = 0; count < 5; count++) {
      const other = new Sender(1);
      jest.advanceTimersByTime(STALL_TIMEOUT / 2);
      other.destroy();
    }
    expect(arriving).toEqual([holder]);
  });

  test.each([
    ['as long again for each 8 MiB', STALL_TIMEOUT, 3 * STALL_TIMEOUT],
    ['no longer than a timer can wait', 2 ** 31 - 1, 2 ** 31 - 1],
  ])('have %s', (_time, stallTimeout, time) => {
    budget = new MemoryBudget(LIMIT, stallTimeout);
    const holder = new Sender(16 * 2 ** 20);
    const next = new Sender(1);
    jest.advanceTimersByTime(time - 1);
    expect(arriving).toEqual([holder]);
    jest.advanceTimersByTime(2);
    expect(arriving).toEqual([next]);
  });

  test('of any size come where nothing arrives, and else up to the limit, at the bound too', () => {
    const first = new Sender(LIMIT + 1);
    expect([arriving, waiting]).toEqual([[first], []]);
    const next = new Sender(1);
    expect([arriving, waiting]).toEqual([[first], [next]]);
    first.destroy();
    expect([arriving, waiting]).toEqual([[next], []]);
    const fits = new Sender(LIMIT - 1);
    expect([arriving, waiting]).toEqual([[next, fits], []]);
    const tooMuch = new Sender(1);
    expect([arriving, waiting]).toEqual([[next, fits], [tooMuch]]);
  });

  test('that come late do not pass those who wait, where there would be room for them', () => {
    const [first, second] = [new Sender(LIMIT - 1), new Sender(LIMIT)];
    const late = new Sender(1, '10.0.0.2');
    expect([arriving, waiting]).toEqual([[first], [second, late]]);
    second.destroy();
    expect([arriving, waiting]).toEqual([[first, late], []]);
  });

  test('that are let in together are those for whom there is room, and no more', () => {
    const first = new Sender(LIMIT);
    const others = [LIMIT / 2, LIMIT / 2, 1].map((size) => new Sender(size));
    expect(waiting).toEqual(others);
    first.destroy();
    expect([arriving, waiting]).toEqual([others.slice(0, 2), others.slice(2)]);
  });

  test('that are done are not closed, though others wait', () => {
    const done = new Sender(LIMIT);
    const destroyed = jest.spyOn(done, 'destroy');
    const next = new Sender(LIMIT);
    const last = new Sender(LIMIT);
    budget.release(done);
    jest.advanceTimersByTime(STALL_TIMEOUT - 1);
    expect(waiting).toEqual([last]);
    jest.advanceTimersByTime(1);
    expect(waiting).toEqual([]);
    expect(arriving).toEqual([done, last]);
    expect(arriving).not.toContain(next);
    expect(destroyed).not.toHaveBeenCalled();
  });

  test('that wait are not closed for it, however long', () => {
    budget = new MemoryBudget(LIMIT, STALL_TIMEOUT);
    const holder = new Sender(24 * 2 ** 20);
    const next = new Sender(LIMIT);
    const waited = jest.spyOn(next, 'destroy');
    jest.advanceTimersByTime(4 * STALL_TIMEOUT - 1);
    expect([arriving, waiting, waited.mock.calls]).toEqual([[holder], [next], []]);
  });

  test('that are done leave no timer behind', () => {
    const [holder, next] = [new Sender(LIMIT), new Sender(LIMIT)];
    expect(jest.getTimerCount()).toBe(1);
    next.destroy();
    expect(jest.getTimerCount()).toBe(0);
    holder.destroy();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('may end twice, and more than what they had is not given back', () => {
    const first = new Sender(LIMIT - 1);
    const second = new Sender(1);
    budget.release(second);
    budget.release(second);
    const third = new Sender(1);
    const fourth = new Sender(1);
    expect(arriving).toEqual([first, second, third]);
    expect(waiting).toEqual([fourth]);
  });
});

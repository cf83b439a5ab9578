/** Outcomes of changes, and the mirror, when answers are lost, a backup is restored or another tree is served: with an etcd in memory. */
import { setImmediate as othersRan } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { FakeEtcd } from '../../../test/support/fake-etcd.mjs';
import { silentLog } from '../../config/index.js';
import { Deadline } from '../../sync/index.js';
import { Transactions, type TransactionChange, type Outcome } from './transactions.js';
import { HealthMonitor } from './health.js';
import { EtcdError } from './client.js';
import { Mirror } from './mirror.js';
import { Keys, type TreeKeys } from './keys.js';
import { LEASE_GRANT } from './protocol.js';

const URI = 'PYRO://127.0.0.1:7766/x';
const keys = new Keys('/pyro');

let etcd: FakeEtcd;
let mirror: Mirror;
let changes: Transactions;

async function open(): Promise<void> {
  etcd = new FakeEtcd();
  mirror = await Mirror.open(etcd, keys, new HealthMonitor(60, silentLog), silentLog);
  changes = new Transactions(etcd, keys, mirror);
}

async function close(): Promise<void> {
  etcd.releaseEvents();
  await changes.finish();
  const closed = mirror.close();
  etcd.close();
  await closed;
}

beforeEach(open);
afterEach(close);

/** Puts a name that must not be there. */
const addition = (part: string, tree: TreeKeys = mirror.treeKeys): TransactionChange => {
  const key = `${tree.all.key}:${part}`;
  return {
    name: `:${part}`,
    tree,
    requires: [{ key, result: 'equal', operand: { version: 0 } }],
    does: [{ put: key, value: URI }],
    changes: key,
  };
};
const make = (change: TransactionChange): Promise<Outcome> => changes.make(change, Deadline.in(10_000));

const known = (): string[] => Array.from(mirror.tree.all(), ({ name }) => name.toString()).sort();
const stored = (): string[] =>
  etcd
    .keysBelow(`/pyro/${etcd.get('/pyro/tree') ?? ''}/:`)
    .map((key) => key.slice(key.indexOf(':')))
    .sort();

/** Waits until something is so; the test times out where it never is. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await othersRan();
}

/** The next tree is served from now on, with one name, as when another server has replaced the namespace. */
const serveNextTree = (number: number): void => {
  etcd.put(
    { '/pyro/tree': String(number), [`/pyro/${number}/:`]: '', [`/pyro/${number}/:new`]: URI },
    `tree ${number}`,
  );
};

describe('a change in a tree that is not served any more', () => {
  it('is not made, alone or together with others', async () => {
    const old = mirror.treeKeys;
    serveNextTree(2);
    const outcomes = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((part) => make(addition(part, old))));
    expect(outcomes).toEqual(outcomes.map(() => ({ result: 'not made' })));
    expect(etcd.keysBelow('/pyro/1/:')).toEqual(['/pyro/1/:']);
    expect(stored()).toEqual([':', ':new']);
  });

  it('is reported as "not made" once the mirror has loaded the new tree, and not before', async () => {
    const old = mirror.treeKeys;
    etcd.holdEvents();
    serveNextTree(2);
    let isSettled = false;
    const making = make(addition('a', old)).finally(() => (isSettled = true));
    for (let turn = 0; turn < 20; turn += 1) await othersRan();
    expect(isSettled).toBe(false);
    etcd.releaseEvents();
    expect(await making).toEqual({ result: 'not made' });
    expect([mirror.treeKeys.number, known()]).toEqual([2, [':', ':new']]);
  });

  it('is not sent together with one in the tree that is served', async () => {
    const old = mirror.treeKeys;
    serveNextTree(2);
    await until(() => mirror.treeKeys.number === 2);
    // The first four go alone; the others wait for each other.
    const parts = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    const trees = parts.map((_, index) => (index % 2 === 0 ? mirror.treeKeys : old));
    const outcomes = await Promise.all(parts.map((part, index) => make(addition(part, trees[index]))));
    const results = outcomes.map(({ result }) => result);
    expect(results).toEqual(trees.map((tree) => (tree === old ? 'not made' : 'made')));
    expect(stored()).toEqual([':', ':a', ':c', ':e', ':g', ':new']);
  });
});

it('a change that conflicts with another is not reported as "not made" before the mirror has that other change', async () => {
  etcd.holdEvents();
  etcd.put({ '/pyro/1/:x': URI }, 'of another server');
  expect(await changes.make(addition('x'), Deadline.in(50))).toEqual({
    result: 'refused',
    error: new EtcdError('the watch is behind etcd', 'refused'),
  });
  etcd.releaseEvents();
  expect(await make(addition('x'))).toEqual({ result: 'not made' });
});

describe('changes that come at the same time', () => {
  /** Makes changes at once; gives the names in each transaction, in the order of the transactions. */
  async function batchesOf(wanted: readonly TransactionChange[]): Promise<string[][]> {
    const transact = jest.spyOn(etcd, 'transact');
    const outcomes = await Promise.all(wanted.map(make));
    expect(new Set(outcomes.map(({ result }) => result))).toEqual(new Set(['made']));
    return transact.mock.calls.map(([{ success }]) =>
      success.flatMap((step) => {
        const [first] = 'transaction' in step ? step.transaction.success : [];
        return first !== undefined && 'put' in first ? [first.put.slice(first.put.indexOf(':') + 1)] : [];
      }),
    );
  }

  /** Puts a name, whatever is there. */
  const put = (part: string, about: Partial<TransactionChange> = {}, value = URI): TransactionChange => {
    const change = addition(part);
    return { ...change, requires: [], does: [{ put: change.changes, value }], ...about };
  };
  // The first four go alone, each in a transaction of its own.
  const alone = [['a'], ['b'], ['c'], ['d']];
  const four = (): TransactionChange[] => alone.flat().map((part) => put(part));
  const numbered = (count: number): string[] => Array.from({ length: count }, (_, index) => `n${index}`);

  it('are sent in four transactions; changes that come meanwhile are batched into the next', async () => {
    expect(await batchesOf([...four(), ...['e', 'f', 'g'].map((part) => put(part))])).toEqual([
      ...alone,
      ['e', 'f', 'g'],
    ]);
  });

  it('are never in one transaction when they change the same name, and keep their order', async () => {
    const parts = ['e', 'f', 'e', 'g', 'e', 'f'];
    const batches = [['e', 'f', 'g'], ['e', 'f'], ['e']];
    const changed = parts.map((part, index) => put(part, {}, `${URI}${index}`));
    expect(await batchesOf([...four(), ...changed])).toEqual([...alone, ...batches]);
    expect(etcd.get('/pyro/1/:e')).toBe(`${URI}4`);
    expect(etcd.get('/pyro/1/:f')).toBe(`${URI}5`);
  });

  it('get a transaction of their own where they ask for it, and no later change overtakes them', async () => {
    const changed = [put('e'), put('f', { alone: true }), put('g'), put('h'), put('i', { alone: true }), put('j')];
    expect(await batchesOf([...four(), ...changed])).toEqual([...alone, ['e'], ['f'], ['g', 'h'], ['i'], ['j']]);
  });

  it('are batched up to a hundred in a transaction', async () => {
    const parts = numbered(201);
    const batches = [parts.slice(0, 100), parts.slice(100, 200), parts.slice(200)];
    expect(await batchesOf([...four(), ...parts.map((part) => put(part))])).toEqual([...alone, ...batches]);
  });

  it('are batched up to 256 KiB in a transaction, unless a single one is larger', async () => {
    const sized = (part: string, size: number): TransactionChange => {
      const change = put(part);
      return { ...change, does: [{ put: change.changes, value: 'x'.repeat(size - change.changes.length) }] };
    };
    const KiB = 1024;
    const changed = [
      ...[sized('e', 128 * KiB), sized('f', 128 * KiB)],
      ...[sized('g', 128 * KiB), sized('h', 128 * KiB + 1)],
      sized('i', 300 * KiB),
      put('j'),
    ];
    // Together they are a byte too many: so `h` goes next.
    expect(await batchesOf([...four(), ...changed])).toEqual([...alone, ['e', 'f'], ['g'], ['h'], ['i'], ['j']]);
  });
});

describe('a change whose answer is lost', () => {
  it.each([
    ['made', 'lost after', [':', ':x']],
    ['not made', 'lost before', [':']],
  ] as const)('was %s when it was %s', async (result, outcome, names) => {
    etcd.fates.push(outcome);
    expect(await make(addition('x'))).toEqual({ result });
    expect([known(), stored()]).toEqual([names, names]);
    // What arrives late has no effect.
    expect(etcd.lost).toHaveLength(outcome === 'lost before' ? 1 : 0);
    for (const late of etcd.lost) expect(late()).toMatchObject({ succeeded: false });
    expect(stored()).toEqual(names);
  });

  it('is fenced for a day, and no longer', async () => {
    const [call, transact] = [jest.spyOn(etcd, 'call'), jest.spyOn(etcd, 'transact')];
    etcd.fates.push('lost before');
    await make(addition('x'));
    const granted = call.mock.calls.filter(([{ path }]) => path === LEASE_GRANT.path).map(([, request]) => request);
    const fences = transact.mock.calls.flatMap(([{ success }]) =>
      success.flatMap((step) => ('put' in step && step.put.startsWith('/pyro/fence/') ? [step] : [])),
    );
    expect(fences).toHaveLength(1);
    expect(granted).toEqual(fences.map(({ lease }) => ({ id: lease, seconds: 24 * 60 * 60 })));
  });

  it.each(['lost after', 'lost before'] as const)(
    'is uncertain where all was loaded again meanwhile: %s',
    async (outcome) => {
      etcd.holdEvents();
      etcd.fates.push(outcome);
      const making = make(addition('x'));
      // The fence exists: now the mirror loads all again, and so skips revisions.
      await until(() => etcd.keysBelow('/pyro/fence/').length === 1);
      etcd.compact();
      etcd.breakWatches();
      expect(await making).toEqual({ result: 'unknown' });
      expect(known()).toEqual(stored());
    },
  );

  it('has a known outcome if the watch reported the change before all was loaded again', async () => {
    etcd.fates.push('lost after');
    const making = make(addition('x'));
    await until(() => known().includes(':x'));
    etcd.compact();
    etcd.breakWatches();
    expect(await making).toEqual({ result: 'made' });
  });

  it('has its own outcome where several were sent in one transaction', async () => {
    await make(addition('taken'));
    etcd.fates.push(undefined, undefined, undefined, undefined, 'lost after');
    const parts = ['a', 'b', 'c', 'd', 'e', 'taken', 'f'];
    const outcomes = await Promise.all(parts.map((part) => make(addition(part))));
    const made = parts.filter((_, index) => outcomes[index]?.result === 'made');
    expect(made).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    expect(outcomes[5]).toEqual({ result: 'not made' });
  });

  it('is made once when it could not be sent at first', async () => {
    etcd.fates.push('unsent', 'unsent');
    expect(await make(addition('x'))).toEqual({ result: 'made' });
    expect(stored()).toEqual([':', ':x']);
  });
});

describe('a history from a backup', () => {
  it('is not mistaken for the mirrored one, even if it has reached the same revision', async () => {
    const backup = etcd.backup();
    etcd.put({ '/pyro/1/:before': URI }, 'before');
    await until(() => known().includes(':before'));
    etcd.restore(backup);
    etcd.put({ '/pyro/1/:after': URI }, 'after');
    etcd.put({ '/pyro/1/:later': URI }, 'later');
    await until(() => known().includes(':later'));
    expect(known()).toEqual([':', ':after', ':later']);
  });

  it('that is shorter than the mirrored one is loaded', async () => {
    const backup = etcd.backup();
    etcd.put({ '/pyro/1/:before': URI }, 'before');
    await until(() => known().includes(':before'));
    etcd.restore(backup);
    await until(() => !known().includes(':before'));
    expect(known()).toEqual([':']);
  });

  it('that continues the mirrored one is watched from there, without loading all again', async () => {
    const { tree } = mirror;
    etcd.put({ '/pyro/1/:before': URI }, 'before');
    await until(() => known().includes(':before'));
    etcd.breakWatches();
    etcd.put({ '/pyro/1/:missed': URI }, 'missed');
    await until(() => known().includes(':missed'));
    expect(known()).toEqual([':', ':before', ':missed']);
    expect(mirror.tree).toBe(tree);
  });
});

it('the mirror equals etcd in the end, whatever has happened', async () => {
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ what: fc.constantFrom('put', 'delete'), part: fc.constantFrom('a', 'b', 'c') }),
    },
    fc.record({ what: fc.constantFrom('hold', 'release', 'break', 'compact', 'backup', 'restore', 'replace') }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 15 }), async (steps) => {
      await close();
      await open();
      let backup = etcd.backup();
      let token = 0;
      const acts: Record<string, (part: string) => void> = {
        put: (part) => etcd.put({ [`/pyro/${etcd.get('/pyro/tree') ?? ''}/:${part}`]: URI }, String((token += 1))),
        delete: (part) =>
          etcd.put({ [`/pyro/${etcd.get('/pyro/tree') ?? ''}/:${part}`]: undefined }, String((token += 1))),
        hold: () => {
          etcd.holdEvents();
        },
        release: () => {
          etcd.releaseEvents();
        },
        break: () => {
          etcd.breakWatches();
        },
        compact: () => {
          etcd.compact();
        },
        backup: () => (backup = etcd.backup()),
        restore: () => {
          etcd.restore(backup);
        },
        replace: () => {
          serveNextTree(Number(etcd.get('/pyro/tree')) + 1);
        },
      };
      for (const [{ what, ...about }, others] of steps) {
        acts[what]?.('part' in about ? about.part : '');
        if (others) await othersRan();
      }
      etcd.releaseEvents();
      etcd.put({}, 'last');
      const limit = Deadline.in(3000);
      await until(() => limit.passed || JSON.stringify(known()) === JSON.stringify(stored()));
      expect(known()).toEqual(stored());
    }),
    { numRuns: 12 },
  );
});

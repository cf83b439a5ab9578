/** What may be believed when answers are lost, a backup is restored, or another tree is served: against an etcd in memory. */
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
let feed: Mirror;
let changes: Transactions;

async function open(): Promise<void> {
  etcd = new FakeEtcd();
  feed = await Mirror.open(etcd, keys, new HealthMonitor(60, silentLog), silentLog);
  changes = new Transactions(etcd, keys, feed);
}

async function close(): Promise<void> {
  etcd.releaseEvents();
  await changes.finish();
  const closed = feed.close();
  etcd.close();
  await closed;
}

beforeEach(open);
afterEach(close);

/** Puts a name that must not be there. */
const addition = (part: string, tree: TreeKeys = feed.treeKeys): TransactionChange => {
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

const known = (): string[] => Array.from(feed.tree.all(), ({ name }) => name.toString()).sort();
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
    const old = feed.treeKeys;
    serveNextTree(2);
    const outcomes = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((part) => make(addition(part, old))));
    expect(outcomes).toEqual(outcomes.map(() => ({ result: 'not made' })));
    expect(etcd.keysBelow('/pyro/1/:')).toEqual(['/pyro/1/:']);
    expect(stored()).toEqual([':', ':new']);
  });

  it('is told to be not made when the new tree is known, and not before', async () => {
    const old = feed.treeKeys;
    etcd.holdEvents();
    serveNextTree(2);
    let isTold = false;
    const making = make(addition('a', old)).finally(() => (isTold = true));
    for (let turn = 0; turn < 20; turn += 1) await othersRan();
    expect(isTold).toBe(false);
    etcd.releaseEvents();
    expect(await making).toEqual({ result: 'not made' });
    expect([feed.treeKeys.number, known()]).toEqual([2, [':', ':new']]);
  });

  it('is not sent together with one in the tree that is served', async () => {
    const old = feed.treeKeys;
    serveNextTree(2);
    await until(() => feed.treeKeys.number === 2);
    // The first four go alone; the others wait for each other.
    const parts = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    const trees = parts.map((_, index) => (index % 2 === 0 ? feed.treeKeys : old));
    const outcomes = await Promise.all(parts.map((part, index) => make(addition(part, trees[index]))));
    const results = outcomes.map(({ result }) => result);
    expect(results).toEqual(trees.map((tree) => (tree === old ? 'not made' : 'made')));
    expect(stored()).toEqual([':', ':a', ':c', ':e', ':g', ':new']);
  });
});

it('a change that another one forbids is not called "not made" before that one is known', async () => {
  etcd.holdEvents();
  etcd.put({ '/pyro/1/:x': URI }, 'of another server');
  expect(await changes.make(addition('x'), Deadline.in(50))).toEqual({
    result: 'refused',
    error: new EtcdError('the watch stays behind', 'refused'),
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

  it('are four transactions; what comes meanwhile waits, and goes together', async () => {
    expect(await batchesOf([...four(), ...['e', 'f', 'g'].map((part) => put(part))])).toEqual([
      ...alone,
      ['e', 'f', 'g'],
    ]);
  });

  it('never go together when they are of one name, and stay in their order', async () => {
    const parts = ['e', 'f', 'e', 'g', 'e', 'f'];
    const batches = [['e', 'f', 'g'], ['e', 'f'], ['e']];
    const changed = parts.map((part, index) => put(part, {}, `${URI}${index}`));
    expect(await batchesOf([...four(), ...changed])).toEqual([...alone, ...batches]);
    expect(etcd.get('/pyro/1/:e')).toBe(`${URI}4`);
    expect(etcd.get('/pyro/1/:f')).toBe(`${URI}5`);
  });

  it('have a transaction for themselves where they must, and no later one passes them', async () => {
    const changed = [put('e'), put('f', { alone: true }), put('g'), put('h'), put('i', { alone: true }), put('j')];
    expect(await batchesOf([...four(), ...changed])).toEqual([...alone, ['e'], ['f'], ['g', 'h'], ['i'], ['j']]);
  });

  it('are a hundred in a transaction at most', async () => {
    const parts = numbered(201);
    const batches = [parts.slice(0, 100), parts.slice(100, 200), parts.slice(200)];
    expect(await batchesOf([...four(), ...parts.map((part) => put(part))])).toEqual([...alone, ...batches]);
  });

  it('are 256 KiB in a transaction at most, unless one is larger', async () => {
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
      // The fence is there: now the feed skips what it was not told.
      await until(() => etcd.keysBelow('/pyro/fence/').length === 1);
      etcd.compact();
      etcd.breakWatches();
      expect(await making).toEqual({ result: 'unknown' });
      expect(known()).toEqual(stored());
    },
  );

  it('is still certain where the change was seen before all was loaded again', async () => {
    etcd.fates.push('lost after');
    const making = make(addition('x'));
    await until(() => known().includes(':x'));
    etcd.compact();
    etcd.breakWatches();
    expect(await making).toEqual({ result: 'made' });
  });

  it('was made, or not, each by itself where several were sent together', async () => {
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
  it('is not taken for the one that is known, even where it has come to the same revision', async () => {
    const backup = etcd.backup();
    etcd.put({ '/pyro/1/:before': URI }, 'before');
    await until(() => known().includes(':before'));
    etcd.restore(backup);
    etcd.put({ '/pyro/1/:after': URI }, 'after');
    etcd.put({ '/pyro/1/:later': URI }, 'later');
    await until(() => known().includes(':later'));
    expect(known()).toEqual([':', ':after', ':later']);
  });

  it('that is shorter than the one that is known is loaded', async () => {
    const backup = etcd.backup();
    etcd.put({ '/pyro/1/:before': URI }, 'before');
    await until(() => known().includes(':before'));
    etcd.restore(backup);
    await until(() => !known().includes(':before'));
    expect(known()).toEqual([':']);
  });

  it('that goes on as it was known is followed from there, without loading all again', async () => {
    const { tree } = feed;
    etcd.put({ '/pyro/1/:before': URI }, 'before');
    await until(() => known().includes(':before'));
    etcd.breakWatches();
    etcd.put({ '/pyro/1/:missed': URI }, 'missed');
    await until(() => known().includes(':missed'));
    expect(known()).toEqual([':', ':before', ':missed']);
    expect(feed.tree).toBe(tree);
  });
});

it('knows what etcd has in the end, whatever has happened', async () => {
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

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { EtcdCluster, lacksEtcd } from '../../../test/support/etcd-cluster.mjs';
import { silentLog } from '../../config/index.js';
import { Deadline } from '../../sync/index.js';
import { Transactions, type TransactionChange } from './transactions.js';
import { EtcdClient, EtcdError } from './client.js';
import { HealthMonitor } from './health.js';
import { Mirror } from './mirror.js';
import { Keys } from './keys.js';
import { TRANSACTION, type Method } from './protocol.js';

const describeWithEtcd = lacksEtcd('changes in etcd whose answer is lost') ? describe.skip : describe;

type Call = () => Promise<unknown>;

/** A client that loses calls: they are made when the test says so. */
class LosingClient extends EtcdClient {
  /** What comes of the next transactions; they are made as usual where there is nothing. */
  readonly fates: ('lost before' | 'lost after' | 'refused')[] = [];
  readonly lost: Call[] = [];
  count = 0;

  override async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    deadline: Deadline,
  ): Promise<Response> {
    const make = (): Promise<Response> => super.call(method, request, deadline);
    if (method.path !== TRANSACTION.path) return make();
    this.count += 1;
    const outcome = this.fates.shift();
    if (outcome === undefined) return make();
    if (outcome === 'refused') throw new EtcdError('too many of something', 'refused');
    if (outcome === 'lost before') this.lost.push(make);
    else await make();
    throw new EtcdError('no answer', 'unknown');
  }
}

describeWithEtcd('a change', () => {
  let cluster: EtcdCluster;
  let client: LosingClient;
  let mirror: Mirror;
  let changes: Transactions;
  let prefixes = 0;

  beforeAll(async () => {
    cluster = await EtcdCluster.start();
  });
  afterAll(() => cluster.stop());
  beforeEach(async () => {
    client = new LosingClient({
      endpoints: cluster.members.map(({ endpoint }) => endpoint),
      tls: undefined,
      user: undefined,
    });
    const keys = new Keys(`/test/${(prefixes += 1)}`);
    mirror = await Mirror.open(client, keys, new HealthMonitor(60, silentLog), silentLog);
    changes = new Transactions(client, keys, mirror);
    client.count = 0;
  });
  afterEach(async () => {
    await changes.finish();
    const closed = mirror.close();
    client.close();
    await closed;
  });

  /** Puts a key that must not be there. */
  const addition = (name: string, value = ''): TransactionChange => {
    const key = `${mirror.treeKeys.all.key}:${name}`;
    return {
      name,
      tree: mirror.treeKeys,
      requires: [{ key, result: 'equal', operand: { version: 0 } }],
      does: [{ put: key, value }],
      changes: key,
    };
  };
  const make = (change: TransactionChange, seconds = 5) => changes.make(change, Deadline.in(seconds * 1000));
  const namesKnown = () => Array.from(mirror.tree.all(), ({ name }) => name.part).sort();

  it('whose answer is lost was made', async () => {
    client.fates.push('lost after');
    expect(await make(addition('x'))).toEqual({ result: 'made' });
    expect(namesKnown()).toEqual(['', 'x']);
  });

  it('whose answer is lost was not made, if what it required was not true', async () => {
    await make(addition('x'));
    client.fates.push('lost after');
    expect(await make(addition('x'))).toEqual({ result: 'not made' });
  });

  it('that is lost was not made, and can not be made any more', async () => {
    client.fates.push('lost before');
    expect(await make(addition('x'))).toEqual({ result: 'not made' });
    const [late] = client.lost;
    expect(await late?.()).toMatchObject({ succeeded: false });
    expect(await make(addition('y'))).toEqual({ result: 'made' });
    expect(namesKnown()).toEqual(['', 'y']);
  });

  it('is uncertain, if it can not be fenced in time', async () => {
    client.fates.push(...Array.from({ length: 100 }, () => 'lost before' as const));
    expect(await make(addition('x'), 0.3)).toEqual({ result: 'unknown' });
  });

  it('goes with others that come at the same time, each with its own outcome', async () => {
    await make(addition('taken'));
    client.count = 0;
    const names = ['taken', ...Array.from({ length: 60 }, (_, index) => `n${index}`), 'n50', 'taken'];
    const outcomes = await Promise.all(names.map((name) => make(addition(name))));
    const refused = names.filter((_, index) => outcomes[index]?.result === 'not made');
    expect(refused).toEqual(['taken', 'n50', 'taken']);
    expect(client.count).toBeLessThan(20);
    expect(namesKnown()).toHaveLength(62);
  });

  it('that goes with others has its own outcome, too, when the answer is lost', async () => {
    await make(addition('taken'));
    // The first four go alone, so that the others wait for each other.
    const names = ['a', 'b', 'c', 'd', 'taken', 'x', 'y'];
    client.fates.push('lost before', 'lost after', 'lost before', 'lost after', 'lost after');
    const outcomes = await Promise.all(names.map((name) => make(addition(name))));
    const made = names.filter((_, index) => outcomes[index]?.result === 'made');
    expect(made).toEqual(expect.arrayContaining(['b', 'd']));
    expect(made).not.toContain('taken');
    expect(namesKnown()).toEqual(['', ...made, 'taken'].sort());
    for (const late of client.lost) await late();
    await make(addition('last'));
    expect(namesKnown()).toEqual(['', ...made, 'taken', 'last'].sort());
  });

  it('is made alone, if etcd refuses it together with others', async () => {
    client.fates.push('refused', 'refused', 'refused', 'refused', 'refused');
    const names = ['a', 'b', 'c', 'd', 'x', 'y', 'z'];
    const outcomes = await Promise.all(names.map((name) => make(addition(name))));
    expect(outcomes.map(({ result }) => result)).toEqual([
      ...Array.from({ length: 4 }, () => 'refused'),
      ...Array.from({ length: 3 }, () => 'made'),
    ]);
  });

  it('that is large does not keep others from being made', async () => {
    const outcomes = await Promise.all([
      ...['a', 'b', 'c', 'd'].map((name) => make(addition(name))),
      make(addition('x')),
      make(addition('large', 'x'.repeat(3_000_000))),
      make(addition('y')),
    ]);
    expect(outcomes.map(({ result }) => result)).toEqual(['made', 'made', 'made', 'made', 'made', 'refused', 'made']);
  });
});

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { EtcdCluster, lacksEtcd } from '../../../test/support/etcd-cluster.mjs';
import { etcdOptions } from '../../../test/support/etcd-options.js';
import { Name, NAMESERVER_NAME, PyroURI } from '../../names/index.js';
import { collect } from '../namespace.model.js';
import type { NamespaceEntry, SystemMeta } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import { expectRefusal, persistentNamespaceSuite } from '../namespace.suite.js';
import type { EtcdOptions } from './etcd-namespace.js';
import { EtcdNamespace } from './etcd-namespace.js';

const describeWithEtcd = lacksEtcd('the namespace in etcd') ? describe.skip : describe;

const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1b2c3');
const other = PyroURI.parse('PYRO://127.0.0.1:1/other');
const named = (text: string) => Name.parse(text);

let cluster: EtcdCluster;
let prefix = '';
let prefixes = 0;
let opened: EtcdNamespace[] = [];

async function openStore(options: Partial<EtcdOptions> = {}): Promise<EtcdNamespace> {
  const namespace = await EtcdNamespace.open(etcdOptions(cluster, { prefix, ...options }));
  opened.push(namespace);
  return namespace;
}

async function closeAll(): Promise<void> {
  const stores = opened;
  opened = [];
  await Promise.all(stores.map((namespace) => namespace.close()));
}

/** The names and URIs in etcd, as `etcdctl` prints them. */
async function printed(): Promise<string[]> {
  const tree = (await cluster.etcdctl('get', `${prefix}/tree`, '--print-value-only')).trim();
  return (await cluster.etcdctl('get', '--prefix', `${prefix}/${tree}/:`)).split('\n').slice(0, -1);
}

/** Resolves when a store that did not make a change has got to know of it. */
async function eventually(check: () => Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise(setImmediate);
}

describeWithEtcd('the namespace in etcd', () => {
  beforeAll(async () => {
    cluster = await EtcdCluster.start();
  });
  afterAll(() => cluster.stop());
  beforeEach(() => {
    prefix = `/test/${(prefixes += 1)}`;
  });
  afterEach(closeAll);

  for (const read of ['cached', 'linearizable'] as const) {
    persistentNamespaceSuite(`EtcdNamespace, ${read}`, async () => {
      prefix = `/test/${(prefixes += 1)}`;
      return {
        namespace: await openStore({ read }),
        reopen: async () => {
          await closeAll();
          return openStore({ read });
        },
        dispose: closeAll,
      };
    });
  }

  describe('keys', () => {
    it('are the names, and their values the URIs', async () => {
      const namespace = await openStore();
      await namespace.createGroup(named(':G'));
      await namespace.register(named(':G.a'), uri);
      await namespace.setMeta(named(':G.a'), 'metadata');
      const base = `${prefix}/1/`;
      expect(await printed()).toEqual([`${base}:`, '', `${base}:G`, '', `${base}:G.a`, uri.toString()]);
      expect(await cluster.etcdctl('get', '--prefix', '--keys-only', `${base}meta/`)).toContain(`${base}meta/:G.a`);
      await namespace.deleteGroup(named(':G'));
      expect(await cluster.etcdctl('get', '--prefix', '--keys-only', base)).toBe(`${base}:\n\n${base}meta/:\n\n`);
    });

    it('of neighbours are left alone when a group is deleted', async () => {
      const namespace = await openStore();
      const neighbours = [':a-b', ':a!', ':a/', ':a0', ':ab', ':a~'];
      await namespace.createGroup(named(':a'));
      await namespace.register(named(':a.x'), uri);
      for (const neighbour of neighbours) {
        await namespace.createGroup(named(neighbour));
        await namespace.register(named(`${neighbour}.x`), uri);
        await namespace.setMeta(named(`${neighbour}.x`), neighbour);
      }
      await namespace.deleteGroup(named(':a'));
      const left = await collect(namespace.export());
      expect(left.map(({ name }) => name.toString()).sort()).toEqual(
        [':', ...neighbours, ...neighbours.map((neighbour) => `${neighbour}.x`)].sort(),
      );
      for (const neighbour of neighbours) expect(await namespace.getMeta(named(`${neighbour}.x`))).toBe(neighbour);
    });

    it('may be put and deleted by hand', async () => {
      const namespace = await openStore();
      await cluster.etcdctl('put', `${prefix}/1/:G`, '');
      await cluster.etcdctl('put', `${prefix}/1/:G.x`, ` ${uri.toString()}\n`);
      await eventually(async () => (await namespace.list(Name.root)).length === 1);
      await eventually(async () => (await namespace.list(named(':G'))).length === 1);
      expect((await namespace.resolve(named(':G.x'))).equals(uri)).toBe(true);
      expect(await namespace.getSystemMeta(named(':G.x'))).toEqual({ type: OBJECT, timestamp: 0, owner: null });
      await namespace.setMeta(named(':G.x'), 'metadata');
      expect(await namespace.getMeta(named(':G.x'))).toBe('metadata');
      await cluster.etcdctl('del', '--prefix', `${prefix}/1/:G`);
      await eventually(async () => (await namespace.list(Name.root)).length === 0);
    });

    it('that are no names do no harm', async () => {
      for (const key of [
        '1/:G.orphan',
        '1/:a..b',
        '1/',
        '1/no name',
        '1/meta/:G.orphan',
        '1/:\u00fc',
        '7/:x',
        'other',
      ]) {
        await cluster.etcdctl('put', `${prefix}/${key}`, 'not a URI');
      }
      const namespace = await openStore();
      expect(await namespace.list(Name.root)).toEqual([]);
      expect(await collect(namespace.export())).toHaveLength(1);
      expect(await collect(namespace.flatlist())).toEqual([]);
      await namespace.createGroup(named(':G'));
      expect(await namespace.list(named(':G'))).toEqual([{ part: 'orphan', type: OBJECT }]);
      await expectRefusal(namespace.resolve(named(':G.orphan')), 'invalid URI', ':G.orphan');
      await expectRefusal(namespace.register(named(':G.orphan'), uri), 'name already exists', ':G.orphan');
      await namespace.unregister(named(':G.orphan'));
      await namespace.register(named(':G.orphan'), uri);
    });

    it('may not hold more than etcd takes', async () => {
      const namespace = await openStore();
      await namespace.register(named(':x'), uri);
      const large = namespace.setMeta(named(':x'), 'x'.repeat(3_000_000));
      const neighbour = namespace.register(named(':y'), uri);
      await expectRefusal(large, 'name too long', ':x');
      await neighbour;
      expect(await namespace.getMeta(named(':x'))).toBeNull();
      await namespace.setMeta(named(':x'), 'x'.repeat(1_400_000));
      expect(await namespace.getMeta(named(':x'))).toHaveLength(1_400_000);
    });
  });

  describe('several servers', () => {
    it('see what the others do', async () => {
      const [one, two] = [await openStore(), await openStore()];
      await one.createGroup(named(':G'));
      await eventually(async () => (await two.list(Name.root)).length === 1);
      expect(await two.list(Name.root)).toEqual([{ part: 'G', type: GROUP }]);
      await two.register(named(':G.x'), uri);
      await eventually(() => Promise.resolve(one.resolveNow(named(':G.x')) !== undefined));
      expect(one.resolveNow(named(':G.x'))?.toString()).toBe(uri.toString());
      await one.deleteGroup(named(':G'));
      await eventually(() => Promise.resolve(two.resolveNow(named(':G.x')) === undefined));
      expect(await two.list(Name.root)).toEqual([]);
    });

    it('see the changes of the others immediately when reads are linearizable', async () => {
      const [one, two] = [await openStore({ read: 'linearizable' }), await openStore({ read: 'linearizable' })];
      for (let round = 0; round < 20; round += 1) {
        await one.register(named(':x'), uri);
        expect((await two.resolve(named(':x'))).equals(uri)).toBe(true);
        await two.unregister(named(':x'));
        await expectRefusal(one.resolve(named(':x')), 'name not found', ':x');
      }
      expect(one.resolveNow(named(':x'))).toBeUndefined();
    });

    it('see a group with all its contents, or nothing of it, however large it was', async () => {
      const [one, two] = [await openStore(), await openStore()];
      const count = 5000;
      await one.replace(
        (async function* () {
          const meta = { systemMeta: undefined, userMeta: null };
          yield { ...meta, name: named(':G'), uri: undefined };
          await Promise.resolve();
          for (let index = 0; index < count; index += 1) yield { ...meta, name: named(`:G.object${index}`), uri };
        })(),
      );
      await eventually(() => Promise.resolve(two.resolveNow(named(':G.object0')) !== undefined));
      const sizes = new Set<number>();
      const deleted = one.deleteGroup(named(':G'));
      await eventually(() => {
        sizes.add(two.health.names);
        return Promise.resolve(two.resolveNow(named(':G.object0')) === undefined);
      });
      sizes.add(two.health.names);
      await deleted;
      // The root counts.
      expect([...sizes]).toEqual([count + 2, 1]);
      expect(await cluster.etcdctl('get', '--prefix', '--keys-only', `${prefix}/2/`)).not.toContain(':G');
    });

    it('let one of many register a name, and refuse the others', async () => {
      const stores = await Promise.all([openStore(), openStore(), openStore()]);
      for (let round = 0; round < 10; round += 1) {
        const name = named(`:wanted${round}`);
        const outcomes = await Promise.allSettled(
          stores.flatMap((store) => [0, 1, 2].map(() => store.register(name, uri))),
        );
        expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
        const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
        for (const { reason } of refused) {
          expect(reason).toHaveProperty('args', ['name already exists', name.toString()]);
        }
      }
    });

    it('lose no metadata when they set it concurrently', async () => {
      const [one, two] = [await openStore(), await openStore({ read: 'linearizable' })];
      await one.register(named(':x'), uri);
      expect((await two.resolve(named(':x'))).equals(uri)).toBe(true);
      const system: SystemMeta = { type: OBJECT, timestamp: 1.5, owner: 'me' };
      await Promise.all([one.setMeta(named(':x'), 'user'), two.setSystemMeta(named(':x'), system)]);
      const third = await openStore();
      expect(await third.getMeta(named(':x'))).toBe('user');
      expect(await third.getSystemMeta(named(':x'))).toEqual(system);
    });

    it('have their own entry each', async () => {
      const own = named(NAMESERVER_NAME);
      const [one, two] = [await openStore(), await openStore()];
      await expectRefusal(one.register(own, uri), '(parent)group not found', NAMESERVER_NAME);
      await one.createGroup(named(':Pyro'));
      await one.register(own, uri);
      await one.setMeta(own, 'mine');
      await eventually(async () => (await two.list(Name.root)).length === 1);
      await expectRefusal(two.resolve(own), 'name not found', NAMESERVER_NAME);
      await two.register(own, other);
      expect((await one.resolve(own)).equals(uri)).toBe(true);
      expect(one.resolveNow(own)?.equals(uri)).toBe(true);
      expect((await two.resolve(own)).equals(other)).toBe(true);
      expect(await one.list(named(':Pyro'))).toEqual([{ part: 'NameServer', type: OBJECT }]);
      expect(await one.getMeta(own)).toBe('mine');
      expect(await two.getMeta(own)).toBeNull();
      expect((await collect(one.flatlist())).flat().map(String)).toEqual([[own, uri].join(',')]);
      expect((await printed()).join()).not.toContain('NameServer');
      await expectRefusal(one.register(own, uri), 'name already exists', NAMESERVER_NAME);
      await one.unregister(own);
      await expectRefusal(one.unregister(own), 'name not found', NAMESERVER_NAME);
      expect((await two.resolve(own)).equals(other)).toBe(true);
      await two.deleteGroup(named(':Pyro'));
      await expectRefusal(two.resolve(own), 'name not found', NAMESERVER_NAME);
    });

    it('serve the old names until all new ones are there, and keep their own entries', async () => {
      const own = named(NAMESERVER_NAME);
      const [one, two] = [await openStore(), await openStore()];
      await one.createGroup(named(':Pyro'));
      await one.register(named(':old'), uri);
      await eventually(() => Promise.resolve(two.resolveNow(named(':old')) !== undefined));
      await two.register(own, other);
      const entry = { systemMeta: undefined, userMeta: null };
      async function* source(): AsyncGenerator<NamespaceEntry> {
        yield { ...entry, name: named(':Pyro'), uri: undefined };
        yield { ...entry, name: own, uri };
        for (let index = 0; index < 500; index += 1) yield { ...entry, name: named(`:new${index}`), uri };
        expect((await one.resolve(named(':old'))).equals(uri)).toBe(true);
        expect((await two.resolve(named(':old'))).equals(uri)).toBe(true);
      }
      const replaced = one.replace(source());
      const sizes = new Set<number>();
      await eventually(async () => {
        sizes.add((await two.list(Name.root)).length);
        return two.resolveNow(named(':new499')) !== undefined;
      });
      await replaced;
      sizes.add((await two.list(Name.root)).length);
      expect([...sizes].sort((a, b) => a - b)).toEqual([2, 501]);
      await expectRefusal(one.resolve(named(':old')), 'name not found', ':old');
      await expectRefusal(one.resolve(own), 'name not found', NAMESERVER_NAME);
      expect((await two.resolve(own)).equals(other)).toBe(true);
      expect(await cluster.etcdctl('get', '--prefix', '--keys-only', `${prefix}/1/`)).toBe('');
      await two.register(named(':newer'), uri);
      expect(await printed()).toContain(`${prefix}/2/:newer`);
    });

    it('do not both replace the names', async () => {
      const [one, two] = [await openStore(), await openStore()];
      const entries = (part: string) =>
        (async function* () {
          for (let index = 0; index < 300; index += 1) {
            await Promise.resolve();
            yield { name: named(`:${part}${index}`), uri, systemMeta: undefined, userMeta: null };
          }
        })();
      const outcomes = await Promise.allSettled([one.replace(entries('one')), two.replace(entries('two'))]);
      const won = outcomes.map(({ status }) => status === 'fulfilled');
      expect([...won].sort()).toEqual([false, true]);
      const third = await openStore();
      const listed = await third.list(Name.root);
      const winner = won[0] === true ? 'one' : 'two';
      const expected = Array.from({ length: 300 }, (_, index) => `${winner}${index}`);
      expect(listed.map(({ part }) => part).sort()).toEqual(expected.sort());
      await closeAll();
      const trees = await cluster.etcdctl('get', '--prefix', '--keys-only', `${prefix}/`);
      expect(new Set(trees.match(/\/\d+\/:/g)).size).toBe(1);
    });
  });
});

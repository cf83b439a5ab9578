/** What happens when etcd does not answer, or answers late, or is another one than before. */
import { setImmediate as othersRan } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { EtcdCluster, lacksEtcd } from '../../../test/support/etcd-cluster.mjs';
import { etcdOptions } from '../../../test/support/etcd-options.js';
import { SeverableProxy } from '../../../test/support/severable-proxy.js';
import { Name, PyroURI } from '../../names/index.js';
import { expectRefusal } from '../namespace.suite.js';
import type { EtcdOptions } from './etcd-namespace.js';
import { EtcdNamespace } from './etcd-namespace.js';

const describeWithEtcd = lacksEtcd('outages of etcd') ? describe.skip : describe;

const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1b2c3');
const name = Name.parse(':x');

describeWithEtcd('when etcd', () => {
  let cluster: EtcdCluster;
  let proxies: SeverableProxy[];
  let opened: EtcdNamespace[];

  /** Opens a store; `endpoints` are the proxies by default, the first of which it talks to. */
  async function open(options: Partial<EtcdOptions> = {}): Promise<EtcdNamespace> {
    const endpoints = proxies.map(({ endpoint }) => endpoint);
    const namespace = await EtcdNamespace.open(etcdOptions(cluster, { endpoints, ...options }));
    opened.push(namespace);
    return namespace;
  }

  const direct = () => open({ endpoints: cluster.members.map(({ endpoint }) => endpoint), read: 'linearizable' });
  const usedBy = (namespace: EtcdNamespace) => proxies.find(({ endpoint }) => endpoint === namespace.health.endpoint);

  beforeEach(async () => {
    cluster = await EtcdCluster.start();
    const [member] = cluster.members;
    // Two ways to the same member: as if it were two that have the same.
    proxies = await Promise.all([0, 1].map(() => SeverableProxy.start(member?.endpoint ?? '')));
    opened = [];
  });
  afterEach(async () => {
    for (const proxy of proxies) proxy.hold('nothing');
    await Promise.all(opened.map((namespace) => namespace.close()));
    await Promise.all(proxies.map((proxy) => proxy.close()));
    await cluster.stop();
  });

  it('makes a change and its answer is lost, the change counts once', async () => {
    const [namespace, other] = [await open(), await direct()];
    usedBy(namespace)?.hold('replies');
    await namespace.register(name, uri);
    expect((await namespace.resolve(name)).equals(uri)).toBe(true);
    expect((await other.resolve(name)).equals(uri)).toBe(true);
    await namespace.unregister(name);
    await expectRefusal(other.resolve(name), 'name not found', ':x');
  });

  it('can not be reached, names are served from memory for a while, and changes fail in time', async () => {
    const namespace = await open({ timeoutSeconds: 1, staleSeconds: 1 });
    const asking = await open({ timeoutSeconds: 1, read: 'linearizable' });
    await namespace.register(name, uri);
    for (const proxy of proxies) proxy.hold('all');

    const from = performance.now();
    await expectRefusal(
      namespace.register(Name.parse(':y'), uri),
      'namespace is unavailable, the change may have been made',
      ':y',
    );
    await expectRefusal(asking.resolve(name), 'namespace is unavailable', ':x');
    expect(performance.now() - from).toBeLessThan(5000);
    expect((await namespace.resolve(name)).equals(uri)).toBe(true);

    while (namespace.resolveNow(name) !== undefined) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(namespace.health.awaySeconds).toBeGreaterThan(0.9);
    await expectRefusal(namespace.resolve(name), 'namespace is unavailable', ':x');
    await expectRefusal(namespace.list(Name.root), 'namespace is unavailable', ':');

    for (const proxy of proxies) proxy.hold('nothing');
    while (namespace.resolveNow(name) === undefined) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(namespace.health.awaySeconds).toBeUndefined();
    await namespace.unregister(name);
  });

  it('is gone, changes fail and say that nothing was changed', async () => {
    const namespace = await open({ timeoutSeconds: 1 });
    await cluster.members[0]?.kill();
    // What was under way when it went is uncertain; what comes now is not.
    await namespace.register(name, uri).catch(() => undefined);
    await expectRefusal(namespace.register(name, uri), 'namespace is unavailable, nothing was changed', ':x');
    await cluster.members[0]?.start();
    for (let made = false, index = 0; !made; index += 1) {
      made = await namespace.createGroup(Name.parse(`:G${index}`)).then(
        () => true,
        () => false,
      );
    }
    expect((await namespace.list(Name.root)).map(({ part }) => part)).not.toContain('x');
  });

  it('has compacted the changes that a server has missed, the server loads all names again', async () => {
    const [namespace, other] = [await open(), await direct()];
    await namespace.register(name, uri);
    for (const proxy of proxies) proxy.hold('all');
    await other.unregister(name);
    for (let index = 0; index < 10; index += 1) await other.register(Name.parse(`:n${index}`), uri);
    await cluster.etcdctl('compact', await cluster.revision());
    const sizes: number[] = [];
    // The watch's events are dropped, so that the mirror can't be updated change by change.
    for (const proxy of proxies) proxy.cut();
    for (const proxy of proxies) proxy.hold('nothing');
    for (let size = 1; size !== 10;) {
      size = (await namespace.list(Name.root)).length;
      if (size !== sizes.at(-1)) sizes.push(size);
      await othersRan();
    }
    expect(sizes).toEqual([1, 10]);
    expect(namespace.resolveNow(name)).toBeUndefined();
  });

  it('comes back from a backup, its names are those of the backup', async () => {
    const namespace = await open();
    await namespace.register(name, uri);
    const backup = `${cluster.directory}/backup`;
    await cluster.etcdctl('snapshot', 'save', backup);
    await namespace.unregister(name);
    await namespace.register(Name.parse(':after'), uri);
    await cluster.restore(backup);
    while (namespace.resolveNow(name) === undefined) await new Promise((resolve) => setTimeout(resolve, 50));
    await expectRefusal(namespace.resolve(Name.parse(':after')), 'name not found', ':after');
    await namespace.unregister(name);
  });
});

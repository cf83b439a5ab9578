/** A namespace goes from one kind of store to another and comes back the same: `export` of one is `replace` of the next. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { EtcdCluster, lacksEtcd } from '../../test/support/etcd-cluster.mjs';
import { loadConfig, silentLog } from '../config/index.js';
import { Name, PyroURI } from '../names/index.js';
import { tuple } from '../pickle/index.js';
import { DirectoryNamespace } from './directory/directory-namespace.js';
import { openEtcdNamespace } from './etcd/open.js';
import { MemoryNamespace } from './memory.js';
import { collect } from './namespace.model.js';
import type { Namespace, NamespaceEntry } from './namespace.js';
import { OBJECT } from './namespace.js';

const itWithEtcd = lacksEtcd('copies to etcd and from it') ? it.skip : it;
const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1b2c3');
const named = (text: string) => Name.parse(text);

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pyro-ns-copies-'));
});
afterAll(() => rm(directory, { recursive: true }));

const openDirectory = (name: string) =>
  DirectoryNamespace.open(join(directory, name), { log: silentLog, sync: false, cacheNames: 100, watch: 'auto' });

/** What there is, in a form that can be compared: times to the millisecond, as a directory has them of its files. */
async function contents(namespace: Namespace) {
  const comparable = ({ uri, systemMeta, userMeta }: NamespaceEntry) => ({
    uri: uri?.toString(),
    userMeta,
    systemMeta: { ...systemMeta, timestamp: Math.round((systemMeta?.timestamp ?? 0) * 1000) },
  });
  return new Map((await collect(namespace.export())).map((entry) => [entry.name.toString(), comparable(entry)]));
}

async function filled(): Promise<MemoryNamespace> {
  const memory = new MemoryNamespace();
  for (const group of [':G', ':G.sub', ':empty', ':Default']) await memory.createGroup(named(group));
  for (let index = 0; index < 300; index += 1) await memory.register(named(`:G.sub.object${index}`), uri);
  await memory.register(named(':a/b'), PyroURI.parse('PYROSSL://printer.example:4000/another'));
  await memory.setMeta(named(':a/b'), tuple('text', 1, null, ['list', new Map([['key', 2.5]])]));
  await memory.setMeta(named(':G'), 'about a group');
  await memory.setMeta(Name.root, 'about the root');
  await memory.setSystemMeta(named(':G.sub.object7'), { type: OBJECT, timestamp: 1234567890.25, owner: 'me' });
  return memory;
}

itWithEtcd('goes from memory to etcd, to a directory, to etcd again, and back to memory', async () => {
  const cluster = await EtcdCluster.start();
  try {
    const options = { config: loadConfig({ environment: {}, currentDirectory: directory }), log: silentLog };
    const memory = await filled();
    const stores: Namespace[] = [
      await openEtcdNamespace(cluster.url('/one'), options),
      await openDirectory('database'),
      await openEtcdNamespace(cluster.url('/two'), options),
      new MemoryNamespace(),
    ];
    let source: Namespace = memory;
    for (const store of stores) {
      await store.replace(source.export());
      expect(await contents(store)).toEqual(await contents(memory));
      source = store;
    }
    await Promise.all(stores.map((store) => store.close()));
  } finally {
    await cluster.stop();
  }
});

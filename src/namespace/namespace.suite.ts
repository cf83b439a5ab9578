/** What every store of a namespace must do, whatever it is made of: run by each store's own tests. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { NamingError } from '../errors.js';
import { Name, PyroURI } from '../names/index.js';
import { tuple } from '../pickle/index.js';
import { collect, Model, operations, perform } from './namespace.model.js';
import type { Namespace, NamespaceEntry, SystemMeta } from './namespace.js';
import { GROUP, OBJECT } from './namespace.js';

export interface StoreUnderTest {
  readonly namespace: Namespace;
  /** Closes the store and removes what it left behind. */
  readonly dispose: () => Promise<void>;
}

const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1b2c3');
const other = PyroURI.parse('PYROSSL://printer.example:4000/another');
const named = (text: string) => Name.parse(text);

/** Expects a NamingError of this text, about this name. */
export async function expectRefusal(promise: Promise<unknown>, text: string, name: string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(NamingError);
  expect(error).toHaveProperty('args', [text, name]);
}

/** A store that outlives the process. */
export interface PersistentStoreUnderTest extends StoreUnderTest {
  /** Closes the store and opens it again. */
  readonly reopen: () => Promise<Namespace>;
}

/** The tests of any store. */
export function namespaceSuite(
  title: string,
  openStore: () => Promise<StoreUnderTest | PersistentStoreUnderTest>,
): void {
  describe(title, () => {
    let store: StoreUnderTest;
    let namespace: Namespace;

    beforeEach(async () => {
      store = await openStore();
      namespace = store.namespace;
      await namespace.createGroup(named(':Test'));
      await namespace.register(named(':Test.object'), uri);
    });
    afterEach(() => store.dispose());

    objectTests(() => namespace);
    groupTests(() => namespace);
    metadataTests(() => namespace);
    copyTests(() => namespace);
    sizeTests(() => namespace);

    it('does what a trivial model does, whatever is asked of it', async () => {
      await fc.assert(
        fc.asyncProperty(operations, fc.nat(60), async (sequence, restartAt) => {
          const opened = await openStore();
          let tested = opened.namespace;
          const model = new Model();
          try {
            for (const [index, operation] of sequence.entries()) {
              if (index === restartAt && 'reopen' in opened) tested = await opened.reopen();
              const outcome = await perform(tested, operation);
              // resolveNow may always say that it does not know.
              if (operation.method === 'resolveNow' && 'value' in outcome && outcome.value === undefined) continue;
              expect(outcome).toEqual(model.apply(operation));
            }
          } finally {
            await opened.dispose();
          }
        }),
        { numRuns: 60 },
      );
    });
  });
}

/** The tests of a store that outlives the process: those of any store, and what it keeps. */
export function persistentNamespaceSuite(title: string, openStore: () => Promise<PersistentStoreUnderTest>): void {
  namespaceSuite(title, openStore);

  describe(`${title}, opened again`, () => {
    it('keeps what was changed', async () => {
      const { namespace, reopen, dispose } = await openStore();
      try {
        await namespace.createGroup(named(':Test'));
        await namespace.register(named(':Test.object'), uri);
        await namespace.setMeta(named(':Test'), 'about the group');
        const reopened = await reopen();
        expect((await reopened.resolve(named(':Test.object'))).equals(uri)).toBe(true);
        expect(await reopened.getMeta(named(':Test'))).toBe('about the group');
      } finally {
        await dispose();
      }
    });
  });
}

function objectTests(namespace: () => Namespace): void {
  it('resolves what was registered', async () => {
    await namespace().register(named(':at-the-top'), other);
    expect((await namespace().resolve(named(':at-the-top'))).toString()).toBe(other.toString());
    expect((await namespace().resolve(named(':Test.object'))).toString()).toBe(uri.toString());
    expect([undefined, uri.toString()]).toContain(namespace().resolveNow(named(':Test.object'))?.toString());
  });

  it('says what can not be resolved', async () => {
    await expectRefusal(namespace().resolve(named(':Test.nothing')), 'name not found', ':Test.nothing');
    await expectRefusal(namespace().resolve(named(':nothing.at.all')), 'name not found', ':nothing.at.all');
    await expectRefusal(namespace().resolve(named(':Test.object.x')), 'name not found', ':Test.object.x');
    await expectRefusal(namespace().resolve(named(':Test')), 'attempt to resolve groupname', ':Test');
    await expectRefusal(namespace().resolve(Name.root), 'attempt to resolve groupname', ':');
    expect(namespace().resolveNow(named(':Test'))).toBeUndefined();
    expect(namespace().resolveNow(named(':Test.nothing'))).toBeUndefined();
  });

  it('refuses to register what is taken or has no place', async () => {
    await expectRefusal(namespace().register(named(':Test.object'), other), 'name already exists', ':Test.object');
    await expectRefusal(namespace().register(named(':Test'), other), 'name already exists', ':Test');
    await expectRefusal(namespace().register(named(':none.x'), other), '(parent)group not found', ':none.x');
    await expectRefusal(namespace().register(named(':Test.none.x'), other), '(parent)group not found', ':Test.none.x');
    await expectRefusal(namespace().register(named(':Test.object.x'), other), 'parent is no group', ':Test.object.x');
    await expectRefusal(namespace().register(Name.root, other), 'invalid name', ':');
    expect((await namespace().resolve(named(':Test.object'))).equals(uri)).toBe(true);
  });

  it('lets one of many win that register one name at once', async () => {
    const tries = Array.from({ length: 20 }, () => namespace().register(named(':Test.wanted'), uri));
    const outcomes = await Promise.allSettled(tries);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const [index, { status }] of outcomes.entries()) {
      if (status === 'rejected')
        await expectRefusal(tries[index] ?? Promise.resolve(), 'name already exists', ':Test.wanted');
    }
  });

  it('unregisters objects and nothing else', async () => {
    await namespace().unregister(named(':Test.object'));
    await expectRefusal(namespace().unregister(named(':Test.object')), 'name not found', ':Test.object');
    await expectRefusal(namespace().resolve(named(':Test.object')), 'name not found', ':Test.object');
    expect(namespace().resolveNow(named(':Test.object'))).toBeUndefined();
    await expectRefusal(namespace().unregister(named(':Test')), 'is a group, not an object', ':Test');
    await expectRefusal(namespace().unregister(Name.root), 'is a group, not an object', ':');
  });

  it.each(['/', 'a/b', '$~!', '__proto__', 'constructor', 'a'.repeat(200), '-', '~user', '%2f', 'CON', 'ns_meta'])(
    'keeps an object and a group whose part is %s',
    async (part) => {
      const [object, group] = [named(`:Test.${part}`), named(`:${part}`)];
      await namespace().register(object, other);
      await namespace().createGroup(group);
      expect((await namespace().resolve(object)).equals(other)).toBe(true);
      expect(await namespace().list(named(':Test'))).toContainEqual({ part, type: OBJECT });
      expect(await namespace().list(Name.root)).toContainEqual({ part, type: GROUP });
      await namespace().unregister(object);
      await namespace().deleteGroup(group);
      expect(await namespace().list(named(':Test'))).toEqual([{ part: 'object', type: OBJECT }]);
    },
  );
}

function groupTests(namespace: () => Namespace): void {
  it('lists the members of a group', async () => {
    await namespace().createGroup(named(':Test.inner'));
    const members = await namespace().list(named(':Test'));
    expect(members).toHaveLength(2);
    expect(members).toEqual(
      expect.arrayContaining([
        { part: 'object', type: OBJECT },
        { part: 'inner', type: GROUP },
      ]),
    );
    expect(await namespace().list(named(':Test.inner'))).toEqual([]);
    expect(await namespace().list(Name.root)).toContainEqual({ part: 'Test', type: GROUP });
  });

  it('says what can not be listed', async () => {
    await expectRefusal(namespace().list(named(':none')), 'group not found', ':none');
    await expectRefusal(namespace().list(named(':Test.object')), 'is no group', ':Test.object');
    await expectRefusal(namespace().list(named(':Test.object.x')), 'group not found', ':Test.object.x');
  });

  it('refuses groups that are taken or have no place', async () => {
    await expectRefusal(namespace().createGroup(named(':Test')), 'group already exists', ':Test');
    await expectRefusal(namespace().createGroup(named(':Test.object')), 'group already exists', ':Test.object');
    await expectRefusal(namespace().createGroup(Name.root), 'group already exists', ':');
    await expectRefusal(namespace().createGroup(named(':none.x')), '(parent)group not found', ':none.x');
    await expectRefusal(namespace().createGroup(named(':Test.object.x')), 'parent is no group', ':Test.object.x');
  });

  it('deletes a group with all its contents', async () => {
    await namespace().createGroup(named(':Test.inner'));
    await namespace().register(named(':Test.inner.deep'), uri);
    await namespace().deleteGroup(named(':Test'));
    await expectRefusal(namespace().resolve(named(':Test.inner.deep')), 'name not found', ':Test.inner.deep');
    expect(namespace().resolveNow(named(':Test.object'))).toBeUndefined();
    expect(await namespace().list(Name.root)).not.toContainEqual({ part: 'Test', type: GROUP });
    await namespace().createGroup(named(':Test'));
    expect(await namespace().list(named(':Test'))).toEqual([]);
  });

  it('says what can not be deleted', async () => {
    await expectRefusal(namespace().deleteGroup(Name.root), 'not allowed to delete root group', ':');
    await expectRefusal(namespace().deleteGroup(named(':none')), 'group not found', ':none');
    await expectRefusal(namespace().deleteGroup(named(':Test.object.x')), 'group not found', ':Test.object.x');
    await expectRefusal(namespace().deleteGroup(named(':Test.object')), 'is no group', ':Test.object');
  });
}

function metadataTests(namespace: () => Namespace): void {
  it('keeps user metadata of objects, groups and the root', async () => {
    const meta = tuple('text', 42, new Map([['key', ['a', 'list', null]]]), new Uint8Array([0, 255]), 2n ** 70n);
    for (const name of [named(':Test.object'), named(':Test'), Name.root]) {
      expect(await namespace().getMeta(name)).toBeNull();
      await namespace().setMeta(name, meta);
      expect(await namespace().getMeta(name)).toEqual(meta);
      await namespace().setMeta(name, null);
      expect(await namespace().getMeta(name)).toBeNull();
    }
  });

  it('keeps system metadata, and makes it where there is none', async () => {
    const before = Date.now() / 1000 - 2;
    await namespace().register(named(':Test.new'), uri);
    const made = await namespace().getSystemMeta(named(':Test.new'));
    expect(made).toMatchObject({ type: OBJECT, owner: null });
    expect(made.timestamp).toBeGreaterThan(before);
    expect(made.timestamp).toBeLessThan(Date.now() / 1000 + 2);
    expect((await namespace().getSystemMeta(Name.root)).type).toBe(GROUP);

    const changed: SystemMeta = { type: OBJECT, timestamp: 1000000000.5, owner: 'irmen' };
    await namespace().setSystemMeta(named(':Test.new'), changed);
    await namespace().setMeta(named(':Test.new'), 'user metadata');
    expect(await namespace().getSystemMeta(named(':Test.new'))).toEqual(changed);
    expect(await namespace().getMeta(named(':Test.new'))).toBe('user metadata');
  });

  it('does not change the timestamp with the user metadata', async () => {
    const before = await namespace().getSystemMeta(named(':Test.object'));
    await namespace().setMeta(named(':Test.object'), 'user metadata');
    expect(await namespace().getSystemMeta(named(':Test.object'))).toEqual(before);
  });

  it('lets metadata go with its name', async () => {
    await namespace().setMeta(named(':Test.object'), 'old');
    await namespace().unregister(named(':Test.object'));
    await namespace().register(named(':Test.object'), uri);
    expect(await namespace().getMeta(named(':Test.object'))).toBeNull();

    await namespace().setMeta(named(':Test'), 'old');
    await namespace().deleteGroup(named(':Test'));
    await namespace().createGroup(named(':Test'));
    expect(await namespace().getMeta(named(':Test'))).toBeNull();
  });

  it('says what has no metadata', async () => {
    const system: SystemMeta = { type: OBJECT, timestamp: 1, owner: null };
    for (const missing of [':Test.none', ':none', ':Test.object.x']) {
      await expectRefusal(namespace().getMeta(named(missing)), 'name not found', missing);
      await expectRefusal(namespace().setMeta(named(missing), 1), 'name not found', missing);
      await expectRefusal(namespace().getSystemMeta(named(missing)), 'name not found', missing);
      await expectRefusal(namespace().setSystemMeta(named(missing), system), 'name not found', missing);
    }
  });
}

function copyTests(namespace: () => Namespace): void {
  const entries: NamespaceEntry[] = [
    { name: Name.root, uri: undefined, systemMeta: undefined, userMeta: 'about the root' },
    { name: named(':G'), uri: undefined, systemMeta: { type: GROUP, timestamp: 1.5e9, owner: null }, userMeta: ['g'] },
    { name: named(':G.a/b'), uri, systemMeta: { type: OBJECT, timestamp: 1234567890.25, owner: null }, userMeta: null },
    { name: named(':G.owned'), uri: other, systemMeta: { type: OBJECT, timestamp: 1.25, owner: 'me' }, userMeta: 'm' },
    { name: named(':top'), uri: other, systemMeta: undefined, userMeta: null },
  ];

  it('exports all names, parents before their members', async () => {
    await namespace().setMeta(named(':Test.object'), 'metadata');
    const exported = await collect(namespace().export());
    expect(exported.map(({ name }) => name.toString())).toEqual([':', ':Test', ':Test.object']);
    expect(exported[2]).toMatchObject({ userMeta: 'metadata', systemMeta: { type: OBJECT } });
    expect(exported[2]?.uri?.toString()).toBe(uri.toString());
  });

  it('is replaced as a whole', async () => {
    await namespace().setMeta(Name.root, 'about the old root');
    await namespace().replace(streamed(entries));
    await expectRefusal(namespace().resolve(named(':Test.object')), 'name not found', ':Test.object');
    expect(namespace().resolveNow(named(':Test.object'))).toBeUndefined();
    const exported = new Map((await collect(namespace().export())).map((entry) => [entry.name.toString(), entry]));
    expect(exported.size).toBe(entries.length);
    for (const entry of entries) {
      const copy = exported.get(entry.name.toString());
      expect(copy?.uri?.toString()).toBe(entry.uri?.toString());
      expect(copy?.userMeta).toEqual(entry.userMeta);
      if (entry.systemMeta !== undefined) expect(copy?.systemMeta).toEqual(entry.systemMeta);
    }
    await namespace().register(named(':G.new'), uri);
    expect((await namespace().resolve(named(':G.new'))).equals(uri)).toBe(true);
  });

  it('may be replaced again and again', async () => {
    for (const part of ['first', 'second', 'third']) {
      await namespace().replace(
        streamed([{ name: Name.root.child(part), uri, systemMeta: undefined, userMeta: null }]),
      );
      expect(await namespace().list(Name.root)).toEqual([{ part, type: OBJECT }]);
    }
  });

  it.each([
    ['a missing parent', [{ name: named(':none.x'), uri, systemMeta: undefined, userMeta: null }]],
    ['a name twice', [entries[1], entries[1]]],
  ])('stays as it is when it should be replaced by %s', async (_, bad) => {
    const broken = bad.filter((entry) => entry !== undefined);
    await expect(namespace().replace(streamed(broken))).rejects.toBeInstanceOf(NamingError);
    expect((await namespace().resolve(named(':Test.object'))).equals(uri)).toBe(true);
  });

  it('stays as it is when the source of a copy fails', async () => {
    const failing = streamed([...entries], new Error('connection lost'));
    await expect(namespace().replace(failing)).rejects.toThrow('connection lost');
    expect((await namespace().resolve(named(':Test.object'))).equals(uri)).toBe(true);
  });
}

function sizeTests(namespace: () => Namespace): void {
  it('counts its names, without the root', async () => {
    const before = await namespace().count();
    expect(before).toEqual({ groups: 1, objects: 1 });
    await namespace().createGroup(named(':Test.inner'));
    await namespace().register(named(':Test.inner.x'), uri);
    await namespace().setMeta(named(':Test.inner.x'), 'no name');
    expect(await namespace().count()).toEqual({ groups: 2, objects: 2 });
    await namespace().deleteGroup(named(':Test'));
    expect(await namespace().count()).toEqual({ groups: 0, objects: 0 });
    expect(namespace().status().problem).toBeUndefined();
  });

  it('tells how much of its names it holds in memory, if anything', async () => {
    const holdsInMemory = namespace().status().kind !== 'directory';
    const before = namespace().bytesInMemory;
    const text = 'x'.repeat(1000);
    await namespace().createGroup(named(':Test.inner'));
    await namespace().register(named(`:Test.inner.${'n'.repeat(200)}`), new PyroURI('PYRO', '127.0.0.1', 1, text));
    await namespace().setMeta(named(':Test.inner'), text);
    await namespace().setMeta(named(':Test.inner'), [text, 'twice']);
    await namespace().setSystemMeta(named(':Test.inner'), { type: GROUP, timestamp: 1, owner: 'y'.repeat(1000) });
    const grown = namespace().bytesInMemory - before;
    expect(grown >= 3200).toBe(holdsInMemory);
    expect(grown).toBeLessThan(4500);
    await namespace().deleteGroup(named(':Test.inner'));
    expect(namespace().bytesInMemory).toBe(before);
  });

  it('holds a tree as deep as names are long', async () => {
    let group = Name.root;
    for (let depth = 0; depth < 400; depth += 1) {
      group = group.child('g');
      await namespace().createGroup(group);
    }
    await namespace().register(group.child('object'), uri);
    expect((await namespace().resolve(group.child('object'))).equals(uri)).toBe(true);
    expect((await collect(namespace().flatlist())).flat()).toHaveLength(2);
    await namespace().deleteGroup(named(':g'));
    expect((await collect(namespace().flatlist())).flat()).toHaveLength(1);
  });

  it('holds many objects in one group', async () => {
    const names = Array.from({ length: 3000 }, (_, index) => named(`:Test.n${index}`));
    await Promise.all(names.map((name) => namespace().register(name, uri)));
    expect(await namespace().list(named(':Test'))).toHaveLength(3001);
    const flat = (await collect(namespace().flatlist())).flat();
    expect(new Set(flat.map(([name]) => name.toString())).size).toBe(3001);
  });
}

async function* streamed(entries: NamespaceEntry[], failure?: Error): AsyncGenerator<NamespaceEntry> {
  yield* entries;
  await Promise.resolve();
  if (failure !== undefined) throw failure;
}

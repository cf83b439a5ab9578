import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog } from '../../config/index.js';
import { NamingError, ProtocolError } from '../../errors.js';
import { Name, PyroURI } from '../../names/index.js';
import { GROUP, MemoryNamespace, OBJECT } from '../../namespace/index.js';
import { NameServerProxy } from '../name-server-proxy.js';
import { importEntries } from './import.js';
import { RemoteNamespace } from './remote-namespace.js';
import { writeEntryLine } from './entry-line.js';

const uri = PyroURI.parse('PYRO://10.0.0.1:7766/id');
const config = loadConfig({ environment: {}, currentDirectory: '/nowhere' });

let namespace: MemoryNamespace;
let nameServer: NameServerProxy;

/** A name server elsewhere whose answers come from a namespace here. */
beforeEach(() => {
  namespace = new MemoryNamespace();
  nameServer = new NameServerProxy(uri, { config, log: silentLog });
  jest.spyOn(nameServer, 'resolve').mockImplementation((name) => namespace.resolve(Name.parse(name)));
  jest.spyOn(nameServer, 'list').mockImplementation((name) => namespace.list(Name.parse(name ?? ':')));
  jest.spyOn(nameServer, 'getMeta').mockImplementation((name) => namespace.getMeta(Name.parse(name)));
  jest.spyOn(nameServer, '_getSystemMeta').mockImplementation((name) => namespace.getSystemMeta(Name.parse(name)));
});

afterEach(() => {
  jest.restoreAllMocks();
});

async function exported(): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of new RemoteNamespace(nameServer).export()) names.push(name.toString());
  return names;
}

async function fill(objects: number): Promise<string[]> {
  await namespace.createGroup(Name.parse(':G'));
  const names = Array.from({ length: objects }, (_, index) => `:G.n${index}`);
  for (const name of names) await namespace.register(Name.parse(name), uri);
  return [':', ':G', ...names];
}

describe('an export of a name server elsewhere', () => {
  test.each([0, 63, 64, 65, 129])('has each name once, with %i in one group', async (objects) => {
    const names = await fill(objects);
    expect((await exported()).sort()).toEqual(names.sort());
  });

  test('has the root first, and each group before its members', async () => {
    for (const group of [':a', ':a.b', ':a.b.c', ':d']) {
      await namespace.createGroup(Name.parse(group));
      await namespace.register(Name.parse(`${group}.x`), uri);
    }
    const names = await exported();
    expect(names[0]).toBe(':');
    for (const name of names.slice(1)) {
      expect(names.indexOf(Name.parse(name).parent.toString())).toBeLessThan(names.indexOf(name));
    }
    expect(names).toHaveLength(9);
  });

  test('says of each what it is, whatever its metadata say', async () => {
    await fill(1);
    await namespace.setMeta(Name.parse(':G'), 'of the group');
    const wrong = { type: OBJECT, timestamp: 5, owner: null } as const;
    jest
      .spyOn(nameServer, '_getSystemMeta')
      .mockImplementation((name) =>
        name === ':G.n0' ? Promise.resolve({ ...wrong, type: GROUP }) : Promise.resolve(wrong),
      );
    const entries = [];
    for await (const { name, ...rest } of new RemoteNamespace(nameServer).export())
      entries.push([name.toString(), rest]);
    const meta = (type: number) => ({ type, timestamp: 5, owner: null });
    expect(entries).toEqual([
      [':', { uri: undefined, systemMeta: meta(GROUP), userMeta: null }],
      [':G', { uri: undefined, systemMeta: meta(GROUP), userMeta: 'of the group' }],
      [':G.n0', { uri, systemMeta: meta(OBJECT), userMeta: null }],
    ]);
  });

  test('has names without system metadata, as Pyro 3 makes them', async () => {
    const names = await fill(1);
    jest.spyOn(nameServer, '_getSystemMeta').mockResolvedValue(undefined);
    const lines: string[] = [];
    for await (const entry of new RemoteNamespace(nameServer).export()) lines.push(writeEntryLine(entry));
    expect(lines).toEqual(
      names.map((name) => JSON.stringify({ name, uri: name === ':G.n0' ? uri.toString() : undefined })),
    );
  });

  test.each(['name not found', 'group not found', 'is no group'])(
    'leaves out what goes in the meantime: %s',
    async (message) => {
      const names = await fill(3);
      jest
        .spyOn(nameServer, 'resolve')
        .mockImplementation((name) =>
          name === ':G.n1' ? Promise.reject(new NamingError(message, name)) : Promise.resolve(uri),
        );
      expect(await exported()).toEqual(names.filter((name) => name !== ':G.n1'));
      jest
        .spyOn(nameServer, 'list')
        .mockImplementation((name) =>
          name === ':' ? namespace.list(Name.root) : Promise.reject(new NamingError(message, name ?? '')),
        );
      expect(await exported()).toEqual([':', ':G']);
    },
  );

  test.each([new NamingError('permission denied: resolve'), new ProtocolError('connection lost')])(
    'fails where it is refused, or the name server is lost: %p',
    async (error) => {
      await fill(1);
      jest.spyOn(nameServer, 'resolve').mockRejectedValue(error);
      await expect(exported()).rejects.toBe(error);
    },
  );
});

describe('an import', () => {
  const line = (name: string, of: PyroURI | undefined): string =>
    writeEntryLine({ name: Name.parse(name), uri: of, systemMeta: undefined, userMeta: null });

  async function run(lines: readonly string[], existing: 'fail' | 'replace' = 'fail') {
    const onFailure = jest.fn();
    const report = await importEntries(namespace, Readable.from(lines), { existing, onFailure });
    expect(onFailure.mock.calls).toEqual([]);
    return report;
  }

  test('makes no member before its group is there', async () => {
    const steps: string[] = [];
    const createGroup = namespace.createGroup.bind(namespace);
    const register = namespace.register.bind(namespace);
    jest.spyOn(namespace, 'createGroup').mockImplementation(async (name) => {
      await new Promise(setImmediate);
      await createGroup(name);
      steps.push(name.toString());
    });
    jest.spyOn(namespace, 'register').mockImplementation(async (name, of) => {
      steps.push(name.toString());
      await register(name, of);
    });
    await run([line(':a', undefined), line(':a.b', undefined), line(':a.x', uri), line(':a.b.y', uri)]);
    expect(steps).toEqual([':a', ':a.x', ':a.b', ':a.b.y']);
  });

  test('has at most 64 entries on their way', async () => {
    let [inflight, most] = [0, 0];
    jest.spyOn(namespace, 'register').mockImplementation(async () => {
      inflight += 1;
      most = Math.max(most, inflight);
      await new Promise(setImmediate);
      inflight -= 1;
    });
    const report = await run(Array.from({ length: 300 }, (_, index) => line(`:n${index}`, uri)));
    expect(most).toBe(64);
    expect(report.imported).toBe(300);
  });

  test('that replaces takes away metadata that an entry does not have', async () => {
    const name = Name.parse(':a');
    await namespace.register(name, uri);
    await namespace.setMeta(name, 'old');
    expect(await run([line(':a', uri)], 'replace')).toMatchObject({ imported: 1 });
    expect(await namespace.getMeta(name)).toBeNull();
  });

  test('says of groups and objects what they are', async () => {
    const set = jest.spyOn(namespace, 'setSystemMeta');
    const systemMeta = { type: OBJECT, timestamp: 7, owner: null } as const;
    const entry = (name: string, of: PyroURI | undefined): string =>
      writeEntryLine({ name: Name.parse(name), uri: of, systemMeta, userMeta: null });
    await run([entry(':g', undefined), entry(':g.a', uri)]);
    expect(set.mock.calls.map(([name, { type, timestamp }]) => [name.toString(), type, timestamp])).toEqual([
      [':g', GROUP, 7],
      [':g.a', OBJECT, 7],
    ]);
  });
});

import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Name, PyroURI } from '../names/index.js';
import { MemoryNamespace, OBJECT, type Namespace } from '../namespace/index.js';
import { dumps, type PythonValue } from '../pickle/index.js';
import { applyChange, type Change } from './change.js';
import { Quota } from './quota.js';

const uri = new PyroURI('PYRO', '127.0.0.1', 7766, 'id');
const LIMITS = { PYRO_NS_MAX_NAMES: 1_000_000, PYRO_NS_MAX_META_SIZE: 1_000_000, PYRO_NS_MAX_TOTAL_SIZE: 1_000_000 };

let namespace: Namespace;
let quota: Quota;

beforeEach(() => {
  namespace = new MemoryNamespace();
});

const named = (text: string) => Name.parse(text);
const run = (change: Change): Promise<void> => quota.run(change, () => applyChange(namespace, change));
const register = (name: string): Promise<void> => run({ kind: 'register', name: named(name), uri });
const unregister = (name: string): Promise<void> => run({ kind: 'unregister', name: named(name) });
const createGroup = (name: string): Promise<void> => run({ kind: 'createGroup', name: named(name) });
const deleteGroup = (name: string): Promise<void> => run({ kind: 'deleteGroup', name: named(name) });
const setMeta = (name: string, meta: PythonValue): Promise<void> => run({ kind: 'setMeta', name: named(name), meta });
const setOwner = (name: string, owner: PythonValue): Promise<void> =>
  run({ kind: 'setSystemMeta', name: named(name), meta: { type: OBJECT, timestamp: 0, owner } });

const longText = (pickledSize: number): string => 'x'.repeat(pickledSize - dumps('x'.repeat(1000)).length + 1000);

/** How many of some changes were made. */
async function madeOf(changes: readonly Promise<void>[]): Promise<number> {
  const outcomes = await Promise.allSettled(changes);
  return outcomes.filter(({ status }) => status === 'fulfilled').length;
}

describe('the number of names', () => {
  beforeEach(() => {
    quota = new Quota(namespace, { ...LIMITS, PYRO_NS_MAX_NAMES: 3 });
  });

  test('is bounded, groups among them, and the refusal names the limit', async () => {
    await createGroup(':G');
    await register(':G.a');
    await register(':G.b');
    await expect(register(':G.c')).rejects.toMatchObject({
      name: 'NamingError',
      args: ['too many names: PYRO_NS_MAX_NAMES is 3', ':G.c'],
    });
    await expect(createGroup(':H')).rejects.toThrow('PYRO_NS_MAX_NAMES');
    expect(await namespace.count()).toEqual({ groups: 1, objects: 2 });
  });

  test('is bounded for many that come at the same time', async () => {
    await register(':first');
    expect(await madeOf(Array.from({ length: 20 }, (_, index) => register(`:n${index}`)))).toBe(2);
  });

  test('has room again for as many as were removed, also with a group', async () => {
    await createGroup(':G');
    await register(':G.a');
    await register(':G.b');
    await unregister(':G.a');
    await register(':G.c');
    await expect(register(':d')).rejects.toThrow('PYRO_NS_MAX_NAMES');
    await deleteGroup(':G');
    expect(await madeOf([':d', ':e', ':f', ':g'].map(register))).toBe(3);
  });

  test('counts none that was refused', async () => {
    await register(':a');
    for (let tries = 0; tries < 5; tries += 1) await expect(register(':a')).rejects.toThrow('name already exists');
    expect(await madeOf([register(':b'), register(':c')])).toBe(2);
  });

  test('may be larger already: such names are changed and removed as ever', async () => {
    for (const name of [':a', ':b', ':c', ':d', ':e']) await namespace.register(named(name), uri);
    await expect(register(':f')).rejects.toThrow('PYRO_NS_MAX_NAMES');
    await setMeta(':a', 'meta');
    await unregister(':a');
    await unregister(':b');
    await expect(register(':f')).rejects.toThrow('PYRO_NS_MAX_NAMES');
    await unregister(':c');
    await register(':f');
  });

  test('finds what others have removed, and counts no more than now and then', async () => {
    jest.spyOn(performance, 'now').mockImplementation(() => clock);
    let clock = 1000;
    const count = jest.spyOn(namespace, 'count');
    count.mockImplementation(() => {
      clock += 10;
      return Promise.resolve({ groups: 0, objects: 3 });
    });
    for (let tries = 0; tries < 5; tries += 1) await expect(register(':a')).rejects.toThrow('PYRO_NS_MAX_NAMES');
    expect(count).toHaveBeenCalledTimes(1);
    count.mockResolvedValue({ groups: 0, objects: 2 });
    clock += 199;
    await expect(register(':a')).rejects.toThrow('PYRO_NS_MAX_NAMES');
    clock += 1;
    await register(':a');
    expect(count).toHaveBeenCalledTimes(2);
    jest.restoreAllMocks();
  });

  test('is counted only when a hundredth of the allowed names were made', async () => {
    quota = new Quota(namespace, { ...LIMITS, PYRO_NS_MAX_NAMES: 300 });
    const count = jest.spyOn(namespace, 'count');
    for (const name of [':a', ':b', ':c']) await register(name);
    expect(count).not.toHaveBeenCalled();
    await register(':d');
    expect(count).toHaveBeenCalledTimes(1);
  });
});

describe('the metadata of a name', () => {
  const LIMIT = 2000;

  beforeEach(async () => {
    quota = new Quota(namespace, { ...LIMITS, PYRO_NS_MAX_META_SIZE: LIMIT });
    await register(':a');
  });

  test.each([
    ['user metadata', setMeta],
    ['the owner in system metadata', setOwner],
  ])('is bounded: %s', async (_, set) => {
    await set(':a', longText(LIMIT));
    await expect(set(':a', longText(LIMIT + 1))).rejects.toMatchObject({
      name: 'NamingError',
      args: [`metadata too large: ${LIMIT + 1} bytes, PYRO_NS_MAX_META_SIZE is ${LIMIT}`, ':a'],
    });
  });

  test('that is larger already is read and removed', async () => {
    await namespace.setMeta(named(':a'), longText(LIMIT + 1));
    expect(await namespace.getMeta(named(':a'))).toBe(longText(LIMIT + 1));
    await setMeta(':a', null);
    expect(await namespace.getMeta(named(':a'))).toBeNull();
  });
});

describe('all that is in memory', () => {
  const LIMIT = 10_000;
  const refusal = 'no room for more: PYRO_NS_MAX_TOTAL_SIZE is 10000';

  beforeEach(async () => {
    quota = new Quota(namespace, { ...LIMITS, PYRO_NS_MAX_TOTAL_SIZE: LIMIT });
    await register(':a');
  });

  test('is bounded: metadata', async () => {
    const set = (size: number): Promise<void> => setMeta(':a', longText(size));
    const kept = namespace.bytesInMemory;
    await expect(set(LIMIT - kept + 1)).rejects.toMatchObject({ name: 'NamingError', args: [refusal, ':a'] });
    await set(LIMIT - kept - 100);
    await expect(setOwner(':a', longText(2000))).rejects.toThrow(refusal);
    await setMeta(':a', null);
    await setOwner(':a', longText(2000));
  });

  test('is bounded: names and URIs', async () => {
    let made = 0;
    const refused = (async () => {
      for (;;) {
        await register(`:${String(made).padEnd(1000, 'x')}`);
        made += 1;
      }
    })();
    await expect(refused).rejects.toThrow(refusal);
    expect(made).toBe(9);
    await expect(createGroup(`:${'g'.repeat(1000)}`)).rejects.toThrow(refusal);
    await unregister(`:${'0'.padEnd(1000, 'x')}`);
    await createGroup(`:${'g'.repeat(900)}`);
  });

  test('is bounded for many changes at the same time', async () => {
    let goOn: () => void = () => undefined;
    const paused = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const changes = Array.from({ length: 20 }, () =>
      quota.run({ kind: 'setMeta', name: named(':a'), meta: longText(1500) }, () => paused),
    );
    goOn();
    expect(await madeOf(changes)).toBe(6);
  });

  test('counts for nothing where it is on a disk', async () => {
    quota = new Quota(
      { count: () => namespace.count(), bytesInMemory: 0 },
      { ...LIMITS, PYRO_NS_MAX_TOTAL_SIZE: 1000 },
    );
    for (let index = 0; index < 30; index += 1) await register(`:${String(index).padEnd(100, 'x')}`);
    expect((await namespace.count()).objects).toBe(31);
  });
});

import { afterEach, describe, expect, test } from '@jest/globals';
import { NAMESERVER_NAME, PyroURI } from '../src/names/index.js';
import { uriToPython } from '../src/rpc/index.js';
import { changeAndSee, names, ServerPair, status, until, type Role } from './support/pair.js';

const uri = new PyroURI('PYRO', '10.1.2.3', 7766, 'abc');
const other: Readonly<Record<Role, Role>> = { primary: 'secondary', secondary: 'primary' };

let pair: ServerPair;

afterEach(() => pair.dispose());

async function startPair(persistent: boolean, first: Role = 'primary'): Promise<void> {
  pair = await ServerPair.prepare(persistent);
  await pair.start(first);
  await pair.start(other[first]);
  await pair.connected();
}

describe.each([
  ['in memory', false],
  ['with a database', true],
])('two servers %s', (_how, persistent) => {
  test.each<Role>(['primary', 'secondary'])('every change on the %s is seen on the other', async (role) => {
    await startPair(persistent, role);
    const here = await pair.client(role);
    const there = await pair.client(other[role]);
    await changeAndSee(here, there);
    await pair.connected();
    expect(await names(there)).toEqual(await names(here));
    expect(await there.resolve(NAMESERVER_NAME)).toBe(pair.server(other[role]).uri);
    expect(await here.resolve(NAMESERVER_NAME)).toBe(pair.server(role).uri);
  });

  test('one that was away comes back whole, removals included', async () => {
    await startPair(persistent);
    const primary = await pair.client('primary');
    await primary.call('register', ':kept', uriToPython(uri));
    await primary.call('register', ':gone', uriToPython(uri));
    await pair.connected();
    await pair.server('secondary').stop('SIGKILL');
    await primary.call('unregister', ':gone');
    await primary.call('register', ':new', uriToPython(uri));
    await until(
      () => status(primary),
      (twin) => twin.get('state') === 'lost',
    );
    await pair.server('secondary').restart();
    const secondary = await pair.client('secondary');
    // Whoever is answered sees what the twin has.
    expect(Object.keys(await names(secondary))).toEqual([':kept', ':new']);
    await pair.connected();
    expect(await names(primary)).toEqual(await names(secondary));
  });
});

test('a new server does not empty the full one', async () => {
  pair = await ServerPair.prepare(true);
  await pair.start('primary');
  const primary = await pair.client('primary');
  await primary.call('createGroup', ':g');
  await primary.call('register', ':g.a', uriToPython(uri));
  await pair.start('secondary');
  await pair.connected();
  const secondary = await pair.client('secondary');
  expect(await names(primary)).toEqual({ ':g.a': uri.toString() });
  expect(await names(secondary)).toEqual({ ':g.a': uri.toString() });
});

test('resync merges everything, and is refused without a twin', async () => {
  pair = await ServerPair.prepare();
  await pair.start('primary');
  const primary = await pair.client('primary');
  await expect(primary.call('resync')).rejects.toThrow('cannot resync: twin NS is unknown or unreachable');
  await pair.start('secondary');
  await pair.connected();
  const secondary = await pair.client('secondary');
  await primary.call('createGroup', ':g');
  await primary.call('register', ':g.of-primary', uriToPython(uri));
  await secondary.call('register', ':of-secondary', uriToPython(uri));
  await pair.connected();
  for (const client of [primary, secondary]) {
    expect(await client.call('resync')).toBeNull();
    await pair.connected();
    const both = { ':g.of-primary': uri.toString(), ':of-secondary': uri.toString() };
    expect(await names(primary)).toEqual(both);
    expect(await names(secondary)).toEqual(both);
  }
});

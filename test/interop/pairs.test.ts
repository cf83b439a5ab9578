import { afterEach, describe, expect, test } from '@jest/globals';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { NAMESERVER_NAME, PyroURI } from '../../src/names/index.js';
import { uriToPython } from '../../src/rpc/index.js';
import type { NameServerClient } from '../support/name-server-client.js';
import { real } from '../support/name-server-process.mjs';
import { changeAndSee, names, ServerPair, status, until, type Role } from '../support/pair.js';
import { lacksPyro3 } from '../support/pyro3.js';

const uri = new PyroURI('PYRO', '10.1.2.3', 7766, 'abc');
const other: Readonly<Record<Role, Role>> = { primary: 'secondary', secondary: 'primary' };

let pair: ServerPair;

/** Starts ours in a role and Pyro 3 as its twin, one after the other: the first has names that the other must get. */
async function startPair(persistent: boolean, role: Role, first: 'ours' | 'theirs'): Promise<void> {
  pair = await ServerPair.prepare(persistent, { [other[role]]: real() });
  const [former, latter] = first === 'ours' ? [role, other[role]] : [other[role], role];
  await pair.start(former);
  const full = await pair.client(former);
  await full.call('createGroup', ':before');
  await full.call('register', ':before.a', uriToPython(uri));
  await full.call('setMeta', ':before', 'of the group');
  await full.call('setMeta', ':before.a', ['of', 'the object']);
  await pair.start(latter);
  await connected(await pair.client(role));
  // A persistent Pyro 3 server answers while it still stores its copy.
  const copy = await pair.client(latter);
  await until(
    () => copy.call('getMeta', ':before.a').catch(() => null),
    (meta) => meta !== null,
  );
}

const connected = (client: NameServerClient): Promise<unknown> =>
  until(
    () => status(client),
    (twin) => twin.get('software') === 'Pyro 3' && twin.get('state') === 'connected' && twin.get('unconfirmed') === 0,
  );

/**
 * Theirs changes first: each change that Pyro 3 is told runs in a thread of its own, has no twin meanwhile, and puts back
 * the one that it found. Two that overlap can leave it without one for good.
 */
async function changeOnBoth(ours: NameServerClient, theirs: NameServerClient): Promise<void> {
  await changeAndSee(theirs, ours);
  await changeAndSee(ours, theirs);
}

afterEach(() => pair.dispose());

(lacksPyro3('pairs with a real Pyro 3 server') ? describe.skip : describe).each([
  ['in memory', false],
  ['with a database', true],
])('a pair with Pyro 3, %s', (_how, persistent) => {
  describe.each<Role>(['primary', 'secondary'])('ours is the %s', (role) => {
    test.each<'ours' | 'theirs'>(['ours', 'theirs'])('%s starts first', async (first) => {
      await startPair(persistent, role, first);
      const ours = await pair.client(role);
      const theirs = await pair.client(other[role]);
      for (const client of [ours, theirs]) {
        expect(await names(client)).toEqual({ ':before.a': uri.toString() });
        expect(await client.call('getMeta', ':before')).toBe('of the group');
        expect(await client.call('getMeta', ':before.a')).toEqual(['of', 'the object']);
      }
      await changeOnBoth(ours, theirs);
      expect(await ours.resolve(NAMESERVER_NAME)).toBe(pair.server(role).uri);
      expect(await theirs.resolve(NAMESERVER_NAME)).toBe(pair.server(other[role]).uri);
    });
  });

  test('either may be killed, and is whole again when it is back', async () => {
    await startPair(persistent, 'primary', 'theirs');
    const [primary, secondary] = [pair.server('primary'), pair.server('secondary')];
    const ours = await pair.client('primary');
    await secondary.stop('SIGKILL');
    await ours.call('unregister', ':before.a');
    await ours.call('register', ':while theirs was away'.replaceAll(' ', '-'), uriToPython(uri));
    await secondary.restart();
    await connected(ours);
    const theirs = await pair.client('secondary');
    expect(await names(theirs)).toEqual({ ':while-theirs-was-away': uri.toString() });
    await primary.stop('SIGKILL');
    await theirs.call('unregister', ':while-theirs-was-away');
    await theirs.call('register', ':while-ours-was-away', uriToPython(uri));
    await primary.restart();
    const back = await pair.client('primary');
    expect(await names(back)).toEqual({ ':while-ours-was-away': uri.toString() });
    await changeOnBoth(back, theirs);
  });

  test('resync copies from the other one', async () => {
    await startPair(persistent, 'secondary', 'ours');
    const [ours, theirs] = [await pair.client('secondary'), await pair.client('primary')];
    const resync = async (client: NameServerClient): Promise<void> => {
      await until(
        // A persistent Pyro 3 server has no twin yet for as long as it stores its copy.
        () => client.call('resync').catch(String),
        (answer) => answer === null,
      );
      expect(await names(client)).toEqual({ ':before.a': uri.toString() });
    };
    // Ours changes nothing before the end: Pyro 3 may still be busy with a change when all of it can be seen, and would
    // then put back the twin that it found before, none perhaps, after it was told of us again.
    await resync(theirs);
    await changeAndSee(theirs, ours);
    await resync(ours);
    await changeOnBoth(ours, theirs);
  });
});

(lacksPyro3('copies between a Pyro 3 server and ours') ? describe.skip : describe)(
  'what a pair with Pyro 3 copies',
  () => {
    test('a Pyro 3 server that has lost its names gets ours', async () => {
      pair = await ServerPair.prepare(true, { secondary: real() });
      const primary = await pair.start('primary');
      await (await pair.client('primary')).call('register', ':kept', uriToPython(uri));
      await primary.stop();
      await pair.start('secondary');
      await primary.restart();
      const theirs = await pair.client('secondary');
      await until(
        // Its database is not there for a moment.
        () => theirs.resolve(':kept').catch(String),
        (found) => found === uri.toString(),
      );
      expect(await names(await pair.client('primary'))).toEqual({ ':kept': uri.toString() });
    });

    test('its names with a slash, which it can not dump, and ours', async () => {
      pair = await ServerPair.prepare(true, { secondary: real() });
      await pair.start('secondary');
      const theirs = await pair.client('secondary');
      await theirs.call('createGroup', ':a/b');
      await theirs.call('register', ':a/b.c/d', uriToPython(uri));
      await theirs.call('setMeta', ':a/b.c/d', 'meta');
      const primary = await pair.start('primary');
      const ours = await pair.client('primary');
      expect(await names(ours)).toEqual({ ':a/b.c/d': uri.toString() });
      expect(await ours.call('getMeta', ':a/b.c/d')).toBe('meta');
      await changeAndSee(theirs, ours);
      await changeAndSee(ours, theirs);
      await pair.server('secondary').stop('SIGKILL');
      await pair.server('secondary').restart();
      expect(await names(await pair.client('secondary'))).toEqual({ ':a/b.c/d': uri.toString() });
      await primary.stop();
    });

    test('the names that a copy replaces are kept as a backup', async () => {
      pair = await ServerPair.prepare(true, { secondary: real() });
      const primary = await pair.start('primary');
      await (await pair.client('primary')).call('register', ':ours', uriToPython(uri));
      await primary.stop();
      await pair.start('secondary');
      await (await pair.client('secondary')).call('register', ':theirs', uriToPython(uri));
      await primary.restart();
      expect(await names(await pair.client('primary'))).toEqual({ ':theirs': uri.toString() });
      expect(await readdir(join(primary.storage, 'Pyro_NS_database.replaced'))).toContain('ours');
    });
  },
);

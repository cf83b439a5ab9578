import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Config } from '../config/index.js';
import { INTERNAL_DAEMON_GUID, NAMESERVER_NAME } from '../names/index.js';
import { NameServerLocator } from './locator.js';
import { NameServerStarter, type StartOptions } from './starter.js';

const QUIET: StartOptions = { hostname: '127.0.0.1', nsport: 0, dontlookupother: true };

let directory: string;
let config: Config;
let lines: string[];
let starter: NameServerStarter;

const newStarter = (): NameServerStarter =>
  new NameServerStarter({ config, log: silentLog, print: (line) => lines.push(line) });

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-starter-'));
  config = loadConfig({ environment: { PYRO_STORAGE: directory }, currentDirectory: directory });
  lines = [];
  starter = newStarter();
});

afterEach(async () => {
  await starter.shutdown();
  rmSync(directory, { recursive: true });
});

/** Nobody listens on a port that a server had. */
async function expectPortFree(port: number): Promise<void> {
  expect(port).toBeGreaterThan(0);
  const successor = createServer().listen(port, '127.0.0.1');
  await once(successor, 'listening');
  expect(successor.address()).toMatchObject({ port });
  await once(successor.close(), 'close');
}

test('starts a name server, which answers as soon as that is said', async () => {
  const waiting = starter.waitUntilStarted();
  expect(await starter.waitUntilStarted(0)).toBe(false);
  const uri = await starter.initialize(QUIET);
  expect([await waiting, await starter.waitUntilStarted(0)]).toEqual([true, true]);
  const locator = new NameServerLocator({ config, log: silentLog });
  expect(await locator.detectNS({ host: '127.0.0.1', port: uri.port })).toEqual(uri);
  expect(lines.join('\n')).not.toContain('Database:');
  expect(lines).toContain(`Name server listening on: ('127.0.0.1', ${uri.port})`);
  expect(lines.at(-1)).toBe('Name Server started.');
});

test('says which database it serves, and how much is in it', async () => {
  await starter.start({ ...QUIET, persistent: true });
  expect(lines).toContain(`Database: ${directory}/Pyro_NS_database (new)`);
  await starter.shutdown();
  lines.length = 0;
  starter = newStarter();
  await starter.start({ ...QUIET, persistent: true });
  expect(lines).toContain(`Database: ${directory}/Pyro_NS_database (1 name in 2 groups)`);
});

test('writes its own entry again when it has its database back from another server', async () => {
  const uri = await starter.start({ ...QUIET, persistent: true });
  const database = join(directory, 'Pyro_NS_database');
  const ns = await new NameServerLocator({ config, log: silentLog }).getNS({ host: '127.0.0.1', port: uri.port });
  // Another has served it while this one stood still, and has let go of it.
  const later = Date.now() + 60_000;
  const clock = jest.spyOn(Date, 'now').mockReturnValue(later);
  rmSync(join(database, '.pyro-ns.ns_meta'), { recursive: true });
  writeFileSync(join(database, 'Pyro', 'NameServer'), 'PYRO://10.0.0.1:9090/0a00000100000000\n');
  await ns.createGroup(':New');
  const isRestored = () =>
    existsSync(join(database, 'Pyro', 'NameServer')) &&
    readFileSync(join(database, 'Pyro', 'NameServer'), 'latin1') === `${uri.toString()}\n`;
  while (!isRestored()) await new Promise(setImmediate);
  clock.mockRestore();
  expect(await ns.resolve(NAMESERVER_NAME)).toEqual(uri);
  await ns._release();
});

test('is shut down while it waits for its database', async () => {
  const lock = join(directory, 'db', '.pyro-ns.ns_meta', 'lock.ns_meta');
  mkdirSync(lock, { recursive: true });
  mkdirSync(join(directory, 'db', 'Pyro'));
  writeFileSync(join(lock, 'holder-00000000-0000-4000-8000-000000000001-1'), '');
  const failure = starter.start({ ...QUIET, persistent: true, dbdir: 'db' }).catch((error: unknown) => error);
  while (lines.length === 0) await new Promise(setImmediate);
  expect(lines).toEqual([expect.stringMatching(/^waiting up to 30 s for a sign of life/)]);
  await starter.shutdown();
  expect(String(await failure)).toContain('the name server shuts down');
});

test('refuses to serve a directory that is no database', async () => {
  writeFileSync(join(directory, 'hosts'), '127.0.0.1 localhost');
  await expect(starter.start({ ...QUIET, persistent: true, dbdir: directory })).rejects.toThrow(
    `${directory} is no database of a name server`,
  );
});

test.each([Infinity, null, undefined, 2_147_484, 1e300])('waits for %p seconds as without end', async (timeout) => {
  const waiting = starter.waitUntilStarted(timeout);
  // One that is over at once would be answered first.
  expect(await starter.waitUntilStarted(0.001)).toBe(false);
  await starter.start(QUIET);
  expect(await waiting).toBe(true);
});

test('has an entry of its own again, whatever a client or a hand has put in its place', async () => {
  const persistent = { ...QUIET, persistent: true };
  const { port } = await starter.start(persistent);
  await starter.shutdown();
  const entry = join(directory, 'Pyro_NS_database', 'Pyro', 'NameServer');
  writeFileSync(entry, `PYRO://127.0.0.1:${port}/${INTERNAL_DAEMON_GUID}\n`);
  starter = newStarter();
  const uri = await starter.start({ ...persistent, nsport: port });
  expect(uri.objectID).not.toBe(INTERNAL_DAEMON_GUID);
  const locator = new NameServerLocator({ config, log: silentLog });
  await using nameServer = await locator.getNS({ host: '127.0.0.1', port });
  expect(await nameServer.resolve(NAMESERVER_NAME)).toEqual(uri);
  await starter.shutdown();
  starter = newStarter();
  expect(await starter.start({ ...persistent, nsport: port })).toEqual(uri);
});

test('tells the sockets that it listens on', async () => {
  expect(starter.getServerSockets()).toEqual([]);
  const { port } = await starter.start(QUIET);
  expect(starter.getServerSockets().map((socket) => socket.address())).toEqual([expect.objectContaining({ port })]);
  await starter.shutdown();

  // Published under another address than loopback, it listens to broadcasts too.
  config.PYRO_PUBLISHHOST = '192.0.2.1';
  starter = newStarter();
  await starter.start({ ...QUIET, bcaddr: '127.0.0.1', bcport: 0 });
  const [, listener] = starter.getServerSockets();
  expect(listener?.address()).toMatchObject({ address: '127.0.0.1', family: 'IPv4' });
  expect(listener).toBeInstanceOf(Socket);
});

test('starts under a published name that only others know', async () => {
  config.PYRO_DNS_URI = true;
  config.PYRO_PUBLISHHOST = 'behind-the-router.invalid';
  const uri = await starter.start({ ...QUIET, bcaddr: '127.0.0.1', bcport: 0 });
  expect(uri.address).toBe('behind-the-router.invalid');
});

test('takes no object id with control characters from its entry, and prints none', async () => {
  const { port } = await starter.start({ ...QUIET, persistent: true });
  await starter.shutdown();
  const entry = join(directory, 'Pyro_NS_database', 'Pyro', 'NameServer');
  writeFileSync(entry, `PYRO://127.0.0.1:${port}/\x1b[2J\n`);
  starter = newStarter();
  const uri = await starter.start({ ...QUIET, nsport: port, persistent: true });
  expect(lines.at(-3)).toBe(`URI is: ${uri.toString()}`);
  expect(lines.join('\n')).not.toContain('\x1b');
});

test('stops when it is told to: the port is free, and who waits knows', async () => {
  const { port } = await starter.start(QUIET);
  await Promise.all([starter.shutdown(), starter.shutdown(), starter.stopped]);
  await expectPortFree(port);
});

test('stops when a client may tell it to', async () => {
  const { port } = await starter.start(QUIET);
  const locator = new NameServerLocator({ config, log: silentLog });
  expect(await locator.sendSysCommand('shutdown', { host: '127.0.0.1', port })).toBe('Will shut down shortly');
  await starter.stopped;
});

test('leaves nothing behind where it is stopped while it starts', async () => {
  const starting = starter.start(QUIET);
  await starter.shutdown();
  const { port } = await starting;
  await expectPortFree(port);
});

test('starts once', async () => {
  await starter.start(QUIET);
  await expect(starter.start(QUIET)).rejects.toThrow('a NameServerStarter starts one name server, once');
  expect(await starter.waitUntilStarted()).toBe(true);
  const stopped = newStarter();
  await stopped.shutdown();
  await expect(stopped.start(QUIET)).rejects.toThrow('once');
});

describe('a name server that can not start', () => {
  test('says why, and lets nobody wait for it', async () => {
    const { port } = await starter.start(QUIET);
    const second = newStarter();
    const waiting = second.waitUntilStarted();
    await expect(second.start({ ...QUIET, nsport: port })).rejects.toMatchObject({ name: 'DaemonError' });
    expect(await waiting).toBe(false);
    expect(lines).toEqual(expect.arrayContaining([`(or somebody else occupies our port, ${port} )`]));
  });

  test('lets go of the port and of the database where its broadcast port is taken', async () => {
    config.PYRO_PUBLISHHOST = '192.0.2.1';
    const broadcasting = { ...QUIET, bcaddr: '127.0.0.1' };
    await starter.start({ ...broadcasting, bcport: 0 });
    const address = starter.getServerSockets()[1]?.address();
    const bcport = typeof address === 'object' ? address?.port : undefined;
    const second = newStarter();
    await expect(second.start({ ...broadcasting, bcport, persistent: true })).rejects.toThrow(
      'cannot start broadcast server',
    );
    expect(lines).toContain('Cannot start broadcast server. Is somebody else occupying our broadcast port?');
    const third = newStarter();
    await third.start({ ...QUIET, nobroadcast: true, persistent: true });
    await third.shutdown();
  });
});

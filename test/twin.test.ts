import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loadConfig, silentLog, type Log } from '../src/config/index.js';
import { ConnectionDeniedError } from '../src/errors.js';
import { DefaultConnValidator, NameServerStarter, watch, NameServerProxy } from '../src/index.js';
import type { StartOptions, WatchEvent } from '../src/index.js';
import { PyroURI } from '../src/names/index.js';
import { systemMetaFromPython } from '../src/namespace/index.js';
import { tuple, type PythonValue } from '../src/pickle/index.js';
import { uriToPython } from '../src/rpc/index.js';
import { createAuthority, createCertificate } from './support/certificates.js';
import { NameServerClient } from './support/name-server-client.js';
import { changeAndSee, freePorts, names, status, until, type Role } from './support/pair.js';
import type { Caller } from './support/raw-connection.js';
import { SeverableProxy } from './support/severable-proxy.js';

const other: Readonly<Record<Role, Role>> = { primary: 'secondary', secondary: 'primary' };
const ROLES: readonly Role[] = ['primary', 'secondary'];

/** An address of this machine where no twin is. */
const ELSEWHERE = '127.0.0.2';

let directory: string;
let ports: Readonly<Record<Role, number>>;
let uris: Map<Role, PyroURI>;
/** Resources of a test, in the order in which they are let go of. */
let closing: (() => unknown)[];
/** What the servers' logs say, from warnings on. */
let logged: Map<Role, string[]>;
/** Where each reaches its twin. */
let ways: Map<Role, SeverableProxy>;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pyro-ns-twin-'));
  const [primary = 0, secondary = 0] = await freePorts(2);
  ports = { primary, secondary };
  uris = new Map();
  closing = [];
  logged = new Map(ROLES.map((role) => [role, []]));
  ways = new Map();
});

afterEach(async () => {
  await Promise.all([...closing].reverse().map((close) => close()));
  await rm(directory, { recursive: true });
});

interface Settings {
  readonly items?: Record<string, string>;
  readonly identification?: string;
  readonly options?: StartOptions;
}

async function start(role: Role, { items, identification, options }: Settings = {}): Promise<NameServerStarter> {
  const config = loadConfig({ environment: { PYRO_STORAGE: directory, ...items }, currentDirectory: directory });
  const warn = (...parts: unknown[]): void => {
    logged.get(role)?.push(parts.join(' '));
  };
  const log: Log = { ...silentLog, warn, error: warn };
  const starter = new NameServerStarter({ config, log, print: () => undefined, identification });
  closing.push(() => starter.shutdown());
  const way = ways.get(role)?.endpoint.split(':')[1];
  const uri = await starter.start({
    hostname: '127.0.0.1',
    nsport: ports[role],
    dontlookupother: true,
    nobroadcast: true,
    role,
    twin: { host: '127.0.0.1', port: Number(way ?? ports[other[role]]) },
    ...options,
  });
  uris.set(role, uri);
  return starter;
}

/** Both servers, each of which reaches the other one by a way that can be blocked. */
async function startPair(settings?: Settings): Promise<void> {
  for (const role of ROLES) {
    const way = await SeverableProxy.start(`127.0.0.1:${ports[other[role]]}`);
    closing.push(() => way.close());
    ways.set(role, way);
  }
  for (const role of ROLES) await start(role, settings);
  await connected();
}

async function client(role: Role, caller?: Caller): Promise<NameServerClient> {
  const uri = uris.get(role);
  if (uri === undefined) throw new Error(`the ${role} is not started`);
  const connected = await NameServerClient.connect(uri, caller);
  closing.push(() => {
    connected.close();
  });
  return connected;
}

const clients = (): Promise<NameServerClient[]> => Promise.all(ROLES.map((role) => client(role)));

async function connected(): Promise<void> {
  for (const here of await clients()) {
    await until(
      () => status(here),
      (twin) => twin.get('state') === 'connected' && twin.get('unconfirmed') === 0 && twin.get('mergeDue') === false,
    );
  }
}

/** Nothing gets through between the two, until `heal`. */
async function part(): Promise<void> {
  for (const way of ways.values()) {
    way.hold('all');
    way.cut();
  }
  for (const here of await clients()) {
    await until(
      () => status(here),
      (twin) => twin.get('state') === 'lost',
    );
  }
}

async function heal(): Promise<void> {
  for (const way of ways.values()) way.hold('nothing');
  await connected();
}

const uriOf = (text: string): PythonValue => uriToPython(PyroURI.parse(`PYRO://10.1.2.3:7766/${text}`));
const textOf = (text: string): string => `PYRO://10.1.2.3:7766/${text}`;

describe('who may be the twin', () => {
  const attempts: Record<string, PythonValue[]> = {
    _resync: [uriOf('x')],
    _synccall: ['register', ':stranger', uriOf('x')],
    _twinHello: [new Map<PythonValue, PythonValue>([['instance', 'x']])],
    _twinChanges: ['x', 1, []],
    _twinConfirmed: ['x', 1, false],
    _twinMerge: ['x', 1, [tuple(':stranger', 1, 'primary', true, null)], true],
  };

  test.each(Object.keys(attempts))('%s is refused to who is elsewhere', async (method) => {
    await start('primary');
    const stranger = await client('primary', { localAddress: ELSEWHERE });
    await expect(stranger.call(method, ...(attempts[method] ?? []))).rejects.toThrow('is for the twin name server');
    expect(await names(stranger)).toEqual({});
    expect(logged.get('primary')?.join()).toContain(`refused ${method}`);
  });

  test('who is where the twin is may tell changes', async () => {
    await start('primary');
    const twin = await client('primary');
    await twin.call('_synccall', 'register', ':told', uriOf('x'));
    expect(await names(twin)).toEqual({ ':told': textOf('x') });
  });

  test('with a passphrase, only who has it', async () => {
    await start('primary', { identification: 'ours' });
    const stranger = client('primary', { identification: 'theirs' });
    await expect(stranger).rejects.toThrow('DENIED3');
    await expect(client('primary')).rejects.toThrow('DENIED3');
    const insider = await client('primary', { identification: 'ours', localAddress: ELSEWHERE });
    for (const method of ['_resync', '_synccall']) {
      await expect(insider.call(method, ...(attempts[method] ?? []))).rejects.toThrow('PYRO_NS_PYRO3_TWIN=1');
    }
    for (const method of ['_twinHello', '_twinChanges', '_twinConfirmed', '_twinMerge']) {
      await expect(insider.call(method, ...(attempts[method] ?? []))).rejects.toThrow(/introduc/);
    }
    expect(await names(insider)).toEqual({});
  });

  test('with a passphrase, a pair proves itself both ways, and tells each other its changes', async () => {
    const identification = 'ours';
    for (const role of ROLES) await start(role, { identification });
    const [primary, secondary] = await Promise.all(ROLES.map((role) => client(role, { identification })));
    await primary?.call('register', ':a', uriOf('a'));
    await until(
      async () => secondary?.resolve(':a').catch(() => undefined),
      (found) => found === textOf('a'),
    );
    await secondary?.call('register', ':b', uriOf('b'));
    const told = await until(
      async () => primary?.resolve(':b').catch(() => undefined),
      (found) => found === textOf('b'),
    );
    expect(told).toBe(textOf('b'));
  });

  test('with a passphrase, a Pyro 3 server may tell changes where PYRO_NS_PYRO3_TWIN allows it', async () => {
    await start('primary', { identification: 'ours', items: { PYRO_NS_PYRO3_TWIN: '1' } });
    const twin = await client('primary', { identification: 'ours', localAddress: ELSEWHERE });
    await twin.call('_synccall', 'register', ':told', uriOf('x'));
    expect(await names(twin)).toEqual({ ':told': textOf('x') });
  });

  test('a server with a wrong passphrase is refused, and does not start', async () => {
    await start('primary', { identification: 'one' });
    await expect(start('secondary', { identification: 'another' })).rejects.toThrow(ConnectionDeniedError);
    const primary = await client('primary', { identification: 'one' });
    expect((await status(primary)).get('state')).toBe('lost');
  });

  test('two servers of one role do not pair', async () => {
    await start('primary');
    ports = { primary: ports.secondary, secondary: ports.primary };
    await start('primary');
    const here = await client('primary');
    const twin = await until(
      () => status(here),
      (found) => found.get('problem') !== null,
    );
    expect(twin.get('problem')).toContain('both name servers are primary');
    expect(twin.get('state')).not.toBe('connected');
  });

  test('a guard is asked about the calls of a twin, and about resync', async () => {
    const asked = new Set<string>();
    class Guard extends DefaultConnValidator {
      acceptOperation(operation: string, name: string | undefined): boolean {
        if (name === undefined) asked.add(operation);
        return operation !== 'resync';
      }
    }
    await start('primary', { options: { guards: { connection: new Guard() } } });
    await start('secondary');
    await connected();
    const [primary, secondary] = await clients();
    await secondary?.call('register', ':a', uriOf('a'));
    await until(
      () => Promise.resolve([...asked]),
      (operations) => operations.includes('_twinChanges'),
    );
    expect(asked).toContain('_twinHello');
    expect(asked).toContain('_twinMerge');
    await expect(primary?.call('resync')).rejects.toThrow('permission denied: resync');
  });
});

test('a server that is not paired refuses', async () => {
  await start('primary', { options: { role: undefined, twin: undefined } });
  const single = await client('primary');
  await expect(single.call('resync')).rejects.toThrow("NS is not running in 'primary' or 'secondary' mode");
  await expect(single.call('_resync', uriOf('x'))).rejects.toThrow("not running in 'primary' or 'secondary' mode");
  for (const method of ['_synccall', '_twinHello', '_twinChanges', '_twinConfirmed', '_twinMerge']) {
    await expect(single.call(method, 'register', ':a', uriOf('x'))).rejects.toThrow('has no attribute');
  }
});

test('a pair speaks TLS where its servers do', async () => {
  const authority = createAuthority(directory, 'authority');
  createCertificate(authority, 'host', 'IP:127.0.0.1');
  const items = { PYROSSL_CERTDIR: directory, PYROSSL_CA_CERT: 'authority.pem', PYROSSL_CERT: 'host.pem' };
  const config = loadConfig({ environment: items, currentDirectory: directory });
  for (const role of ROLES) await start(role, { items, options: { ssl: true } });
  const [primary, secondary] = [...uris.values()].map((uri) => new NameServerProxy(uri, { config, log: silentLog }));
  closing.push(() => Promise.all([primary?._release(), secondary?._release()]));
  await primary?.register(':a', textOf('a'));
  const there = await until(
    async () => secondary?.resolve(':a').catch(() => undefined),
    (uri) => uri !== undefined,
  );
  expect(there?.toString()).toBe(textOf('a'));
  await secondary?.unregister(':a');
  const left = await until(
    async () => primary?.flatlist(),
    (list) => list?.every(([name]) => name !== ':a') === true,
  );
  expect(left?.map(([name]) => name)).toEqual([':Pyro.NameServer']);
});

test('who watches one server sees what is changed at the other', async () => {
  await startPair();
  const [primary, secondary] = await clients();
  if (!primary || !secondary) throw new Error('no clients');
  const uri = uris.get('secondary');
  const proxy = new NameServerProxy(uri ?? PyroURI.parse(textOf('x')), { log: silentLog });
  closing.push(() => proxy._release());
  const events: WatchEvent[] = [];
  const watching = watch(proxy);
  const seen = (async () => {
    for await (const event of watching) if (events.push(event) === 6) return;
  })();
  await until(
    () => secondary.call('ping'),
    () => true,
  );
  await changeAndSee(primary, secondary);
  await seen;
  expect(events.map(({ operation, name }) => `${operation} ${name}`)).toEqual([
    'createGroup :g',
    'register :g.a/b',
    'setMeta :g.a/b',
    'unregister :g.a/b',
    'register :g.c',
    'deleteGroup :g',
  ]);
});

describe('a twin that takes nothing', () => {
  test('does not slow clients, and what it has not confirmed is visible', async () => {
    await startPair();
    const [primary, secondary] = await clients();
    for (const way of ways.values()) way.hold('requests');
    const began = performance.now();
    for (let number = 1; number <= 50; number += 1) await primary?.call('register', `:n${number}`, uriOf(`n${number}`));
    expect(performance.now() - began).toBeLessThan(5000);
    expect(primary && (await status(primary)).get('unconfirmed')).toBe(50);
    expect(secondary && (await names(secondary))).toEqual({});
    await heal();
    expect(secondary && Object.keys(await names(secondary))).toHaveLength(50);
  });

  test('gets all names in the end where more has changed than may wait', async () => {
    await startPair({ items: { PYRO_NS_TWIN_QUEUE: '5' } });
    const [primary, secondary] = await clients();
    if (!primary || !secondary) throw new Error('no clients');
    await primary.call('register', ':removed', uriOf('removed'));
    await connected();
    for (const way of ways.values()) way.hold('requests');
    await primary.call('unregister', ':removed');
    for (let number = 1; number <= 20; number += 1) await primary.call('register', `:n${number}`, uriOf(`n${number}`));
    expect((await status(primary)).get('mergeDue')).toBe(true);
    expect((await status(primary)).get('unconfirmed')).toBe(0);
    await heal();
    expect(await names(secondary)).toEqual(await names(primary));
    expect(Object.keys(await names(secondary))).toHaveLength(20);
  });

  test('takes metadata as large as a message may be, and what is larger is said to be missing', async () => {
    await startPair({ items: { PYRO_NS_MAX_MESSAGE_SIZE: '200000' } });
    const [primary, secondary] = await clients();
    if (!primary || !secondary) throw new Error('no clients');
    for (let number = 1; number <= 8; number += 1) {
      await primary.call('createGroup', `:g${number}`);
      await primary.call('setMeta', `:g${number}`, 'm'.repeat(120_000));
    }
    await primary.call('createGroup', ':large');
    await primary.call('setMeta', ':large', 'm'.repeat(190_000));
    await primary.call('register', ':last', uriOf('last'));
    await primary.call('resync');
    await connected();
    expect(await secondary.resolve(':last')).toBe(textOf('last'));
    for (let number = 1; number <= 8; number += 1)
      expect(await secondary.call('getMeta', `:g${number}`)).toHaveLength(120_000);
    expect(logged.get('primary')?.join()).toContain(':large is not the same on both sides');
  });
});

describe('what was changed on both sides while they could not see each other', () => {
  test('the newest change of each name wins, removals included, and the log names what lost', async () => {
    await startPair();
    const [primary, secondary] = await clients();
    if (!primary || !secondary) throw new Error('no clients');
    for (const name of [':removed-later', ':changed-later', ':meta', ':both']) {
      await primary.call('register', name, uriOf('before'));
    }
    await primary.call('createGroup', ':group');
    await primary.call('register', ':group.old', uriOf('before'));
    await primary.call('createGroup', ':emptied');
    await primary.call('register', ':emptied.old', uriOf('before'));
    await connected();
    await part();
    const replace = async (at: NameServerClient, name: string, text: string): Promise<void> => {
      await at.call('unregister', name);
      await at.call('register', name, uriOf(text));
    };
    const changes: (() => Promise<unknown>)[] = [
      () => replace(primary, ':removed-later', 'primary'),
      () => secondary.call('unregister', ':removed-later'),
      () => primary.call('unregister', ':changed-later'),
      () => secondary.call('setMeta', ':changed-later', 'secondary'),
      () => primary.call('setMeta', ':meta', 'primary'),
      () => secondary.call('setMeta', ':meta', 'secondary'),
      () => replace(secondary, ':both', 'secondary'),
      () => replace(primary, ':both', 'primary'),
      () => primary.call('register', ':new', uriOf('primary')),
      () => secondary.call('register', ':new', uriOf('secondary')),
      () => primary.call('deleteGroup', ':group'),
      () => secondary.call('register', ':group.new', uriOf('secondary')),
      () => secondary.call('deleteGroup', ':emptied'),
      () => primary.call('register', ':only-primary', uriOf('primary')),
      () => secondary.call('createGroup', ':only-secondary'),
    ];
    for (const change of changes) {
      await change();
      // Which one is newer is told in milliseconds.
      await delay(5);
    }
    await heal();
    const expected = {
      ':both': textOf('primary'),
      ':changed-later': textOf('before'),
      ':group.new': textOf('secondary'),
      ':meta': textOf('before'),
      ':new': textOf('secondary'),
      ':only-primary': textOf('primary'),
    };
    for (const here of [primary, secondary]) {
      expect(await names(here)).toEqual(expected);
      expect(await here.call('getMeta', ':meta')).toBe('secondary');
      const groups = await Promise.all([':group', ':only-secondary', ':emptied'].map((name) => exists(here, name)));
      expect(groups).toEqual([true, true, false]);
    }
    // One of the two logs says so: the one that had both before it.
    const lost = (name: string): boolean =>
      [...logged.values()].flat().some((line) => line.includes(name) && line.includes('is lost'));
    for (const name of [':removed-later', ':changed-later', ':meta', ':new', ':both']) {
      expect([name, lost(name)]).toEqual([name, true]);
    }
    expect(lost(':only')).toBe(false);
  });
});

async function exists(at: NameServerClient, group: string): Promise<boolean> {
  return systemMetaFromPython(await at.call('_getSystemMeta', group).catch(() => null)) !== undefined;
}

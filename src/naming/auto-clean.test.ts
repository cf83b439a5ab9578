import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { loadConfig, silentLog, type Log } from '../config/index.js';
import { NAMESERVER_NAME, PyroURI } from '../names/index.js';
import { Daemon } from '../rpc/index.js';
import { NameServerProxy } from './name-server-proxy.js';
import { NameServerStarter } from './starter.js';

let directory: string;
let starter: NameServerStarter;
let daemon: Daemon;
/** Wakes whoever waits for an entry to be removed. */
let onRemoval: (line: string) => void;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'auto-clean-'));
  daemon = await Daemon.start({ config: configOf(), log: silentLog, host: '127.0.0.1', port: 0, norange: true });
});

afterEach(async () => {
  await starter.shutdown();
  await daemon.shutdown();
  await rm(directory, { recursive: true });
});

function configOf(items: Record<string, string> = {}) {
  return loadConfig({ environment: { PYRO_STORAGE: directory, ...items }, currentDirectory: directory });
}

async function startNameServer(items: Record<string, string>): Promise<NameServerProxy> {
  const config = configOf({ PYRO_NS_AUTOCLEAN: '0.05', PYRO_NS_AUTOCLEAN_SECONDS: '0.1', ...items });
  const warn = (source: string, ...parts: unknown[]): void => {
    if (source === 'AutoClean') onRemoval(parts.join(' '));
  };
  const log: Log = { ...silentLog, warn };
  starter = new NameServerStarter({ config, log, print: () => undefined });
  const options = { hostname: '127.0.0.1', nsport: 0, dontlookupother: true, nobroadcast: true };
  return new NameServerProxy(await starter.start(options), { config, log: silentLog });
}

/** The lines of the log about so many entries that were removed. */
function removals(count: number): Promise<string[]> {
  const lines: string[] = [];
  return new Promise((resolve) => {
    onRemoval = (line) => {
      if (lines.push(line) === count) resolve(lines);
    };
  });
}

const namesOf = async (nameServer: NameServerProxy): Promise<string[]> =>
  (await nameServer.flatlist()).map(([name]) => name).sort();

/** Where somebody listens who never says anything. */
async function startSilence(): Promise<{ uri: PyroURI; close: () => void }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { uri: new PyroURI('PYRO', '127.0.0.1', port, 'id'), close };
}

test('removes entries whose objects are dead, and no others', async () => {
  await using nameServer = await startNameServer({ PYRO_HANDSHAKE_TIMEOUT: '0.2' });
  const other = await Daemon.start({ config: configOf(), log: silentLog, host: '127.0.0.1', port: 0, norange: true });
  const removed = removals(2);
  const gone = await daemon.connect({});
  await nameServer.register('alive', await daemon.connect({}));
  await nameServer.register('gone', gone);
  await nameServer.register('closed', await other.connect({}));
  const silence = await startSilence();
  await nameServer.register('unreachable', silence.uri);
  await nameServer.register('other-protocol', 'HTTP://127.0.0.1:80/id');
  await other.shutdown();
  await daemon.disconnect(gone.objectID);
  const lines = (await removed).sort();
  expect(lines[0]).toContain('removed :Default.closed, which was PYRO://127.0.0.1:');
  expect(lines[1]).toMatch(/removed :Default\.gone, .* dead [3-9]\d* times in a row, for \d+ s\. The daemon is there/);
  expect(await namesOf(nameServer)).toEqual([
    ':Default.alive',
    ':Default.other-protocol',
    ':Default.unreachable',
    NAMESERVER_NAME,
  ]);
  silence.close();
});

test('removes entries of machines that nobody reaches after their own time', async () => {
  await using nameServer = await startNameServer({
    PYRO_HANDSHAKE_TIMEOUT: '0.1',
    PYRO_NS_AUTOCLEAN_UNREACHABLE: '0.2',
  });
  const silence = await startSilence();
  const removed = removals(1);
  await nameServer.register('unreachable', silence.uri);
  expect((await removed)[0]).toContain('removed :Default.unreachable');
  silence.close();
});

test('begins to count anew when an entry is made anew', async () => {
  await using nameServer = await startNameServer({ PYRO_NS_AUTOCLEAN_SECONDS: '1' });
  const gone = await daemon.connect({});
  await daemon.disconnect(gone.objectID);
  await nameServer.register('thing', gone);
  const removed = removals(1);
  const [listener] = daemon.getServerSockets();
  for (let asked = 0; asked < 5; asked += 1) if (listener) await once(listener, 'connection');
  // With the same URI.
  await nameServer.unregister('thing');
  await nameServer.register('thing', gone);
  const begin = Date.now();
  await removed;
  expect(Date.now() - begin).toBeGreaterThan(900);
});

import { afterEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InteractiveProgram } from './support/interactive-program.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';
import { ConnectionEnded, NameServerClient } from './support/name-server-client.js';

const CLIENTS = 24;
const CHANGES_BEFORE_STOP = 200;

describe('pyro-ns under load', () => {
  let server: NameServerProcess;
  afterEach(async () => {
    await server.dispose();
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('stops cleanly on %s', async (signal) => {
    server = await NameServerProcess.start(ours, { arguments: ['-d'] });
    const acknowledged: string[] = [];
    let stop: () => void = () => undefined;
    const time = new Promise<void>((resolve) => (stop = resolve));

    async function registerUntilTheEnd(client: NameServerClient, number: number): Promise<void> {
      for (let count = 0; ; count += 1) {
        const name = `:Default.client${number}-${count}`;
        await client.call('register', name, 'PYRO://127.0.0.1:7766/x');
        acknowledged.push(name);
        if (acknowledged.length === CHANGES_BEFORE_STOP) stop();
      }
    }
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => NameServerClient.connect(server)));
    const ends = Promise.allSettled(clients.map(registerUntilTheEnd));
    await time;
    expect(await server.stop(signal)).toEqual({ code: 0, signal: null });
    expect(server.output).toContain('Name Server gracefully stopped.');

    for (const [index, end] of (await ends).entries()) {
      expect(end).toMatchObject({ status: 'rejected', reason: expect.any(ConnectionEnded) });
      // No reply was cut off: what came came in whole frames.
      expect(await clients[index]?.connection.readToEnd()).toHaveLength(0);
    }

    const successor = createServer().listen(server.port, '127.0.0.1');
    await once(successor, 'listening');
    successor.close();
    await once(successor, 'close');

    await server.restart();
    const reader = await NameServerClient.connect(server);
    const registered = await reader.flatlist();
    expect(acknowledged.filter((name) => !registered.has(name)).slice(0, 3)).toEqual([]);
    reader.close();
  });

  test('is ended by SIGTERM while it waits for the lock of a database', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pyro-ns-waiting-'));
    const lock = join(directory, 'db', '.pyro-ns.ns_meta', 'lock.ns_meta');
    mkdirSync(lock, { recursive: true });
    mkdirSync(join(directory, 'db', 'Pyro'));
    // Of its holder nothing is known.
    writeFileSync(join(lock, 'holder-00000000-0000-4000-8000-000000000001-1'), '');
    const waiting = InteractiveProgram.start([...ours.command, '-n', '127.0.0.1', '-p', '0', '-r', '-x', '-d', 'db'], {
      cwd: directory,
    });
    await waiting.until('waiting up to 30 s for a sign of life of the server that has ');
    expect(await waiting.stop('SIGTERM')).toMatchObject({ status: 0, stderr: '' });
    expect(waiting.stdout).not.toContain('Name Server started.');
    rmSync(directory, { recursive: true });
  });

  test('goes on when nobody reads what it prints', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pyro-ns-unread-'));
    const command = [...ours.command, '-n', '127.0.0.1', '-p', '0', '-r'];
    const unread = InteractiveProgram.start(command, { cwd: directory });
    await unread.until('Name Server started.');
    unread.closeOutput();
    expect(await unread.stop('SIGTERM')).toMatchObject({ status: 0, stderr: '' });
    rmSync(directory, { recursive: true });
  });
});

/** `pyro-ns` where few files may be open at once. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { InteractiveProgram } from './support/interactive-program.js';
import { NameServerClient } from './support/name-server-client.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';

let storage: string;
beforeEach(() => {
  storage = mkdtempSync(`${tmpdir()}/pyro-ns-files-`);
});
afterEach(() => {
  rmSync(storage, { recursive: true });
});

const withLimit = (limit: number, command: readonly string[]) => [
  'sh',
  '-c',
  `ulimit -n ${limit}; exec "$@"`,
  'sh',
  ...command,
];

const TOO_FEW =
  'pyro-ns: at most 32 files may be open at once, too few to load the program. Raise the limit (ulimit -n), to 1024 say\n';

// Node 20 opens all modules at once; later releases do with fewer files.
test('loads the program, or says in a line that they are too few for it', async () => {
  const command = withLimit(32, [...ours.command, '--help']);
  const { status, stderr } = await InteractiveProgram.run(command, { cwd: storage });
  expect([
    { status: 0, stderr: '' },
    { status: 1, stderr: TOO_FEW },
  ]).toContainEqual({ status, stderr });
});

test('warns at the start, logs that no more connections can be accepted, and goes on when they can', async () => {
  const logFile = `${storage}/log`;
  const environment = { PYRO_TRACELEVEL: '3', PYRO_LOGFILE: logFile };
  const limited = { ...ours, command: withLimit(128, ours.command) };
  const server = await NameServerProcess.start(limited, { arguments: ['-d'], storage, environment });
  const sockets: Socket[] = [];
  try {
    expect(server.output).toContain('WARNING: at most 128 files may be open at once, and 500 are needed');
    // Some are closed at once: there is no file for them.
    let isRefused = false;
    while (!isRefused && sockets.length < 200) {
      const socket = connect(server.port, server.address);
      sockets.push(socket);
      await Promise.race([once(socket, 'data'), once(socket, 'close').catch(() => undefined)]);
      isRefused = socket.destroyed;
    }
    expect(isRefused).toBe(true);
    const log = readFileSync(logFile, 'latin1');
    expect(log).toMatch(/no more connections can be accepted: Error: EMFILE: too many open files, .*\(ulimit -n\)/);
    expect(log).toContain('at most 128 files may be open at once');
    expect(log).not.toContain('    at ');
    const open = sockets.filter(({ destroyed }) => !destroyed);
    await Promise.all(open.map((socket) => once(socket.destroy(), 'close')));
    const client = await NameServerClient.connect(server);
    await client.call('register', ':after', 'PYRO://127.0.0.1:7766/x');
    client.close();
  } finally {
    for (const socket of sockets) socket.destroy();
    await server.dispose();
  }
});

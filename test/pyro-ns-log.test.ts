import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { InteractiveProgram } from './support/interactive-program.js';

const program = fileURLToPath(new URL('../dist/commands/pyro-ns.cjs', import.meta.url));

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-log-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

it('warns of misspelt variables, without their values', async () => {
  const server = spawn(process.execPath, [program, '-n', 'localhost', '-p', '0', '-r', '-x'], {
    env: {
      PATH: process.env['PATH'],
      PYRO_STORAGE: directory,
      PYRO_TRACELEVEL: '2',
      PYRO_NS_IDENTIFICATON: 'sesame',
      PYRO_HOME: '/opt/pyro',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(server, 'exit');
  const printed: string[] = [];
  try {
    for await (const line of createInterface(server.stdout)) {
      printed.push(line);
      if (line === 'Name Server started.') break;
    }
  } finally {
    server.kill('SIGTERM');
  }
  expect(await exit).toEqual([0, null]);
  const warning = 'environment: unknown configuration item PYRO_NS_IDENTIFICATON, did you mean PYRO_NS_IDENTIFICATION?';
  expect(printed[1]).toBe(`WARNING: ${warning}`);
  const log = readFileSync(join(directory, 'Pyro_log'), 'utf8');
  expect(log).toContain(`** WARN ** Configuration ** ${warning}\n`);
  expect(log + printed.join('\n')).not.toMatch(/sesame|PYRO_HOME/);
});

it('opens its log again on SIGHUP', async () => {
  const server = spawn(process.execPath, [program, '-n', 'localhost', '-p', '0', '-r', '-x'], {
    env: { PATH: process.env['PATH'], PYRO_STORAGE: directory, PYRO_TRACELEVEL: '3' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(server, 'exit');
  try {
    for await (const line of createInterface(server.stdout)) if (line === 'Name Server started.') break;
    const log = join(directory, 'Pyro_log');
    renameSync(log, `${log}.1`);
    const changes = watch(directory);
    server.kill('SIGHUP');
    while (!existsSync(log)) await once(changes, 'change');
    changes.close();
    expect(readFileSync(`${log}.1`, 'utf8')).not.toContain('log opened again');
  } finally {
    server.kill('SIGTERM');
  }
  expect(await exit).toEqual([0, null]);
  expect(readFileSync(join(directory, 'Pyro_log'), 'utf8')).toMatch(/^[^\n]* \*\* NameServer \*\* log opened again\n/);
});

it('is not ended by a SIGHUP that comes before the log is there', async () => {
  const plugin = join(directory, 'hang-up.mjs');
  writeFileSync(
    plugin,
    `process.kill(process.pid, 'SIGHUP');
     await new Promise(setImmediate);
     export const NSGuard = () => null;
     export const BCGuard = () => null;`,
  );
  const command = [process.execPath, program, '-n', 'localhost', '-p', '0', '-r', '-x', '-s', plugin];
  const server = InteractiveProgram.start(command, { cwd: directory });
  await server.until('Name Server started.');
  expect(await server.stop('SIGTERM')).toMatchObject({ status: 0, stderr: '' });
});

// `script` gives the program a terminal.
const onTerminal = existsSync('/usr/bin/script') ? it : it.skip;
onTerminal('opens its log again on a terminal, too', async () => {
  const inner = `exec '${process.execPath}' '${program}' -n localhost -p 0 -r -x`;
  const log = join(directory, 'Pyro_log');
  const server = InteractiveProgram.start(['/usr/bin/script', '-qec', `echo "pid $$"; ${inner}`, '/dev/null'], {
    cwd: directory,
    environment: { PYRO_STORAGE: directory, PYRO_TRACELEVEL: '3' },
  });
  await server.until('Name Server started.');
  const pid = Number(/pid (\d+)/.exec(server.stdout)?.[1]);
  renameSync(log, `${log}.1`);
  const changes = watch(directory);
  process.kill(pid, 'SIGHUP');
  while (!existsSync(log)) await once(changes, 'change');
  changes.close();
  process.kill(pid, 'SIGTERM');
  expect(await server.ended).toMatchObject({ status: 0 });
});

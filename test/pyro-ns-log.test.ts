import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from '@jest/globals';

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

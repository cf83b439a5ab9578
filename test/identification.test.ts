import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { InteractiveProgram, type Outcome } from './support/interactive-program.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';

const NSC = fileURLToPath(new URL('../dist/commands/pyro-nsc.js', import.meta.url));
const PASSPHRASE = 'open sesame, ünlocked';

let directory: string;
let server: NameServerProcess;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-identification-'));
  writeFileSync(join(directory, 'passphrase'), `${PASSPHRASE}\nthe second line is not looked at\n`, { mode: 0o600 });
  writeFileSync(join(directory, 'empty'), '\n');
});

afterEach(async () => {
  await server.dispose();
  rmSync(directory, { recursive: true });
});

const ping = (items: Readonly<Record<string, string>>, ...options: string[]): Promise<Outcome> =>
  InteractiveProgram.run([process.execPath, NSC, '-h', '127.0.0.1', '-p', String(server.port), ...options, 'ping'], {
    environment: items,
  });

const ways: [way: string, options: string[], items: () => Record<string, string>][] = [
  ['-i', ['-i', PASSPHRASE], () => ({})],
  ['a file', [], () => ({ PYRO_NS_IDENTIFICATION_FILE: join(directory, 'passphrase') })],
  ['the environment', [], () => ({ PYRO_NS_IDENTIFICATION: PASSPHRASE })],
];

test.each(ways)('a name server with a passphrase from %s wants it from everybody', async (_way, options, items) => {
  server = await NameServerProcess.start(ours, { arguments: options, environment: items() });
  expect(server.output).toContain('Requiring connection authentication.\n');
  expect(server.output).not.toContain('sesame');
  const denied = {
    status: 1,
    stderr: 'Could not connect to the server: security reasons\nSupply correct authentication ID?\n',
  };
  expect(await ping({})).toMatchObject(denied);
  expect(await ping({}, '-i', 'guess')).toMatchObject(denied);
  for (const [, given, named] of ways) expect(await ping(named(), ...given)).toMatchObject({ status: 0, stderr: '' });
});

test('a passphrase that can not be had leaves no name server unprotected', async () => {
  server = await NameServerProcess.start(ours);
  const refusals = [
    [['-i', ''], {}, 2, "a passphrase can't be empty"],
    [[], { PYRO_NS_IDENTIFICATION_FILE: join(directory, 'none') }, 1, "can't be read: ENOENT"],
    [[], { PYRO_NS_IDENTIFICATION_FILE: join(directory, 'empty') }, 1, 'must have a passphrase on its first line'],
  ] as const;
  for (const [options, environment, status, reason] of refusals) {
    const command = [...ours.command, '-n', '127.0.0.1', '-p', '0', '-r', ...options];
    const outcome = await InteractiveProgram.run(command, { environment });
    expect(outcome).toMatchObject({ status, stdout: '', stderr: expect.stringContaining(reason) });
    expect(await ping(environment, ...options)).toMatchObject({ status, stderr: expect.stringContaining(reason) });
  }
});

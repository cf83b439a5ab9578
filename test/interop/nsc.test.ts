import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, describe, test } from '@jest/globals';
import { InteractiveProgram } from '../support/interactive-program.js';
import { NameServerProcess, ours, pyro3, pythonEnvironment, real } from '../support/name-server-process.mjs';
import type { Server } from '../support/name-server-process.mjs';
import { lacksPyro3 } from '../support/pyro3.js';

// The same commands, by each kind of pyro-nsc at each kind of name server, must have the same effect.

const OURS = fileURLToPath(new URL('../../dist/commands/pyro-nsc.js', import.meta.url));

const COMMANDS: readonly (readonly string[])[] = [
  ['ping'],
  ['creategroup', ':lab', ':lab.cold', ':lab', 'group', ':none.inner'],
  ['register', ':lab.thermometer', 'PYRO://localhost:7800/7f0000010c1a29cd30a12c59fca40cea99'],
  ['register', 'lamp', 'PYRO://127.0.0.1/two'],
  ['register', 'lamp', 'PYRO://127.0.0.1/three'],
  ['register', 'group.inner', 'PYROLOC://127.0.0.1/inner'],
  ['list'],
  ['list', ':lab', ':', ':none', 'group'],
  ['resolve', ':lab.thermometer', 'lamp', 'none', ':lab'],
  ['setmeta', ':lab.thermometer', 'on the roof'],
  ['setmeta', 'group', 'a group'],
  ['showmeta', ':lab.thermometer', 'lamp', 'group'],
  ['listall'],
  ['remove', 'lamp', 'none', 'group'],
  ['deletegroup', 'group', ':none', ':'],
  ['resync'],
  ['listall'],
  ['shutdown'],
];

const WHAT_DIFFERS: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  // Errors: Pyro 3's go to stdout, behind what it had printed before it knew.
  [/^.*##.*\n/gm, ''],
  [/^There is a problem: .*\n/gm, ''],
  [/timestamp=[\d.]+/g, 'timestamp=TIME'],
];

/** All that the commands printed, but for what can't be the same. */
async function transcript(client: readonly string[], environment: Record<string, string>, kind: Server) {
  const server = await NameServerProcess.start(kind);
  const said: string[] = [];
  for (const args of COMMANDS) {
    const command = [...client, '-h', '127.0.0.1', '-p', String(server.port), ...args];
    const { stdout } = await InteractiveProgram.run(command, { environment });
    const text = stdout.replaceAll(server.uri, 'ITS-URI').replaceAll(String(server.port), 'PORT');
    said.push(WHAT_DIFFERS.reduce((shown, [pattern, replacement]) => shown.replace(pattern, replacement), text));
  }
  expect(await server.exited).toEqual({ code: 0, signal: null });
  await server.dispose();
  return said;
}

const skipped = lacksPyro3('that both kinds of pyro-nsc do the same at both kinds of name server');
(skipped ? describe.skip : describe)('pyro-nsc of both kinds', () => {
  test('has the same effect at name servers of both kinds', async () => {
    const python = [pyro3?.python ?? '', '-u', join(pyro3?.home ?? '', 'bin', 'pyro-nsc')];
    const node = [process.execPath, OURS];
    const expected = await transcript(python, pythonEnvironment(), real());
    expect(expected.join('')).toContain('user meta info : on the roof\n');
    const others = await Promise.all([
      transcript(python, pythonEnvironment(), ours),
      transcript(node, {}, real()),
      transcript(node, {}, ours),
    ]);
    for (const [index, args] of COMMANDS.entries()) {
      for (const said of others) expect([args, said[index]]).toEqual([args, expected[index]]);
    }
  }, 120_000);
});

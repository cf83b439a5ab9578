import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from '@jest/globals';

const program = fileURLToPath(new URL('../dist/commands/pyro-genguid.js', import.meta.url));

const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });

it('prints a new id', () => {
  const [first, second] = [run(), run()];
  expect(first).toMatchObject({ status: 0, stderr: '', stdout: expect.stringMatching(/^[0-9a-f]{34}\n$/) });
  expect(second.stdout).not.toBe(first.stdout);
});

it('explains itself', () => {
  expect(run('--help')).toMatchObject({ status: 0, stderr: '', stdout: expect.stringMatching(/^pyro-genguid /) });
});

it.each([['x'], ['-x'], ['--number=2']])('refuses %s', (argument) => {
  const { status, stdout, stderr } = run(argument);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr).toMatch(/^pyro-genguid: .*\nTry pyro-genguid --help\n$/);
});

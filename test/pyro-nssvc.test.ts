import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';

const program = fileURLToPath(new URL('../dist/commands/pyro-nssvc.js', import.meta.url));
const server = fileURLToPath(new URL('../dist/commands/pyro-ns.cjs', import.meta.url));

const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });

it('explains itself', () => {
  const { status, stdout } = run('--help');
  expect(status).toBe(0);
  for (const word of ['install', 'update', 'remove', 'start', 'stop', 'restart', 'status', '--dry-run']) {
    expect(stdout).toContain(word);
  }
});

it.each([
  [[], 'one command is needed'],
  [['instal'], 'Unknown argument: instal'],
  [['install', 'start'], 'Unknown argument: start'],
  [['install', '--account', 'x', '--user'], 'mutually exclusive'],
  [['install', '--account', 'a b'], "must be the name of an account, not 'a b'"],
  [['install', '--identification-file', 'a\nb'], 'must not hold control characters'],
  [['install', '--', '-i', 'sesame'], 'use --identification-file'],
  [['update'], 'give all of them, after --'],
  [['start', '--', '-d'], 'start takes no options of pyro-ns'],
])('refuses %j', (args, message) => {
  const { status, stdout, stderr } = run('--dry-run', ...args);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^pyro-nssvc: .*\nTry pyro-nssvc --help\n$/);
});

describe('on Linux', () => {
  it('plans for systemd, and does nothing when it shall only print', () => {
    const { status, stdout, stderr } = run('install', '--user', '--dry-run', '--', '-d', '/srv/pyro', '-n', 'myhost');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(`ExecStart=${process.execPath} ${server} -d /srv/pyro -n myhost -k\n`);
    expect(stdout).toMatch(/\nsystemctl --user daemon-reload\nsystemctl --user enable pyro-ns.service\n$/);
  });
});

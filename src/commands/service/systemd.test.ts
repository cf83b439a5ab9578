import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { describePlan } from './plan.js';
import { ACTIONS } from './request.js';
import type { Machine, ServiceRequest } from './request.js';
import { UsageError } from '../cli.js';
import { systemdPlan, systemdUnit } from './systemd.js';

const machine: Machine = {
  node: '/usr/bin/node',
  program: '/usr/lib/node_modules/pyro-ns/dist/commands/pyro-ns.js',
  home: '/home/irmen',
  userID: 1000,
};

const install: ServiceRequest = { action: 'install', user: false };

describe('the plan', () => {
  it.each(ACTIONS)('to %s is as recorded', (action) => {
    expect(describePlan(systemdPlan({ ...install, action }, machine))).toMatchSnapshot();
  });

  it.each(ACTIONS)('to %s the service of a user is as recorded', (action) => {
    expect(describePlan(systemdPlan({ ...install, action, user: true }, machine))).toMatchSnapshot();
  });
});

describe('the unit', () => {
  it('runs the server with options that systemd gives back as they were', () => {
    const unit = systemdUnit({ ...install, options: ['-n', 'host', '-d', 'a "b" %h $HOME \\x'] }, machine);
    expect(unit).toContain(`ExecStart=${machine.node} ${machine.program} -n host -d "a \\"b\\" %%h $$HOME \\\\x" -k\n`);
  });

  it('hands over the passphrase without showing it', () => {
    const request = { ...install, identificationFile: '/etc/pyro secret' };
    expect(systemdUnit(request, machine)).toMatch(
      /^LoadCredential=identification:\/etc\/pyro secret\nEnvironment=PYRO_NS_IDENTIFICATION_FILE=%d\/identification$/m,
    );
    expect(systemdUnit({ ...request, user: true }, machine)).toContain(
      'Environment="PYRO_NS_IDENTIFICATION_FILE=/etc/pyro secret"\n',
    );
  });

  it('lets an account write a database of its own', () => {
    const request = { ...install, account: 'pyro', options: ['-d', '/srv/pyro names'] };
    const unit = systemdUnit(request, machine);
    expect(unit).toContain('\nUser=pyro\nReadWritePaths="/srv/pyro names"\n');
    expect(unit).not.toContain('DynamicUser');
    expect(() => systemdUnit({ ...request, account: undefined }, machine)).toThrow(UsageError);
  });

  it.each(['names', '/var/lib/pyro-ns/names', '/var/lib/pyro-ns'])('needs no account for -d %s', (database) => {
    expect(systemdUnit({ ...install, options: ['-d', database] }, machine)).toContain('DynamicUser=yes');
  });

  it.each([
    [machine, 'yes'],
    [{ ...machine, node: '/home/irmen/.nvm/bin/node' }, 'read-only'],
  ])('hides home directories unless Node.js is in one', (where, setting) => {
    expect(systemdUnit(install, where)).toContain(`\nProtectHome=${setting}\n`);
  });
});

/** Where systemd-analyze puts files of its own. */
const runtimeDirectory = mkdtempSync(join(tmpdir(), 'pyro-systemd-runtime-'));
afterAll(() => {
  rmSync(runtimeDirectory, { recursive: true });
});

const systemdAnalyze = (...args: string[]) =>
  spawnSync('systemd-analyze', args, { encoding: 'utf8', env: { ...process.env, XDG_RUNTIME_DIR: runtimeDirectory } });

const hasSystemd = systemdAnalyze('--version').status === 0;
if (!hasSystemd) process.stderr.write('SKIPPED: no systemd-analyze here, so no unit was checked by systemd\n');

(hasSystemd ? describe : describe.skip)('systemd', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'pyro-systemd-'));
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  const written = (request: ServiceRequest): string => {
    const file = join(directory, 'pyro-ns.service');
    writeFileSync(file, systemdUnit(request, { ...machine, node: process.execPath }));
    return file;
  };

  it.each<[string, ServiceRequest]>([
    ['of the machine', install],
    ['of an account', { ...install, account: 'daemon', options: ['-d', '/srv/a "b" %h $HOME'] }],
    ['with a passphrase', { ...install, identificationFile: '/etc/pyro secret' }],
  ])('finds nothing wrong with the unit %s', (_kind, request) => {
    const file = written(request);
    expect(systemdAnalyze('verify', file)).toMatchObject({ status: 0, stderr: '', stdout: '' });
    // The score that docs/service.md states, times ten.
    expect(systemdAnalyze('security', '--offline=true', '--threshold=11', file)).toMatchObject({ status: 0 });
  });

  it('finds nothing wrong with the unit of a user', () => {
    const file = written({ ...install, user: true, identificationFile: '/home/irmen/secret' });
    expect(systemdAnalyze('--user', 'verify', file)).toMatchObject({ status: 0, stderr: '', stdout: '' });
  });
});

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createAuthority, createCertificate } from './support/certificates.js';
import { InteractiveProgram, type Outcome } from './support/interactive-program.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';

const NSC = fileURLToPath(new URL('../dist/commands/pyro-nsc.js', import.meta.url));

let directory: string;
let server: NameServerProcess;

/** The items of somebody with a certificate of this name, who trusts our authority. */
const certificate = (name: string): Record<string, string> => ({
  PYROSSL_CERTDIR: directory,
  PYROSSL_CERT: `${name}.pem`,
});

const where = (): string[] => ['-h', '127.0.0.1', '-p', String(server.port)];

const nsc = (environment: Record<string, string>, ...args: string[]): Promise<Outcome> =>
  InteractiveProgram.run([process.execPath, NSC, ...args], { environment });

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-ssl-'));
  const authority = createAuthority(directory, 'ca');
  createCertificate(authority, 'host', 'IP:127.0.0.1,DNS:localhost');
  createCertificate(authority, 'client', 'DNS:client');
  const elsewhere = join(directory, 'elsewhere');
  mkdirSync(elsewhere);
  createCertificate(createAuthority(directory, 'stranger'), 'strange', 'IP:127.0.0.1');
  server = await NameServerProcess.start(ours, { arguments: ['--ssl'], environment: certificate('host') });
});

afterAll(async () => {
  await server.dispose();
  rmSync(directory, { recursive: true });
});

test('a name server speaks TLS with those who have a certificate', async () => {
  expect(server.uri).toMatch(/^PYROSSL:\/\//);
  const made = await nsc(certificate('client'), ...where(), '--ssl', 'register', 'lamp', 'PYRO://localhost/one');
  expect(made).toMatchObject({ status: 0, stderr: '' });
  const found = await nsc(certificate('client'), ...where(), '--ssl', 'resolve', 'lamp');
  expect(found).toMatchObject({ status: 0, stdout: expect.stringContaining('lamp  --> PYRO://127.0.0.1:7766/one\n') });
});

test('nobody else gets in', async () => {
  const refusals = [
    [certificate('strange'), ['--ssl'], 'security reasons\nSupply correct authentication ID, or another certificate?'],
    [{ ...certificate('client'), PYROSSL_CA_CERT: 'stranger.pem' }, ['--ssl'], 'There is a problem: '],
    [{ PYRO_HANDSHAKE_TIMEOUT: '1' }, [], 'There is a problem: '],
    [{ PYROSSL_CERTDIR: join(directory, 'elsewhere') }, ['--ssl'], "can't be read: ENOENT"],
  ] as const;
  for (const [items, options, reason] of refusals) {
    const { status, stdout, stderr } = await nsc(items, ...where(), ...options, 'ping');
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining(reason) });
    expect(stdout).not.toContain('NS is at');
  }
});

test('PYRONAMESSL leads to an object by a name server that speaks TLS', async () => {
  const program = `
    import { NameServerLocator } from '${new URL('../dist/index.js', import.meta.url).href}';
    const uri = await new NameServerLocator().resolvePYRONAME('PYRONAMESSL://127.0.0.1:${server.port}/:Pyro.NameServer');
    console.log(String(uri));`;
  const { stdout, stderr } = await InteractiveProgram.run([process.execPath, '--input-type=module', '-e', program], {
    environment: certificate('client'),
  });
  expect({ stdout, stderr }).toEqual({ stdout: `${server.uri}\n`, stderr: '' });
});

test('a name server without its certificate does not start', async () => {
  const command = [...ours.command, '-n', '127.0.0.1', '-p', '0', '-r', '--ssl'];
  const outcome = await InteractiveProgram.run(command, { environment: certificate('none') });
  expect(outcome.status).toBe(1);
  expect(outcome.stderr).toBe(`pyro-ns: PYROSSL_CERT: the file none.pem in ${directory} can't be read: ENOENT\n`);
});

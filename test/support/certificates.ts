import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Who signs certificates in a test. */
export interface Authority {
  readonly directory: string;
  readonly name: string;
}

const openssl = (directory: string, ...args: string[]): void => {
  execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
};

const newKey = (name: string): string[] => [
  '-newkey',
  'ec',
  '-pkeyopt',
  'ec_paramgen_curve:P-256',
  '-nodes',
  '-keyout',
  `${name}.key`,
];

/** Makes an authority, whose certificate is `<name>.pem` in the directory. */
export function createAuthority(directory: string, name: string): Authority {
  openssl(directory, 'req', '-x509', ...newKey(name), '-subj', `/CN=${name}`, '-out', `${name}.pem`, '-days', '2');
  return { directory, name };
}

/**
 * Makes a certificate with its key, both in `<name>.pem`, as PYROSSL_CERT wants them.
 * @param names such as `IP:127.0.0.1` or `DNS:localhost`
 * @param days how long it is valid; it has expired where negative
 */
export function createCertificate(
  { directory, name: authority }: Authority,
  name: string,
  names: string,
  days = 2,
): void {
  openssl(directory, 'req', '-new', ...newKey(name), '-subj', `/CN=${name}`, '-out', `${name}.csr`);
  writeFileSync(join(directory, `${name}.ext`), `subjectAltName=${names}\n`);
  const signing = [
    '-CA',
    `${authority}.pem`,
    '-CAkey',
    `${authority}.key`,
    '-CAcreateserial',
    '-extfile',
    `${name}.ext`,
  ];
  openssl(directory, 'x509', '-req', '-in', `${name}.csr`, ...signing, '-days', String(days), '-out', `${name}.crt`);
  const pem = [`${name}.crt`, `${name}.key`].map((file) => readFileSync(join(directory, file), 'utf8')).join('');
  writeFileSync(join(directory, `${name}.pem`), pem);
}

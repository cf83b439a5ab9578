/** TLS, users and their items: against an etcd that asks for both. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { createServer, type Server } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { EtcdCluster, lacksEtcd } from '../../../test/support/etcd-cluster.mjs';
import { loadConfig, silentLog } from '../../config/index.js';
import { ConfigError, NamingError } from '../../errors.js';
import { Name } from '../../names/index.js';
import { openEtcdNamespace } from './open.js';

const describeWithEtcd = lacksEtcd('TLS and users of etcd') ? describe.skip : describe;

const open = (url: string, directory: string, environment: Record<string, string>) =>
  openEtcdNamespace(url, { config: loadConfig({ environment, currentDirectory: directory }), log: silentLog });

function addressOf(server: Server): string {
  const address = server.address();
  return typeof address === 'object' && address !== null ? `${address.address}:${address.port}` : '';
}

const noError = () => undefined;
const anyError = (error: unknown) => error;

describeWithEtcd('an etcd that asks who one is', () => {
  let directory: string;
  let cluster: EtcdCluster;
  let items: Record<string, string>;

  /** Makes a key, and a certificate that the authority (or, without one, the key itself) has signed. */
  function certify(name: string, authority?: string, address = '127.0.0.1'): void {
    const signed = authority === undefined ? [] : ['-CA', `${authority}.pem`, '-CAkey', `${authority}.key`];
    const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=IP:${address}`, '-days', '2', ...signed];
    const output = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    execFileSync('openssl', ['req', '-x509', ...kind, ...subject, ...output], { cwd: directory, stdio: 'ignore' });
  }

  beforeAll(async () => {
    directory = mkdtempSync(`${tmpdir()}/pyro-ns-etcd-access-`);
    certify('authority');
    certify('stranger');
    for (const name of ['server', 'client']) certify(name, 'authority');
    certify('elsewhere', 'authority', '192.0.2.1');
    writeFileSync(`${directory}/password`, 'secret\n');
    writeFileSync(`${directory}/wrong`, 'guess\n');
    writeFileSync(`${directory}/empty`, '\n');
    cluster = await EtcdCluster.start({
      options: [
        ...['--cert-file', `${directory}/server.pem`, '--key-file', `${directory}/server.key`],
        ...['--client-cert-auth', '--trusted-ca-file', `${directory}/authority.pem`],
        // Tokens expire after a second without use.
        ...['--auth-token-ttl', '1'],
      ],
    });
    const tls = ['--cacert', 'authority.pem', '--cert', 'client.pem', '--key', 'client.key'].map((argument) =>
      argument.startsWith('--') ? argument : `${directory}/${argument}`,
    );
    const control = (...args: string[]) =>
      cluster.etcdctl('--endpoints', `https://${cluster.members[0]?.endpoint ?? ''}`, ...tls, ...args);
    await control('user', 'add', 'root:root');
    await control('user', 'grant-role', 'root', 'root');
    await control('user', 'add', 'pyro:secret');
    await control('role', 'add', 'pyro');
    await control('role', 'grant-permission', '--prefix=true', 'pyro', 'readwrite', '/pyro/');
    await control('user', 'grant-role', 'pyro', 'pyro');
    await control('auth', 'enable');
    items = {
      PYRO_NS_ETCD_CA: 'authority.pem',
      PYRO_NS_ETCD_CERT: 'client.pem',
      PYRO_NS_ETCD_KEY: 'client.key',
      PYRO_NS_ETCD_USER: 'pyro',
      PYRO_NS_ETCD_PASSWORD_FILE: 'password',
    };
  });
  afterAll(async () => {
    await cluster.stop();
    rmSync(directory, { recursive: true });
  });

  it('connects with a certificate and a password, and authenticates again when the token has expired', async () => {
    const namespace = await open(cluster.url('/pyro'), directory, items);
    await namespace.createGroup(Name.parse(':G'));
    await cluster.members[0]?.kill();
    await cluster.members[0]?.start();
    // What fails while etcd comes back may have been made: each attempt takes another name.
    const attempt = (index: number) => namespace.createGroup(Name.parse(`:H${index}`));
    for (let index = 0; await attempt(index).then(noError, anyError); index += 1) expect(index).toBeLessThan(100);
    await namespace.createGroup(Name.parse(':I'));
    await namespace.close();
  });

  it.each([
    ['the password is wrong', { PYRO_NS_ETCD_PASSWORD_FILE: 'wrong' }, /authentication failed/],
    ['another authority has signed its certificate', { PYRO_NS_ETCD_CA: 'stranger.pem' }, /certificate/],
    ['the user has no right to these keys', {}, /permission denied/, '/other'],
  ])('tells when %s', async (_, changed, text, prefix = '/pyro') => {
    const opening = open(cluster.url(prefix), directory, { ...items, ...changed });
    await expect(opening).rejects.toThrow(NamingError);
    await expect(opening).rejects.toThrow(text);
  });

  it('refuses a member whose certificate is for another address', async () => {
    const [cert, key] = ['pem', 'key'].map((ending) => readFileSync(`${directory}/elsewhere.${ending}`));
    const impostor = createServer({ cert, key, ALPNProtocols: ['h2'] }).listen(0, '127.0.0.1');
    await once(impostor, 'listening');
    const endpoint = addressOf(impostor);
    const url = cluster.url('/pyro').replace(cluster.members[0]?.endpoint ?? '', endpoint);
    await expect(open(url, directory, items)).rejects.toThrow("IP: 127.0.0.1 is not in the cert's list: 192.0.2.1");
    impostor.close();
  });

  it.each([
    ['PYRO_NS_ETCD_CA', 'missing.pem'],
    ['PYRO_NS_ETCD_CA', ''],
    ['PYRO_NS_ETCD_CERT', ''],
    ['PYRO_NS_ETCD_KEY', ''],
    ['PYRO_NS_ETCD_USER', ''],
    ['PYRO_NS_ETCD_PASSWORD_FILE', 'empty'],
    ['PYRO_NS_ETCD_PASSWORD_FILE', 'missing'],
  ])('is not asked with %s=%s', async (item, value) => {
    const opening = open(cluster.url('/pyro'), directory, { ...items, [item]: value });
    await expect(opening).rejects.toThrow(ConfigError);
    await expect(opening).rejects.toThrow(item === 'PYRO_NS_ETCD_USER' ? 'PYRO_NS_ETCD_USER' : item);
  });
});

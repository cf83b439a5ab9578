import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTCP, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createAuthority, createCertificate } from '../../test/support/certificates.js';
import { loadConfig, silentLog, type Config, type Log } from '../config/index.js';
import { ConfigError, ConnectionDeniedError } from '../errors.js';
import type { ObjectProtocol, PyroURI } from '../names/index.js';
import { DeniedReason } from '../wire/index.js';
import { Daemon } from './daemon.js';
import { getProxyForURI } from './proxy.js';
import { BasicSSLValidator, DefaultConnValidator } from './validators.js';

/** Lets in everybody that it is asked about. */
class Careless extends DefaultConnValidator {
  override acceptHost = () => undefined;
  override acceptIdentification = () => undefined;
}

let directory: string;

/** The configuration of a host with that certificate, which trusts that authority. */
function host(certificate: string, more: Readonly<Record<string, string>> = {}): Config {
  const environment = { PYROSSL_CERTDIR: directory, PYROSSL_CERT: `${certificate}.pem`, ...more };
  return loadConfig({ environment, currentDirectory: directory });
}

/** What the daemons have warned of. */
let warnings: string[];
const log: Log = {
  ...silentLog,
  warn: (_source, ...words) => {
    warnings.push(words.join(' '));
  },
};

const startDaemon = (config: Config, protocol: ObjectProtocol = 'PYROSSL'): Promise<Daemon> =>
  Daemon.start({ protocol, host: '127.0.0.1', port: 0, norange: true, config, log });

/** What a client with this configuration gets. */
async function greet(uri: PyroURI | string, config: Config): Promise<unknown> {
  const proxy = getProxyForURI(uri, { config, log: silentLog });
  try {
    return await proxy['hello']?.();
  } finally {
    await proxy._release();
  }
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-tls-'));
  const authority = createAuthority(directory, 'ca');
  createCertificate(authority, 'host', 'IP:127.0.0.1');
  createCertificate(authority, 'elsewhere', 'DNS:elsewhere.example');
  createCertificate(authority, 'expired', 'IP:127.0.0.1', -1);
  createCertificate(createAuthority(directory, 'stranger'), 'strange', 'IP:127.0.0.1');
});

beforeEach(() => {
  warnings = [];
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

describe('a daemon that speaks TLS', () => {
  let daemon: Daemon;
  let uri: PyroURI;

  const serve = async (config: Config): Promise<void> => {
    daemon = await startDaemon(config);
    uri = await daemon.connect({ hello: () => 'hello' }, 'greeter');
  };

  beforeEach(async () => {
    await serve(host('host'));
  });

  afterEach(async () => {
    await daemon.shutdown();
  });

  test('serves who has a certificate of the authority', async () => {
    expect(uri.protocol).toBe('PYROSSL');
    expect(await greet(uri, host('host'))).toBe('hello');
    expect(await greet(`PYROLOCSSL://127.0.0.1:${daemon.port}/greeter`, host('host'))).toBe('hello');
  });

  test('serves side by side with a plain one', async () => {
    await using plain = await Daemon.start({
      host: '127.0.0.1',
      port: 0,
      norange: true,
      config: host('host'),
      log: silentLog,
    });
    const plainURI = await plain.connect({ hello: () => 'plain hello' });
    expect(await Promise.all([greet(uri, host('host')), greet(plainURI, host('host'))])).toEqual([
      'hello',
      'plain hello',
    ]);
  });

  test.each([
    ['of another authority', 'strange', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['that has expired', 'expired', 'CERT_HAS_EXPIRED'],
  ])('refuses a client with a certificate %s, and says so on both sides', async (_kind, certificate, problem) => {
    await expect(greet(uri, host(certificate))).rejects.toThrow(ConnectionDeniedError);
    expect(warnings).toContainEqual(expect.stringMatching(`^certificate refused: 127.0.0.1:\\d+ ${problem}$`));
    expect(await greet(uri, host('host'))).toBe('hello');
  });

  test('refuses a client without a certificate, whatever the validator says', async () => {
    daemon.setNewConnectionValidator(new Careless());
    const ca = readFileSync(join(directory, 'ca.pem'));
    const client = connect({ host: '127.0.0.1', port: daemon.port, ca });
    const answer = await text(client);
    expect(answer).toBe('DENIED3');
    expect(warnings).toContainEqual(expect.stringMatching(/^certificate refused: 127\.0\.0\.1:\d+ none shown$/));
  });

  test.each([
    ['without a certificate', undefined],
    ['with one of another authority', 'strange.pem'],
    ['with one that has expired', 'expired.pem'],
  ])('refuses a client that resumes a session begun %s', async (_how, certificate) => {
    const read = (file: string): Buffer => readFileSync(join(directory, file));
    const shown = certificate === undefined ? {} : { cert: read(certificate), key: read(certificate) };
    const options = { host: '127.0.0.1', port: daemon.port, ca: read('ca.pem'), ...shown };
    daemon.setNewConnectionValidator(new Careless());
    let session: Buffer | undefined;
    const first = connect(options).on('session', (begun: Buffer) => (session = begun));
    expect(await text(first)).toBe('DENIED3');
    let isResumed = false;
    const second = connect({ ...options, session }, () => (isResumed = second.isSessionReused()));
    expect(await text(second)).toBe('DENIED3');
    expect(isResumed).toBe(true);
  });

  test('refuses a client without TLS', async () => {
    const plain = `PYRO://127.0.0.1:${daemon.port}/${uri.objectID}`;
    const config = host('host', { PYRO_HANDSHAKE_TIMEOUT: '1' });
    await expect(greet(plain, config)).rejects.toMatchObject({ message: /^connection (failed|lost|timeout)/ });
  });

  test('may look at certificates more closely', async () => {
    class OnlyElsewhere extends BasicSSLValidator {
      override checkCertificate(certificate: Parameters<BasicSSLValidator['checkCertificate']>[0]) {
        return certificate?.subject === 'CN=elsewhere' ? undefined : DeniedReason.Security;
      }
    }
    daemon.setNewConnectionValidator(new OnlyElsewhere());
    expect(await greet(uri, host('elsewhere'))).toBe('hello');
    await expect(greet(uri, host('host'))).rejects.toThrow('security reasons');
  });
});

describe('clients that never agree on TLS', () => {
  /** Connects without a word. */
  async function connectSilently(port: number, count: number): Promise<Socket[]> {
    const silent = Array.from({ length: count }, () =>
      connectTCP(port, '127.0.0.1')
        .on('error', () => undefined)
        .resume(),
    );
    await Promise.all(silent.map((socket) => once(socket, 'connect')));
    return silent;
  }

  async function closedOf(sockets: readonly Socket[]): Promise<void> {
    for (const socket of sockets) if (!socket.closed) await once(socket, 'close');
  }

  test('are limited, keep no place from others, and have PYRO_HANDSHAKE_TIMEOUT', async () => {
    const config = host('host', { PYRO_HANDSHAKE_TIMEOUT: '1', PYRO_MAXCONNECTIONS: '5' });
    await using daemon = await startDaemon(config);
    const uri = await daemon.connect({ hello: () => 'hello' });
    const silent = await connectSilently(daemon.port, 20);
    // Beside the five there is room for four whose handshake is not done: the others are closed, those that came first.
    while (silent.filter((socket) => socket.closed).length < 16) await new Promise(setImmediate);
    expect(silent.slice(0, 16).every((socket) => socket.closed)).toBe(true);
    expect(daemon.connectionCount).toBe(4);
    expect(await greet(uri, config)).toBe('hello');
    await closedOf(silent);
    expect(daemon.connectionCounts).toMatchObject({ accepted: 1, refused: 20 });
  });

  test('do not keep a daemon from its end', async () => {
    const daemon = await startDaemon(host('host'));
    const silent = await connectSilently(daemon.port, 3);
    while (daemon.connectionCount < 3) await new Promise(setImmediate);
    await daemon.shutdown();
    await closedOf(silent);
    expect(daemon.connectionCount).toBe(0);
    await expect(connectSilently(daemon.port, 1)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('leave to the others that they hear that the server is busy', async () => {
    const config = host('host', { PYRO_MAXCONNECTIONS: '1' });
    await using daemon = await startDaemon(config);
    const uri = await daemon.connect({ hello: () => 'hello' });
    const proxy = getProxyForURI(uri, { config, log: silentLog });
    expect(await proxy['hello']?.()).toBe('hello');
    await expect(greet(uri, config)).rejects.toThrow('server too busy');
    await proxy._release();
  });
});

describe('a client that speaks TLS', () => {
  test.each([
    ['of another authority', 'strange', 'unable to verify the first certificate'],
    ['that has expired', 'expired', 'certificate has expired'],
    ['of another host', 'elsewhere', "Hostname/IP does not match certificate's altnames"],
  ])('refuses a server with a certificate %s, and says why', async (_kind, certificate, reason) => {
    await using daemon = await startDaemon(host(certificate));
    const uri = await daemon.connect({ hello: () => 'hello' });
    await expect(greet(uri, host('host'))).rejects.toMatchObject({
      args: ['connection failed', expect.stringContaining(reason)],
    });
  });

  test('says that a server speaks no TLS', async () => {
    await using daemon = await startDaemon(host('host'), 'PYRO');
    await expect(greet(`PYROSSL://127.0.0.1:${daemon.port}/x`, host('host'))).rejects.toMatchObject({
      args: ['connection failed', 'TLS: wrong version number'],
    });
  });

  test('takes any host where PYROSSL_POSTCONNCHECK is off', async () => {
    await using daemon = await startDaemon(host('elsewhere'));
    const uri = await daemon.connect({ hello: () => 'hello' });
    expect(await greet(uri, host('host', { PYROSSL_POSTCONNCHECK: '0' }))).toBe('hello');
  });
});

test('a certificate that is not there is named', async () => {
  await expect(startDaemon(host('missing'))).rejects.toThrow(ConfigError);
  await expect(startDaemon(host('missing'))).rejects.toThrow(/^PYROSSL_CERT: the file missing\.pem in .* ENOENT$/);
});

test('a certificate may be elsewhere than the others', async () => {
  const certificate = join(directory, 'host.pem');
  const config = host('host', { PYRO_STORAGE: directory, PYROSSL_CERT: '$STORAGE/host.pem', PYROSSL_KEY: certificate });
  await using daemon = await startDaemon({
    ...config,
    PYROSSL_CERTDIR: tmpdir(),
    PYROSSL_CA_CERT: join(directory, 'ca.pem'),
  });
  expect(daemon.protocol).toBe('PYROSSL');
});

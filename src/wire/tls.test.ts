import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type Server } from 'node:tls';
import { createAuthority, createCertificate } from '../../test/support/certificates.js';
import { socketLookup } from './host-resolver.js';
import { certificateProblem, connectTLS, createTLSServer, failureReason, type Certificates } from './tls.js';

let good: Certificates;
let stranger: Certificates;
let server: Server;
let port: number;
const accepted: Socket[] = [];

beforeAll(async () => {
  const directory = mkdtempSync(join(tmpdir(), 'pyro-ns-tls-'));
  const read = (file: string): Buffer => readFileSync(join(directory, file));
  createCertificate(createAuthority(directory, 'ca'), 'host', 'IP:127.0.0.1');
  createCertificate(createAuthority(directory, 'other'), 'stranger', 'IP:127.0.0.1');
  good = { cert: read('host.pem'), key: read('host.pem'), ca: read('ca.pem') };
  // It trusts the server, but its own certificate is of another authority.
  stranger = { cert: read('stranger.pem'), key: read('stranger.pem'), ca: read('ca.pem') };
  rmSync(directory, { recursive: true });
  server = createTLSServer(good, (socket) => {
    socket.on('error', () => undefined);
    accepted.push(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  port = address.port;
});

afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
});

const at = (host: string, port: number) => ({ host, port, family: 4, lookup: socketLookup({}) }) as const;

/** What the server finds wrong with who connects so. */
async function problemOf(client: Socket): Promise<string | undefined> {
  client.on('error', () => undefined);
  await once(server, 'secureConnection');
  const [socket] = accepted.splice(0);
  const problem = socket && certificateProblem(socket);
  socket?.destroy();
  client.destroy();
  return problem;
}

describe('the certificate of a client', () => {
  test('is asked for, and good where the authority has signed it', async () => {
    expect(await problemOf(connectTLS(at('127.0.0.1', port), { ...good, checkHost: true }))).toBeUndefined();
  });

  test('of another authority gets as far as being told', async () => {
    const problem = await problemOf(connectTLS(at('127.0.0.1', port), { ...stranger, checkHost: true }));
    expect(problem).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  });

  test('may be missing: that is a problem, too', async () => {
    expect(await problemOf(connect({ host: '127.0.0.1', port, ca: good.ca }))).toBe('none shown');
  });

  test('is not missed where there is no TLS', () => {
    expect(certificateProblem(new Socket())).toBeUndefined();
  });
});

describe('the certificate of a server', () => {
  test.each([
    ['names another host, and that is asked for', true, { code: 'ERR_TLS_CERT_ALTNAME_INVALID' }],
    ['names another host, and that is not asked for', false, undefined],
  ])('%s', async (_what, checkHost, problem) => {
    // The name has an IPv4 address, which is what the server listens at; the certificate names the address alone.
    const client = connectTLS(at('localhost', port), { ...good, checkHost });
    const error = await new Promise((resolve) => {
      client.once('error', resolve);
      client.once('secureConnect', resolve);
    });
    expect([error]).toMatchObject([problem]);
    client.destroy();
    for (const socket of accepted.splice(0)) socket.destroy();
  });

  test('is of an authority that the client does not know', async () => {
    const client = connectTLS(at('127.0.0.1', port), { ...good, ca: stranger.cert, checkHost: false });
    const [error] = await new Promise<unknown[]>((resolve) =>
      client.once('error', (error) => {
        resolve([error]);
      }),
    );
    expect(error).toMatchObject({ code: 'SELF_SIGNED_CERT_IN_CHAIN' });
  });
});

describe('why a connection failed', () => {
  test.each([
    [
      'of OpenSSL',
      { code: 'ERR_SSL_WRONG_VERSION_NUMBER', reason: 'wrong version number' },
      'TLS: wrong version number',
    ],
    ['of OpenSSL without a reason', { code: 'ERR_SSL_OTHER' }, 'the message'],
    ['of the system', { code: 'ECONNREFUSED', reason: 'no matter' }, 'the message'],
    ['without a code', { reason: 'no matter' }, 'the message'],
    ['of something like it', { code: 'NOT_ERR_SSL_X', reason: 'no matter' }, 'the message'],
  ])('is told in a few words: an error %s', (_what, properties, reason) => {
    expect(failureReason(Object.assign(new Error('the message'), properties))).toBe(reason);
  });
});

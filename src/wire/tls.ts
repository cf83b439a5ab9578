import { lookup } from 'node:dns';
import type { Socket } from 'node:net';
import { connect, createServer, TLSSocket, type Server } from 'node:tls';
import { defaultConnectionOptions } from './connection.js';

/** What either side of a TLS connection shows and asks for, all in PEM. */
export interface Certificates {
  /** This side's certificate, and the chain that leads to the authority where there is one. */
  readonly cert: Buffer;
  readonly key: Buffer;
  /** The authority that must have signed the peer's certificate. */
  readonly ca: Buffer;
}

/** How a client opens a TLS connection. */
export interface ClientTLSOptions extends Certificates {
  /** Check that the server's certificate names the host that was asked for (PYROSSL_POSTCONNCHECK). */
  readonly checkHost: boolean;
}

/** Begins to connect by TLS; `secureConnect` says that the server's certificate is good. */
export function connectTLS(host: string, port: number, { checkHost, ...certificates }: ClientTLSOptions): TLSSocket {
  return connect({
    host,
    port,
    // Pyro's addresses are IPv4.
    lookup: (name, options, callback) => {
      lookup(name, { ...options, family: 4 }, callback);
    },
    ...certificates,
    rejectUnauthorized: true,
    ...(checkHost ? {} : { checkServerIdentity: () => undefined }),
  });
}

/**
 * A server that asks clients for a certificate of the authority. `accept` gets those without a good one, too: it must ask
 * `certificateProblem`, and can tell such a client that it is refused. (Node would just hang up, which tells neither side why.)
 * @param handshakeTimeout how long a client may take to agree on TLS, in milliseconds
 */
export function createTLSServer(
  certificates: Certificates,
  accept: (socket: Socket) => void,
  handshakeTimeout = defaultConnectionOptions.handshakeTimeoutMs,
): Server {
  const options = { requestCert: true, rejectUnauthorized: false, noDelay: true, handshakeTimeout };
  return createServer({ ...certificates, ...options }, accept);
}

/**
 * What is wrong with the certificate of a client that has connected, as OpenSSL's code for it, such as `CERT_HAS_EXPIRED`;
 * undefined where it is good, or the connection is no TLS connection.
 */
export function certificateProblem(socket: Socket): string | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  // First of all: who resumes a session that was begun without a certificate counts as authorized to OpenSSL.
  if (Object.keys(socket.getPeerCertificate()).length === 0) return 'none shown';
  return socket.authorized ? undefined : String(socket.authorizationError);
}

/** Why a connection failed, without what OpenSSL says of its own source. */
export function failureReason(error: Error): string {
  const isOpenSSL = 'code' in error && String(error.code).startsWith('ERR_SSL_');
  return isOpenSSL && 'reason' in error ? `TLS: ${String(error.reason)}` : error.message;
}

import type { LookupFunction, Socket } from 'node:net';
import { connect, createServer, TLSSocket, type Server } from 'node:tls';
import { defaultConnectionOptions } from './connection.js';

/** The certificates for one side of a TLS connection, in PEM. */
export interface Certificates {
  /** This side's certificate, followed by its chain of intermediate certificates, if any. */
  readonly cert: Buffer;
  readonly key: Buffer;
  /** The certificate authority that must have signed the peer's certificate. */
  readonly ca: Buffer;
}

/** TLS options of a client. */
export interface ClientTLSOptions extends Certificates {
  /** Check that the server's certificate is for the host that we connect to (PYROSSL_POSTCONNCHECK). */
  readonly checkHost: boolean;
}

/** Where a client connects to. */
export interface Destination {
  readonly host: string;
  readonly port: number;
  /** Pyro's addresses are IPv4. */
  readonly family: 4;
  readonly lookup: LookupFunction;
}

/** Starts to connect with TLS. The socket emits `secureConnect` when the server's certificate has been verified. */
export function connectTLS(destination: Destination, { checkHost, ...certificates }: ClientTLSOptions): TLSSocket {
  return connect({
    ...destination,
    ...certificates,
    rejectUnauthorized: true,
    ...(checkHost ? {} : { checkServerIdentity: () => undefined }),
  });
}

/**
 * Makes a TLS server that requests client certificates (mutual TLS). `accept` is also called for clients without a
 * valid one: it must check `certificateProblem`, and can refuse such a client with a reason. (Node alone would close
 * the connection, which tells neither side why.)
 * @param handshakeTimeoutMs the timeout of the TLS handshake, in milliseconds
 */
export function createTLSServer(
  certificates: Certificates,
  accept: (socket: Socket) => void,
  handshakeTimeoutMs = defaultConnectionOptions.handshakeTimeoutMs,
): Server {
  const options = { requestCert: true, rejectUnauthorized: false, noDelay: true, handshakeTimeout: handshakeTimeoutMs };
  return createServer({ ...certificates, ...options }, accept);
}

/**
 * What is wrong with the certificate of a client that has connected: `none shown`, or OpenSSL's code, such as
 * `CERT_HAS_EXPIRED`. Undefined if it is valid, or the connection does not use TLS.
 */
export function certificateProblem(socket: Socket): string | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  // Must come first: OpenSSL counts a client as authorized that resumes a session begun without a certificate.
  if (Object.keys(socket.getPeerCertificate()).length === 0) return 'none shown';
  return socket.authorized ? undefined : String(socket.authorizationError);
}

/** Why a connection failed, as text; of OpenSSL's errors only the reason, without file and line of its source. */
export function failureReason(error: Error): string {
  const isOpenSSL = 'code' in error && String(error.code).startsWith('ERR_SSL_');
  return isOpenSSL && 'reason' in error ? `TLS: ${String(error.reason)}` : error.message;
}

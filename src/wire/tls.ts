import { lookup } from 'node:dns';
import type { Socket } from 'node:net';
import { connect, createServer, type Server, type TLSSocket } from 'node:tls';

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

/** A server that lets in only clients with a certificate of the authority. */
export function createTLSServer(certificates: Certificates, accept: (socket: Socket) => void): Server {
  return createServer({ ...certificates, requestCert: true, rejectUnauthorized: true, noDelay: true }, accept);
}

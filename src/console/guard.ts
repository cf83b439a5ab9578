import { randomBytes } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { tokensEqual } from '../wire/index.js';
import type { ErrorReply } from './api.js';

/** The lifetime of the ticket that a browser is started with. */
const TICKET_LIFETIME_MS = 60_000;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True for the few routes that need no token: the page's files, and the one where a ticket is redeemed. */
    isOpen?: boolean;
  }
}

type Refusal = readonly [status: number, message: string];

/** Security headers: the page may load nothing but its own files, and must not be embedded. */
const SECURITY_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), usb=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

/**
 * Authorization of the API: only the console's own page, in the browser of the user who started it, may use it. Pages
 * of other origins are refused by the `Origin` header, DNS rebinding (a foreign host name that resolves to this
 * machine) by the `Host` header, and other users of this machine because they don't have the token.
 */
export class ConsoleGuard {
  /** The access token, which the page sends with every request. Random per start, never stored. */
  readonly token = randomBytes(32).toString('base64url');
  private readonly ticket = randomBytes(32).toString('base64url');
  private ticketExpiry = 0;
  private hosts: readonly string[] = [];

  /** Checks every request of a server before its route. */
  protect(server: FastifyInstance): void {
    server.addHook('onRequest', async (request, reply) => {
      reply.headers(SECURITY_HEADERS);
      const refusal = this.refusalOf(request);
      if (refusal !== undefined) await refuse(reply, ...refusal);
    });
  }

  /** Sets the port, which is part of the accepted `Host` headers. Until then all requests are refused. */
  listensOn(port: number): void {
    this.hosts = ['127.0.0.1', 'localhost'].map((host) => `${host}:${port}`);
  }

  /**
   * Issues the ticket that a browser is started with: valid once, and for a minute. It is used instead of the token
   * because it remains in the browser's history.
   */
  issueTicket(): string {
    this.ticketExpiry = performance.now() + TICKET_LIFETIME_MS;
    return this.ticket;
  }

  /** Redeems a ticket. @returns the token; undefined if the ticket is not valid, or not any more */
  redeem(ticket: string): string | undefined {
    if (performance.now() > this.ticketExpiry || !isEqual(ticket, this.ticket)) return undefined;
    this.ticketExpiry = 0;
    return this.token;
  }

  private refusalOf({ headers, method, routeOptions }: FastifyRequest): Refusal | undefined {
    const { host = '', origin, authorization = '' } = headers;
    if (!this.hosts.includes(host)) return [403, 'this host name is not one of the console'];
    const site = headers['sec-fetch-site'] ?? 'none';
    const isFromElsewhere = origin !== undefined && origin !== `http://${host}`;
    if (isFromElsewhere || (method !== 'GET' && site !== 'same-origin' && site !== 'none')) {
      return [403, 'pages from elsewhere may not use the console'];
    }
    // Decided by the route and not by the path, which can be written in many ways.
    if (routeOptions.config.isOpen !== true && !isEqual(authorization, `Bearer ${this.token}`)) {
      return [401, 'the token is missing or wrong: open the address that pyro-xnsc printed'];
    }
    return undefined;
  }
}

async function refuse(reply: FastifyReply, status: number, message: string): Promise<void> {
  const body: ErrorReply = { error: 'RequestError', message };
  await reply.code(status).send(body);
}

function isEqual(given: string, right: string): boolean {
  return tokensEqual(Buffer.from(given), Buffer.from(right));
}

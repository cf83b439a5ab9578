import { randomBytes } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { tokensEqual } from '../wire/index.js';
import type { ErrorReply } from './api.js';

/** How long the ticket that a browser is started with is good for, in milliseconds. */
const TICKET_LIFETIME_MS = 60_000;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True for the few routes that need no token: the page's files, and where a ticket is taken in. */
    isOpen?: boolean;
  }
}

type Refusal = readonly [status: number, message: string];

/** What the page is allowed to load and do: nothing but itself. */
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
 * Lets only the console's own page, in the browser of the one who started it, use the API. A page from elsewhere fails
 * at `Origin`; one whose host name suddenly means this machine (DNS rebinding) at `Host`; another user of this machine
 * at the token.
 */
export class ConsoleGuard {
  /** What the page sends with every request; made at start, never stored. */
  readonly token = randomBytes(32).toString('base64url');
  private readonly ticket = randomBytes(32).toString('base64url');
  private ticketExpiry = 0;
  private hosts: readonly string[] = [];

  /** Stands before every route of a server. */
  protect(server: FastifyInstance): void {
    server.addHook('onRequest', async (request, reply) => {
      reply.headers(SECURITY_HEADERS);
      const refusal = this.refusalOf(request);
      if (refusal !== undefined) await refuse(reply, ...refusal);
    });
  }

  /** Tells the port, without which the names of this server aren't known. */
  listensOn(port: number): void {
    this.hosts = ['127.0.0.1', 'localhost'].map((host) => `${host}:${port}`);
  }

  /**
   * Makes the ticket that a browser is started with: good once, and for a minute. It is not the token itself, as it stays in the
   * browser's history.
   */
  issueTicket(): string {
    this.ticketExpiry = performance.now() + TICKET_LIFETIME_MS;
    return this.ticket;
  }

  /** Takes a ticket in; undefined where it is not, or no longer, good. */
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
    // By the route, which is what is answered: a path can be written in many ways.
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

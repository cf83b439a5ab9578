import { isIP, type AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { fastify, type FastifyInstance, type FastifyReply } from 'fastify';
import { DaemonError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { NameServerStarter } from '../naming/index.js';
import { Exposition } from './exposition.js';

export interface MetricsServerOptions {
  readonly starter: NameServerStarter;
  /** A host name or address. Anybody who can connect there can read the numbers. */
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** The host names that it may be asked by, besides addresses and this machine's own name: PYRO_NS_METRICS_HOSTS. */
  readonly hosts: readonly string[];
}

/** How many connections there may be; more are closed at once. */
const MAX_CONNECTIONS = 50;

/** How long a request may take to come, and how long a connection may be idle between two. */
const REQUEST_TIMEOUT_MS = 10_000;
const IDLE_TIMEOUT_MS = 10_000;

/** How often Node looks for requests that take too long. */
const CHECKING_INTERVAL_MS = 1000;

const PLAIN_TEXT = 'text/plain; charset=utf-8';

/**
 * Serves by HTTP how a name server does: `/metrics` for Prometheus, `/healthz` as long as the process lives, and `/readyz`,
 * which is 503 with the reason while clients are not served as they should be.
 */
export class MetricsServer implements AsyncDisposable {
  private constructor(private readonly server: FastifyInstance) {}

  /** Listens, before the name server is started. @throws DaemonError where it can't */
  static async start({ starter, host, port, hosts }: MetricsServerOptions): Promise<MetricsServer> {
    const server = fastify({
      logger: false,
      forceCloseConnections: true,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionTimeout: IDLE_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
      http: { headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: CHECKING_INTERVAL_MS },
    });
    server.server.maxConnections = MAX_CONNECTIONS;
    checkHost(server, [host, hostname(), 'localhost', ...hosts]);
    addRoutes(server, starter);
    try {
      await server.listen({ host, port });
    } catch (error) {
      await server.close();
      const reason = error instanceof Object && 'message' in error ? String(error.message) : String(error);
      throw new DaemonError(refusalText('METRICS_NOT_SERVED', reason));
    }
    return new MetricsServer(server);
  }

  /** Where it listens. */
  get listening(): AddressInfo {
    const address = this.server.server.address();
    if (address === null || typeof address === 'string') throw new DaemonError(refusalText('METRICS_NOT_LISTENING'));
    return address;
  }

  async close(): Promise<void> {
    await this.server.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Refuses requests by other host names: a web page whose name suddenly means this machine (DNS rebinding) could read the
 * numbers. An address can't be rebound.
 */
function checkHost(server: FastifyInstance, hosts: readonly string[]): void {
  const allowed = new Set(hosts.map((host) => host.toLowerCase()));
  server.addHook('onRequest', async ({ headers }, reply) => {
    // Without the port, and the brackets around an IPv6 address.
    const host = (headers.host ?? '')
      .replace(/:\d*$/, '')
      .replace(/^\[(.*)\]$/, '$1')
      .toLowerCase();
    if (isIP(host) !== 0 || allowed.has(host)) return;
    await answer(reply, 403, 'this host name is not one of PYRO_NS_METRICS_HOSTS');
  });
}

function addRoutes(server: FastifyInstance, starter: NameServerStarter): void {
  const exposition = new Exposition();
  server.get('/metrics', async (_request, reply) => {
    reply.type(exposition.contentType);
    const { storeStatus: store, calls } = starter;
    // While the name server starts there are only the numbers of the process.
    return exposition.write(store && { status: await starter.status(), store, calls });
  });
  server.get('/healthz', (_request, reply) => answer(reply, 200, 'ok'));
  server.get('/readyz', (_request, reply) => {
    const { problem } = starter;
    return problem === undefined ? answer(reply, 200, 'ok') : answer(reply, 503, problem);
  });
}

const answer = (reply: FastifyReply, status: number, text: string): FastifyReply =>
  reply.code(status).type(PLAIN_TEXT).send(`${text}\n`);

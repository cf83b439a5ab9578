import type { AddressInfo } from 'node:net';
import { fastify, type FastifyInstance, type FastifyReply } from 'fastify';
import { DaemonError } from '../errors.js';
import type { NameServerStarter } from '../naming/index.js';
import { Exposition } from './exposition.js';

export interface MetricsServerOptions {
  readonly starter: NameServerStarter;
  /** A host name or address. Anybody who can connect there can read the numbers. */
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

const PLAIN_TEXT = 'text/plain; charset=utf-8';

/**
 * Serves by HTTP how a name server does: `/metrics` for Prometheus, `/healthz` as long as the process lives, and `/readyz`,
 * which is 503 with the reason while clients are not served as they should be.
 */
export class MetricsServer implements AsyncDisposable {
  private constructor(private readonly server: FastifyInstance) {}

  /** Listens, before the name server is started. @throws DaemonError where it can't */
  static async start({ starter, host, port }: MetricsServerOptions): Promise<MetricsServer> {
    const server = fastify({ logger: false, forceCloseConnections: true });
    addRoutes(server, starter);
    try {
      await server.listen({ host, port });
    } catch (error) {
      await server.close();
      const reason = error instanceof Object && 'message' in error ? String(error.message) : String(error);
      throw new DaemonError(`metrics can't be served: ${reason}`);
    }
    return new MetricsServer(server);
  }

  /** Where it listens. */
  get listening(): AddressInfo {
    const address = this.server.server.address();
    if (address === null || typeof address === 'string') throw new DaemonError('metrics are not served');
    return address;
  }

  async close(): Promise<void> {
    await this.server.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
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

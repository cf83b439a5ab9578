import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import Fastify, { type FastifyError, type FastifyInstance } from 'fastify';
import type { Config } from '../config/index.js';
import { ConnectionDeniedError, NamingError, ProtocolError, PyroError } from '../errors.js';
import { RemoteError } from '../rpc/index.js';
import type { ErrorReply, FindRequest, ServerDescription } from './api.js';
import { ConsoleGuard } from './guard.js';
import { addRoutes } from './routes.js';
import { Sessions } from './sessions.js';

/** The directory of the page's built files. */
const PAGE_DIRECTORY = fileURLToPath(new URL('page/', import.meta.url));

const CONTENT_TYPES: ReadonlyMap<string, string> = new Map([
  ['html', 'text/html; charset=utf-8'],
  ['js', 'text/javascript; charset=utf-8'],
  ['css', 'text/css; charset=utf-8'],
  ['svg', 'image/svg+xml'],
  ['txt', 'text/plain; charset=utf-8'],
]);

/** Options of a console. */
export interface ConsoleOptions {
  readonly config: Config;
  /** The port on loopback to listen on; any free one by default. */
  readonly port?: number | undefined;
  /** The directory of the built page; the package's own by default. */
  readonly pageDirectory?: string | undefined;
}

/**
 * The console: an HTTP server on loopback with a page to inspect and change name servers, and the API that the page
 * uses (docs/console-api.md).
 */
export class Console implements AsyncDisposable {
  private constructor(
    private readonly server: FastifyInstance,
    private readonly guard: ConsoleGuard,
    private readonly sessions: Sessions,
    /** `http://127.0.0.1:port/`. */
    readonly origin: string,
  ) {}

  /** Starts a console. @throws Node's error, such as EADDRINUSE, or ENOENT where the page was not built */
  static async start({ config, port = 0, pageDirectory = PAGE_DIRECTORY }: ConsoleOptions): Promise<Console> {
    const guard = new ConsoleGuard();
    const sessions = new Sessions(config);
    const server = Fastify({ logger: false, bodyLimit: 0x100000, forceCloseConnections: true });
    guard.protect(server);
    server.setErrorHandler<FastifyError>((error, _request, reply) => {
      const [status, body] = describeError(error);
      return reply.code(status).send(body);
    });
    server.setNotFoundHandler((_request, reply) => {
      const body: ErrorReply = { error: 'RequestError', message: 'there is nothing here' };
      return reply.code(404).send(body);
    });
    await addPage(server, pageDirectory);
    addRoutes(server, sessions, guard);
    const address = new URL(await server.listen({ host: '127.0.0.1', port }));
    guard.listensOn(Number(address.port));
    return new Console(server, guard, sessions, `${address.origin}/`);
  }

  /** The URL to open in a browser; it contains the access token. */
  get address(): string {
    return `${this.origin}#token=${this.guard.token}`;
  }

  /** A URL to start a browser with; it contains a ticket that is valid once, and for a minute. */
  issueAddress(): string {
    return `${this.origin}#ticket=${this.guard.issueTicket()}`;
  }

  /**
   * Connects to a name server, like the page's Connect button.
   * @throws NamingError where none is found, ConnectionDeniedError where it requires another identification
   */
  connect(request: FindRequest): Promise<ServerDescription> {
    return this.sessions.find(request);
  }

  async close(): Promise<void> {
    await this.server.close();
    this.sessions.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Adds a route for each of the page's files. They are read into memory here, so no path of a request reaches the file
 * system.
 */
async function addPage(server: FastifyInstance, directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const type = CONTENT_TYPES.get(name.slice(name.lastIndexOf('.') + 1));
    if (type === undefined) continue;
    const content = await readFile(`${directory}/${name}`);
    server.get(name === 'index.html' ? '/' : `/${name}`, { config: { isOpen: true } }, (_request, reply) =>
      reply.type(type).header('cache-control', 'no-cache').send(content),
    );
  }
}

function describeError(error: FastifyError): readonly [status: number, body: ErrorReply] {
  if (error instanceof PyroError) {
    const [message = '', ...about] = error.args;
    return [statusOf(error), { error: error.name, code: error.code, message, about: about.join(': ') || undefined }];
  }
  if (error instanceof RemoteError) return [502, { error: error.className, code: error.code, message: error.message }];
  const status = error.statusCode ?? 500;
  // The message of an unexpected error is not disclosed.
  const message = status < 500 ? error.message : 'internal error of the console';
  return [status, { error: status < 500 ? 'RequestError' : 'InternalError', message }];
}

function statusOf(error: PyroError): number {
  if (error instanceof NamingError) return 409;
  if (error instanceof ConnectionDeniedError) return 502;
  return error instanceof ProtocolError ? 502 : 400;
}

import type { FastifyContextConfig, FastifyInstance, FastifyReply } from 'fastify';
import type { Static, TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { PyroError } from '../errors.js';
import {
  CompareRequest,
  FindRequest,
  FlatlistRequest,
  GroupRequest,
  NameRequest,
  NoRequest,
  RegisterRequest,
  SetMetaRequest,
  TicketRequest,
  WatchRequest,
  type ErrorReply,
} from './api.js';
import type { ConsoleGuard } from './guard.js';
import type { NameServerSession } from './session.js';
import type { Sessions } from './sessions.js';

const USED_TICKET = 'the ticket is used up: open the address that pyro-xnsc printed';

/** A request that is not as the API says. */
class RequestError extends PyroError {}

/** Answers a request, once its body is what its schema says. */
type Handler<Schema extends TSchema> = (
  body: Static<Schema>,
  reply: FastifyReply,
  server: string,
) => object | Promise<object>;

/** Adds the API. Everything is a POST with a JSON body, so that no name is ever part of an address. */
export function addRoutes(server: FastifyInstance, sessions: Sessions, guard: ConsoleGuard): void {
  addConsoleRoutes(server, sessions, guard);
  addReadingRoutes(server, sessions);
  addChangingRoutes(server, sessions);
}

function addConsoleRoutes(server: FastifyInstance, sessions: Sessions, guard: ConsoleGuard): void {
  addRoute(
    server,
    '/api/token',
    TicketRequest,
    ({ ticket }, reply) => {
      const token = guard.redeem(ticket);
      if (token !== undefined) return reply.send({ token });
      const refusal: ErrorReply = { error: 'RequestError', message: USED_TICKET };
      return reply.code(401).send(refusal);
    },
    { isOpen: true },
  );
  addRoute(server, '/api/servers', NoRequest, () => ({ servers: sessions.descriptions }));
  addRoute(server, '/api/find', FindRequest, (request) => sessions.find(request));
  addRoute(server, '/api/compare', CompareRequest, ({ first, second }) => sessions.compare(first, second));
  addRoute(server, '/api/watch', WatchRequest, (request, reply) => {
    const gone = new AbortController();
    reply.raw.once('close', () => {
      gone.abort();
    });
    return sessions.watch(request, gone.signal);
  });
  addRoute(server, '/api/servers/:server/disconnect', NoRequest, (_request, _reply, id) => {
    sessions.disconnect(id);
    return {};
  });
}

/** Adds a route whose handler is called with what its schema says, and with nothing else. */
function addRoute<Schema extends TSchema>(
  server: FastifyInstance,
  path: string,
  schema: Schema,
  handle: Handler<Schema>,
  config: FastifyContextConfig = {},
): void {
  server.post<{ Params: { server: string } }>(path, { config }, ({ body, params }, reply) => {
    if (!Value.Check(schema, body)) {
      const [error] = Value.Errors(schema, body);
      throw new RequestError(`the request's body${error?.instancePath ?? ''} ${error?.message ?? 'is wrong'}`);
    }
    return handle(body, reply, params.server);
  });
}

/** Adds a call on one name server. */
function addCall<Schema extends TSchema>(
  server: FastifyInstance,
  sessions: Sessions,
  name: string,
  body: Schema,
  call: (session: NameServerSession, request: Static<Schema>) => Promise<object>,
): void {
  addRoute(server, `/api/servers/:server/${name}`, body, (request, _reply, id) => call(sessions.get(id), request));
}

function addReadingRoutes(server: FastifyInstance, sessions: Sessions): void {
  addCall(server, sessions, 'ping', NoRequest, async (session) => ({ milliseconds: await session.ping() }));
  addCall(server, sessions, 'list', GroupRequest, (session, { group }) => session.list(group));
  addCall(server, sessions, 'flatlist', FlatlistRequest, (session, request) => session.flatlist(request));
  addCall(server, sessions, 'resolve', NameRequest, (session, { name }) => session.resolve(name));
  addCall(server, sessions, 'entry', NameRequest, (session, { name }) => session.entry(name));
  addCall(server, sessions, 'status', NameRequest, (session, { name }) => session.objectStatus(name));
  addCall(server, sessions, 'size', GroupRequest, (session, { group }) => session.sizeOf(group));
}

function addChangingRoutes(server: FastifyInstance, sessions: Sessions): void {
  addCall(server, sessions, 'register', RegisterRequest, async (session, { name, uri }) => ({
    name: await session.register(name, uri),
  }));
  addCall(server, sessions, 'unregister', NameRequest, async (session, { name }) => ({
    name: await session.unregister(name),
  }));
  addCall(server, sessions, 'createGroup', GroupRequest, async (session, { group }) => ({
    group: await session.createGroup(group),
  }));
  addCall(server, sessions, 'deleteGroup', GroupRequest, async (session, { group }) => ({
    group: await session.deleteGroup(group),
  }));
  addCall(server, sessions, 'setMeta', SetMetaRequest, async (session, request) => ({
    name: await session.setMeta(request),
  }));
  addCall(server, sessions, 'resync', NoRequest, async (session) => {
    await session.resync();
    return {};
  });
  addCall(server, sessions, 'shutdown', NoRequest, async (session) => ({ answer: await session.shutdown() }));
}

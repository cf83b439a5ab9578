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

/** A request whose body does not match its schema. */
class RequestError extends PyroError {}

/** Handles a request whose body was validated. */
type Handler<Schema extends TSchema> = (
  body: Static<Schema>,
  reply: FastifyReply,
  server: string,
) => object | Promise<object>;

/** Adds the API. Every request is a POST with a JSON body, so that no name is part of a URL. */
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

/** Adds a route. The body is validated, and only passed to the handler if it matches the schema. */
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

/** Adds a route of a method of one name server: `/api/servers/ID/NAME`. */
function addServerRoute<Schema extends TSchema>(
  server: FastifyInstance,
  sessions: Sessions,
  name: string,
  body: Schema,
  call: (session: NameServerSession, request: Static<Schema>) => Promise<object>,
): void {
  addRoute(server, `/api/servers/:server/${name}`, body, (request, _reply, id) => call(sessions.get(id), request));
}

function addReadingRoutes(server: FastifyInstance, sessions: Sessions): void {
  addServerRoute(server, sessions, 'ping', NoRequest, async (session) => ({ milliseconds: await session.ping() }));
  addServerRoute(server, sessions, 'list', GroupRequest, (session, { group }) => session.list(group));
  addServerRoute(server, sessions, 'flatlist', FlatlistRequest, (session, request) => session.flatlist(request));
  addServerRoute(server, sessions, 'resolve', NameRequest, (session, { name }) => session.resolve(name));
  addServerRoute(server, sessions, 'entry', NameRequest, (session, { name }) => session.entry(name));
  addServerRoute(server, sessions, 'status', NameRequest, (session, { name }) => session.objectStatus(name));
  addServerRoute(server, sessions, 'size', GroupRequest, (session, { group }) => session.sizeOf(group));
}

function addChangingRoutes(server: FastifyInstance, sessions: Sessions): void {
  addServerRoute(server, sessions, 'register', RegisterRequest, async (session, { name, uri }) => ({
    name: await session.register(name, uri),
  }));
  addServerRoute(server, sessions, 'unregister', NameRequest, async (session, { name }) => ({
    name: await session.unregister(name),
  }));
  addServerRoute(server, sessions, 'createGroup', GroupRequest, async (session, { group }) => ({
    group: await session.createGroup(group),
  }));
  addServerRoute(server, sessions, 'deleteGroup', GroupRequest, async (session, { group }) => ({
    group: await session.deleteGroup(group),
  }));
  addServerRoute(server, sessions, 'setMeta', SetMetaRequest, async (session, request) => ({
    name: await session.setMeta(request),
  }));
  addServerRoute(server, sessions, 'resync', NoRequest, async (session) => {
    await session.resync();
    return {};
  });
  addServerRoute(server, sessions, 'shutdown', NoRequest, async (session) => ({ answer: await session.shutdown() }));
}

import { Type, type Static } from 'typebox';

/**
 * What the console's API takes and gives, for its server and its page alike; docs/console-api.md says it in words.
 * Requests are schemas, checked before they are looked at; replies are types.
 */

/** Longest text that a request may hold as a name, URI, filter or host. */
const MAX_TEXT = 4096;

/** How many groups and entries of one server a page may watch at a time. */
const MAX_WATCHED = 500;

/** Most names that one page of the flat list holds. */
export const MAX_PAGE_SIZE = 1000;

const closed = { additionalProperties: false };
const text = Type.String({ maxLength: MAX_TEXT });
const version = Type.String({ maxLength: 64 });
const versions = Type.Record(text, version, { maxProperties: MAX_WATCHED });

export const NoRequest = Type.Object({}, closed);
export const NameRequest = Type.Object({ name: text }, closed);
export const GroupRequest = Type.Object({ group: text }, closed);
export const RegisterRequest = Type.Object({ name: text, uri: text }, closed);

/** Metadata to set: a str (as Pyro's own tools do), or a JSON text whose values become Python's. */
export const SetMetaRequest = Type.Object(
  { name: text, as: Type.Enum(['text', 'json', 'none']), text: Type.String({ maxLength: 0x40000 }) },
  closed,
);

export const FindRequest = Type.Object(
  {
    host: Type.Optional(Type.Union([text, Type.Undefined()])),
    port: Type.Optional(Type.Union([Type.Integer({ minimum: 1, maximum: 65535 }), Type.Undefined()])),
    broadcastAddress: Type.Optional(Type.Union([text, Type.Undefined()])),
    identification: Type.Optional(Type.Union([text, Type.Undefined()])),
  },
  closed,
);

const filter = {
  /** Words, all of which must be in a name or its URI, in any case; empty for all names. */
  filter: text,
};

export const FlatlistRequest = Type.Object(
  {
    ...filter,
    offset: Type.Integer({ minimum: 0 }),
    limit: Type.Integer({ minimum: 1, maximum: MAX_PAGE_SIZE }),
  },
  closed,
);

export const CompareRequest = Type.Object({ first: text, second: text }, closed);

/** What a page knows; the answer comes when something of it is no longer so. */
export const WatchRequest = Type.Object(
  {
    servers: Type.Record(
      text,
      Type.Object(
        {
          server: version,
          groups: versions,
          entries: versions,
          flatlist: Type.Optional(version),
        },
        closed,
      ),
      { maxProperties: 32 },
    ),
  },
  closed,
);

export const TicketRequest = Type.Object({ ticket: version }, closed);

export type FindRequest = Static<typeof FindRequest>;
export type FlatlistRequest = Static<typeof FlatlistRequest>;
export type SetMetaRequest = Static<typeof SetMetaRequest>;
export type WatchRequest = Static<typeof WatchRequest>;
export type WatchedServer = WatchRequest['servers'][string];

export type ServerState = 'connected' | 'lost';

/** What a name server that is one of a pair says of itself, and of its twin. */
export interface PairDescription {
  readonly role: 'primary' | 'secondary';
  /** `lost`: it is looked for; `merging`: all names are being exchanged. */
  readonly state: 'connected' | 'merging' | 'lost';
  /** `host:port` of the twin, where it is known. */
  readonly twin?: string | undefined;
  /** How many changes made here the twin has not confirmed. */
  readonly unconfirmed: number;
  /** Why the twin is lost. */
  readonly problem?: string | undefined;
}

/** A name server that the console is connected to. */
export interface ServerDescription {
  readonly id: string;
  readonly version: string;
  /** `host:port`. */
  readonly address: string;
  readonly uri: string;
  readonly state: ServerState;
  /** Why the connection is lost. */
  readonly problem?: string | undefined;
  /** Absent where the server is none of a pair, or doesn't say: Pyro 3 does not. */
  readonly pair?: PairDescription | undefined;
}

/** The members of one group, sorted; a version changes when they do. */
export interface GroupListing {
  readonly group: string;
  readonly version: string;
  readonly groups: readonly string[];
  readonly objects: readonly string[];
}

/** One line of the flat list; a group has no URI. */
export interface FlatEntry {
  readonly name: string;
  readonly uri?: string | undefined;
}

/** A part of the flat list, sorted by name. */
export interface FlatPage {
  readonly version: string;
  /** How many entries match the filter. */
  readonly total: number;
  readonly offset: number;
  readonly entries: readonly FlatEntry[];
}

export interface URIParts {
  readonly text: string;
  readonly protocol: string;
  readonly address: string;
  readonly port: number;
  readonly objectID: string;
}

/** Everything the name server knows of one name. */
export interface EntryDescription {
  readonly name: string;
  readonly type: 'group' | 'object';
  readonly version: string;
  /** Seconds since 1970; absent where the server doesn't say. */
  readonly since?: number | undefined;
  readonly owner?: PythonNode | undefined;
  readonly uri?: URIParts | undefined;
  readonly metadata: PythonNode;
}

/**
 * A Python value, made readable. A container is described once; where it is met again, by its `id`: so cycles end, and
 * values that share their parts don't explode.
 */
export type PythonNode =
  | { readonly kind: 'scalar'; readonly type: string; readonly text: string; readonly cut?: number | undefined }
  | {
      readonly kind: 'container';
      readonly type: string;
      readonly id: number;
      readonly size: number;
      readonly items: readonly PythonItem[];
    }
  | { readonly kind: 'again'; readonly type: string; readonly id: number }
  | { readonly kind: 'omitted'; readonly type: string };

/** A member of a container: a key is a label where it is an attribute's name. */
export interface PythonItem {
  readonly key?: string | PythonNode | undefined;
  readonly value: PythonNode;
}

/** Whether the object behind a URI is there: what its daemon said, or why it could not be asked. */
export interface ObjectStatus {
  readonly status: 'answers' | 'gone' | 'closed' | 'unreachable' | 'denied' | 'unknown';
  readonly explanation: string;
  readonly milliseconds: number;
}

/** How much a group holds, itself not counted. */
export interface GroupSize {
  readonly objects: number;
  readonly groups: number;
  /** False where counting stopped at its limit. */
  readonly complete: boolean;
}

/** How the names of two servers differ; lists are cut at a limit, counts are not. */
export interface Comparison {
  readonly same: number;
  readonly onlyFirst: Difference;
  readonly onlySecond: Difference;
  readonly otherURI: Difference;
}

export interface Difference {
  readonly count: number;
  readonly names: readonly string[];
}

/** What is no longer as the page had it. A group or entry that is gone is null. */
export interface ServerChanges {
  readonly server: ServerDescription;
  readonly groups: Readonly<Record<string, GroupListing | null>>;
  readonly entries: Readonly<Record<string, EntryDescription | null>>;
  /** True where the flat list is no longer that of the version given. */
  readonly flatlist: boolean;
}

export interface WatchReply {
  readonly servers: Readonly<Record<string, ServerChanges | null>>;
}

/** The body of every reply that is no success. */
export interface ErrorReply {
  /** The class of the error: Pyro's (`NamingError`, ...), or `RequestError` where the request was wrong. */
  readonly error: string;
  readonly message: string;
  /** What it is about, a name mostly, and the reason where there is more to say. */
  readonly about?: string | undefined;
}

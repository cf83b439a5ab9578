import { Type, type Static } from 'typebox';
import type { ErrorCode } from '../errors.js';

/**
 * The console's API, used by its server and its page; documented in docs/console-api.md. Requests are schemas, which
 * the server validates; replies are types.
 */

/** The most characters in a name, URI, filter or host of a request. */
const MAX_TEXT = 4096;

/** The most groups, and the most entries, of one server that a page may watch. */
const MAX_WATCHED = 500;

/** The most entries in one page of the flat list. */
export const MAX_PAGE_SIZE = 1000;

const closed = { additionalProperties: false };
const text = Type.String({ maxLength: MAX_TEXT });
const version = Type.String({ maxLength: 64 });
const versions = Type.Record(text, version, { maxProperties: MAX_WATCHED });

export const NoRequest = Type.Object({}, closed);
export const NameRequest = Type.Object({ name: text }, closed);
export const GroupRequest = Type.Object({ group: text }, closed);
export const RegisterRequest = Type.Object({ name: text, uri: text }, closed);

/** Metadata to set: a str (as Pyro's own tools set it), JSON that is converted to Python values, or None. */
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
  /** Words that must all be in an entry's name or URI, case-insensitive; empty for all entries. */
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

/** Long polling: the versions that a page has; the reply comes when one of them has changed. */
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

/** The state of a paired name server and its twin, as the name server reports it. */
export interface PairDescription {
  readonly role: 'primary' | 'secondary';
  /** `lost`: there is no connection to the twin; `merging`: a full merge is running. */
  readonly state: 'connected' | 'merging' | 'lost';
  /** `host:port` of the twin; absent while it is not known. */
  readonly twin?: string | undefined;
  /** How many changes made here the twin has not confirmed. */
  readonly unconfirmed: number;
  /** Why there is no connection to the twin. */
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
  /** Why the connection is lost; absent if it is not. */
  readonly problem?: string | undefined;
  /** Absent if the server is not paired, or does not report it, like Pyro 3. */
  readonly pair?: PairDescription | undefined;
}

/** The members of one group, sorted; a version changes when they do. */
export interface GroupListing {
  readonly group: string;
  readonly version: string;
  readonly groups: readonly string[];
  readonly objects: readonly string[];
}

/** An entry of the flat list; a group has no URI. */
export interface FlatEntry {
  readonly name: string;
  readonly uri?: string | undefined;
}

/** A page of the flat list, sorted by name. */
export interface FlatPage {
  readonly version: string;
  /** The number of entries that match the filter, on all pages. */
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

/** Everything that the name server knows of one name. */
export interface EntryDescription {
  readonly name: string;
  readonly type: 'group' | 'object';
  readonly version: string;
  /** The entry's timestamp, in seconds since the epoch; absent if the server has none. */
  readonly since?: number | undefined;
  readonly owner?: PythonNode | undefined;
  readonly uri?: URIParts | undefined;
  readonly metadata: PythonNode;
}

/**
 * A Python value as a tree for display. A container is described once, and referred to by its `id` where it occurs
 * again, so that cyclic and shared values stay finite and small.
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

/** A member of a container. The key is a string if it is a label, such as an attribute's name, and not a dict's key. */
export interface PythonItem {
  readonly key?: string | PythonNode | undefined;
  readonly value: PythonNode;
}

/** Whether the object of a URI exists: what its daemon said, or why the daemon could not be asked. */
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

/** The body of every error reply. */
export interface ErrorReply {
  /** The class of the error: Pyro's (`NamingError`, ...), or `RequestError` where the request was wrong. */
  readonly error: string;
  /** Of an error of Pyro's: see docs/errors.md. */
  readonly code?: ErrorCode | undefined;
  readonly message: string;
  /** Details: mostly the name in question, and a reason if there is one. */
  readonly about?: string | undefined;
}

import { ProtocolError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { Name, PyroURI } from '../../names/index.js';
import { systemMetaFromPython, systemMetaToPython, type SystemMeta } from '../../namespace/index.js';
import { dumps, PythonFloat, PythonTuple, tuple, type PythonValue, type PythonWritable } from '../../pickle/index.js';

/** A server's role in a pair. Of two changes with equal timestamps, the primary's wins. */
export type TwinRole = 'primary' | 'secondary';

/** When, and at which server, a name was changed. Timestamps are totally ordered: see `isNewer`. */
export interface Timestamp {
  /** Seconds since the epoch, by the hybrid logical clock of `Versions`. */
  readonly time: number;
  readonly role: TwinRole;
}

/** The state of a name. */
export interface NameState {
  /** An object's URI; undefined for a group. */
  readonly uri: PyroURI | undefined;
  readonly userMeta: PythonValue;
  /** Undefined if the store is to create it. */
  readonly systemMeta: SystemMeta | undefined;
  /** True if the system metadata was set explicitly, so that it has to be replicated. */
  readonly systemMetaSet: boolean;
}

/**
 * What two pyro-ns servers send each other: the state of a name after a change, not the change itself, so that merging
 * is idempotent and does not depend on the order.
 */
export interface NameRecord {
  readonly name: Name;
  readonly timestamp: Timestamp;
  /**
   * False if the timestamp is only that of the entry's system metadata, as it was not changed since its server started.
   */
  readonly observed: boolean;
  /** Undefined for a tombstone: the name was removed, with everything within it. */
  readonly state: NameState | undefined;
}

/** The most that the two servers' clocks may differ. With a larger difference nothing is merged. */
export const MAX_CLOCK_SKEW_SECONDS = 300;

/** The most records in one call. */
export const MAX_BATCH_LENGTH = 500;

/** Backpressure: about how many bytes of records may be unconfirmed by the twin. A twin may send that much at once. */
export const MAX_UNCONFIRMED_BYTES = 64 * 1024 * 1024;

/** An estimate of a record's size in bytes without name, URI and metadata. */
const RECORD_SIZE = 200;

/** True if the first timestamp wins: it is later, or equal and the primary's. */
export function isNewer(timestamp: Timestamp, other: Timestamp): boolean {
  return (
    timestamp.time > other.time ||
    (timestamp.time === other.time && timestamp.role === 'primary' && other.role !== 'primary')
  );
}

/** False for a time that no change can have. One far in the future would win against every later change. */
export function isPlausible({ time }: Timestamp, nowSeconds: number): boolean {
  return Number.isFinite(time) && time >= 0 && time <= nowSeconds + MAX_CLOCK_SKEW_SECONDS;
}

const sizes = new WeakMap<NameRecord, number>();

/** The approximate size of a record in bytes, when sent. Cached. */
export function sizeOf(record: NameRecord): number {
  let size = sizes.get(record);
  if (size === undefined) {
    const { uri, userMeta = null, systemMeta } = record.state ?? {};
    const text = record.name.toString().length + (uri?.toString().length ?? 0);
    size = RECORD_SIZE + text + sizeOfValue(userMeta) + sizeOfValue(systemMeta?.owner ?? null);
    sizes.set(record, size);
  }
  return size;
}

const sizeOfValue = (value: PythonValue): number => (value === null ? 0 : dumps(value).length);

/**
 * Encodes a record for the wire: `(name, time, role, observed, state)`, where state is None or the tuple
 * `(uri, user metadata, system metadata, systemMetaSet)`.
 */
export function recordToPython({ name, timestamp, observed, state }: NameRecord): PythonWritable {
  const content = state && [
    state.uri?.toString() ?? null,
    state.userMeta,
    state.systemMeta ? systemMetaToPython(state.systemMeta) : null,
    state.systemMetaSet,
  ];
  return tuple(name.toString(), timestamp.time, timestamp.role, observed, content ? new PythonTuple(content) : null);
}

/** Decodes a record. @throws ProtocolError, NamingError or URIError where it is not valid */
export function recordFromPython(value: PythonValue): NameRecord {
  const [name, time, role, observed, content] = value instanceof PythonTuple ? value.items : [];
  const seconds = secondsFromPython(time);
  if (typeof name !== 'string' || seconds === undefined || typeof observed !== 'boolean' || !isTwinRole(role)) {
    throw new ProtocolError(refusalText('TWIN_CHANGE_INVALID'));
  }
  return {
    name: Name.parse(name),
    timestamp: { time: seconds, role },
    observed,
    state: stateFromPython(content ?? null),
  };
}

/** Decodes a number of seconds, int or float. @returns undefined where it is no number */
export function secondsFromPython(value: PythonValue | undefined): number | undefined {
  const seconds = value instanceof PythonFloat ? value.value : value;
  return typeof seconds === 'number' ? seconds : undefined;
}

function stateFromPython(content: PythonValue): NameState | undefined {
  if (content === null) return undefined;
  const [uri = null, userMeta = null, systemMeta = null, systemMetaSet] =
    content instanceof PythonTuple ? content.items : [];
  if ((uri !== null && typeof uri !== 'string') || typeof systemMetaSet !== 'boolean') {
    throw new ProtocolError(refusalText('TWIN_CHANGE_INVALID'));
  }
  return {
    uri: uri === null ? undefined : PyroURI.parse(uri),
    userMeta,
    systemMeta: systemMetaFromPython(systemMeta),
    systemMetaSet,
  };
}

export const isTwinRole = (value: unknown): value is TwinRole => value === 'primary' || value === 'secondary';

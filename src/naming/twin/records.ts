import { ProtocolError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { Name, PyroURI } from '../../names/index.js';
import { systemMetaFromPython, systemMetaToPython, type SystemMeta } from '../../namespace/index.js';
import { dumps, PythonFloat, PythonTuple, tuple, type PythonValue, type PythonWritable } from '../../pickle/index.js';

/** A server's place in a pair. */
export type TwinRole = 'primary' | 'secondary';

/** When a name was changed, and at which server: of two changes, the one with the later timestamp wins. */
export interface Timestamp {
  /** Seconds since the epoch. */
  readonly time: number;
  readonly role: TwinRole;
}

/** What a name is. */
export interface NameState {
  /** An object's URI; undefined for a group. */
  readonly uri: PyroURI | undefined;
  readonly userMeta: PythonValue;
  /** Undefined where the store's own will do. */
  readonly systemMeta: SystemMeta | undefined;
  /** True where somebody has set the system metadata, so that it is to be the same on both sides. */
  readonly systemMetaSet: boolean;
}

/** What a name has become: this is what two servers of ours tell each other, so that order and repetition do no harm. */
export interface NameRecord {
  readonly name: Name;
  readonly timestamp: Timestamp;
  /** False where the timestamp is only the age of an entry that has not been changed since its server started. */
  readonly observed: boolean;
  /** Undefined where the name has been removed, with all that was within it. */
  readonly state: NameState | undefined;
}

/** By how many seconds the two servers' clocks may differ: beyond, nothing that depends on them is taken. */
export const MAX_CLOCK_SKEW_SECONDS = 300;

/** How many records go in one call. */
export const MAX_BATCH_LENGTH = 500;

/** How many bytes of records may wait for the twin's confirmation, about; a twin may send as much at once. */
export const MAX_UNCONFIRMED_BYTES = 64 * 1024 * 1024;

/** What a record has beside names and metadata, in bytes. */
const RECORD_SIZE = 200;

/** True if the first timestamp wins over the second: it is later, or of the primary. */
export function isNewer(timestamp: Timestamp, other: Timestamp): boolean {
  return (
    timestamp.time > other.time ||
    (timestamp.time === other.time && timestamp.role === 'primary' && other.role !== 'primary')
  );
}

/** True unless the time is none that a change can have been made at: a later one would win for ever. */
export function isPlausible({ time }: Timestamp, nowSeconds: number): boolean {
  return Number.isFinite(time) && time >= 0 && time <= nowSeconds + MAX_CLOCK_SKEW_SECONDS;
}

const sizes = new WeakMap<NameRecord, number>();

/** How many bytes a record has on its way, about. */
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

/** A record as it travels: `(name, time, role, observed, state)`, where state is None or a 5-tuple. */
export function recordToPython({ name, timestamp, observed, state }: NameRecord): PythonWritable {
  const content = state && [
    state.uri?.toString() ?? null,
    state.userMeta,
    state.systemMeta ? systemMetaToPython(state.systemMeta) : null,
    state.systemMetaSet,
  ];
  return tuple(name.toString(), timestamp.time, timestamp.role, observed, content ? new PythonTuple(content) : null);
}

/** @throws ProtocolError, NamingError or URIError where the value is no record */
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

/** @returns undefined where it is no number */
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

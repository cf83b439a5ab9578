/** Encodes and decodes the values in etcd: URIs, and metadata. */
import { PyroURI } from '../../names/index.js';
import type { PythonValue } from '../../pickle/index.js';
import { dumps, loads, PythonTuple, tuple } from '../../pickle/index.js';
import type { NodeType, SystemMeta } from '../namespace.js';
import { systemMetaFromPython, systemMetaToPython } from '../system-meta.js';

export interface Metadata {
  readonly system: SystemMeta;
  readonly user: PythonValue;
}

/** The value of a group's key. */
export const GROUP_VALUE = '';

/** Reads a URI; undefined if the value is not one. White space around it is allowed, as somebody may have put it by hand. */
export function readURI(value: Uint8Array): PyroURI | undefined {
  try {
    return PyroURI.parse(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8').trim());
  } catch {
    return undefined;
  }
}

/** @throws PickleError where the values can't be pickled */
export function writeMeta({ system, user }: Metadata): Buffer {
  return dumps(tuple(systemMetaToPython(system), user));
}

/**
 * Reads metadata. If it is missing or can't be decoded, the entry was put there by hand: then its time is unknown, and 0.
 * @param type whether the entry is a group or an object
 */
export function readMeta(pickle: Uint8Array | undefined, type: NodeType): Metadata {
  const [system = null, user = null] = pickle === undefined ? [] : pairIn(pickle);
  return { system: systemMetaFromPython(system) ?? { type, timestamp: 0, owner: null }, user };
}

function pairIn(pickle: Uint8Array): readonly PythonValue[] {
  try {
    const value = loads(pickle);
    return value instanceof PythonTuple && value.length === 2 ? value.items : [];
  } catch {
    return [];
  }
}

/** The metadata of a name that is created now. */
export function newMeta(type: NodeType): Metadata {
  return { system: { type, timestamp: Date.now() / 1000, owner: null }, user: null };
}

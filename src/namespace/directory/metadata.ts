/** What is in a `.ns_meta` file: a pickle of `(NameSpaceSystemMeta, user metadata)`. */
import type { Stats } from 'node:fs';
import type { PythonValue } from '../../pickle/index.js';
import { dumps, loads, PythonTuple, tuple } from '../../pickle/index.js';
import type { SystemMeta } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import { systemMetaFromPython, systemMetaToPython } from '../system-meta.js';

export interface Metadata {
  /** Undefined where the file has none: the name's own file tells it then. */
  readonly system: SystemMeta | undefined;
  readonly user: PythonValue;
}

/** How large a metadata file may be: larger ones are not read. */
export const MAX_META_FILE_SIZE = 64 * 1024 * 1024;

/** @throws PickleError where the values can't be pickled */
export function metaFileContent(system: SystemMeta, user: PythonValue): Buffer {
  return dumps(tuple(systemMetaToPython(system), user));
}

/** Reads what Pyro 3 wrote in any of its protocols. @throws PickleError or TypeError where it is something else */
export function readMetaFile(content: Buffer): Metadata {
  const value = loads(content);
  if (!(value instanceof PythonTuple) || value.length !== 2) throw new TypeError('not a tuple of two');
  const [system = null, user = null] = value;
  return { system: systemMetaFromPython(system), user };
}

/**
 * What system metadata would say of a name that has none of its own. An object's file is written once, so it was made when
 * it was last modified; a directory is modified with its members, so it was made when it was born, where that is known.
 */
export function systemMetaOf(stats: Stats): SystemMeta {
  const { mtimeMs, birthtimeMs } = stats;
  const isGroup = stats.isDirectory();
  const made = isGroup && birthtimeMs > 0 ? Math.min(birthtimeMs, mtimeMs) : mtimeMs;
  return { type: isGroup ? GROUP : OBJECT, timestamp: microseconds(made / 1000) / 1e6, owner: null };
}

/** Seconds as a whole number of microseconds: what Python's clock counts, and what a file's time can keep of a float. */
export function microseconds(seconds: number): number {
  return Math.round(seconds * 1e6);
}

/** The content of a `.ns_meta` file: a pickle of `(NameSpaceSystemMeta, user metadata)`. */
import type { Stats } from 'node:fs';
import type { PythonValue } from '../../pickle/index.js';
import { dumps, loads, PythonTuple, tuple } from '../../pickle/index.js';
import type { SystemMeta } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import { systemMetaFromPython, systemMetaToPython } from '../system-meta.js';

export interface Metadata {
  /** Undefined if the file has none: then it is derived from the stats of the name's own file (see `systemMetaOf`). */
  readonly system: SystemMeta | undefined;
  readonly user: PythonValue;
}

/** Maximum size of a metadata file. A larger one is not read. */
export const MAX_META_FILE_SIZE = 64 * 1024 * 1024;

/** @throws PickleError where the values can't be pickled */
export function metaFileContent(system: SystemMeta, user: PythonValue): Buffer {
  return dumps(tuple(systemMetaToPython(system), user));
}

/** Decodes a metadata file that Pyro 3 wrote, in any pickle protocol. @throws PickleError or TypeError if it is something else */
export function readMetaFile(content: Buffer): Metadata {
  const value = loads(content);
  if (!(value instanceof PythonTuple) || value.length !== 2) throw new TypeError('not a tuple of two');
  const [system = null, user = null] = value;
  return { system: systemMetaFromPython(system), user };
}

/**
 * Derives the system metadata of a name without a metadata file. An object's file is written only once, so its time of
 * modification is when the object was registered. A directory is modified with each change of its members, so its time of
 * creation is taken, where the file system has it.
 */
export function systemMetaOf(stats: Stats): SystemMeta {
  const { mtimeMs, birthtimeMs } = stats;
  const isGroup = stats.isDirectory();
  const made = isGroup && birthtimeMs > 0 ? Math.min(birthtimeMs, mtimeMs) : mtimeMs;
  return { type: isGroup ? GROUP : OBJECT, timestamp: microseconds(made / 1000) / 1e6, owner: null };
}

/** Seconds as a whole number of microseconds: the resolution of Python's clock, and of a float when stored as a file's time. */
export function microseconds(seconds: number): number {
  return Math.round(seconds * 1e6);
}

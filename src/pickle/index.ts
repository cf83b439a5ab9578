/** Python's pickle protocols 0, 1 and 2 as data: reader, writer and value types. A pickle never makes us run code. */
export {
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonTuple,
  PythonUnicode,
  tuple,
} from './values.js';
export type { Construction, PythonValue, PythonWritable } from './values.js';
export { addMember, setEntry } from './number-keys.js';
export { loads } from './reader.js';
export type { PickleReadOptions } from './reader.js';
export { DEFAULT_PICKLE_LIMITS } from './machine.js';
export type { PickleLimits } from './machine.js';
export { dumps, PickleWriter } from './writer.js';
export type { PickleWriteOptions, PlainOpcode } from './writer.js';
export { PickleError } from './pickle-error.js';
export { characters, readableText, textOf } from './text.js';
export { fromDate, toDate } from './datetime.js';

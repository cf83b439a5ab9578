/** Python's pickle protocols 0, 1 and 2 as data: a reader, a writer and the value types. Nothing a pickle names is called. */
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
export type { Construction, PythonValue } from './values.js';

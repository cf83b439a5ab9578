import { printable } from '../../config/index.js';
import {
  PythonClass,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonTuple,
  PythonUnicode,
  type PythonValue,
} from '../../pickle/index.js';

/** How deep nested values are shown. */
const MAX_DEPTH = 20;

/** How many characters of a float Python 2's `str` shows. */
const FLOAT_DIGITS = 12;

/** A value as Python's `print` shows it: text as it is (but for control characters), all else as it is written. */
export function pythonText(value: PythonValue): string {
  if (typeof value === 'string') return printable(value);
  if (value instanceof PythonUnicode) return printable(value.value);
  if (value instanceof PythonFloat) return pythonFloat(value.value);
  return pythonSource(value, 0);
}

/** A float as Python 2's `str` shows it. */
export function pythonFloat(value: number): string {
  const text = String(Number(value.toPrecision(FLOAT_DIGITS)));
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** As Python's `repr`. */
function pythonSource(value: PythonValue, depth: number): string {
  if (depth > MAX_DEPTH) return '...';
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'bigint') return `${value}L`;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : pythonFloat(value);
  if (typeof value === 'string') return quoted(value);
  if (value instanceof Uint8Array) return quoted(Buffer.from(value).toString('latin1'));
  if (value instanceof PythonUnicode) return `u${quoted(value.value)}`;
  if (value instanceof PythonFloat) return pythonFloat(value.value);
  if (value instanceof PythonInteger) return String(value.value);
  if (value instanceof PythonClass) return `<class ${className(value)}>`;
  if (value instanceof PythonInstance && value.callable instanceof PythonClass) {
    return `<${className(value.callable)} instance>`;
  }
  return containerSource(value, depth);
}

function containerSource(value: PythonValue, depth: number): string {
  const source = (item: PythonValue): string => pythonSource(item, depth + 1);
  const all = (values: Iterable<PythonValue>): string => [...values].map(source).join(', ');
  if (value instanceof PythonTuple) return `(${all(value.items)}${value.items.length === 1 ? ',' : ''})`;
  if (Array.isArray(value)) return `[${all(value)}]`;
  if (value instanceof Set) return `set([${all(value)}])`;
  if (value instanceof Map) {
    return `{${[...value].map(([key, item]) => `${source(key)}: ${source(item)}`).join(', ')}}`;
  }
  return '<object>';
}

const className = ({ module, name }: PythonClass): string => printable(`${module}.${name}`);

function quoted(text: string): string {
  return `'${printable(text.replace(/[\\']/g, '\\$&'))}'`;
}

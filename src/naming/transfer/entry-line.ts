import { printableJSON } from '../../config/index.js';
import { NamingError, PyroError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { Name, PyroURI } from '../../names/index.js';
import { GROUP, OBJECT, type NamespaceEntry } from '../../namespace/index.js';
import { dumps, loads, PickleError, type PythonValue } from '../../pickle/index.js';

/** A value in JSON: text as a string (a str, or a unicode that is not ASCII), everything else as a pickle in base64. */
type ValueInLine = string | { readonly pickle: string };

/** Writes an entry as a line of JSON, without line end. @throws PickleError where a value is nested too deep */
export function writeEntryLine({ name, uri, systemMeta, userMeta }: NamespaceEntry): string {
  return printableJSON({
    name: name.toString(),
    uri: uri?.toString(),
    since: systemMeta?.timestamp,
    owner: valueInLine(systemMeta?.owner ?? null),
    meta: valueInLine(userMeta),
  });
}

/** Parses such a line. @throws NamingError that says what is wrong in it */
export function readEntryLine(line: string): NamespaceEntry {
  const fields = objectOf(line);
  const { name, uri, since, owner, meta } = fields;
  const unknown = Object.keys(fields).find((field) => !FIELDS.has(field));
  if (unknown !== undefined) throw new NamingError(refusalText('ENTRY_FIELD_UNKNOWN', unknown));
  if (typeof name !== 'string') throw new NamingError(refusalText('ENTRY_NAME_MISSING'));
  if (uri !== undefined && typeof uri !== 'string') throw new NamingError(refusalText('ENTRY_URI_INVALID'));
  if (since !== undefined && typeof since !== 'number') throw new NamingError(refusalText('ENTRY_SINCE_INVALID'));
  try {
    const type = uri === undefined ? GROUP : OBJECT;
    return {
      name: Name.parse(name),
      uri: uri === undefined ? undefined : PyroURI.parse(uri),
      systemMeta: since === undefined ? undefined : { type, timestamp: since, owner: readValue(owner) },
      userMeta: readValue(meta),
    };
  } catch (error) {
    if (error instanceof PickleError) throw new NamingError(refusalText('ENTRY_PICKLE_INVALID', error.message));
    if (error instanceof PyroError) throw new NamingError(error.args.join(': '));
    throw error;
  }
}

const FIELDS: ReadonlySet<string> = new Set(['name', 'uri', 'since', 'owner', 'meta']);

function objectOf(line: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new NamingError(refusalText('ENTRY_NOT_JSON'));
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new NamingError(refusalText('ENTRY_NOT_OBJECT'));
  }
  return Object.fromEntries(Object.entries(value));
}

function valueInLine(value: PythonValue): ValueInLine | undefined {
  if (value === null) return undefined;
  return typeof value === 'string' ? value : { pickle: dumps(value).toString('base64') };
}

function readValue(value: unknown): PythonValue {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string') return value;
  if (typeof value === 'object' && 'pickle' in value && typeof value.pickle === 'string') {
    return loads(Buffer.from(value.pickle, 'base64'));
  }
  throw new NamingError(refusalText('ENTRY_VALUE_INVALID'));
}

import { PyroError } from '../errors.js';
import { refusalText } from '../refusals.js';
import {
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonTuple,
  PythonUnicode,
  type PythonValue,
} from '../pickle/index.js';
import type { PythonItem, PythonNode } from './api.js';

/** Limits of a description. Beyond them, parts are described as `omitted`. */
export interface DescriptionLimits {
  readonly nodes: number;
  readonly depth: number;
  /** Characters of one text. */
  readonly text: number;
}

export const defaultDescriptionLimits: DescriptionLimits = { nodes: 5000, depth: 40, text: 4000 };

/** Converts a Python value to a tree for display, within the limits. */
export function describePython(value: PythonValue, limits = defaultDescriptionLimits): PythonNode {
  return new Describer(limits).describe(value, 0);
}

/** The maximal nesting depth of JSON for metadata. */
const MAX_JSON_DEPTH = 100;

/**
 * Converts a JSON text to a Python value; objects become dicts.
 * @throws PyroError where it is no valid JSON, or nested too deep
 */
export function pythonFromJSON(text: string): PythonValue {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new PyroError(refusalText('JSON_INVALID', error instanceof SyntaxError ? error.message : String(error)));
  }
  return fromJSON(value, 0);
}

function fromJSON(value: unknown, depth: number): PythonValue {
  if (depth > MAX_JSON_DEPTH) throw new PyroError(refusalText('JSON_TOO_DEEP', MAX_JSON_DEPTH));
  if (Array.isArray(value)) return value.map((item) => fromJSON(item, depth + 1));
  if (typeof value === 'object' && value !== null) {
    return new Map(Object.entries(value).map(([key, member]) => [key, fromJSON(member, depth + 1)]));
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
}

class Describer {
  private readonly known = new Map<object, number>();
  private nodes = 0;

  constructor(private readonly limits: DescriptionLimits) {}

  describe(value: PythonValue, depth: number): PythonNode {
    this.nodes += 1;
    if (value === null) return { kind: 'scalar', type: 'None', text: 'None' };
    if (typeof value === 'object') return this.describeObject(value, depth);
    if (typeof value === 'boolean') return { kind: 'scalar', type: 'bool', text: value ? 'True' : 'False' };
    if (typeof value === 'bigint') return this.text('long', String(value));
    // ASCII text is a str: see PythonValue.
    if (typeof value === 'string') return this.text(/[^\0-\x7f]/.test(value) ? 'unicode' : 'str', value);
    return { kind: 'scalar', type: Number.isSafeInteger(value) ? 'int' : 'float', text: pythonNumber(value) };
  }

  private describeObject(value: object & PythonValue, depth: number): PythonNode {
    if (value instanceof Uint8Array) return this.text('str', escapeBytes(value, this.limits.text), value.length);
    if (value instanceof PythonUnicode) return this.text('unicode', value.value);
    if (value instanceof PythonFloat) return { kind: 'scalar', type: 'float', text: value.toString() };
    if (value instanceof PythonInteger) return { kind: 'scalar', type: 'int', text: value.toString() };
    if (value instanceof PythonClass) return this.text('class', value.toString());
    if (value instanceof PythonExtension) return this.text('extension', String(value.code));
    return this.describeContainer(value, depth);
  }

  private describeContainer(value: Container, depth: number): PythonNode {
    const type = typeOf(value);
    const before = this.known.get(value);
    if (before !== undefined) return { kind: 'again', type, id: before };
    if (depth >= this.limits.depth || this.nodes > this.limits.nodes) return { kind: 'omitted', type };
    const id = this.known.size + 1;
    this.known.set(value, id);
    const items: PythonItem[] = [];
    let size = 0;
    for (const [key, member] of membersOf(value)) {
      size += 1;
      if (this.nodes > this.limits.nodes) continue;
      const label = key === undefined || key instanceof Label ? key?.text : this.describe(key, depth + 1);
      items.push({ key: label, value: this.describe(member, depth + 1) });
    }
    return { kind: 'container', type, id, size, items };
  }

  private text(type: string, text: string, length = text.length): PythonNode {
    const limit = this.limits.text;
    return length <= limit
      ? { kind: 'scalar', type, text }
      : { kind: 'scalar', type, text: text.slice(0, limit), cut: length };
  }
}

type Container =
  PythonTuple | PythonValue[] | Map<PythonValue, PythonValue> | Set<PythonValue> | PythonInstance | PythonPersistentID;

/** A label in place of a dict's key: the name of an attribute, or the meaning of a part, such as `arguments`. */
class Label {
  constructor(readonly text: string) {}
}

function typeOf(value: Container): string {
  if (value instanceof PythonTuple) return 'tuple';
  if (Array.isArray(value)) return 'list';
  if (value instanceof Map) return 'dict';
  if (value instanceof Set) return 'set';
  if (value instanceof PythonPersistentID) return 'persistent id';
  return value.class instanceof PythonClass ? value.class.toString() : 'instance';
}

function* membersOf(value: Container): Generator<[PythonValue | Label | undefined, PythonValue]> {
  if (value instanceof PythonPersistentID) yield [undefined, value.id];
  else if (value instanceof Map) yield* value;
  else if (value instanceof PythonInstance) yield* membersOfInstance(value);
  else for (const item of value) yield [undefined, item];
}

function* membersOfInstance(instance: PythonInstance): Generator<[PythonValue | Label | undefined, PythonValue]> {
  const { args, state, listItems, dictItems } = instance;
  const isReconstructed = instance.class !== instance.callable;
  if (!(instance.callable instanceof PythonClass)) yield [new Label('made by'), instance.callable];
  // The arguments of copy_reg._reconstructor (class, base class, None) are not arguments of the class.
  if (args.length > 0 && !isReconstructed) yield [new Label('arguments'), args];
  if (state instanceof Map) {
    for (const [key, member] of state) yield [typeof key === 'string' ? new Label(key) : key, member];
  } else if (state !== undefined) yield [new Label('state'), state];
  for (const item of listItems ?? []) yield [undefined, item];
  yield* dictItems ?? [];
}

function pythonNumber(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (Object.is(value, -0)) return '-0.0';
  return Number.isFinite(value) ? String(value) : value > 0 ? 'inf' : '-inf';
}

/** Bytes as Python's `repr` escapes them. */
function escapeBytes(bytes: Uint8Array, limit: number): string {
  return Array.from(bytes.subarray(0, limit), (byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
  ).join('');
}

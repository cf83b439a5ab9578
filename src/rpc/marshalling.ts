import { PyroURI } from '../names/index.js';
import {
  addMember,
  characters,
  PickleError,
  PythonClass,
  PythonExtension,
  PythonFloat,
  PythonInstance,
  PythonInteger,
  PythonPersistentID,
  PythonTuple,
  PythonUnicode,
  setEntry,
  textOf,
  tuple,
  type PythonValue,
  type PythonWritable,
} from '../pickle/index.js';

const PYRO_URI = new PythonClass('Pyro.core', 'PyroURI');
const PYRO_ADAPTER = new PythonClass('Pyro.protocol', 'PYROAdapter');
const PYROSSL_ADAPTER = new PythonClass('Pyro.protocol', 'PYROSSLAdapter');
const CONN_VALIDATOR = new PythonClass('Pyro.protocol', 'DefaultConnValidator');

/** Pyro's proxy classes, and the module of each. */
const PROXY_MODULES = {
  DynamicProxy: 'Pyro.core',
  DynamicProxyWithAttrs: 'Pyro.core',
  NameServerProxy: 'Pyro.naming',
} as const;

export type ProxyKind = keyof typeof PROXY_MODULES;

/** The contents of a pickled proxy. */
export interface ProxyDescription {
  readonly kind: ProxyKind;
  readonly uri: PyroURI;
  /** The digest of the passphrase (`mungeIdent`), to be kept as secret as the passphrase; empty if there is none. */
  readonly identification: Uint8Array;
  /** The timeout of its calls, in seconds; null: no limit. */
  readonly timeout: number | null;
  readonly onewayMethods: readonly string[];
}

/** The key of the method by which an object marshals itself. */
export const asPython = Symbol('asPython');

/** An object that marshals itself; `toPython` calls this method. */
export interface Marshallable {
  [asPython](): PythonInstance;
}

/** Marshals a URI as Pyro 3 pickles it: an instance of `Pyro.core.PyroURI`. */
export function uriToPython(uri: PyroURI): PythonInstance {
  return newObject(PYRO_URI, {
    protocol: uri.protocol,
    address: uri.address,
    port: uri.port,
    objectID: bytesAsPython(uri.objectID),
  });
}

/**
 * Unmarshals an instance of `Pyro.core.PyroURI`.
 * @returns undefined where the value is no such instance
 * @throws URIError where its parts are not valid in a URI
 */
export function uriFromPython(value: PythonValue | undefined): PyroURI | undefined {
  if (!(value instanceof PythonInstance) || !value.isOf(PYRO_URI.module, PYRO_URI.name)) return undefined;
  const text = (name: string): string => characters(value.attribute(name)) ?? '';
  const port = value.attribute('port');
  return new PyroURI(text('protocol'), text('address'), typeof port === 'number' ? port : -1, text('objectID'));
}

/**
 * Marshals a proxy as Pyro 3 pickles it. An identification in the description is included, and whoever gets the pickle
 * can use it: leave it empty unless that is wanted.
 */
export function proxyToPython(description: ProxyDescription): PythonInstance {
  const { kind, identification, timeout, onewayMethods } = description;
  const uri = uriToPython(description.uri);
  const adapter = newObject(description.uri.protocol.endsWith('SSL') ? PYROSSL_ADAPTER : PYRO_ADAPTER, {
    ident: identification,
    // Python's sockets accept None for no timeout, but not infinity.
    timeout: timeout === Infinity ? null : timeout,
    onewayMethods: [...onewayMethods],
    newConnValidator: newObject(CONN_VALIDATOR, { allowedIDs: ['all'] }),
    // Pyro's NameServerProxy does not bind itself: it calls the URI that its adapter has.
    ...(kind === 'NameServerProxy' ? { URI: uri } : {}),
  });
  return newObject(new PythonClass(PROXY_MODULES[kind], kind), {
    URI: uri,
    objectID: description.uri.objectID,
    adapter,
    ...(kind === 'DynamicProxyWithAttrs' ? { _attr_cache: new Map() } : {}),
  });
}

/**
 * Unmarshals an instance of one of Pyro's proxy classes.
 * @returns undefined where the value is no such instance
 * @throws URIError where the parts of its URI are not valid
 */
export function proxyFromPython(value: PythonValue | undefined): ProxyDescription | undefined {
  if (!(value instanceof PythonInstance)) return undefined;
  const kind = kindOf(value.class);
  const uri = uriFromPython(value.attribute('URI'));
  const adapter = value.attribute('adapter');
  if (kind === undefined || uri === undefined || !(adapter instanceof PythonInstance)) return undefined;
  const onewayMethods = adapter.attribute('onewayMethods');
  return {
    kind,
    uri,
    identification: bytesOf(adapter.attribute('ident')),
    timeout: timeoutOf(adapter.attribute('timeout')),
    onewayMethods: Array.isArray(onewayMethods)
      ? onewayMethods.map(textOf).filter((method) => method !== undefined)
      : [],
  };
}

/**
 * Marshals a program's value into one that can be pickled: URIs and proxies, also in arrays, maps, sets, tuples and
 * plain objects, become instances of Pyro's classes. The result is a deep copy (except for the contents of byte
 * arrays), so that later changes of the program's value have no effect. Shared and cyclic references are kept.
 * @throws PickleError where a value has no counterpart in Python, or is nested too deep
 */
export function toPython(value: unknown): PythonWritable {
  if (isScalar(value)) return value;
  return new Marshaller(leafToPython).copy(value);
}

/** As `toPython`, for several values, and references that they share are kept. */
export function allToPython(values: readonly unknown[]): PythonWritable[] {
  const copier = new Marshaller(leafToPython);
  return values.map((value) => copier.copy(value));
}

/**
 * Unmarshals an unpickled value for a program: instances of Pyro's classes become URIs and proxies. The result is a
 * deep copy.
 * @param makeProxy makes a proxy from its description
 * @throws URIError where a URI in it is not valid; PickleError where it is nested too deep
 */
export function fromPython(value: PythonValue, makeProxy: (description: ProxyDescription) => unknown): unknown {
  if (isScalar(value)) return value;
  return new Marshaller((leaf: unknown) => {
    if (!(leaf instanceof PythonInstance)) return leaf;
    const uri = uriFromPython(leaf);
    if (uri !== undefined) return uri;
    const description = proxyFromPython(leaf);
    return description === undefined ? leaf : makeProxy(description);
  }).copy(value);
}

/** The maximal nesting depth of containers: about as deep as Python's own pickle goes. */
const MAX_DEPTH = 1000;

type Copied<Leaf> =
  Leaf | Copied<Leaf>[] | Map<Copied<Leaf>, Copied<Leaf>> | Set<Copied<Leaf>> | PythonTuple<readonly Copied<Leaf>[]>;

/** A deep copy that translates the leaves. Each container is copied once, so shared and cyclic references are kept. */
class Marshaller<Leaf> {
  /** The copy of each container. Created with the first one, as most values are scalars. */
  private copies: Map<object, Copied<Leaf>> | undefined;

  private depth = 0;

  constructor(private readonly translate: (value: unknown) => Leaf) {}

  copy(value: unknown): Copied<Leaf> {
    if (typeof value !== 'object' || value === null) return this.translate(value);
    const known = this.copies?.get(value);
    if (known !== undefined) return known;
    if (++this.depth > MAX_DEPTH) throw new PickleError(`values are nested deeper than ${MAX_DEPTH}`);
    const copy = this.copyObject(value);
    this.depth--;
    return copy;
  }

  private copyObject(value: object): Copied<Leaf> {
    if (Array.isArray(value)) {
      const members: unknown[] = value;
      return this.fill(this.remember(value, []), members);
    }
    if (isTuple(value)) {
      const copies: Copied<Leaf>[] = [];
      const copy = this.remember(value, new PythonTuple(copies));
      this.fill(copies, value.items);
      return copy;
    }
    if (value instanceof Map) return this.copyDict(value, value);
    if (value instanceof Set) {
      const copy = this.remember(value, new Set<Copied<Leaf>>());
      for (const member of value) addMember(copy, this.copy(member));
      return copy;
    }
    return isPlainObject(value)
      ? this.copyDict(value, Object.entries(value))
      : this.remember(value, this.translate(value));
  }

  private copyDict(value: object, entries: Iterable<[unknown, unknown]>): Copied<Leaf> {
    const copy = this.remember(value, new Map<Copied<Leaf>, Copied<Leaf>>());
    for (const [key, member] of entries) setEntry(copy, this.copy(key), this.copy(member));
    return copy;
  }

  private fill(copy: Copied<Leaf>[], members: Iterable<unknown>): Copied<Leaf>[] {
    for (const member of members) copy.push(this.copy(member));
    return copy;
  }

  /** Records the copy of a container before it is filled, so that cyclic references find it. */
  private remember<Copy extends Copied<Leaf>>(value: object, copy: Copy): Copy {
    this.copies ??= new Map<object, Copied<Leaf>>();
    this.copies.set(value, copy);
    return copy;
  }
}

type Scalar = null | undefined | boolean | number | bigint | string;

function leafToPython(value: unknown): PythonAtom | PythonInstance | Scalar {
  if (value instanceof PyroURI) return uriToPython(value);
  if (isMarshallable(value)) return value[asPython]();
  if (isScalar(value) || isPythonAtom(value)) return value;
  const kind = typeof value === 'object' ? `an object of class ${value.constructor.name}` : `a ${typeof value}`;
  throw new PickleError(`can't pickle ${kind}`);
}

function isScalar(value: unknown): value is Scalar {
  return value === null || (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol');
}

const ATOMS = [
  Uint8Array,
  Date,
  PythonFloat,
  PythonInteger,
  PythonUnicode,
  PythonClass,
  PythonInstance,
  PythonPersistentID,
  PythonExtension,
] as const;

/** Types that are pickled as they are; the state of a PythonInstance is not translated either. */
type PythonAtom = InstanceType<(typeof ATOMS)[number]>;

function isPythonAtom(value: unknown): value is PythonAtom {
  return ATOMS.some((atom) => value instanceof atom);
}

function isMarshallable(value: unknown): value is Marshallable {
  return typeof value === 'object' && value !== null && asPython in value;
}

function isTuple(value: object): value is PythonTuple<readonly unknown[]> {
  return value instanceof PythonTuple;
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** A new-style instance with these attributes. */
function newObject(cls: PythonClass, attributes: Readonly<Record<string, PythonValue>>): PythonInstance {
  return new PythonInstance('newobj', cls, tuple(), new Map<PythonValue, PythonValue>(Object.entries(attributes)));
}

function kindOf(cls: PythonValue): ProxyKind | undefined {
  if (!(cls instanceof PythonClass)) return undefined;
  const { module, name } = cls;
  return isProxyKind(name) && PROXY_MODULES[name] === module ? name : undefined;
}

function isProxyKind(name: string): name is ProxyKind {
  return Object.hasOwn(PROXY_MODULES, name);
}

/** A str from Latin-1 text: a string if it is ASCII, else bytes. */
function bytesAsPython(text: string): PythonValue {
  return /^[\0-\x7f]*$/.test(text) ? text : Buffer.from(text, 'latin1');
}

/** The bytes of a str; empty for other values. */
function bytesOf(value: PythonValue | undefined): Uint8Array {
  if (value instanceof Uint8Array) return value;
  return Buffer.from(textOf(value) ?? '', 'latin1');
}

/** A timeout in seconds; null if the value is none, or not valid. */
function timeoutOf(value: PythonValue | undefined): number | null {
  const seconds = value instanceof PythonFloat ? value.value : value;
  return typeof seconds === 'number' && seconds >= 0 ? seconds : null;
}

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

/** Pyro's classes of proxies, by the modules they are in. */
const PROXY_MODULES = {
  DynamicProxy: 'Pyro.core',
  DynamicProxyWithAttrs: 'Pyro.core',
  NameServerProxy: 'Pyro.naming',
} as const;

export type ProxyKind = keyof typeof PROXY_MODULES;

/** A proxy as it travels. */
export interface ProxyDescription {
  readonly kind: ProxyKind;
  readonly uri: PyroURI;
  /** The munged identification, as good as the passphrase itself; empty where there is none. */
  readonly identification: Uint8Array;
  /** How long its calls may take, in seconds; null for ever. */
  readonly timeout: number | null;
  readonly onewayMethods: readonly string[];
}

/** The method of objects that know what they are to Python. */
export const asPython = Symbol('asPython');

/** An object that `toPython` translates by asking it. */
export interface Marshallable {
  [asPython](): PythonInstance;
}

/** A URI as Pyro 3 pickles it: an instance of `Pyro.core.PyroURI`. */
export function uriToPython(uri: PyroURI): PythonInstance {
  return newObject(PYRO_URI, {
    protocol: uri.protocol,
    address: uri.address,
    port: uri.port,
    objectID: bytesAsPython(uri.objectID),
  });
}

/**
 * Reads an instance of `Pyro.core.PyroURI`.
 * @returns undefined where the value is none
 * @throws URIError where its parts can't stand in a URI
 */
export function uriFromPython(value: PythonValue | undefined): PyroURI | undefined {
  if (!(value instanceof PythonInstance) || !value.isOf(PYRO_URI.module, PYRO_URI.name)) return undefined;
  const text = (name: string): string => characters(value.attribute(name)) ?? '';
  const port = value.attribute('port');
  return new PyroURI(text('protocol'), text('address'), typeof port === 'number' ? port : -1, text('objectID'));
}

/**
 * A proxy as Pyro 3 pickles it. Its identification goes along only where the description has one: whoever gets the
 * pickle can use it.
 */
export function proxyToPython(description: ProxyDescription): PythonInstance {
  const { kind, identification, timeout, onewayMethods } = description;
  const uri = uriToPython(description.uri);
  const adapter = newObject(description.uri.protocol.endsWith('SSL') ? PYROSSL_ADAPTER : PYRO_ADAPTER, {
    ident: identification,
    // Python's sockets can't wait for an infinite time, but without a limit.
    timeout: timeout === Infinity ? null : timeout,
    onewayMethods: [...onewayMethods],
    newConnValidator: newObject(CONN_VALIDATOR, { allowedIDs: ['all'] }),
    // A name server's proxy does not bind itself: it calls by the URI that its adapter has.
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
 * Reads an instance of one of Pyro's proxies.
 * @returns undefined where the value is none
 * @throws URIError where its URI's parts can't stand in a URI
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
 * Makes of values of a program what can be pickled: URIs and proxies become instances of Pyro's classes, wherever they
 * stand in arrays, maps, sets, tuples and plain objects. The result is a copy, so that what the program does to its
 * values afterwards doesn't matter (but for the bytes of arrays of bytes); what is shared or cyclic stays so.
 * @throws PickleError where a value has no counterpart in Python
 */
export function toPython(value: unknown): PythonWritable {
  if (isScalar(value)) return value;
  return new Marshaller(leafToPython).copy(value);
}

/** `toPython` of several values, which may have parts in common. */
export function allToPython(values: readonly unknown[]): PythonWritable[] {
  const copier = new Marshaller(leafToPython);
  return values.map((value) => copier.copy(value));
}

/**
 * Makes of values that were pickled those of a program: instances of Pyro's classes become URIs and proxies.
 * @param makeProxy makes a proxy as described
 * @throws URIError where a URI among them is not valid; PickleError where they are nested too deep
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

/** How deep containers may be nested: about as deep as Python's own pickle goes. */
const MAX_DEPTH = 1000;

type Copied<Leaf> =
  Leaf | Copied<Leaf>[] | Map<Copied<Leaf>, Copied<Leaf>> | Set<Copied<Leaf>> | PythonTuple<readonly Copied<Leaf>[]>;

/** Copies containers, each once, and translates what is in them. */
class Marshaller<Leaf> {
  /** Made with the first container: most values are none. */
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

  /** What refers to the value again, as it does itself where it is cyclic, refers to the copy. */
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

/** What is pickled as it is: an instance's state, too, is data and nothing else. */
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

/** A new-style instance, by its attributes. */
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

/** A str, of a text each of whose characters is a byte. */
function bytesAsPython(text: string): PythonValue {
  return /^[\0-\x7f]*$/.test(text) ? text : Buffer.from(text, 'latin1');
}

/** A str: bytes where it is not all ASCII. */
function bytesOf(value: PythonValue | undefined): Uint8Array {
  if (value instanceof Uint8Array) return value;
  return Buffer.from(textOf(value) ?? '', 'latin1');
}

/** Seconds; what can be no time to wait counts as none. */
function timeoutOf(value: PythonValue | undefined): number | null {
  const seconds = value instanceof PythonFloat ? value.value : value;
  return typeof seconds === 'number' && seconds >= 0 ? seconds : null;
}

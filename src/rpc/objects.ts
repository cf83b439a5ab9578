import { AsyncLocalStorage } from 'node:async_hooks';
import { networkInterfaces } from 'node:os';
import { newGUID, type PyroURI } from '../names/index.js';
import { PythonUnicode, type PythonValue } from '../pickle/index.js';
import type { CallRequest, ServerConnection } from '../wire/index.js';
import { DaemonError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { AdapterOptions } from './adapter.js';
import { noSuchAttribute, RemoteError } from './remote-error.js';
import { getAttrProxyForURI, getProxyForURI, receivedProxy, type AttrProxy, type Proxy } from './proxy.js';
import type { Answer, Servant } from './servant.js';
import { fromPython, toPython } from './marshalling.js';

/** The results of Pyro's `_r_ha`, by which an attribute proxy asks what kind of member a name is. */
const METHOD = 1;
const ATTRIBUTE = 2;

/** Allow-lists of what can be accessed remotely, if that is not all public methods and attributes. */
export interface RemoteAccess {
  /** The only methods that can be called. */
  readonly methods?: readonly string[];
  /** The only attributes that attribute proxies can read and write. */
  readonly attributes?: readonly string[];
}

/** What an object needs of the daemon that it is connected to. */
export interface ConnectedDaemon {
  /** The options of proxies that the object receives, and of proxies of itself. */
  readonly proxyOptions: AdapterOptions;
  /** The URI of an object of this daemon. */
  uriOf(object: object): PyroURI;
}

/** The members that a class adds to ObjBase. */
type OwnMembers<Servant> = Omit<Servant, keyof ObjBase>;

const callers = new AsyncLocalStorage<ServerConnection>();

/** The connection of the client whose call is being executed. Only within a remote method; undefined elsewhere. */
export function getCaller(): ServerConnection | undefined {
  return callers.getStore();
}

/**
 * Makes an object remote: as base class, or as adapter around any other object (`new ObjBase(thing)`, `delegateTo`).
 *
 * Remotely accessible are the members whose names don't begin with `_`, except those that every object has
 * (`constructor`, `toString`, ...) and those of ObjBase itself; `access` restricts that to a list. Keyword arguments
 * are passed as one plain object after the positional ones.
 */
export class ObjBase implements Servant {
  // Private to JavaScript (`#`), not only to TypeScript, as all below: otherwise attribute proxies could access them,
  // and they would collide with members of the same name in subclasses.
  #guid: string | undefined;
  #daemon: ConnectedDaemon | undefined;
  #target: object;
  #access: RemoteAccess;
  #lastUsed = Date.now();

  constructor(delegate?: object, access: RemoteAccess = {}) {
    this.#target = delegate ?? this;
    this.#access = access;
  }

  /** Delegates calls to another object. */
  delegateTo(delegate: object, access: RemoteAccess = {}): void {
    this.#target = delegate;
    this.#access = access;
  }

  /** When the object was last called, in milliseconds since the epoch. Idle transient objects are dropped by it. */
  get lastUsed(): number {
    return this.#lastUsed;
  }

  GUID(): string {
    this.#guid ??= newGUID(ownAddress(), process.pid);
    return this.#guid;
  }

  setGUID(guid: string): void {
    this.#guid = guid;
  }

  /** Called by the daemon when the object is connected, and with undefined when it is disconnected. */
  setPyroDaemon(daemon: ConnectedDaemon | undefined): void {
    this.#daemon = daemon;
  }

  /** The daemon that the object is connected to. @throws DaemonError if there is none */
  getDaemon(): ConnectedDaemon {
    if (this.#daemon === undefined) throw new DaemonError(refusalText('OBJECT_NOT_CONNECTED'));
    return this.#daemon;
  }

  /** The URI of the object. @throws DaemonError if it is not connected to a daemon */
  getURI(): PyroURI {
    return this.getDaemon().uriOf(this);
  }

  /** A proxy of the object, to be passed to others. @throws DaemonError if it is not connected to a daemon */
  getProxy(): Proxy<OwnMembers<this>> {
    return getProxyForURI(this.getURI(), this.getDaemon().proxyOptions);
  }

  /** As `getProxy`, with access to attributes too. */
  getAttrProxy(): AttrProxy<OwnMembers<this>> {
    return getAttrProxyForURI(this.getURI(), this.getDaemon().proxyOptions);
  }

  /**
   * Called when the daemon has dropped the object after its idle time (`setTransientsCleanupAge`). To be overridden.
   */
  _gotReaped(): void {
    // Nothing to do by default.
  }

  invoke(call: CallRequest, caller: ServerConnection): Answer | Promise<Answer> {
    this.#lastUsed = Date.now();
    const args = call.args.map((arg) => this.#unmarshal(arg));
    switch (call.method) {
      case '_r_ha':
        return this.#findMethod(attributeName(args[0])) === undefined ? ATTRIBUTE : METHOD;
      case '_r_ga':
        return marshalResult(this.#readAttribute(attributeName(args[0])));
      case '_r_sa':
        this.#writeAttribute(attributeName(args[0]), args[1]);
        return null;
      default:
        return this.#callMethod(call, args, caller);
    }
  }

  #callMethod(call: CallRequest, args: unknown[], caller: ServerConnection): Answer | Promise<Answer> {
    const method = this.#findMethod(call.method);
    if (method === undefined) throw noSuchAttribute(classNameOf(this.#target), call.method);
    if (call.keywords.size > 0) {
      args.push(Object.fromEntries([...call.keywords].map(([keyword, value]) => [keyword, this.#unmarshal(value)])));
    }
    return marshalResult(callers.run(caller, () => Reflect.apply(method, this.#target, args)));
  }

  /** Unmarshals a value that a peer sent: URIs and proxies become objects. */
  #unmarshal(value: PythonValue): unknown {
    return fromPython(value, (description) => receivedProxy(description, this.#daemon?.proxyOptions));
  }

  #findMethod(name: string): Callable | undefined {
    if (!this.#isPublic(name) || this.#access.methods?.includes(name) === false) return undefined;
    const found = this.#getMember(name);
    return isCallable(found) ? found : undefined;
  }

  #readAttribute(name: string): unknown {
    const isListed = this.#access.attributes?.includes(name) !== false;
    const isThere = isListed && this.#isPublic(name) && name in this.#target;
    const found = isThere ? this.#getMember(name) : undefined;
    if (!isThere || isCallable(found)) throw noSuchAttribute(classNameOf(this.#target), name);
    return found;
  }

  #writeAttribute(name: string, value: unknown): void {
    this.#readAttribute(name);
    if (!Reflect.set(this.#target, name, value)) {
      throw new RemoteError('exceptions', 'AttributeError', ["can't set attribute"]);
    }
  }

  /** False for members that are private by Pyro's convention (`_`), or that every object or ObjBase has. */
  #isPublic(name: string): boolean {
    if (name.startsWith('_') || name in Object.prototype) return false;
    return !(this.#target instanceof ObjBase && name in ObjBase.prototype);
  }

  /**
   * Reads a member. If a getter returns a promise that nobody awaits, its rejection is handled, so that it does not end
   * the process.
   */
  #getMember(name: string): unknown {
    const found: unknown = Reflect.get(this.#target, name);
    if (isThenable(found)) Promise.resolve(found).catch(() => undefined);
    return found;
  }
}

/** An object with a mutex: it executes one call at a time, in the order of their arrival. */
export class SynchronizedObjBase extends ObjBase {
  #last: Promise<unknown> = Promise.resolve();

  override invoke(call: CallRequest, caller: ServerConnection): Promise<Answer> {
    const answer = this.#last.then(() => super.invoke(call, caller));
    this.#last = answer.catch(() => undefined);
    return answer;
  }
}

/** The name in an attribute proxy's call; empty, which no member is called, if the argument is no text. */
function attributeName(value: unknown): string {
  if (value instanceof PythonUnicode) return value.value;
  return typeof value === 'string' ? value : '';
}

type Callable = (...args: unknown[]) => unknown;

/**
 * True for a promise or any other thenable: a program may have a promise class of its own, or promises of another
 * realm.
 */
const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';

/** Marshals the result of a method, when it is available. */
const marshalResult = (result: unknown): Answer | Promise<Answer> =>
  isThenable(result) ? Promise.resolve(result).then(toPython) : toPython(result);

const isCallable = (value: unknown): value is Callable => typeof value === 'function';

/** The name of an object's class, for error texts. */
function classNameOf(object: object): string {
  const constructor: unknown = Reflect.get(object, 'constructor');
  return typeof constructor === 'function' ? constructor.name : 'object';
}

/** This machine's first IPv4 address that is not loopback: a part of object ids. */
function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1';
}

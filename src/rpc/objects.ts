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

/** Pyro's codes of what an attribute proxy finds under a name (`_r_ha`). */
const METHOD = 1;
const ATTRIBUTE = 2;

/** What may be reached from outside, where not all public methods and attributes are meant to be. */
export interface RemoteAccess {
  /** The only methods that can be called. */
  readonly methods?: readonly string[];
  /** The only attributes that attribute proxies can read and write. */
  readonly attributes?: readonly string[];
}

/** What an object knows of the daemon it is connected to. */
export interface ConnectedDaemon {
  /** What proxies are set up with that the object is given, or gives of itself. */
  readonly proxyOptions: AdapterOptions;
  /** The URI of an object of this daemon. */
  uriOf(object: object): PyroURI;
}

/** What a class adds to ObjBase. */
type OwnMembers<Servant> = Omit<Servant, keyof ObjBase>;

const callers = new AsyncLocalStorage<ServerConnection>();

/** The connection of the client whose call is being answered: to be asked within a remote method. */
export function getCaller(): ServerConnection | undefined {
  return callers.getStore();
}

/**
 * Makes an object remote: by extension, or around any other object (`new ObjBase(thing)`, `delegateTo`).
 *
 * What can be reached: methods of the object and its classes whose names don't begin with `_`; nothing that all objects
 * have (`constructor`, `toString`, ...), nor what ObjBase itself has; or just what `access` lists. Keyword arguments
 * arrive as one plain object behind the positional ones.
 */
export class ObjBase implements Servant {
  // Truly private, as all below: what is only private to TypeScript is in reach of attribute proxies, and in the way of
  // methods of the same name, where classes extend this.
  #guid: string | undefined;
  #daemon: ConnectedDaemon | undefined;
  #target: object;
  #access: RemoteAccess;
  #lastUsed = Date.now();

  constructor(delegate?: object, access: RemoteAccess = {}) {
    this.#target = delegate ?? this;
    this.#access = access;
  }

  /** Lets another object answer. */
  delegateTo(delegate: object, access: RemoteAccess = {}): void {
    this.#target = delegate;
    this.#access = access;
  }

  /** When the object was last called, in milliseconds since the epoch: transient objects are dropped by it. */
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

  /** Called by the daemon that the object is connected to; with undefined when it is connected no longer. */
  setPyroDaemon(daemon: ConnectedDaemon | undefined): void {
    this.#daemon = daemon;
  }

  /** The daemon that the object is connected to. @throws DaemonError where there is none */
  getDaemon(): ConnectedDaemon {
    if (this.#daemon === undefined) throw new DaemonError(refusalText('OBJECT_NOT_CONNECTED'));
    return this.#daemon;
  }

  /** The URI of the object, to make proxies of. @throws DaemonError where it is not connected to a daemon */
  getURI(): PyroURI {
    return this.getDaemon().uriOf(this);
  }

  /** A proxy of the object, to be passed to others. @throws DaemonError where it is not connected to a daemon */
  getProxy(): Proxy<OwnMembers<this>> {
    return getProxyForURI(this.getURI(), this.getDaemon().proxyOptions);
  }

  /** As `getProxy`, of the attributes too. */
  getAttrProxy(): AttrProxy<OwnMembers<this>> {
    return getAttrProxyForURI(this.getURI(), this.getDaemon().proxyOptions);
  }

  /** Called when the daemon has dropped the object because nobody called it for so long: to be overridden. */
  _gotReaped(): void {
    // Most objects need not know.
  }

  invoke(call: CallRequest, caller: ServerConnection): Answer | Promise<Answer> {
    this.#lastUsed = Date.now();
    const args = call.args.map((arg) => this.#receive(arg));
    switch (call.method) {
      case '_r_ha':
        return this.#findMethod(attributeName(args[0])) === undefined ? ATTRIBUTE : METHOD;
      case '_r_ga':
        return answerOf(this.#readAttribute(attributeName(args[0])));
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
      args.push(Object.fromEntries([...call.keywords].map(([keyword, value]) => [keyword, this.#receive(value)])));
    }
    return answerOf(callers.run(caller, () => Reflect.apply(method, this.#target, args)));
  }

  /** What a peer sent, as the object gets it. */
  #receive(value: PythonValue): unknown {
    return fromPython(value, (description) => receivedProxy(description, this.#daemon?.proxyOptions));
  }

  #findMethod(name: string): Callable | undefined {
    if (!this.#isPublic(name) || this.#access.methods?.includes(name) === false) return undefined;
    const found = this.#look(name);
    return isCallable(found) ? found : undefined;
  }

  #readAttribute(name: string): unknown {
    const isListed = this.#access.attributes?.includes(name) !== false;
    const isThere = isListed && this.#isPublic(name) && name in this.#target;
    const found = isThere ? this.#look(name) : undefined;
    if (!isThere || isCallable(found)) throw noSuchAttribute(classNameOf(this.#target), name);
    return found;
  }

  #writeAttribute(name: string, value: unknown): void {
    this.#readAttribute(name);
    if (!Reflect.set(this.#target, name, value)) {
      throw new RemoteError('exceptions', 'AttributeError', ["can't set attribute"]);
    }
  }

  /** False for what is private by Pyro's convention, or what every object has: never to be reached from outside. */
  #isPublic(name: string): boolean {
    if (name.startsWith('_') || name in Object.prototype) return false;
    return !(this.#target instanceof ObjBase && name in ObjBase.prototype);
  }

  /** Looks at what is there under a name. A getter may make a promise, which must not end the process where nobody waits for it. */
  #look(name: string): unknown {
    const found: unknown = Reflect.get(this.#target, name);
    if (isThenable(found)) Promise.resolve(found).catch(() => undefined);
    return found;
  }
}

/** An object that answers one call at a time: each waits until the one before is done. */
export class SynchronizedObjBase extends ObjBase {
  #last: Promise<unknown> = Promise.resolve();

  override invoke(call: CallRequest, caller: ServerConnection): Promise<Answer> {
    const answer = this.#last.then(() => super.invoke(call, caller));
    this.#last = answer.catch(() => undefined);
    return answer;
  }
}

/** The name in an attribute proxy's call; what is no text names nothing. */
function attributeName(value: unknown): string {
  if (value instanceof PythonUnicode) return value.value;
  return typeof value === 'string' ? value : '';
}

type Callable = (...args: unknown[]) => unknown;

/** A promise, or what can be awaited as one: a program may have promises of its own, or of another realm. */
const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';

/** The answer that a result comes to, once it is there. */
const answerOf = (result: unknown): Answer | Promise<Answer> =>
  isThenable(result) ? Promise.resolve(result).then(toPython) : toPython(result);

const isCallable = (value: unknown): value is Callable => typeof value === 'function';

/** The name of an object's class, for people. */
function classNameOf(object: object): string {
  const constructor: unknown = Reflect.get(object, 'constructor');
  return typeof constructor === 'function' ? constructor.name : 'object';
}

/** This machine's first IPv4 address that is not loopback, for object ids. */
function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1';
}

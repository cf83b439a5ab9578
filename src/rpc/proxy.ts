import { inspect } from 'node:util';
import { ProtocolError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { PyroURI } from '../names/index.js';
import type { PythonInstance } from '../pickle/index.js';
import { RequestFlag } from '../wire/index.js';
import { PYROAdapter, requireTimeout, type AdapterOptions, type InvocationOptions, type Locate } from './adapter.js';
import { RemoteError } from './remote-error.js';
import {
  allToPython,
  asPython,
  fromPython,
  proxyToPython,
  type ProxyDescription,
  type ProxyKind,
  type Marshallable,
} from './marshalling.js';
import type { DefaultConnValidator } from './validators.js';

/** Keyword arguments: the last argument of a call. Made by `keywords`. */
export class Keywords {
  constructor(readonly values: Readonly<Record<string, unknown>>) {}
}

/** Passes arguments by name: `proxy.method(1, keywords({ second: 2 }))` is Python's `proxy.method(1, second=2)`. */
export function keywords(values: Readonly<Record<string, unknown>>): Keywords {
  return new Keywords(values);
}

/** What is done by the proxy itself; a remote method of such a name is called by `_invokePYRO`. */
type LocalName = keyof DynamicProxyWithAttrs | 'then' | `_${string}`;

/** Positional arguments, or some of them and the rest by name. */
type Arguments<Positional extends readonly unknown[]> = Positional | WithKeywords<Required<Positional>>;

type WithKeywords<Positional extends readonly unknown[]> =
  [...Positional, Keywords] | (Positional extends [...infer Fewer, unknown] ? WithKeywords<Fewer> : never);

type MethodName<Remote> = {
  [Name in Exclude<keyof Remote, LocalName>]: Remote[Name] extends (...args: never) => unknown ? Name : never;
}[Exclude<keyof Remote, LocalName>];

type RemoteMethod<Method> = Method extends (...args: infer Positional) => infer Result
  ? (...args: Arguments<Positional>) => Promise<Awaited<Result>>
  : never;

type RemoteMember<Member> = Member extends (...args: never) => unknown
  ? RemoteMethod<Member>
  : PromiseLike<Awaited<Member>>;

/** A remote object of which nothing is known: any method, with any arguments. */
export type Untyped = Readonly<Record<string, (...args: unknown[]) => unknown>>;

/** A remote object: its methods, which return promises, and what the proxy itself can do. It can't be awaited. */
export type Proxy<Remote extends object = Untyped> = DynamicProxy & { readonly then?: undefined } & {
  readonly [Name in MethodName<Remote>]: RemoteMethod<Remote[Name]>;
};

/** A remote object and its attributes: `await proxy.attribute`, and `proxy._setAttribute('attribute', value)`. */
export type AttrProxy<Remote extends object = Untyped> = DynamicProxyWithAttrs & { readonly then?: undefined } & {
  readonly [Name in Exclude<keyof Remote, LocalName>]: RemoteMember<Remote[Name]>;
};

/**
 * Makes a proxy of the object that the URI leads to. It connects when it is first used.
 * @throws URIError where the URI is none; ProtocolError `unsupported protocol`
 */
export function getProxyForURI<Remote extends object = Untyped>(
  uri: PyroURI | string,
  options?: AdapterOptions,
  locate?: Locate,
): Proxy<Remote>;
export function getProxyForURI(uri: PyroURI | string, options?: AdapterOptions, locate?: Locate): DynamicProxy {
  return remote(new DynamicProxy(adapterOf(uri, options, locate)));
}

/**
 * Makes a proxy of the object that the URI leads to, through which its attributes can be read and set too.
 * @throws URIError where the URI is none; ProtocolError `unsupported protocol`
 */
export function getAttrProxyForURI<Remote extends object = Untyped>(
  uri: PyroURI | string,
  options?: AdapterOptions,
  locate?: Locate,
): AttrProxy<Remote>;
export function getAttrProxyForURI(
  uri: PyroURI | string,
  options?: AdapterOptions,
  locate?: Locate,
): DynamicProxyWithAttrs {
  return remote(new DynamicProxyWithAttrs(adapterOf(uri, options, locate)));
}

/** Makes a proxy of one that was pickled: with the identification, the timeout and the one-way methods it came with. */
export function receivedProxy(description: ProxyDescription, options?: AdapterOptions): DynamicProxy {
  const adapter = new PYROAdapter(description.uri, options);
  adapter.setMungedIdentification(description.identification);
  adapter.timeout = description.timeout;
  adapter.setOneway(description.onewayMethods);
  return remote(
    description.kind === 'DynamicProxyWithAttrs' ? new DynamicProxyWithAttrs(adapter) : new DynamicProxy(adapter),
  );
}

/**
 * What every proxy can do by itself; any other name is a method of the remote object. Local names begin with `_` or are
 * Pyro's own.
 */
export class DynamicProxy implements Marshallable, AsyncDisposable {
  protected readonly _kind: ProxyKind = 'DynamicProxy';

  constructor(
    readonly adapter: PYROAdapter,
    protected readonly _invocation: InvocationOptions = {},
  ) {}

  get URI(): PyroURI {
    return this.adapter.URI;
  }

  get objectID(): string {
    return this.adapter.URI.objectID;
  }

  /** The passphrase that the server wants; null for none. */
  _setIdentification(ident: string | null): void {
    this.adapter.setIdentification(ident);
  }

  /** How long connecting, and any one call, may take, in seconds; null or 0 for ever. @throws RangeError */
  _setTimeout(timeout: number | null): void {
    this.adapter.timeout = timeout;
  }

  /** Calls these methods without waiting for them, nor for their errors. */
  _setOneway(methods: string | readonly string[]): void {
    this.adapter.setOneway(methods);
  }

  /** The validator that answers the server's challenge. */
  _setNewConnectionValidator(validator: DefaultConnValidator): void {
    this.adapter.setNewConnectionValidator(validator);
  }

  /** Closes the connection. The next call makes a new one. */
  _release(): Promise<void> {
    return this.adapter.release();
  }

  /** A proxy of the same object, with the same settings and a connection of its own. */
  _copy(): this;
  _copy(): DynamicProxy {
    return remote(this._derive(this.adapter.copy(), this._invocation));
  }

  /**
   * The same proxy, by the same connection, whose calls end early: `proxy._with({ signal, timeout: 2 }).method()`.
   * @throws RangeError where the timeout is none
   */
  _with(invocation: InvocationOptions): this;
  _with(invocation: InvocationOptions): DynamicProxy {
    requireTimeout(invocation.timeout ?? null);
    return remote(this._derive(this.adapter, { ...this._invocation, ...invocation }));
  }

  /**
   * Calls a method of whatever name. Calls may be made without waiting for earlier ones; they are made in their order.
   * @param args positional arguments; the last may be `keywords(...)`
   * @throws what the method raised: Pyro's own errors as their classes, others as a RemoteError; ProtocolError and its
   *   relatives where the call could not be made or the reply not be had; PickleError where an argument can't be sent
   */
  async _invokePYRO(method: string, ...args: readonly unknown[]): Promise<unknown> {
    const { adapter } = this;
    const last = args.at(-1);
    const [positional, named] =
      last instanceof Keywords ? [args.slice(0, -1), Object.entries(last.values)] : [args, []];
    const values = allToPython([...positional, ...named.map(([, value]) => value)]);
    const value = await adapter.remoteInvocation(
      method,
      RequestFlag.Varargs | RequestFlag.Keywords,
      values.slice(0, positional.length),
      new Map(named.map(([name], index) => [name, values[positional.length + index]])),
      this._invocation,
    );
    return fromPython(value, (description) => receivedProxy(description, adapter.options));
  }

  /**
   * Travels without its identification, which is as good as a passphrase.
   * @throws ProtocolError where it doesn't know yet where its object is
   */
  [asPython](): PythonInstance {
    const { URI: uri, adapter } = this;
    if (!adapter.isLocated) throw new ProtocolError(refusalText('PROXY_NOT_BOUND'), uri.toString());
    const { timeout, onewayMethods } = adapter;
    const identification = new Uint8Array();
    return proxyToPython({ kind: this._kind, uri, identification, timeout, onewayMethods: [...onewayMethods] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this._release();
  }

  toString(): string {
    return `<${this._kind} for ${this.URI.toString()}>`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }

  protected _derive(adapter: PYROAdapter, invocation: InvocationOptions): DynamicProxy {
    return new DynamicProxy(adapter, invocation);
  }
}

/** A proxy that reads and sets the remote object's attributes too. */
export class DynamicProxyWithAttrs extends DynamicProxy {
  protected override readonly _kind: ProxyKind = 'DynamicProxyWithAttrs';

  /** The value of an attribute. @throws RemoteError AttributeError where there is none, and as `_invokePYRO` */
  _getAttribute(name: string): Promise<unknown> {
    return this._invokePYRO('_r_ga', name);
  }

  /** Sets an attribute. @throws RemoteError AttributeError where it is a method, and as `_invokePYRO` */
  async _setAttribute(name: string, value: unknown): Promise<void> {
    if ((await this._invokePYRO('_r_ha', name)) !== REMOTE_ATTRIBUTE) {
      throw new RemoteError('exceptions', 'AttributeError', ['not an attribute']);
    }
    await this._invokePYRO('_r_sa', name, value);
  }

  protected override _derive(adapter: PYROAdapter, invocation: InvocationOptions): DynamicProxy {
    return new DynamicProxyWithAttrs(adapter, invocation);
  }
}

/** What `_r_ha` answers for an attribute; 1 is a method. */
const REMOTE_ATTRIBUTE = 2;

function adapterOf(
  uri: PyroURI | string,
  options: AdapterOptions | undefined,
  locate: Locate | undefined,
): PYROAdapter {
  return new PYROAdapter(typeof uri === 'string' ? PyroURI.parse(uri) : uri, options, locate);
}

/** Makes names that are not the proxy's own lead to the remote object. */
function remote<Target extends DynamicProxy>(target: Target): Target {
  return new Proxy(target, {
    get(_target, name) {
      // Without a `then`, or awaiting a proxy would call it; without other `_names`, which are not remote.
      if (typeof name === 'symbol' || name in target || name.startsWith('_') || name === 'then') {
        return Reflect.get(target, name);
      }
      const method = (...args: unknown[]): Promise<unknown> => target._invokePYRO(name, ...args);
      return target instanceof DynamicProxyWithAttrs ? orAttribute(method, target, name) : method;
    },
    set(_target, name) {
      throw new TypeError(`can't assign to '${String(name)}' of ${target.toString()}`);
    },
  });
}

type Method = (...args: unknown[]) => Promise<unknown>;

/** Whether a name is a method or an attribute shows in its use: it is called, or awaited. */
function orAttribute(method: Method, target: DynamicProxyWithAttrs, name: string): Method & PromiseLike<unknown> {
  const then: PromiseLike<unknown>['then'] = (onFulfilled, onRejected) =>
    target._getAttribute(name).then(onFulfilled, onRejected);
  return Object.assign(method, { then });
}

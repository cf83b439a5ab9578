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

/** Names of the proxy's own members. A remote method of such a name can only be called with `_invokePYRO`. */
type LocalName = keyof DynamicProxyWithAttrs | 'then' | `_${string}`;

/** The arguments of a call: all positional, or the first ones positional and `keywords(...)` for the rest. */
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

/** The default type of a remote object: any method, with any arguments. */
export type Untyped = Readonly<Record<string, (...args: unknown[]) => unknown>>;

/** A proxy: the remote object's methods, which return promises, and the proxy's own members. Not a thenable. */
export type Proxy<Remote extends object = Untyped> = DynamicProxy & { readonly then?: undefined } & {
  readonly [Name in MethodName<Remote>]: RemoteMethod<Remote[Name]>;
};

/** A proxy with attributes: `await proxy.attribute` reads one, `proxy._setAttribute('attribute', value)` sets one. */
export type AttrProxy<Remote extends object = Untyped> = DynamicProxyWithAttrs & { readonly then?: undefined } & {
  readonly [Name in Exclude<keyof Remote, LocalName>]: RemoteMember<Remote[Name]>;
};

/**
 * Makes a proxy of the object of a URI. It connects at the first call.
 * @throws URIError where the URI is not valid; ProtocolError `unsupported protocol`
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
 * Makes a proxy of the object of a URI, with access to its attributes too. It connects at the first call.
 * @throws URIError where the URI is not valid; ProtocolError `unsupported protocol`
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

/** Makes a proxy from an unpickled one, with its identification, timeout and one-way methods. */
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
 * The proxy's own members. Every other name is a method of the remote object (see `remote`). The own names begin with
 * `_`, or are Pyro's.
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

  /** Sets the passphrase that the server asks for; null for none. Used for the next connection. */
  _setIdentification(ident: string | null): void {
    this.adapter.setIdentification(ident);
  }

  /**
   * Sets the timeout of connecting, and of each call, in seconds; null or 0: no limit.
   * @throws RangeError where it is negative
   */
  _setTimeout(timeout: number | null): void {
    this.adapter.timeout = timeout;
  }

  /** Makes these methods one-way: calls of them wait for no reply, and get no errors. */
  _setOneway(methods: string | readonly string[]): void {
    this.adapter.setOneway(methods);
  }

  /** Sets the validator that computes the token for the server's challenge. */
  _setNewConnectionValidator(validator: DefaultConnValidator): void {
    this.adapter.setNewConnectionValidator(validator);
  }

  /** Closes the connection. The next call connects again. */
  _release(): Promise<void> {
    return this.adapter.release();
  }

  /** A proxy of the same object, with the same settings and a connection of its own. */
  _copy(): this;
  _copy(): DynamicProxy {
    return remote(this._derive(this.adapter.copy(), this._invocation));
  }

  /**
   * The same proxy on the same connection, with a timeout or an abort signal for its calls:
   * `proxy._with({ signal, timeout: 2 }).method()`.
   * @throws RangeError where the timeout is negative
   */
  _with(invocation: InvocationOptions): this;
  _with(invocation: InvocationOptions): DynamicProxy {
    requireTimeout(invocation.timeout ?? null);
    return remote(this._derive(this.adapter, { ...this._invocation, ...invocation }));
  }

  /**
   * Calls a remote method by name. Calls are pipelined: they may be made without waiting for earlier ones, and the
   * server executes them in their order.
   * @param args positional arguments; the last may be `keywords(...)`
   * @throws the exception that the method raised: Pyro's own errors as their classes, others as a RemoteError;
   *   ProtocolError or a subclass where the call could not be sent, or its reply not be received; PickleError where an
   *   argument can't be pickled
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
   * Marshals the proxy; without its identification, because the receiver could use it like the passphrase.
   * @throws ProtocolError where it is not bound yet, so that the URI of its object is not known
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

/** A proxy with access to the remote object's attributes too. */
export class DynamicProxyWithAttrs extends DynamicProxy {
  protected override readonly _kind: ProxyKind = 'DynamicProxyWithAttrs';

  /** Reads an attribute. @throws RemoteError AttributeError where there is none; and as `_invokePYRO` */
  _getAttribute(name: string): Promise<unknown> {
    return this._invokePYRO('_r_ga', name);
  }

  /** Sets an attribute. @throws RemoteError AttributeError where it is a method; and as `_invokePYRO` */
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

/** The result of `_r_ha` for an attribute; 1 is a method. */
const REMOTE_ATTRIBUTE = 2;

function adapterOf(
  uri: PyroURI | string,
  options: AdapterOptions | undefined,
  locate: Locate | undefined,
): PYROAdapter {
  return new PYROAdapter(typeof uri === 'string' ? PyroURI.parse(uri) : uri, options, locate);
}

/** Wraps a proxy object in an ECMAScript Proxy, so that names that are not its own are calls of the remote object. */
function remote<Target extends DynamicProxy>(target: Target): Target {
  return new Proxy(target, {
    get(_target, name) {
      // No `then`, because awaiting a proxy would call it remotely. Names with `_` are never remote.
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

/** A member that is either a method or an attribute: calling it calls the method, awaiting it reads the attribute. */
function orAttribute(method: Method, target: DynamicProxyWithAttrs, name: string): Method & PromiseLike<unknown> {
  const then: PromiseLike<unknown>['then'] = (onFulfilled, onRejected) =>
    target._getAttribute(name).then(onFulfilled, onRejected);
  return Object.assign(method, { then });
}

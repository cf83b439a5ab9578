import { once } from 'node:events';
import { statSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { DefaultConnValidator } from '../rpc/index.js';
import type { ServerConnection } from '../wire/index.js';

/** A guard's decision: true, or 1 as in Pyro, accepts; anything else refuses. */
export type Acceptance = boolean | number;

/** True only for true and 1: a plugin in JavaScript may return a value of any type. */
export const isAcceptance = (verdict: unknown): boolean => verdict === true || verdict === 1;

/**
 * Decides about requests by broadcast (see the manual's security chapter). To be subclassed; this class accepts all.
 * Its methods are synchronous: a promise refuses.
 */
export class BCReqValidator {
  /** The address of the client: host and port. */
  addr: readonly [host: string, port: number] = ['', 0];

  /** Sends a text to the client, such as why its request is refused. */
  reply: (message: string) => void = () => undefined;

  acceptLocationCmd(): Acceptance {
    return true;
  }

  acceptShutdownCmd(): Acceptance {
    return true;
  }
}

/**
 * Authorization: an optional method of a name server's connection validator that decides about each operation on each
 * name. Without it, connected clients may do everything.
 */
export interface OperationGuard {
  /**
   * @param operation the method's name, as in Pyro: `register`, `unregister`, `resolve`, `list`, `createGroup`, ...
   * @param name the absolute name; undefined for an operation without a name (`ping`, `flatlist`, `_shutdown`)
   * @param caller the connection, which `acceptHost` and `acceptIdentification` were called with before
   * @returns true (or Pyro's 1) to allow; anything else refuses
   */
  acceptOperation(
    operation: string,
    name: string | undefined,
    caller: ServerConnection,
  ): Acceptance | Promise<Acceptance>;
}

/** The two guards of a security plugin. */
export interface Guards {
  /** Decides about new connections, and if it is an OperationGuard, about operations; undefined for the default. */
  readonly connection: (DefaultConnValidator & Partial<OperationGuard>) | undefined;
  /** Decides about requests by broadcast; undefined accepts all. */
  readonly broadcast: BCReqValidator | undefined;
  /** The module that they were loaded from, for log lines. */
  readonly source: string | undefined;
}

/** Files that need jiti: Node does not load them itself. */
const TYPESCRIPT_EXTENSIONS: ReadonlySet<string> = new Set(['.ts', '.mts', '.cts']);

/**
 * Loads a security plugin: an ES module, a CommonJS module or a TypeScript file that exports `NSGuard()` and
 * `BCGuard()`, as in the manual's security chapter. Each returns a validator or nothing, or a promise of it.
 * @param module a file, or the name of a package
 * @param directory absolute; a file's path is relative to it, and a package is resolved from it
 * @throws ConfigError where anything is wrong with it, because the server must not run without its guards
 */
export async function loadGuards(module: string, directory: string): Promise<Guards> {
  try {
    return await rejectWhenIdle(readGuards(module, directory));
  } catch (error) {
    throw new ConfigError(refusalText('SECURITY_MODULE', module, describe(error)));
  }
}

async function readGuards(module: string, directory: string): Promise<Guards> {
  const exported = await importModule(module, directory);
  const connection = await callExport(exported, 'NSGuard');
  const broadcast = await callExport(exported, 'BCGuard');
  return {
    connection: requireConnectionGuard(connection),
    broadcast: requireBroadcastGuard(broadcast),
    source: module,
  };
}

/**
 * Rejects if the event loop runs empty before the promise settles, because a plugin awaits something that never
 * happens. Without this, the process would end silently.
 */
async function rejectWhenIdle<T>(promise: Promise<T>): Promise<T> {
  const settled = new AbortController();
  const idle = once(process, 'beforeExit', { signal: settled.signal }).then(() => {
    throw new Error('it waits for something that never comes');
  });
  try {
    return await Promise.race([promise, idle]);
  } finally {
    idle.catch(() => undefined);
    settled.abort();
  }
}

async function importModule(module: string, directory: string): Promise<object> {
  const path = resolve(directory, module);
  const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() === true;
  const { createJiti } = await import('jiti');
  // A plugin that imports this package must get the same classes, not another copy of them.
  const loader = createJiti(pathToFileURL(join(directory, 'pyro-ns')).href, { nativeModules: ['pyro-ns'] });
  const url = isFile ? pathToFileURL(path).href : loader.esmResolve(module, { try: true });
  if (url === undefined) throw new TypeError('there is no such file, and no such package');
  const exported: unknown = TYPESCRIPT_EXTENSIONS.has(extname(url)) ? await loader.import(url) : await import(url);
  if (typeof exported !== 'object' || exported === null) throw new TypeError('it exports nothing');
  // If Node can't detect the named exports of a CommonJS module, its exports are in the default export.
  const inner = 'default' in exported ? exported.default : undefined;
  const isWhole = 'NSGuard' in exported && 'BCGuard' in exported;
  return typeof inner === 'object' && inner !== null && !isWhole ? inner : exported;
}

function callExport(exported: object, name: 'NSGuard' | 'BCGuard'): unknown {
  const factory: unknown = Reflect.get(exported, name);
  if (!isFunction(factory)) throw new TypeError(`it must export a function ${name}()`);
  return factory();
}

function requireConnectionGuard(guard: unknown): Guards['connection'] {
  if (guard === undefined || guard === null) return undefined;
  if (isConnectionGuard(guard)) return guard;
  throw new TypeError(`NSGuard() must return a ${DefaultConnValidator.name}, or null`);
}

function requireBroadcastGuard(guard: unknown): BCReqValidator | undefined {
  if (guard === undefined || guard === null) return undefined;
  if (isBroadcastGuard(guard)) return guard;
  throw new TypeError(`BCGuard() must return a ${BCReqValidator.name}, or null`);
}

const isFunction = (value: unknown): value is () => unknown => typeof value === 'function';

/** Duck typing instead of `instanceof`, as a plugin's classes may come from another copy of this package. */
function hasMethodsOf(value: unknown, model: { readonly prototype: object }): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.getOwnPropertyNames(model.prototype).every((name) => typeof Reflect.get(value, name) === 'function');
}

function isConnectionGuard(value: unknown): value is DefaultConnValidator & Partial<OperationGuard> {
  return hasMethodsOf(value, DefaultConnValidator) && hasOptionalMethod(value, 'acceptOperation');
}

const isBroadcastGuard = (value: unknown): value is BCReqValidator => hasMethodsOf(value, BCReqValidator);

function hasOptionalMethod(value: unknown, name: string): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const method: unknown = Reflect.get(value, name);
  return method === undefined || typeof method === 'function';
}

/**
 * An error's message, also of an Error of another realm. Without the plugin's stack, which does not help the operator.
 */
function describe(error: unknown): string {
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
}

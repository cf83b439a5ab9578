import { once } from 'node:events';
import { statSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { DefaultConnValidator } from '../rpc/index.js';
import type { ServerConnection } from '../wire/index.js';

/** What a guard says: true, or 1 as in Pyro, accepts. */
export type Acceptance = boolean | number;

/** Anything else than a plain yes refuses: what a plugin in JavaScript returns need not be what it should. */
export const isAcceptance = (verdict: unknown): boolean => verdict === true || verdict === 1;

/**
 * Judges requests that come by broadcast, as the manual's security chapter has it: to be subclassed. This one accepts
 * all. The answer is wanted at once, so a promise refuses.
 */
export class BCReqValidator {
  /** Where the request came from: host and port. */
  addr: readonly [host: string, port: number] = ['', 0];

  /** Sends the one who asked a text, such as why a request is refused. */
  reply: (message: string) => void = () => undefined;

  acceptLocationCmd(): Acceptance {
    return true;
  }

  acceptShutdownCmd(): Acceptance {
    return true;
  }
}

/**
 * What a name server's connection validator may decide besides: each operation on each name. A validator without this
 * method lets its clients do everything.
 */
export interface OperationGuard {
  /**
   * @param operation the method called, as in Pyro: `register`, `unregister`, `resolve`, `list`, `createGroup`, ...
   * @param name the absolute name it is about; undefined for an operation on none (`ping`, `flatlist`, `_shutdown`)
   * @param caller the connection it came over, the one that `acceptHost` and `acceptIdentification` have seen
   * @returns true (or Pyro's 1) to allow; anything else refuses
   */
  acceptOperation(
    operation: string,
    name: string | undefined,
    caller: ServerConnection,
  ): Acceptance | Promise<Acceptance>;
}

/** A security plugin's two guards; either may be missing. */
export interface Guards {
  /** Judges new connections, and operations if it is an OperationGuard. */
  readonly connection: (DefaultConnValidator & Partial<OperationGuard>) | undefined;
  /** Judges requests by broadcast. */
  readonly broadcast: BCReqValidator | undefined;
  /** The module that they were loaded from, for messages. */
  readonly source: string | undefined;
}

/** Files that Node does not run by itself. */
const TYPESCRIPT_EXTENSIONS: ReadonlySet<string> = new Set(['.ts', '.mts', '.cts']);

/**
 * Loads a security plugin: an ES module, a CommonJS module or a TypeScript file that exports `NSGuard()` and
 * `BCGuard()`, as in the manual's security chapter. Each returns a validator or nothing, or a promise of it.
 * @param module a file, or the name of a package
 * @param directory absolute: what a file is relative to, and where a package is looked for
 * @throws ConfigError that says what is wrong: there must be no server without its guards
 */
export async function loadGuards(module: string, directory: string): Promise<Guards> {
  try {
    return await orIdle(readGuards(module, directory));
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

/** Fails where the process would end because a plugin waits for what never comes: silently, without this. */
async function orIdle<T>(promise: Promise<T>): Promise<T> {
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
  // A plugin's own import of this package must give it these very classes, not another copy of them.
  const loader = createJiti(pathToFileURL(join(directory, 'pyro-ns')).href, { nativeModules: ['pyro-ns'] });
  const url = isFile ? pathToFileURL(path).href : loader.esmResolve(module, { try: true });
  if (url === undefined) throw new TypeError('there is no such file, and no such package');
  const exported: unknown = TYPESCRIPT_EXTENSIONS.has(extname(url)) ? await loader.import(url) : await import(url);
  if (typeof exported !== 'object' || exported === null) throw new TypeError('it exports nothing');
  // What a CommonJS module exports is the default export, where Node can't tell the names.
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

/** Looked at by its methods, as a plugin's classes may come from another copy of this package. */
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

/** An Error's message, of whatever realm; the stack of a plugin is of no use to who starts the server. */
function describe(error: unknown): string {
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
}

import { isIPv4 } from 'node:net';
import { defaultConfig, defaultLog } from '../config/index.js';
import { NamingError, ProtocolError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { isPYRONAME, Name, PyroURI } from '../names/index.js';
import { systemMetaFromPython, systemMetaToPython, type ListEntry, type SystemMeta } from '../namespace/index.js';
import { characters, PythonTuple, type PythonValue, type PythonWritable } from '../pickle/index.js';
import { PYROAdapter, uriFromPython, uriToPython } from '../rpc/index.js';
import type { AdapterOptions, InvocationOptions, NameServerObject } from '../rpc/index.js';
import type { ChangesSince, NameChange } from './change-feed.js';
import type { NameServerStatus } from './status.js';

export interface NameServerProxyOptions extends AdapterOptions {
  /** The passphrase that the name server wants. */
  readonly identification?: string | undefined;
  /** How long connecting, and any one call, may take, in seconds; null, as by default, for ever. */
  readonly timeout?: number | null | undefined;
  /** Finds the name server again when a call fails because of the connection; without it such a call just fails. */
  readonly find?: (() => Promise<PyroURI>) | undefined;
}

/**
 * A name server elsewhere, as Pyro's class of this name: a name that is not absolute is below this client's own
 * PYRO_NS_DEFAULTGROUP. Each call may throw, besides what its name server answers, a ProtocolError where the name server
 * can't be reached and can't be found again either.
 */
export class NameServerProxy implements NameServerObject, AsyncDisposable {
  private adapter: PYROAdapter;
  private identification: string | null;
  /** While the name server is looked for. */
  private finding: Promise<void> | undefined;

  /** @param uri where it is, or a PYROLOC URI that names it at its daemon */
  constructor(
    uri: PyroURI,
    private readonly options: NameServerProxyOptions = {},
  ) {
    this.identification = options.identification ?? null;
    this.adapter = this.adapterOf(uri);
  }

  /** Where calls go to; of a PYROLOC URI, once it is connected, where that leads. */
  get URI(): PyroURI {
    return this.adapter.URI;
  }

  get objectID(): string {
    return this.adapter.URI.objectID;
  }

  /** Connects, unless that is done. Every call does it too. @throws ConnectionDeniedError, ProtocolError */
  connect(): Promise<void> {
    return this.adapter.bindToURI();
  }

  /** The passphrase for the next connection; null for none. */
  _setIdentification(identification: string | null): void {
    this.identification = identification;
    this.adapter.setIdentification(identification);
  }

  /** Closes the connection; the next call connects again. */
  _release(): Promise<void> {
    return this.adapter.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this._release();
  }

  async ping(): Promise<void> {
    await this.call('ping');
  }

  async resync(): Promise<void> {
    await this.call('resync');
  }

  /** @param uri of a text, the name server replaces the host by its address */
  async register(name: string, uri: PyroURI | string): Promise<void> {
    try {
      await this.call('register', [this.fullName(name), typeof uri === 'string' ? uri : uriToPython(uri)]);
    } catch (error) {
      throw typeof uri === 'string' ? withReason(error, uri) : error;
    }
  }

  async unregister(name: string): Promise<void> {
    await this.call('unregister', [this.fullName(name)]);
  }

  async resolve(name: string): Promise<PyroURI> {
    return requireURI(await this.call('resolve', [this.fullName(name)]));
  }

  /** All objects: absolute names and URIs. */
  async flatlist(invocation?: InvocationOptions): Promise<[name: string, uri: PyroURI][]> {
    return requirePairs(await this.call('flatlist', [], invocation)).map(([name, uri]) => [
      textOf(name),
      requireURI(uri),
    ]);
  }

  /** The members of a group; without a name, of the default group. */
  async list(group?: string | null): Promise<ListEntry[]> {
    const entries = requirePairs(await this.call('list', [this.fullName(group ?? '')]));
    return entries.map(([part, type]) => ({ part: textOf(part), type: type === 0 ? 0 : 1 }));
  }

  async createGroup(group: string): Promise<void> {
    await this.call('createGroup', [this.fullName(group)]);
  }

  async deleteGroup(group: string): Promise<void> {
    await this.call('deleteGroup', [this.fullName(group)]);
  }

  async getMeta(name: string): Promise<PythonValue> {
    return this.call('getMeta', [this.fullName(name)]);
  }

  async setMeta(name: string, meta: PythonWritable): Promise<void> {
    await this.call('setMeta', [this.fullName(name), meta]);
  }

  /** @returns undefined where the name has none, as of what Pyro 3 made without */
  async _getSystemMeta(name: string): Promise<SystemMeta | undefined> {
    return systemMetaFromPython(await this.call('_getSystemMeta', [this.fullName(name)]));
  }

  async _setSystemMeta(name: string, meta: SystemMeta): Promise<void> {
    await this.call('_setSystemMeta', [this.fullName(name), systemMetaToPython(meta)]);
  }

  /**
   * Asks one of our own name servers for changes: see `watch`. Pyro 3's own has no such method.
   * @param since the position that the last answer told; without it, the answer tells the present one
   * @throws the signal's reason
   */
  async _changes(since: number | undefined, invocation?: InvocationOptions): Promise<ChangesSince> {
    const answer = await this.call('_changes', [since], invocation);
    const [position, changes] = answer instanceof PythonTuple ? answer.items : [];
    if (typeof position !== 'number' && typeof position !== 'bigint') throw unexpected();
    if (changes === null || changes === undefined) return { position: Number(position), changes: undefined };
    return { position: Number(position), changes: requirePairs(changes).map(requireChange) };
  }

  /**
   * Asks one of our own name servers how it does.
   * @throws RemoteError AttributeError where it is Pyro 3's, which has no such method
   */
  async _status(): Promise<NameServerStatus> {
    const status = withTextKeys(await this.call('_status'));
    // Not before it is wanted: loading the validator takes longer than most calls of a tool.
    const { isNameServerStatus } = await import('./status.js');
    if (!isNameServerStatus(status)) throw unexpected();
    return status;
  }

  /** Asks it to shut down. @returns its answer */
  async _shutdown(): Promise<string> {
    return textOf(await this.call('_shutdown'));
  }

  /** A name as it is sent: absolute. @throws NamingError where it is not valid */
  fullName(name: string): string {
    const { PYRO_NS_DEFAULTGROUP } = this.options.config ?? defaultConfig();
    return Name.expand(name, Name.parse(PYRO_NS_DEFAULTGROUP)).toString();
  }

  /** Makes a call; where the connection fails, finds the name server again and makes it once more. */
  private async call(
    method: string,
    args: readonly PythonWritable[] = [],
    invocation?: InvocationOptions,
  ): Promise<PythonValue> {
    const { adapter } = this;
    try {
      return await adapter.remoteInvocation(method, 0, args, undefined, invocation);
    } catch (error) {
      const { find, log = defaultLog() } = this.options;
      if (find === undefined || !(error instanceof ProtocolError)) throw error;
      log.warn('NameServerProxy', 'Name Server communication problem:', error.message, 'URI was:', adapter.URI);
      await adapter.release();
      // Of several calls that failed together, only one looks for the name server.
      if (this.adapter === adapter) {
        this.finding ??= this.findAgain(find).finally(() => {
          this.finding = undefined;
        });
        await this.finding;
      }
      log.msg('NameServerProxy', 'found NS at', this.URI, '.... retry call');
      return this.adapter.remoteInvocation(method, 0, args, undefined, invocation);
    }
  }

  private async findAgain(find: () => Promise<PyroURI>): Promise<void> {
    this.adapter = this.adapterOf(await find());
  }

  private adapterOf(uri: PyroURI): PYROAdapter {
    const adapter = new PYROAdapter(uri, this.options);
    adapter.setIdentification(this.identification);
    adapter.timeout = this.options.timeout ?? null;
    return adapter;
  }
}

/** What is thrown where a name server answers with something else than its method answers. */
const unexpected = (): ProtocolError => new ProtocolError(refusalText('ANSWER_UNEXPECTED'));

function textOf(value: PythonValue | undefined): string {
  const text = characters(value);
  if (text === undefined) throw unexpected();
  return text;
}

function requireURI(value: PythonValue | undefined): PyroURI {
  const uri = value === undefined ? undefined : uriFromPython(value);
  if (uri === undefined) throw unexpected();
  return uri;
}

function requirePairs(value: PythonValue): (readonly PythonValue[])[] {
  if (!Array.isArray(value)) throw unexpected();
  return value.map((item) => {
    if (!(item instanceof PythonTuple)) throw unexpected();
    return item.items;
  });
}

function requireChange([operation, name, uri]: readonly PythonValue[]): NameChange {
  const done = OPERATIONS.find((known) => known === operation);
  if (done === undefined) throw unexpected();
  return { operation: done, name: textOf(name), uri: uri === null ? undefined : textOf(uri) };
}

/** A dict as an object, and so are the dicts in it. */
function withTextKeys(value: PythonValue): unknown {
  if (!(value instanceof Map)) return value;
  return Object.fromEntries([...value].map(([key, item]) => [textOf(key), withTextKeys(item)]));
}

/**
 * The error that registering a URI ends in. A name server, of Pyro 3 or of this kind, says `invalid URI` of a URI whose host it
 * can't find, too: where nothing else is wrong with the URI, that is said.
 */
export function withReason(error: unknown, text: string): unknown {
  if (!(error instanceof NamingError) || error.code !== 'URI_INVALID') return error;
  let uri: PyroURI;
  try {
    uri = PyroURI.parse(text);
  } catch {
    return error;
  }
  if (isPYRONAME(text))
    return new NamingError(refusalText('URI_INVALID'), text, 'PYRONAME leads to a name, not to an object');
  if (isIPv4(uri.address)) return error;
  return new NamingError(refusalText('URI_INVALID'), text, `the name server can't find the host ${uri.address}`);
}

const OPERATIONS = ['register', 'unregister', 'createGroup', 'deleteGroup', 'setMeta'] as const;

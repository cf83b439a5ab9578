import { Readable } from 'node:stream';
import type { Config, Log } from '../../config/index.js';
import { NamingError, PyroError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { Name, NAMESERVER_NAME, PyroURI, type ObjectProtocol } from '../../names/index.js';
import {
  systemMetaFromPython,
  systemMetaToPython,
  type Namespace,
  type NamespaceEntry,
} from '../../namespace/index.js';
import { textOf, type PythonValue, type PythonWritable } from '../../pickle/index.js';
import { mungeIdentification, RequestFlag } from '../../wire/index.js';
import {
  proxyFromPython,
  proxyToPython,
  RemoteError,
  uriFromPython,
  uriToPython,
  type ProxyDescription,
} from '../../rpc/index.js';
import { applyChange, type Change } from '../change.js';
import type { ChangeFeed } from '../change-feed.js';
import type { SubtreeLock } from '../../sync/index.js';
import { isExpected, type TwinFinder } from './finder.js';
import { ageOf, isSameContent, type Replica } from './merge.js';
import { openPeer, type PeerLink } from './peer-link.js';
import { isBlank, readByListing, readDump, writeDump, type Dump, type DumpShape } from './pyro3-dump.js';
import type { NameRecord, TwinRole } from './records.js';

/** The most changes that wait for a connection to the twin, and the most bytes that wait for the twin to read them. */
const MAX_WAITING = 10_000;
const MAX_UNSENT_SIZE = 64 * 1024 * 1024;

const OWN_ENTRY = Name.parse(NAMESERVER_NAME);

export interface Pyro3TwinOptions {
  readonly config: Config;
  readonly log: Log;
  readonly print: (line: string) => void;
  readonly namespace: Namespace;
  readonly lock: SubtreeLock<Name>;
  /** Merges the names of a twin that was only found by broadcast. */
  readonly replica: Pick<Replica, 'mergeAll'>;
  readonly finder: Pick<TwinFinder, 'role' | 'isAddressGiven'>;
  /** Gets each change that comes from the twin. */
  readonly changes: ChangeFeed;
  /** PYROSSL if both servers use TLS. */
  readonly protocol: ObjectProtocol;
  readonly identification?: string | undefined;
  readonly persistent: boolean;
}

/** Why a Pyro 3 server may not be the twin; undefined if it may. */
export function pyro3Refusal({
  config,
  identification,
}: Pick<Pyro3TwinOptions, 'config' | 'identification'>): string | undefined {
  if (identification === undefined || config.PYRO_NS_PYRO3_TWIN) return undefined;
  return refusalText('TWIN_PYRO3_FORBIDDEN');
}

/**
 * Replication with a Pyro 3 server, by Pyro 3's protocol: the server that starts later copies the other's namespace
 * (`_resync`); from then on each sends its changes by one-way calls (`_synccall`), which are not acknowledged. If a
 * change can't be sent, the twin is dropped until it calls again.
 */
export class Pyro3Twin {
  private readonly defaultGroup: Name;
  private uri: PyroURI | undefined;
  private peer: PeerLink | undefined;
  private twin: PyroURI | undefined;
  /** Changes that wait while the connection is being opened; undefined otherwise. */
  private waiting: Change[] | undefined;
  /** The format of the twin's dump, in which it expects ours too. */
  private shape: DumpShape;
  private syncCalls: Promise<void> = Promise.resolve();

  constructor(private readonly options: Pyro3TwinOptions) {
    this.shape = options.persistent ? 'persistent' : 'memory';
    this.defaultGroup = Name.parse(options.config.PYRO_NS_DEFAULTGROUP);
  }

  get twinURI(): PyroURI | undefined {
    return this.twin;
  }

  get unconfirmed(): number {
    return this.waiting?.length ?? 0;
  }

  /** Sets the URI of our name server object, which the twin is to call. */
  introduce(uri: PyroURI): void {
    this.uri = uri;
  }

  /**
   * Copies the twin's namespace, and sends it our changes from then on. If the twin has no names, it copies ours
   * instead. If the twin was only found by broadcast, it may be anybody: then its names are merged into ours, and it
   * copies the result.
   * @throws PyroError where the twin refuses, returns no valid dump or is lost, or the store refuses its names
   */
  async copyFrom(peer: PeerLink): Promise<void> {
    const { log, print, lock, finder } = this.options;
    this.requireAllowed();
    const where = `other NS at ${peer.uri.address} port ${peer.uri.port}`;
    print(`Initial Resync with ${where}`);
    log.msg('NameServer', 'Initial resync with', where);
    try {
      const isSame = finder.isAddressGiven
        ? await lock.run(Name.root, () => this.copy(peer))
        : await this.mergeFrom(peer);
      if (!isSame) await this.offerOurs(peer.uri);
    } catch (error) {
      throw error instanceof RemoteError ? new NamingError(refusalText('TWIN_REFUSED', error.message)) : error;
    }
    log.msg('NameServer', 'database sync complete.');
    print('Database synchronized.');
  }

  /**
   * Executes `_resync`: returns a dump of the namespace, and connects to the caller as twin.
   * @throws NamingError where the argument is no proxy
   */
  async giveCopy(value: PythonValue | undefined): Promise<PythonValue> {
    const { log, print, lock, namespace } = this.options;
    this.requireAllowed();
    const proxy = proxyFromPython(value);
    if (proxy === undefined) throw new NamingError(refusalText('TWIN_PROXY_INVALID'));
    const where = `NS at ${proxy.uri.address} port ${proxy.uri.port}`;
    log.msg('NameServer', 'resync requested from', where);
    print(`Resync requested from ${where}`);
    // Under the lock of the root: no change may get lost between the dump and the first change that is sent.
    return lock.run(Name.root, async () => {
      const dump = await writeDump(namespace.export(), this.shape);
      this.connectTo(proxy);
      return dump;
    });
  }

  /** Copies the twin's namespace again. @returns false if there is no twin */
  async resync(): Promise<boolean> {
    if (this.peer === undefined) return false;
    await this.copyFrom(this.peer);
    return true;
  }

  /** Sends a change, if there is a twin. */
  tell(change: Change): void {
    if (this.waiting && this.waiting.length < MAX_WAITING) this.waiting.push(change);
    else if (this.waiting) this.drop(refusalText('TWIN_CHANGES_NOT_TAKEN'));
    else if (this.peer) this.send(this.peer, change);
  }

  /** Executes `_synccall`: makes a change of the twin, after its earlier ones. It is not sent on. */
  async takeSyncCall([method, ...args]: readonly PythonValue[]): Promise<void> {
    const { log, namespace, lock, changes } = this.options;
    this.requireAllowed();
    this.syncCalls = this.syncCalls.then(async () => {
      try {
        const change = readSyncCall(textOf(method) ?? '', args, this.defaultGroup);
        if (change.kind === 'deleteGroup' ? OWN_ENTRY.isWithin(change.name) : OWN_ENTRY.equals(change.name)) return;
        await lock.run(change.name, () => applyTwinChange(namespace, change));
        changes.append(change);
      } catch (error) {
        log.warn('NameServer', 'twin: a change of the twin could not be made here:', textOf(method), error);
      }
    });
    await this.syncCalls;
  }

  stop(): void {
    this.waiting = undefined;
    this.twin = undefined;
    this.peer?.destroy();
    this.peer = undefined;
  }

  private requireAllowed(): void {
    const refusal = pyro3Refusal(this.options);
    if (refusal !== undefined) throw new NamingError(refusal);
  }

  /**
   * Replaces our namespace by the twin's.
   * @returns false, and does nothing, if the twin has no names and we have some
   */
  private async copy(peer: PeerLink): Promise<boolean> {
    const { namespace, changes } = this.options;
    const dump = await this.takeDump(peer);
    if (isBlank(dump, this.defaultGroup) && (await holdsObjects(namespace))) return false;
    await namespace.replace(Readable.from(withOwnEntry(dump.entries, await namespace.resolve(OWN_ENTRY))));
    changes.skip();
    return true;
  }

  /** Merges the twin's names into ours, last writer wins. @returns false if the twin then lacks names that we have */
  private async mergeFrom(peer: PeerLink): Promise<boolean> {
    const { replica, finder, namespace } = this.options;
    const { entries } = await this.takeDump(peer);
    const role = finder.role === 'primary' ? 'secondary' : 'primary';
    await replica.mergeAll(entries.map((entry) => recordOfEntry(entry, role)));
    return isWithin(namespace, entries);
  }

  private async takeDump(peer: PeerLink): Promise<Dump> {
    const dump = await this.dumpOf(peer);
    this.shape = dump.shape;
    for (const name of dump.unusable) {
      this.options.log.warn('NameServer', 'twin: left out what is no name here:', name);
    }
    this.use(peer);
    return dump;
  }

  /** Makes the twin copy our names. Within that call it calls our `_resync`, which opens a new connection to it. */
  private async offerOurs(uri: PyroURI): Promise<void> {
    this.options.log.warn('NameServer', 'twin: it lacks names that are here, and copies ours');
    const peer = await openPeer({ host: uri.address, port: uri.port }, this.options);
    try {
      await peer.call('resync', []);
    } finally {
      peer.destroy();
    }
  }

  private async dumpOf(peer: PeerLink): Promise<Dump> {
    try {
      return readDump(await peer.call('_resync', [this.proxyOfUs()]));
    } catch (error) {
      if (!(error instanceof RemoteError && error.code === 'NAME_INVALID_CHARACTERS')) throw error;
      this.options.log.warn('NameServer', 'twin: it has names with a slash, which it can not dump: reading its groups');
      return readByListing((method, ...args) => peer.call(method, args));
    }
  }

  /**
   * The proxy by which the twin calls us. A DynamicProxy, because Pyro 3's NameServerProxy does not connect by itself.
   */
  private proxyOfUs(): PythonWritable {
    const { identification } = this.options;
    if (this.uri === undefined) throw new NamingError(refusalText('TWIN_STARTING'));
    return proxyToPython({
      kind: 'DynamicProxy',
      uri: this.uri,
      identification: identification === undefined ? new Uint8Array() : mungeIdentification(identification),
      timeout: null,
      onewayMethods: ['_synccall'],
    });
  }

  private use(peer: PeerLink): void {
    if (this.peer !== peer) this.peer?.destroy();
    this.peer = peer;
    this.twin = peer.uri;
    this.waiting = undefined;
    void peer.closed.then(() => {
      if (this.peer === peer) this.drop(refusalText('CONNECTION_LOST'));
    });
  }

  /** Connects to the twin. It may still be starting and not answer yet: changes wait until it does. */
  private connectTo({ uri }: ProxyDescription): void {
    const waiting: Change[] = [];
    this.stop();
    this.waiting = waiting;
    this.twin = uri;
    openPeer({ host: uri.address, port: uri.port }, this.options).then(
      (peer) => {
        if (this.waiting !== waiting) {
          peer.destroy();
          return;
        }
        this.use(peer);
        for (const change of waiting) this.tell(change);
      },
      (error: unknown) => {
        if (!isExpected(error)) this.options.log.error('NameServer', 'twin: unexpected error:', error);
        if (this.waiting === waiting) this.drop(isExpected(error) ? error.message : 'unexpected error');
      },
    );
  }

  private send(peer: PeerLink, change: Change): void {
    try {
      if (peer.unsent > MAX_UNSENT_SIZE) throw new PyroError(refusalText('TWIN_CHANGES_NOT_TAKEN'));
      peer.send('_synccall', syncCallOf(change), { flags: RequestFlag.Varargs | RequestFlag.Oneway });
    } catch (error) {
      if (!(error instanceof PyroError)) throw error;
      this.drop(error.message);
    }
  }

  private drop(reason: string): void {
    this.options.log.warn('NameServer', 'twin: removing other NS until it calls again:', reason);
    this.stop();
  }
}

/** Encodes a change as the arguments of `_synccall`. */
function syncCallOf(change: Change): PythonWritable[] {
  const name = change.name.toString();
  switch (change.kind) {
    case 'register':
      return ['register', name, uriToPython(change.uri)];
    case 'setMeta':
      return ['setMeta', name, change.meta];
    case 'setSystemMeta':
      return ['_setSystemMeta', name, systemMetaToPython(change.meta)];
    case 'unregister':
    case 'createGroup':
    case 'deleteGroup':
      return [change.kind, name];
  }
}

/** Decodes the arguments of `_synccall`. @throws PyroError where they are no change */
function readSyncCall(method: string, args: readonly PythonValue[], defaultGroup: Name): Change {
  const [nameValue, value = null] = args;
  const name = Name.expand(textOf(nameValue) ?? '', defaultGroup);
  switch (method) {
    case 'register':
      return { kind: 'register', name, uri: uriFromPython(value) ?? PyroURI.parse(textOf(value) ?? '') };
    case 'setMeta':
      return { kind: 'setMeta', name, meta: value };
    case '_setSystemMeta': {
      const meta = systemMetaFromPython(value);
      if (meta === undefined) throw new PyroError(refusalText('TWIN_META_INVALID'));
      return { kind: 'setSystemMeta', name, meta };
    }
    case 'unregister':
    case 'createGroup':
    case 'deleteGroup':
      return { kind: method, name };
    default:
      throw new PyroError(refusalText('TWIN_CALL_UNKNOWN', method));
  }
}

/**
 * Applies a change of the twin. Idempotent for registrations, because a change that the copy contained may come again.
 */
async function applyTwinChange(namespace: Namespace, change: Change): Promise<void> {
  try {
    await applyChange(namespace, change);
  } catch (error) {
    if (!(error instanceof NamingError)) throw error;
    if (change.kind !== 'register' || error.code !== 'NAME_EXISTS') throw error;
    const uri = await namespace.resolve(change.name);
    if (uri.equals(change.uri)) return;
    await namespace.unregister(change.name);
    await namespace.register(change.name, change.uri);
  }
}

/**
 * The record for an entry of a twin found by broadcast. Its timestamp is clamped to now: one in the future would win
 * against every later change.
 */
function recordOfEntry({ name, uri, systemMeta, userMeta }: NamespaceEntry, role: TwinRole): NameRecord {
  const time = ageOf(systemMeta?.timestamp ?? 0, Date.now() / 1000);
  const state = { uri, userMeta, systemMeta: systemMeta && { ...systemMeta, timestamp: time }, systemMetaSet: false };
  return { name, timestamp: { time, role }, observed: false, state };
}

/**
 * True if all names of a namespace, except the name server's own entry, are among these entries, with equal content.
 */
async function isWithin(namespace: Namespace, entries: readonly NamespaceEntry[]): Promise<boolean> {
  const known = new Map(entries.map((entry) => [entry.name.toString(), entry]));
  for await (const { name, uri, userMeta } of namespace.export()) {
    const entry = known.get(name.toString());
    if (!OWN_ENTRY.equals(name) && !(entry && isSameContent(entry, { uri, userMeta }))) return false;
  }
  return true;
}

async function holdsObjects(namespace: Namespace): Promise<boolean> {
  for await (const batch of namespace.flatlist()) {
    if (batch.some(([name]) => !name.equals(OWN_ENTRY))) return true;
  }
  return false;
}

/** The entries, with our own name server entry in place of the twin's. */
function withOwnEntry(entries: readonly NamespaceEntry[], uri: PyroURI): NamespaceEntry[] {
  const group = (name: Name): NamespaceEntry => ({ name, uri: undefined, systemMeta: undefined, userMeta: null });
  const hasGroup = entries.some(({ name }) => name.equals(OWN_ENTRY.parent));
  const others = entries.filter(({ name }) => !name.equals(OWN_ENTRY));
  return [...others, ...(hasGroup ? [] : [group(OWN_ENTRY.parent)]), { ...group(OWN_ENTRY), uri }];
}

import { PeerLog, printable, type Config, type Log } from '../../config/index.js';
import { ConnectionDeniedError, NamingError, ProtocolError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { Name, ObjectProtocol, PyroURI } from '../../names/index.js';
import type { Namespace } from '../../namespace/index.js';
import type { PythonValue, PythonWritable } from '../../pickle/index.js';
import { proxyFromPython } from '../../rpc/index.js';
import type { CallRequest, ServerConnection } from '../../wire/index.js';
import type { Change } from '../change.js';
import type { ChangeFeed } from '../change-feed.js';
import { SubtreeLock } from '../../sync/index.js';
import { isExpected, type TwinFinder } from './finder.js';
import { HELLO, isPyroNS, TwinSession } from './session.js';
import type { PeerLink } from './peer-link.js';
import { Pyro3Twin, pyro3Refusal } from './pyro3-twin.js';
import type { TwinRole } from './records.js';
import { Replica } from './merge.js';
import { Versions } from './versions.js';

/** The timeout of the initial synchronization, for which a starting server's clients wait. */
const INITIAL_SYNC_TIMEOUT_MS = 30_000;

export interface TwinOptions {
  readonly config: Config;
  readonly log: Log;
  /** Prints a line that Pyro's server prints, too. */
  readonly print: (line: string) => void;
  readonly namespace: Namespace;
  /** True if the namespace is in a database: Pyro 3 servers with and without one have different formats of dumps. */
  readonly persistent: boolean;
  /** PYROSSL if both servers use TLS. */
  readonly protocol: ObjectProtocol;
  /** The passphrase that both servers require. */
  readonly identification?: string | undefined;
  /** Finds the twin; it may have found it already. */
  readonly finder: TwinFinder;
  /** Gets each change that comes from the twin. */
  readonly changes: ChangeFeed;
}

/** The state of replication, as `_status` returns it. */
export interface TwinStatus {
  /** The twin's URI; null while it is not known. */
  readonly uri: string | null;
  readonly software: 'pyro-ns' | 'Pyro 3' | null;
  /** `connected`; `merging`: a full merge is running; `lost`: there is no connection, and the twin is searched for. */
  readonly state: 'connected' | 'merging' | 'lost';
  /**
   * How many changes made here the twin has not confirmed; with a Pyro 3 twin, which confirms none, those not sent yet.
   */
  readonly unconfirmed: number;
  /** True if the queue of changes has overflowed: a full merge follows when the twin is back. */
  readonly mergeDue: boolean;
  /** Why there is no connection; null if there is one, or no attempt has failed. */
  readonly problem: string | null;
}

type RemoteMethod = (
  args: readonly PythonValue[],
  caller: ServerConnection,
) => Promise<PythonWritable> | PythonWritable;

/**
 * Replication with the other name server of a pair, which is pyro-ns (TwinSession) or Pyro 3 (Pyro3Twin). Changes made
 * here go to the twin, and its changes are made here. The name server object makes all changes through this class, and
 * passes on the calls that only a twin makes.
 */
export class Twin {
  private readonly lock = new SubtreeLock<Name>();
  private readonly replica: Replica;
  private readonly pair: TwinSession;
  private readonly pyro3: Pyro3Twin;
  private readonly peerLog: PeerLog;
  private readonly methods: ReadonlyMap<string, RemoteMethod>;
  private initialSync: Promise<void> | undefined;
  private resolveInitialSync: (joined: Promise<void>) => void = () => undefined;
  private rejectInitialSync: (reason: Error) => void = () => undefined;

  constructor(private readonly options: TwinOptions) {
    const { log, namespace, finder, changes } = options;
    const { lock, role } = this;
    this.replica = new Replica({ log, role, namespace, lock, changes, versions: new Versions(role) });
    this.peerLog = new PeerLog(log);
    this.pair = new TwinSession({ ...options, role, replica: this.replica, finder });
    this.pyro3 = new Pyro3Twin({ ...options, lock, replica: this.replica });
    this.methods = this.remoteMethods();
    // The name server object can be called before `start` is.
    this.initialSync = new Promise((resolve, reject) => {
      this.resolveInitialSync = resolve;
      this.rejectInitialSync = reject;
    });
    // A failure is reported by `start`; without this, it would be an unhandled rejection if no client waits.
    this.initialSync.catch(() => undefined);
    log.msg('NameServer', `Running in ${role} mode`);
  }

  get role(): TwinRole {
    return this.options.finder.role;
  }

  /**
   * Synchronizes with the twin, if it can be found, and keeps searching for it from now on. Clients wait until then.
   * @param uri the URI of our own name server object
   * @throws ConnectionDeniedError where the twin refuses the connection; the exception that a Pyro 3 twin raised
   */
  async start(uri: PyroURI): Promise<void> {
    this.options.finder.exclude(uri);
    this.pyro3.introduce(uri);
    const joining = this.join(uri);
    this.resolveInitialSync(joining);
    await joining;
    this.initialSync = undefined;
  }

  /**
   * The initial synchronization, which clients' calls have to await; undefined when it is done. Rejects when this
   * server stops before.
   */
  get unsettled(): Promise<void> | undefined {
    return this.initialSync;
  }

  async stop(): Promise<void> {
    this.rejectInitialSync(new NamingError(refusalText('SHUTTING_DOWN')));
    this.pyro3.stop();
    await this.pair.stop();
  }

  /**
   * Makes a change that a client asked for, and sends it to the twin.
   * @throws NamingError where the namespace refuses it
   */
  async perform(change: Change): Promise<void> {
    await this.replica.perform(change, (record) => {
      this.pair.tell(record);
      this.pyro3.tell(change);
    });
    // A connection writes queued calls in the next tick. The client gets its reply after that, so that the twin gets
    // every change whose client got a reply, even if this process is killed then.
    await new Promise<void>((resolve) => {
      process.nextTick(resolve);
    });
  }

  /** True for the remote methods that only paired servers have. */
  has(method: string): boolean {
    return this.methods.has(method);
  }

  /** Executes a call of such a method. @throws NamingError where the caller is not the twin */
  async invoke(call: CallRequest, caller: ServerConnection): Promise<PythonWritable> {
    // Any client may call `resync`; the other methods are for the twin alone.
    if (call.method !== 'resync' && !(await this.isTwin(call, caller))) {
      this.peerLog.warn(caller.remoteAddress, 'NameServer', `twin: refused ${call.method} of`, caller);
      throw new NamingError(refusalText('TWIN_NOT_KNOWN', call.method));
    }
    return (await this.methods.get(call.method)?.(call.args, caller)) ?? null;
  }

  /** True if a caller may be the twin, by its address. The session also authenticates it. */
  private async isTwin({ method, args }: CallRequest, caller: ServerConnection): Promise<boolean> {
    const { finder } = this.options;
    if (await finder.trusts(caller)) return true;
    const proxy = method === '_resync' ? proxyFromPython(args[0]) : undefined;
    return proxy !== undefined && (await finder.acceptFirst(caller, proxy.uri));
  }

  status(): TwinStatus {
    const { pair, pyro3 } = this;
    const pyro3URI = pyro3.twinURI;
    const uri = pyro3URI ?? pair.twinURI;
    const state = pyro3URI ? 'connected' : pair.state;
    return {
      uri: uri?.toString() ?? null,
      software: uri === undefined ? null : pyro3URI ? 'Pyro 3' : 'pyro-ns',
      state: state === 'looking' ? 'lost' : state,
      unconfirmed: pyro3URI ? pyro3.unconfirmed : pair.unconfirmed,
      mergeDue: !pyro3URI && pair.mergeIsDue,
      problem: pyro3URI ? null : (pair.problem ?? null),
    };
  }

  private async join(uri: PyroURI): Promise<void> {
    const { finder } = this.options;
    let peer = finder.takeLocated();
    if (peer === undefined) {
      await finder.locate('Locating twin NameServer again.');
      peer = finder.takeLocated();
    }
    const isPair = peer !== undefined && (await isPyroNS(peer));
    if (peer && !isPair) await this.copyFrom(peer);
    this.pair.start(uri, isPair ? peer : undefined);
    if (isPair) await this.pair.received(INITIAL_SYNC_TIMEOUT_MS);
  }

  /** Copies the names of a Pyro 3 twin. If the twin dies meanwhile, we serve ours: it calls us when it is back. */
  private async copyFrom(peer: PeerLink): Promise<void> {
    const { print } = this.options;
    const refusal = pyro3Refusal(this.options);
    if (refusal !== undefined) {
      // Not thrown, so that a server that pretends to be Pyro 3 can't keep us from starting. The session logs it too.
      print(`WARNING: Cannot resync with twin NS:  ${refusal}`);
      peer.destroy();
      return;
    }
    try {
      await this.pyro3.copyFrom(peer);
    } catch (error) {
      if (error instanceof ConnectionDeniedError || !(error instanceof ProtocolError)) throw error;
      print(`WARNING: Cannot resync with twin NS:  ${printable(error.message)}`);
      this.options.log.warn('NameServer', 'twin: lost while its names were copied:', error);
    }
  }

  private async resync(): Promise<null> {
    try {
      if (await this.pyro3.resync()) return null;
    } catch (error) {
      if (!isExpected(error)) throw error;
      this.options.log.warn('NameServer', 'cannot resync:', error);
      throw new NamingError(refusalText('TWIN_UNREACHABLE'));
    }
    await this.pair.resync();
    return null;
  }

  private remoteMethods(): ReadonlyMap<string, RemoteMethod> {
    const { pair, pyro3 } = this;
    return new Map<string, RemoteMethod>([
      ['resync', () => this.resync()],
      ['_resync', ([proxy]) => pyro3.giveCopy(proxy)],
      ['_synccall', (args) => pyro3.takeSyncCall(args).then(() => null)],
      [HELLO, ([introduction], caller) => pair.greet(introduction, caller)],
      [
        '_twinChanges',
        ([instance = null, first = null, records = null], caller) => pair.takeChanges(caller, instance, first, records),
      ],
      [
        '_twinConfirmed',
        ([instance = null, number = null, isBroken = null], caller) =>
          pair.takeConfirmation(caller, instance, number, isBroken),
      ],
      [
        '_twinMerge',
        ([instance = null, next = null, records = null, isLast = null], caller) =>
          pair.takeMerge(caller, instance, next, records, isLast),
      ],
    ]);
  }
}

import { inspect } from 'node:util';
import { PeerLog, type Config, type Log } from '../config/index.js';
import { NamingError, PyroError, URIError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { isPYRONAME, Name, NAMESERVER_NAME, newGUID, PyroURI, requireNewName, requireNewURI } from '../names/index.js';
import { systemMetaFromPython, systemMetaToPython, type Namespace } from '../namespace/index.js';
import { characters, dumps, tuple, type PythonValue, type PythonWritable } from '../pickle/index.js';
import { bindArguments, RemoteError, resolveAddress, uriFromPython, uriToPython, type Answer } from '../rpc/index.js';
import type { NameServerObject, Servant } from '../rpc/index.js';
import { isOneway, Pickled, type CallRequest, type ServerConnection } from '../wire/index.js';
import { applyChange, type Change } from './change.js';
import { ChangeFeed } from './change-feed.js';
import { SHUTDOWN_DENIED, WILL_SHUT_DOWN } from './broadcast.js';
import { isAcceptance, type OperationGuard } from './security-plugins.js';
import { Quota } from './quota.js';
import { inBatches, ReplyEncoder } from './reply-encoder.js';
import type { NameServerStatus } from './status.js';
import type { Twin } from './twin/index.js';

/** What a name server object needs to know beside its namespace. */
export interface NameServerOptions {
  readonly config: Config;
  readonly log: Log;
  /** This machine's IPv4 address, for the object's own GUID. */
  readonly address: string;
  /** The class whose name Python clients see in an AttributeError: Pyro's `NameServer` or `PersistentNameServer`. */
  readonly className: 'NameServer' | 'PersistentNameServer';
  /** With -k: requests to shut down are denied. */
  readonly ignoreShutdown: boolean;
  /** Called when a client asked for a shutdown and may have it. */
  readonly onShutdown: () => void;
  /** Asked before each operation, where there is one. */
  readonly operationGuard?: OperationGuard | undefined;
  /** Told of each change, for those who watch; the twin tells it of its own. */
  readonly changes?: ChangeFeed | undefined;
  /** Says how the name server does: what `_status` answers, None without it. */
  readonly status?: (() => Promise<NameServerStatus>) | undefined;
  /** The other name server, where this one is one of a pair. */
  readonly twin?: Twin | undefined;
}

/** What the other name server of a pair asks while this one is still taking over its names. */
const UNSETTLED_METHODS: ReadonlySet<string> = new Set(['_r_ha', '_status']);

/** The server's own entry, which clients look it up by: they can't change it, nor delete the group that it is in. */
const OWN_ENTRY = Name.parse(NAMESERVER_NAME);

/** Who gets the answer; nobody, where the call is one-way. */
type Client = ServerConnection | undefined;

interface Method {
  /** The parameters' names, as Pyro 3 has them. */
  readonly parameters: readonly string[];
  readonly call: (args: readonly PythonValue[], client: Client, caller: ServerConnection) => Answer | Promise<Answer>;
}

/**
 * The name server object: Pyro's methods onto a `Namespace`, and nothing else can be called. Names are parsed here;
 * what is true of a name is decided in the store.
 */
export class NameServer implements Servant, NameServerObject {
  private guid: string;
  private readonly defaultGroup: Name;
  private readonly methods: ReadonlyMap<string, Method>;
  private readonly changes: ChangeFeed;
  private twinPermissions: Promise<void> = Promise.resolve();
  private readonly replies: ReplyEncoder;
  private readonly quota: Quota;
  private readonly closing = new AbortController();
  private readonly peerLog: PeerLog;

  /** @throws NamingError where PYRO_NS_DEFAULTGROUP is no absolute name */
  constructor(
    private readonly namespace: Namespace,
    private readonly options: NameServerOptions,
  ) {
    this.guid = newGUID(options.address, process.pid);
    this.defaultGroup = Name.parse(options.config.PYRO_NS_DEFAULTGROUP);
    this.changes = options.changes ?? new ChangeFeed();
    const { PYRO_PICKLE_FORMAT, PYRO_NS_MAX_LISTS_SIZE, PYRO_STALL_TIMEOUT } = options.config;
    this.replies = new ReplyEncoder(PYRO_PICKLE_FORMAT, PYRO_NS_MAX_LISTS_SIZE, PYRO_STALL_TIMEOUT * 1000);
    this.peerLog = new PeerLog(options.log);
    this.quota = new Quota(namespace, options.config);
    this.methods = this.remoteMethods();
  }

  /** Makes the groups that exist from the start, where they don't yet: `:Pyro` and the default group. */
  async createInitialGroups(): Promise<void> {
    for (const group of [OWN_ENTRY.parent, this.defaultGroup]) {
      await this.namespace.createGroup(group).catch((error: unknown) => {
        if (!(error instanceof NamingError && error.code === 'GROUP_EXISTS')) throw error;
      });
    }
  }

  /** Lets nobody wait for an answer any longer. */
  close(): void {
    this.closing.abort(new NamingError(refusalText('SHUTTING_DOWN')));
    this.changes.close();
    this.peerLog.flush();
  }

  GUID(): string {
    return this.guid;
  }

  setGUID(guid: string): void {
    this.guid = guid;
  }

  invoke(call: CallRequest, caller: ServerConnection): Answer | Promise<Answer> {
    const { operationGuard, twin } = this.options;
    if (operationGuard === undefined && twin === undefined) return this.perform(call, caller);
    if (twin?.has(call.method)) return this.invokeTwin(twin, call, caller);
    const unsettled = UNSETTLED_METHODS.has(call.method) ? undefined : twin?.unsettled;
    if (operationGuard === undefined && unsettled === undefined) return this.perform(call, caller);
    const permission = operationGuard && this.requirePermission(operationGuard, call, caller);
    return Promise.all([permission, unsettled]).then(
      () => this.perform(call, caller),
      (error: unknown) => this.keepToOurselves(error, caller),
    );
  }

  /** The guard is asked about `resync` and the twin's calls too, but not about each name that the twin tells. */
  private async invokeTwin(twin: Twin, call: CallRequest, caller: ServerConnection): Promise<Answer> {
    const { operationGuard } = this.options;
    if (operationGuard) {
      const permission = this.requirePermissionFor(operationGuard, call.method, undefined, caller);
      // The twin's calls keep their order, however long the guard thinks about each. What came of one is not kept: each
      // would hold all before it.
      this.twinPermissions = Promise.allSettled([this.twinPermissions, permission]).then(() => undefined);
      await this.twinPermissions;
      await permission;
    }
    return twin.invoke(call, caller).catch((error: unknown) => this.keepToOurselves(error, caller));
  }

  private perform(call: CallRequest, caller: ServerConnection): Answer | Promise<Answer> {
    try {
      const answer = this.answer(call, caller);
      return answer instanceof Promise ? answer.catch((error: unknown) => this.keepToOurselves(error, caller)) : answer;
    } catch (error) {
      return this.keepToOurselves(error, caller);
    }
  }

  private answer(call: CallRequest, caller: ServerConnection): Answer | Promise<Answer> {
    const [name] = call.args;
    if (call.method === 'resolve' && call.args.length === 1 && call.keywords.size === 0 && typeof name === 'string') {
      return this.answerResolve(this.parseName(name));
    }
    const method = this.methods.get(call.method);
    if (method === undefined) {
      const text = `'${this.options.className}' object has no attribute '${shortened(call.method)}'`;
      throw new RemoteError('exceptions', 'AttributeError', [text]);
    }
    const client = isOneway(call) ? undefined : caller;
    return method.call(bindArguments(call, method.parameters), client, caller);
  }

  async register(name: string, uri: PyroURI): Promise<void> {
    const parsed = this.parseName(name);
    await this.makeRegistration(parsed, uri);
    this.options.log.msg('NameServer', 'registered', parsed, 'with URI', uri);
  }

  async unregister(name: string): Promise<void> {
    const parsed = this.parseName(name);
    await this.change({ kind: 'unregister', name: parsed });
    this.options.log.msg('NameServer', 'unregistered', parsed);
  }

  private async makeRegistration(name: Name, uri: PyroURI): Promise<void> {
    requireNewName(name);
    await this.change({ kind: 'register', name, uri });
  }

  async resolve(name: string): Promise<PyroURI> {
    return this.namespace.resolve(this.parseName(name));
  }

  /** @throws NamingError `permission denied: ...` unless the guard allows the call */
  private async requirePermission(guard: OperationGuard, call: CallRequest, caller: ServerConnection): Promise<void> {
    const method = this.methods.get(call.method);
    if (method === undefined) return;
    const [first] = bindArguments(call, method.parameters);
    const [parameter] = method.parameters;
    const name =
      parameter === 'groupname' ? this.groupOf(first) : parameter === 'name' ? this.nameOf(first) : undefined;
    await this.requirePermissionFor(guard, call.method, name, caller);
  }

  private async requirePermissionFor(
    guard: OperationGuard,
    method: string,
    name: Name | undefined,
    caller: ServerConnection,
  ): Promise<void> {
    try {
      if (isAcceptance(await guard.acceptOperation(method, name?.toString(), caller))) return;
    } catch (error) {
      this.peerLog.error(
        caller.remoteAddress,
        'NameServer',
        'the security plugin failed, so the operation is refused:',
        error,
      );
    }
    throw new NamingError(refusalText('PERMISSION_DENIED', method), ...(name ? [name.toString()] : []));
  }

  private remoteMethods(): ReadonlyMap<string, Method> {
    const { namespace } = this;
    const named = (call: (name: Name, client: Client, caller: ServerConnection) => Promise<Answer>): Method => ({
      parameters: ['name'],
      call: ([name], client, caller) => call(this.nameOf(name), client, caller),
    });
    const grouped = (call: (group: Name, caller: ServerConnection) => Promise<Answer>): Method => ({
      parameters: ['groupname'],
      call: ([name], _client, caller) => call(this.nameOf(name), caller),
    });
    const methods: Record<string, Method> = {
      ping: { parameters: [], call: () => null },
      register: {
        parameters: ['name', 'URI'],
        call: ([name, uri], _client, caller) => this.answerRegister(this.nameOf(name), uri, caller),
      },
      unregister: named((name, _client, caller) => this.answerUnregister(name, caller)),
      resolve: { parameters: ['name'], call: ([name]) => this.answerResolve(this.nameOf(name)) },
      list: {
        parameters: ['groupname'],
        call: ([name], client) => this.answerList(this.groupOf(name), client),
      },
      flatlist: { parameters: [], call: (_args, client) => this.answerFlatlist(client) },
      createGroup: grouped((group, caller) => this.answerCreateGroup(group, caller)),
      deleteGroup: grouped((group, caller) => this.answerDeleteGroup(group, caller)),
      getMeta: named((name, client) => this.answerValue(() => namespace.getMeta(name), client)),
      setMeta: {
        parameters: ['name', 'meta'],
        call: ([name, meta]) => this.answerSetMeta(this.nameOf(name), meta ?? null),
      },
      _getSystemMeta: named((name, client) =>
        this.answerValue(async () => systemMetaToPython(await namespace.getSystemMeta(name)), client),
      ),
      _setSystemMeta: {
        parameters: ['name', 'meta'],
        call: ([name, meta]) => this.answerSetSystemMeta(this.nameOf(name), meta),
      },
      _r_ha: {
        parameters: ['attr'],
        // Pyro's codes: 1 is a method, 2 an attribute.
        call: ([attribute]) => (this.hasMethod(characters(attribute) ?? '') ? 1 : 2),
      },
      resync: { parameters: [], call: () => this.refuseSync('NS') },
      _resync: { parameters: ['twinProxy'], call: () => this.refuseSync('The (other) NS') },
      // Not in Pyro 3: see docs/pyro-nsc.md.
      _changes: { parameters: ['since'], call: ([since], client) => this.answerChanges(since, client) },
      // Not in Pyro 3: see docs/monitor.md.
      _status: { parameters: [], call: () => this.options.status?.() ?? null },
      _shutdown: { parameters: [], call: (_args, _client, caller) => this.answerShutdown(caller) },
    };
    return new Map(Object.entries(methods));
  }

  /** True if it can be called under this name. */
  hasMethod(name: string): boolean {
    return this.methods.has(name) || this.options.twin?.has(name) === true;
  }

  /** Makes a change here, and tells the twin and those who watch. */
  private async change(change: Change): Promise<void> {
    const { twin } = this.options;
    await this.quota.run(change, () => (twin ? twin.perform(change) : applyChange(this.namespace, change)));
    this.changes.append(change);
  }

  private answerResolve(name: Name): Answer | Promise<Answer> {
    const uri = this.namespace.resolveNow(name);
    return uri === undefined ? this.namespace.resolve(name).then((found) => this.pickled(found)) : this.lasting(uri);
  }

  /** What the store has in memory is encoded once, for as long as the store keeps it. */
  private lasting(uri: PyroURI): Pickled {
    if (uri.encodedReply instanceof Pickled) return uri.encodedReply;
    const pickled = this.pickled(uri);
    uri.setEncodedReply(pickled);
    return pickled;
  }

  private pickled(uri: PyroURI): Pickled {
    return new Pickled(dumps(uriToPython(uri), { protocol: this.options.config.PYRO_PICKLE_FORMAT }));
  }

  private async answerRegister(name: Name, value: PythonValue | undefined, caller: ServerConnection): Promise<null> {
    const uri = await this.uriOf(value, caller);
    // Pyro's words, also where somebody has removed the entry from the database.
    if (name.equals(OWN_ENTRY)) throw new NamingError(refusalText('NAME_EXISTS'), name.toString());
    await this.makeRegistration(name, uri);
    this.peerLog.msg(caller.remoteAddress, 'NameServer', 'registered', name, 'with URI', uri);
    return null;
  }

  private async answerUnregister(name: Name, caller: ServerConnection): Promise<null> {
    this.refuseOwnEntry(name);
    await this.change({ kind: 'unregister', name });
    this.peerLog.msg(caller.remoteAddress, 'NameServer', 'unregistered', name);
    return null;
  }

  private async answerList(group: Name, client: Client): Promise<Answer> {
    if (client === undefined) return undefined;
    const batches = async () => inBatches(await this.namespace.list(group));
    return this.replies.encodeList(batches, ({ part, type }) => tuple(part, type), client);
  }

  private answerFlatlist(client: Client): Answer | Promise<Answer> {
    const toPython = ([name, uri]: readonly [Name, PyroURI]) => tuple(name.toString(), uriToPython(uri));
    return client && this.replies.encodeList(() => this.namespace.flatlist(), toPython, client);
  }

  private async answerCreateGroup(group: Name, caller: ServerConnection): Promise<null> {
    requireNewName(group);
    if (group.equals(OWN_ENTRY)) throw new NamingError(refusalText('GROUP_EXISTS'), group.toString());
    await this.change({ kind: 'createGroup', name: group });
    this.peerLog.msg(caller.remoteAddress, 'NameServer', 'created group', group);
    return null;
  }

  private async answerDeleteGroup(group: Name, caller: ServerConnection): Promise<null> {
    this.refuseNeededGroup(group);
    await this.change({ kind: 'deleteGroup', name: group });
    this.peerLog.msg(caller.remoteAddress, 'NameServer', 'deleted group', group);
    return null;
  }

  private async answerSetMeta(name: Name, meta: PythonValue): Promise<null> {
    this.refuseOwnEntry(name);
    await this.change({ kind: 'setMeta', name, meta });
    return null;
  }

  /** Answers what may be large. */
  private answerValue(read: () => Promise<PythonWritable>, client: Client): Promise<Answer> {
    return client === undefined ? read() : this.replies.encodeValue(read, client);
  }

  private async answerChanges(position: PythonValue | undefined, client: Client): Promise<Answer> {
    const number = typeof position === 'number' ? position : Number(position ?? NaN);
    const known = Number.isNaN(number) ? undefined : number;
    // It may take long until there are any: others read meanwhile.
    await this.changes.since(known);
    return this.answerValue(() => Promise.resolve(this.changesSince(known)), client);
  }

  private changesSince(known: number | undefined): PythonWritable {
    const { position: next, changes } = this.changes.sinceNow(known);
    return tuple(next, changes?.map(({ operation, name, uri }) => tuple(operation, name, uri ?? null)) ?? null);
  }

  private async answerSetSystemMeta(name: Name, value: PythonValue | undefined): Promise<null> {
    this.refuseOwnEntry(name);
    const meta = systemMetaFromPython(value ?? null);
    if (meta === undefined) {
      // A name that is not there is the first thing wrong.
      await this.namespace.getSystemMeta(name);
      throw new RemoteError('exceptions', 'TypeError', ['system meta info must be NameSpaceSystemMeta object']);
    }
    await this.change({ kind: 'setSystemMeta', name, meta });
    return null;
  }

  private refuseOwnEntry(name: Name): void {
    if (!name.equals(OWN_ENTRY)) return;
    throw new NamingError(refusalText('OWN_ENTRY'), name.toString());
  }

  /** The root is left to the store, which has Pyro's words for it. */
  private refuseNeededGroup(group: Name): void {
    const isNeeded = [OWN_ENTRY.parent, this.defaultGroup].some((needed) => needed.isWithin(group));
    if (group.isRoot || !isNeeded) return;
    throw new NamingError(refusalText('GROUP_NEEDED'), group.toString());
  }

  private refuseSync(subject: string): never {
    throw new NamingError(refusalText('NOT_A_PAIR', subject));
  }

  private answerShutdown({ remoteAddress }: ServerConnection): string {
    const { ignoreShutdown, onShutdown } = this.options;
    if (ignoreShutdown) {
      this.peerLog.msg(remoteAddress, 'NameServer', 'received shutdown request, but shutdown is denied');
      return SHUTDOWN_DENIED;
    }
    this.peerLog.msg(remoteAddress, 'NameServer', 'received shutdown request, will shutdown shortly');
    onShutdown();
    return WILL_SHUT_DOWN;
  }

  private parseName(text: string): Name {
    if (text === '') throw new NamingError(refusalText('NAME_INVALID'), text);
    return Name.expand(text, this.defaultGroup);
  }

  private nameOf(value: PythonValue | undefined): Name {
    const text = characters(value);
    if (text === undefined) throw new NamingError(refusalText('NAME_INVALID'), inspect(value, { depth: 0 }));
    return this.parseName(text);
  }

  /** A group's name; nothing stands for the root. */
  private groupOf(value: PythonValue | undefined): Name {
    return isNothing(value) ? Name.root : this.nameOf(value);
  }

  /** Reads a URI argument: a PyroURI, or its text, whose host is resolved (unless PYRO_DNS_URI) as Pyro 3 does. */
  private async uriOf(value: PythonValue | undefined, client: ServerConnection): Promise<PyroURI> {
    try {
      const uri = uriFromPython(value ?? null);
      const parsed = uri ?? PyroURI.parse(characters(value) ?? '');
      requireNewURI(parsed);
      if (isPYRONAME(parsed.toString())) throw new URIError(refusalText('URI_OF_NAME'));
      if (uri !== undefined) return uri;
      const { config } = this.options;
      if (config.PYRO_DNS_URI) return parsed;
      const { signal } = this.closing;
      return parsed.withAddress(await resolveAddress(parsed.address, { config, client, signal }));
    } catch (error) {
      if (!(error instanceof URIError)) throw error;
      const shown = shortened(characters(value) ?? inspect(value, { depth: 0 }));
      // As in Pyro 3 the client is not told more.
      const reason = error.args.join(': ');
      this.peerLog.msg(client.remoteAddress, 'NameServer', 'refused the URI', shown, '-', reason);
      throw new NamingError(refusalText('URI_INVALID'), shown);
    }
  }

  /** Passes on what is meant for clients; anything else is our fault, and its text may hold paths. */
  private keepToOurselves(error: unknown, { remoteAddress }: ServerConnection): never {
    if (error instanceof PyroError || error instanceof RemoteError) throw error;
    this.peerLog.error(remoteAddress, 'NameServer', 'unexpected error:', error);
    throw new NamingError(refusalText('INTERNAL'));
  }
}

const isNothing = (value: PythonValue | undefined): boolean => value === null || characters(value) === '';

/** How much of a text of a client's an error says again: what the client does not read is held here. */
const MAX_REPEATED_LENGTH = 4096;

const shortened = (text: string): string =>
  text.length > MAX_REPEATED_LENGTH ? `${text.slice(0, MAX_REPEATED_LENGTH)}...` : text;

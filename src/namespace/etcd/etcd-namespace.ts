import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import type { Log } from '../../config/index.js';
import type { NamingError } from '../../errors.js';
import type { PyroURI } from '../../names/index.js';
import { Name, NAMESERVER_NAME } from '../../names/index.js';
import type { PythonValue } from '../../pickle/index.js';
import { countNames } from '../count.js';
import type { EtcdStatus, ListEntry, Namespace, NamespaceEntry, NamespaceSize, SystemMeta } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import * as refusals from '../errors.js';
import { Deadline } from '../../sync/index.js';
import { Transactions, type TransactionChange } from './transactions.js';
import { EtcdClient, EtcdError, type EtcdAccess } from './client.js';
import { HealthMonitor } from './health.js';
import { Mirror } from './mirror.js';
import { Keys, type TreeKeys } from './keys.js';
import type { Comparison } from './protocol.js';
import { KeyspaceReplacement } from './replace.js';
import type { Node, MirrorTree } from './mirror-tree.js';
import { GROUP_VALUE, newMeta, writeMeta, type Metadata } from './codec.js';

export interface EtcdOptions extends EtcdAccess {
  /** The prefix of all keys, such as `/pyro`. */
  readonly prefix: string;
  /**
   * `cached`: reads are answered from the mirror, which may lag behind etcd for a moment. `linearizable`: each read first waits
   * until the mirror has every change that etcd has.
   */
  readonly read: 'cached' | 'linearizable';
  /** How long cached reads are still answered while etcd is unreachable. */
  readonly staleSeconds: number;
  /** How long a change or a linearizable read may take before it fails. */
  readonly timeoutSeconds: number;
  readonly log: Log;
}

/** The health of an `EtcdNamespace`. */
export interface EtcdHealth {
  /** The current member of the cluster, as `host:port`. */
  readonly endpoint: string;
  /** Number of groups and objects. */
  readonly names: number;
  /** For how many seconds etcd has been unreachable; undefined while it is reachable. */
  readonly awaySeconds: number | undefined;
}

/** The error why a change can't be made in this tree; undefined if it can. */
type RefusalIn = (tree: MirrorTree) => NamingError | undefined;

/** Builds the preconditions and operations of a change, from the mirrored tree. */
type Plan = (keys: TreeKeys, tree: MirrorTree) => Omit<TransactionChange, 'name' | 'tree'>;

/** How many entries are produced before the event loop may run other work. */
const BATCH_SIZE = 1000;

/**
 * A namespace in etcd, shared by many name servers. Each server answers reads from a mirror of it in memory, which etcd's
 * watch keeps up to date. Each change is one transaction in etcd.
 */
export class EtcdNamespace implements Namespace {
  private constructor(
    private readonly client: EtcdClient,
    private readonly mirror: Mirror,
    private readonly changes: Transactions,
    private readonly healthMonitor: HealthMonitor,
    private readonly replacement: KeyspaceReplacement,
    private readonly options: EtcdOptions,
  ) {}

  /** Connects, and loads the namespace; creates an empty one if there is none. @throws EtcdError */
  static async open(options: EtcdOptions): Promise<EtcdNamespace> {
    const { log, prefix, staleSeconds } = options;
    const client = new EtcdClient(options);
    const keys = new Keys(prefix);
    const healthMonitor = new HealthMonitor(staleSeconds, log);
    try {
      const mirror = await Mirror.open(client, keys, healthMonitor, log);
      const changes = new Transactions(client, keys, mirror);
      const replacement = new KeyspaceReplacement(client, keys, mirror, changes);
      return new EtcdNamespace(client, mirror, changes, healthMonitor, replacement, options);
    } catch (error) {
      client.close();
      throw error;
    }
  }

  get health(): EtcdHealth {
    return {
      endpoint: this.client.endpoint,
      names: this.mirror.tree.size,
      awaySeconds: this.healthMonitor.awaySeconds,
    };
  }

  async resolve(name: Name): Promise<PyroURI> {
    const node = (await this.read(name)).find(name);
    if (node === undefined) throw refusals.nameNotFound(name);
    if (node.type === GROUP) throw refusals.resolvedGroup(name);
    if (node.uri === undefined) throw refusals.uriInvalid(name);
    return node.uri;
  }

  resolveNow(name: Name): PyroURI | undefined {
    if (this.options.read === 'linearizable' || !this.healthMonitor.usable) return undefined;
    const node = this.mirror.tree.find(name);
    return node?.type === OBJECT ? node.uri : undefined;
  }

  async register(name: Name, uri: PyroURI): Promise<void> {
    if (name.isRoot) throw refusals.nameInvalid(name);
    await this.add(name, uri.toString(), newMeta(OBJECT), refusals.nameExists);
  }

  async unregister(name: Name): Promise<void> {
    await this.change(
      name,
      (tree) => {
        const node = tree.find(name);
        if (node === undefined) return refusals.nameNotFound(name);
        return node.type === GROUP ? refusals.isGroupNotObject(name) : undefined;
      },
      (keys) => ({
        requires: [{ key: keys.name(name), result: 'not equal', operand: { value: GROUP_VALUE } }],
        does: [{ delete: { key: keys.name(name) } }, { delete: { key: keys.meta(name) } }],
        changes: keys.name(name),
      }),
    );
  }

  async list(group: Name): Promise<ListEntry[]> {
    const tree = await this.read(group);
    const refusal = refusalOfGroup(tree, group);
    if (refusal !== undefined) throw refusal;
    return tree.members(group);
  }

  async *flatlist(): AsyncGenerator<(readonly [Name, PyroURI])[]> {
    let batch: (readonly [Name, PyroURI])[] = [];
    for (const node of (await this.read(Name.root)).all()) {
      if (node.type === GROUP || node.uri === undefined) continue;
      batch.push([node.name, node.uri]);
      if (batch.length === BATCH_SIZE) {
        yield batch;
        batch = [];
        await yieldToEventLoop();
      }
    }
    if (batch.length > 0) yield batch;
  }

  async createGroup(group: Name): Promise<void> {
    if (group.isRoot) throw refusals.groupExists(group);
    await this.add(group, GROUP_VALUE, newMeta(GROUP), refusals.groupExists);
  }

  async deleteGroup(group: Name): Promise<void> {
    if (group.isRoot) throw refusals.rootNotDeletable();
    await this.change(
      group,
      (tree) => refusalOfGroup(tree, group),
      (keys) => ({
        alone: true,
        requires: [isGroup(keys, group)],
        does: [
          { delete: { key: keys.name(group) } },
          { delete: { key: keys.meta(group) } },
          ...keys.contents(group).map((range) => ({ delete: range })),
        ],
        changes: keys.name(group),
      }),
    );
  }

  async getMeta(name: Name): Promise<PythonValue> {
    return (await this.readMeta(name)).user;
  }

  async setMeta(name: Name, meta: PythonValue): Promise<void> {
    await this.changeMeta(name, ({ system }) => ({ system, user: meta }));
  }

  async getSystemMeta(name: Name): Promise<SystemMeta> {
    return (await this.readMeta(name)).system;
  }

  async setSystemMeta(name: Name, meta: SystemMeta): Promise<void> {
    await this.changeMeta(name, ({ user }) => ({ system: meta, user }));
  }

  async *export(): AsyncGenerator<NamespaceEntry> {
    const tree = await this.read(Name.root);
    let count = 0;
    for (const node of tree.walk()) {
      const uri = node.type === OBJECT ? node.uri : undefined;
      if (node.type === OBJECT && uri === undefined) continue;
      const { system, user } = tree.meta(node);
      yield { name: node.name, uri, systemMeta: system, userMeta: user };
      count += 1;
      if (count % BATCH_SIZE === 0) await yieldToEventLoop();
    }
  }

  async replace(entries: AsyncIterable<NamespaceEntry>): Promise<void> {
    await this.replacement.make(entries, this.options.timeoutSeconds * 1000);
  }

  count(): Promise<NamespaceSize> {
    return countNames(this.mirror.tree.all());
  }

  get bytesInMemory(): number {
    return this.mirror.tree.bytes;
  }

  status(): EtcdStatus {
    const { endpoint, awaySeconds } = this.health;
    const problem = awaySeconds === undefined ? undefined : `no answer from etcd for ${awaySeconds.toFixed(0)} s`;
    return { kind: 'etcd', problem: this.healthMonitor.usable ? undefined : problem, endpoint, awaySeconds };
  }

  async close(): Promise<void> {
    await this.changes.finish();
    const mirrorClosed = this.mirror.close();
    this.client.close();
    await mirrorClosed;
  }

  /** The tree to read from. @throws NamingError `namespace is unavailable` */
  private async read(name: Name): Promise<MirrorTree> {
    if (this.options.read === 'linearizable') await this.catchUp(name);
    else if (!this.healthMonitor.usable) throw refusals.unavailable(name);
    return this.mirror.tree;
  }

  private async catchUp(name: Name): Promise<void> {
    try {
      if (await this.mirror.catchUp(this.newDeadline())) return;
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      this.options.log.warn('EtcdNamespace', 'can not read from etcd:', error.message);
    }
    throw refusals.unavailable(name);
  }

  private async readMeta(name: Name): Promise<Metadata> {
    const tree = await this.read(name);
    const node = tree.find(name);
    if (node === undefined) throw refusals.nameNotFound(name);
    return tree.meta(node);
  }

  private add(name: Name, value: string, meta: Metadata, ifTaken: (name: Name) => NamingError): Promise<void> {
    return this.change(
      name,
      (tree) => refusalOfParent(tree, name) ?? (tree.find(name) && ifTaken(name)),
      (keys) => ({
        requires: [{ key: keys.name(name), result: 'equal', operand: { version: 0 } }, isGroup(keys, name.parent)],
        does: [
          { put: keys.name(name), value },
          { put: keys.meta(name), value: writeMeta(meta) },
        ],
        changes: keys.name(name),
      }),
    );
  }

  private changeMeta(name: Name, changed: (metadata: Metadata) => Metadata): Promise<void> {
    return this.change(
      name,
      (tree) => (tree.find(name) === undefined ? refusals.nameNotFound(name) : undefined),
      (keys, tree) => {
        const node: Node = tree.find(name) ?? { type: GROUP, name };
        return {
          requires: [
            { key: keys.name(name), result: 'greater', operand: { version: 0 } },
            { key: keys.meta(name), result: 'equal', operand: { modRevision: tree.metaRevision(name) } },
          ],
          does: [{ put: keys.meta(name), value: writeMeta(changed(tree.meta(node))) }],
          changes: keys.meta(name),
        };
      },
    );
  }

  /**
   * Makes a change. Etcd checks the preconditions, because the mirror may be stale. When they fail, the mirror has caught up
   * far enough to say why. If it sees no reason any more (another change has removed it), the change is tried again.
   */
  private async change(name: Name, refusalIn: RefusalIn, plan: Plan): Promise<void> {
    if (name.toString() === NAMESERVER_NAME) {
      this.changeOwn(refusalIn, plan);
      return;
    }
    const deadline = this.newDeadline();
    while (!deadline.passed) {
      const { tree, treeKeys } = this.mirror;
      const change = { ...plan(treeKeys, tree), name: name.toString(), tree: treeKeys };
      const outcome = await this.changes.make(change, deadline);
      if (outcome.result === 'made') return;
      if (outcome.result === 'unknown') throw refusals.changeUncertain(name);
      if (outcome.result === 'refused') throw this.refusalOf(name, outcome.error);
      const refusal = refusalIn(this.mirror.tree);
      if (refusal !== undefined) throw refusal;
    }
    throw refusals.unavailableForChange(name);
  }

  /** Changes this server's own entry, which is kept in memory only. */
  private changeOwn(refusalIn: RefusalIn, plan: Plan): void {
    const { tree, treeKeys } = this.mirror;
    const refusal = refusalIn(tree);
    if (refusal !== undefined) throw refusal;
    for (const operation of plan(treeKeys, tree).does) {
      if ('put' in operation) this.mirror.setOwn(operation.put, operation.value);
      else if ('delete' in operation) this.mirror.setOwn(operation.delete.key, undefined);
    }
  }

  private refusalOf(name: Name, error: EtcdError): NamingError {
    if (error.isTooLarge) return refusals.nameTooLong(name);
    this.options.log.error('EtcdNamespace', `${name.toString()} can't be changed in etcd:`, error.message);
    return refusals.unavailableForChange(name);
  }

  private newDeadline(): Deadline {
    return Deadline.in(this.options.timeoutSeconds * 1000);
  }
}

const isGroup = (keys: TreeKeys, name: Name): Comparison => ({
  key: keys.name(name),
  result: 'equal',
  operand: { value: GROUP_VALUE },
});

function refusalOfGroup(tree: MirrorTree, group: Name): NamingError | undefined {
  const node = tree.find(group);
  if (node === undefined) return refusals.groupNotFound(group);
  return node.type === GROUP ? undefined : refusals.isNoGroup(group);
}

/** The error why a name can't be added to its parent: an ancestor is missing, or is an object. */
function refusalOfParent(tree: MirrorTree, name: Name): NamingError | undefined {
  if (tree.find(name.parent)?.type === GROUP) return undefined;
  for (let depth = 1; depth < name.parts.length; depth += 1) {
    const type = tree.find(Name.parse(`:${name.parts.slice(0, depth).join('.')}`))?.type;
    if (type === undefined) return refusals.parentNotFound(name);
    if (type === OBJECT) return refusals.parentIsNoGroup(name);
  }
  return refusals.parentNotFound(name);
}

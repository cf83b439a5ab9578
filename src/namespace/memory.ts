import { setImmediate as othersRan } from 'node:timers/promises';
import type { PyroURI } from '../names/index.js';
import { Name } from '../names/index.js';
import { dumps, loads, PythonTuple, tuple, type PythonValue } from '../pickle/index.js';
import { countNames } from './count.js';
import type {
  ListEntry,
  Namespace,
  MemoryStatus,
  NamespaceEntry,
  NamespaceSize,
  NodeType,
  SystemMeta,
} from './namespace.js';
import { GROUP, OBJECT } from './namespace.js';
import * as refusals from './errors.js';

interface ObjectNode {
  readonly type: typeof OBJECT;
  readonly uri: PyroURI;
  meta: StoredMeta;
}

interface GroupNode {
  readonly type: typeof GROUP;
  readonly members: Map<string, Node>;
  meta: StoredMeta;
}

type Node = ObjectNode | GroupNode;

/** Metadata as it is stored. */
interface StoredMeta {
  readonly type: NodeType;
  readonly timestamp: number;
  /**
   * The pickle of the owner and the user metadata; undefined where both are None. As values they could take a hundred
   * times as much memory, such as a million empty dicts.
   */
  readonly pickle: Uint8Array | undefined;
}

/** Metadata as it is asked for. */
interface Metadata {
  readonly system: SystemMeta;
  readonly user: PythonValue;
}

/** For pickles that were written here: what wrote them has refused what is nested deeper. */
const OWN_PICKLES = { depth: 10_000 };

/** How many objects `flatlist` hands out before it lets others run. */
const BATCH_SIZE = 1000;

/** A namespace in memory, gone with the process: Pyro's non-persistent name server. */
export class MemoryNamespace implements Namespace {
  /** Every group and object by its absolute name: a name is found by one look-up, however deep it is. */
  private nodes = new Map<string, Node>([[Name.root.toString(), newGroup()]]);
  private bytes = 0;

  get bytesInMemory(): number {
    return this.bytes;
  }

  resolve(name: Name): Promise<PyroURI> {
    return settled(() => {
      const node = this.find(name);
      if (node === undefined) throw refusals.nameNotFound(name);
      if (node.type === GROUP) throw refusals.resolvedGroup(name);
      return node.uri;
    });
  }

  resolveNow(name: Name): PyroURI | undefined {
    const node = this.find(name);
    return node?.type === OBJECT ? node.uri : undefined;
  }

  register(name: Name, uri: PyroURI): Promise<void> {
    return settled(() => {
      this.add(name, newObject(uri));
    });
  }

  unregister(name: Name): Promise<void> {
    return settled(() => {
      const node = this.find(name);
      if (node === undefined) throw refusals.nameNotFound(name);
      if (node.type === GROUP) throw refusals.isGroupNotObject(name);
      this.remove(name);
    });
  }

  list(group: Name): Promise<ListEntry[]> {
    return settled(() => Array.from(this.findGroup(group).members, ([part, { type }]) => ({ part, type })));
  }

  async *flatlist(): AsyncGenerator<(readonly [Name, PyroURI])[]> {
    let batch: (readonly [Name, PyroURI])[] = [];
    for (const [name, node] of this.walk()) {
      if (node.type === GROUP) continue;
      batch.push([name, node.uri]);
      if (batch.length === BATCH_SIZE) {
        yield batch;
        batch = [];
        await othersRan();
      }
    }
    if (batch.length > 0) yield batch;
  }

  createGroup(group: Name): Promise<void> {
    return settled(() => {
      this.add(group, newGroup());
    });
  }

  deleteGroup(group: Name): Promise<void> {
    return settled(() => {
      if (group.isRoot) throw refusals.rootNotDeletable();
      this.findGroup(group);
      this.remove(group);
    });
  }

  getMeta(name: Name): Promise<PythonValue> {
    return settled(() => readMeta(this.findNode(name)).user);
  }

  setMeta(name: Name, meta: PythonValue): Promise<void> {
    return settled(() => {
      const node = this.findNode(name);
      this.storeMeta(node, { ...readMeta(node), user: meta });
    });
  }

  getSystemMeta(name: Name): Promise<SystemMeta> {
    return settled(() => readMeta(this.findNode(name)).system);
  }

  setSystemMeta(name: Name, meta: SystemMeta): Promise<void> {
    return settled(() => {
      const node = this.findNode(name);
      this.storeMeta(node, { ...readMeta(node), system: meta });
    });
  }

  async *export(): AsyncGenerator<NamespaceEntry> {
    let count = 0;
    for (const [name, node] of this.walk()) {
      const uri = node.type === OBJECT ? node.uri : undefined;
      const { system, user } = readMeta(node);
      yield { name, uri, systemMeta: system, userMeta: user };
      count += 1;
      if (count % BATCH_SIZE === 0) await othersRan();
    }
  }

  async replace(entries: AsyncIterable<NamespaceEntry>): Promise<void> {
    const incoming = new MemoryNamespace();
    for await (const { name, uri, systemMeta, userMeta } of entries) {
      if (!name.isRoot) incoming.add(name, uri === undefined ? newGroup() : newObject(uri));
      const node = incoming.findNode(name);
      incoming.storeMeta(node, { system: systemMeta ?? readMeta(node).system, user: userMeta });
    }
    this.nodes = incoming.nodes;
    this.bytes = incoming.bytes;
  }

  count(): Promise<NamespaceSize> {
    return countNames(this.nodes.values());
  }

  status(): MemoryStatus {
    return { kind: 'memory', problem: undefined };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private find(name: Name): Node | undefined {
    return this.nodes.get(name.toString());
  }

  private findNode(name: Name): Node {
    const node = this.find(name);
    if (node === undefined) throw refusals.nameNotFound(name);
    return node;
  }

  private findGroup(name: Name): GroupNode {
    const node = this.find(name);
    if (node === undefined) throw refusals.groupNotFound(name);
    if (node.type !== GROUP) throw refusals.isNoGroup(name);
    return node;
  }

  private add(name: Name, node: Node): void {
    if (name.isRoot) throw node.type === GROUP ? refusals.groupExists(name) : refusals.nameInvalid(name);
    const { members } = this.findParent(name);
    if (members.has(name.part)) throw node.type === GROUP ? refusals.groupExists(name) : refusals.nameExists(name);
    members.set(name.part, node);
    this.nodes.set(name.toString(), node);
    this.bytes += bytesOf(name, node);
  }

  private storeMeta(node: Node, { system, user }: Metadata): void {
    const { type, timestamp, owner } = system;
    const pickle = owner === null && user === null ? undefined : dumps(tuple(owner, user));
    this.bytes += (pickle?.length ?? 0) - (node.meta.pickle?.length ?? 0);
    node.meta = { type, timestamp, pickle };
  }

  /** The group that a new name goes into. An object on the way there is no group; nothing at all is not found. */
  private findParent(name: Name): GroupNode {
    const parent = this.find(name.parent);
    if (parent?.type === GROUP) return parent;
    for (let above = name.parent; !above.isRoot; above = above.parent) {
      if (this.find(above)?.type === OBJECT) throw refusals.parentIsNoGroup(name);
    }
    throw refusals.parentNotFound(name);
  }

  /** Removes a name, and all that is below it. */
  private remove(name: Name): void {
    for (const [removed, node] of this.walk(name)) {
      this.nodes.delete(removed.toString());
      this.bytes -= bytesOf(removed, node);
    }
    this.findParent(name).members.delete(name.part);
  }

  /**
   * A name and every one below it, parents before their members. Not recursive, as trees may be as deep as names are
   * long; and a Map's iterator keeps its place when members come and go, so a caller may pause anywhere.
   */
  private *walk(start: Name = Name.root): Generator<[Name, Node]> {
    const found = this.findNode(start);
    yield [start, found];
    if (found.type !== GROUP) return;
    const path = [{ group: start, members: found.members.entries() }];
    for (let here = path.at(-1); here !== undefined; here = path.at(-1)) {
      const { value, done } = here.members.next();
      if (done === true) {
        path.pop();
        continue;
      }
      const [part, node] = value;
      const name = here.group.child(part);
      yield [name, node];
      if (node.type === GROUP) path.push({ group: name, members: node.members.entries() });
    }
  }
}

function newGroup(): GroupNode {
  return { type: GROUP, members: new Map<string, Node>(), meta: newMeta(GROUP) };
}

function newObject(uri: PyroURI): ObjectNode {
  return { type: OBJECT, uri, meta: newMeta(OBJECT) };
}

function newMeta(type: NodeType): StoredMeta {
  return { type, timestamp: Date.now() / 1000, pickle: undefined };
}

function readMeta({ meta: { type, timestamp, pickle } }: Node): Metadata {
  const pair = pickle && loads(pickle, OWN_PICKLES);
  const [owner = null, user = null] = pair instanceof PythonTuple ? pair : [];
  return { system: { type, timestamp, owner }, user };
}

function bytesOf(name: Name, node: Node): number {
  const uri = node.type === OBJECT ? node.uri.toString().length : 0;
  return name.toString().length + uri + (node.meta.pickle?.length ?? 0);
}

/** What an action returns, or why it refuses, as a promise. */
function settled<Result>(action: () => Result): Promise<Result> {
  return new Promise((resolve) => {
    resolve(action());
  });
}

import type { PyroURI } from '../../names/index.js';
import { Name } from '../../names/index.js';
import type { ListEntry } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import type { TreeKey } from './keys.js';
import { readMeta, readURI, type Metadata } from './codec.js';

/** A group or an object. */
export type Node =
  | { readonly type: typeof GROUP; readonly name: Name }
  /** `uri` is undefined where the value is not a URI. */
  | { readonly type: typeof OBJECT; readonly name: Name; readonly uri: PyroURI | undefined };

interface StoredMeta {
  readonly pickle: Uint8Array;
  readonly modRevision: number;
}

/**
 * A copy in memory of the namespace in etcd, as of one revision. The events of the watch update it.
 *
 * Keys may be set in any order, as they come from etcd. Keys that somebody put there by hand and that form no tree, such as
 * a member without its group, are accepted too.
 */
export class MirrorTree {
  private readonly nodes = new Map<string, Node>();
  private readonly membersOf = new Map<string, Map<string, Node>>();
  private readonly metadata = new Map<string, StoredMeta>();
  private storedBytes = 0;

  /** Number of groups and objects. */
  get size(): number {
    return this.nodes.size;
  }

  /** Total size of names, URIs and metadata, in bytes. */
  get bytes(): number {
    return this.storedBytes;
  }

  /** Applies the new value of a key; undefined if the key was deleted. */
  set({ of, text }: TreeKey, value: Uint8Array | undefined, modRevision: number): void {
    if (of === 'name') this.setNode(text, value);
    else this.setMeta(text, value, modRevision);
  }

  find(name: Name): Node | undefined {
    return this.nodes.get(name.toString());
  }

  members(group: Name): ListEntry[] {
    const members = this.membersOf.get(group.toString()) ?? new Map<string, Node>();
    return Array.from(members, ([part, { type }]) => ({ part, type }));
  }

  /** All groups and objects, in no particular order. The iteration stays valid when some are added or removed meanwhile. */
  all(): Iterable<Node> {
    return this.nodes.values();
  }

  /** All groups and objects that can be reached from the root, parents before their members. */
  *walk(): Generator<Node> {
    const root = this.find(Name.root);
    if (root !== undefined) yield root;
    const path = [this.iterateMembers(Name.root)];
    for (let here = path.at(-1); here !== undefined; here = path.at(-1)) {
      const { value: node, done } = here.next();
      if (done === true) {
        path.pop();
        continue;
      }
      yield node;
      if (node.type === GROUP) path.push(this.iterateMembers(node.name));
    }
  }

  meta(node: Node): Metadata {
    return readMeta(this.metadata.get(node.name.toString())?.pickle, node.type);
  }

  /** The revision of the last change of a name's metadata; 0 if it has none. */
  metaRevision(name: Name): number {
    return this.metadata.get(name.toString())?.modRevision ?? 0;
  }

  private iterateMembers(group: Name) {
    return (this.membersOf.get(group.toString()) ?? new Map<string, Node>()).values();
  }

  private setMeta(text: string, value: Uint8Array | undefined, modRevision: number): void {
    this.storedBytes += (value?.length ?? 0) - (this.metadata.get(text)?.pickle.length ?? 0);
    if (value === undefined) this.metadata.delete(text);
    // A copy: the value is a view, which would keep the whole message that it came in.
    else this.metadata.set(text, { pickle: Uint8Array.from(value), modRevision });
  }

  private setNode(text: string, value: Uint8Array | undefined): void {
    const name = nameOf(text);
    if (name === undefined) return;
    const node = value === undefined ? undefined : nodeOf(name, value);
    this.storedBytes += bytesOf(node) - bytesOf(this.nodes.get(text));
    if (node === undefined) this.nodes.delete(text);
    else this.nodes.set(text, node);
    if (!name.isRoot) this.setMember(name, node);
  }

  private setMember({ parent, part }: Name, node: Node | undefined): void {
    const group = parent.toString();
    const members = this.membersOf.get(group);
    if (node === undefined) {
      members?.delete(part);
      if (members?.size === 0) this.membersOf.delete(group);
    } else if (members === undefined) {
      this.membersOf.set(group, new Map([[part, node]]));
    } else {
      members.set(part, node);
    }
  }
}

/** Parses a name; undefined if it is invalid, as a key that somebody put there by hand may be. */
function nameOf(text: string): Name | undefined {
  try {
    return Name.parse(text);
  } catch {
    return undefined;
  }
}

function bytesOf(node: Node | undefined): number {
  if (node === undefined) return 0;
  return node.name.toString().length + (node.type === OBJECT ? (node.uri?.toString().length ?? 0) : 0);
}

function nodeOf(name: Name, value: Uint8Array): Node {
  return value.length === 0 ? { type: GROUP, name } : { type: OBJECT, name, uri: readURI(value) };
}

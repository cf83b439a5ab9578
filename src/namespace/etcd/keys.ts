/**
 * The key layout in etcd. With the prefix `/pyro`, as long as the namespace has not been replaced as a whole:
 *
 * | key | value |
 * |---|---|
 * | `/pyro/1/:Default.printer` | an object's URI |
 * | `/pyro/1/:Default` | a group: empty; the root is `/pyro/1/:` |
 * | `/pyro/1/meta/:Default.printer` | its metadata: a pickle of `(NameSpaceSystemMeta, user metadata)`, as in a `.ns_meta` file |
 * | `/pyro/tree` | `1`: the number of the tree that is served; a replacement is written as tree 2, and served when complete |
 * | `/pyro/change` | the token of the last change: put with every change, so its revision is that of the last change |
 * | `/pyro/fence/<token>` | a fence: while it exists, the change with that token can't be made. See `Transactions` |
 */
import type { Name } from '../../names/index.js';
import type { KeyRange } from './protocol.js';

/** All keys of one name server. */
export class Keys {
  readonly everything: KeyRange;
  readonly tree: string;
  readonly change: string;
  readonly firstTree: TreeKeys;
  private readonly base: string;

  /** @param prefix such as `/pyro` */
  constructor(prefix: string) {
    this.base = `${prefix}/`;
    this.everything = keysBelow(this.base);
    this.tree = `${this.base}tree`;
    this.change = `${this.base}change`;
    this.firstTree = this.treeOf(1);
  }

  fence(token: string): string {
    return `${this.base}fence/${token}`;
  }

  treeOf(number: number): TreeKeys {
    return new TreeKeys(this.base, number);
  }

  /** The key ranges of all other trees. A tree's keys begin with its number, and no other keys begin with a digit. */
  otherTrees({ all }: TreeKeys): KeyRange[] {
    return [
      { key: `${this.base}0`, end: all.key },
      { key: all.end, end: `${this.base}:` },
    ];
  }
}

/** A parsed key of a tree. */
export interface TreeKey {
  /** Whether the key holds the name itself, or its metadata. */
  readonly of: 'name' | 'meta';
  /** The name, not validated: somebody may have put other keys there. */
  readonly text: string;
}

/** The keys of one tree. */
export class TreeKeys {
  readonly all: Required<KeyRange>;
  private readonly names: string;
  private readonly metadata: string;

  constructor(
    base: string,
    readonly number: number,
  ) {
    this.names = `${base}${number}/`;
    this.metadata = `${this.names}meta/`;
    this.all = keysBelow(this.names);
  }

  name(name: Name): string {
    return this.names + name.toString();
  }

  meta(name: Name): string {
    return this.metadata + name.toString();
  }

  /**
   * The key ranges of all that is in a group, and of its metadata. The range from `:a.` to `:a/` has all members of `:a`, and
   * nothing of `:a-b` or `:ab`.
   */
  contents(group: Name): KeyRange[] {
    return [this.name(group), this.meta(group)].map((key) => ({ key: `${key}.`, end: `${key}/` }));
  }

  /** Parses a key; undefined if it is not a key of this tree. */
  parse(key: string): TreeKey | undefined {
    if (key.startsWith(this.metadata)) return { of: 'meta', text: copy(key.slice(this.metadata.length)) };
    if (key.startsWith(this.names)) return { of: 'name', text: copy(key.slice(this.names.length)) };
    return undefined;
  }
}

/** The range of all keys that begin with `base`, which ends in a slash. (`0` is the character after the slash.) */
function keysBelow(base: string): Required<KeyRange> {
  return { key: base, end: `${base.slice(0, -1)}0` };
}

/** A flat copy of a string. V8 makes a slice as a view of the longer string, and looks it up in a Map several times slower. */
function copy(slice: string): string {
  return Buffer.from(slice).toString();
}

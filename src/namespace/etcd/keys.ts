/**
 * Where things are in etcd. With the prefix `/pyro`, and for as long as the namespace has not been replaced as a whole:
 *
 * | key | value |
 * |---|---|
 * | `/pyro/1/:Default.printer` | an object's URI |
 * | `/pyro/1/:Default` | a group: empty; the root is `/pyro/1/:` |
 * | `/pyro/1/meta/:Default.printer` | its metadata: a pickle of `(NameSpaceSystemMeta, user metadata)`, as in a `.ns_meta` file |
 * | `/pyro/tree` | `1`: which tree is served; a replacement is written as tree 2, and served when it is complete |
 * | `/pyro/change` | the token of the last change: put with every change, so its revision is that of the last one |
 * | `/pyro/fence/<token>` | there for a while, if that change came to nothing: see `Changes` |
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

  /** The trees but for this one: numbers begin with a digit, and nothing else here does. */
  otherTrees({ all }: TreeKeys): KeyRange[] {
    return [
      { key: `${this.base}0`, end: all.key },
      { key: all.end, end: `${this.base}:` },
    ];
  }
}

/** What a key of a tree is of. */
export interface TreeKey {
  readonly of: 'name' | 'meta';
  /** A name, if the key is one of ours. */
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

  /** What is in a group, and all metadata of that. `:a.` to `:a/` has all of `:a`, and nothing of `:a-b` or `:ab`. */
  contents(group: Name): KeyRange[] {
    return [this.name(group), this.meta(group)].map((key) => ({ key: `${key}.`, end: `${key}/` }));
  }

  /** Reads a key; undefined if it is not of this tree. */
  parse(key: string): TreeKey | undefined {
    if (key.startsWith(this.metadata)) return { of: 'meta', text: copy(key.slice(this.metadata.length)) };
    if (key.startsWith(this.names)) return { of: 'name', text: copy(key.slice(this.names.length)) };
    return undefined;
  }
}

/** All keys that begin with this, which ends in a slash. */
function keysBelow(base: string): Required<KeyRange> {
  return { key: base, end: `${base.slice(0, -1)}0` };
}

/** A text of its own: V8 makes a slice of a long one as a view of it, which is several times slower to be found in a Map. */
function copy(slice: string): string {
  return Buffer.from(slice).toString();
}

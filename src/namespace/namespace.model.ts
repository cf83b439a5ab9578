/** A trivial model of a namespace, and random operations on it: what every store is held against (namespace.suite.ts). */
import fc from 'fast-check';
import { PyroError } from '../errors.js';
import { Name, PyroURI } from '../names/index.js';
import type { PythonValue } from '../pickle/index.js';
import { tuple } from '../pickle/index.js';
import type { Namespace, NodeType } from './namespace.js';
import { GROUP, OBJECT } from './namespace.js';

const METHODS = [
  'resolve',
  'resolveNow',
  'register',
  'unregister',
  'list',
  'flatlist',
  'createGroup',
  'deleteGroup',
  'getMeta',
  'setMeta',
  'getSystemMeta',
  'export',
] as const;

export interface Operation {
  readonly method: (typeof METHODS)[number];
  readonly name: Name;
  readonly uri: PyroURI;
  readonly meta: PythonValue;
}

/** What an operation came to: a value in a form that can be compared, or the text of a refusal. */
export type Outcome = { readonly value: unknown } | { readonly refused: string };

// Few names, so that they meet; the parts that file names and JavaScript objects make something of are among them.
const part = fc.constantFrom('a', 'b', 'c/d', '__proto__', '$~!');
const name = fc.array(part, { maxLength: 3 }).map((parts) => Name.parse(`:${parts.join('.')}`));
const uri = fc.nat(9).map((digit) => new PyroURI('PYRO', '127.0.0.1', 7766, `7f000001${digit}`));
const meta = fc.constantFrom<PythonValue[]>(
  null,
  'a text',
  42,
  ['a', 'list'],
  tuple(1, null),
  new Map([['key', true]]),
);

export const operations: fc.Arbitrary<Operation[]> = fc.array(
  fc.record({ method: fc.constantFrom(...METHODS), name, uri, meta }),
  { maxLength: 60 },
);

/** Runs an operation on a store. */
export async function perform(namespace: Namespace, operation: Operation): Promise<Outcome> {
  try {
    return { value: await callOf(namespace, operation) };
  } catch (error) {
    if (!(error instanceof PyroError)) throw error;
    return { refused: error.message };
  }
}

async function callOf(namespace: Namespace, { method, name, uri, meta }: Operation): Promise<unknown> {
  switch (method) {
    case 'resolve':
      return String(await namespace.resolve(name));
    case 'resolveNow':
      return namespace.resolveNow(name)?.toString();
    case 'register':
      return namespace.register(name, uri);
    case 'unregister':
      return namespace.unregister(name);
    case 'list':
      return new Map((await namespace.list(name)).map(({ part, type }) => [part, type]));
    case 'flatlist':
      return new Map(
        (await collect(namespace.flatlist())).flat().map(([name, uri]) => [name.toString(), uri.toString()]),
      );
    case 'createGroup':
      return namespace.createGroup(name);
    case 'deleteGroup':
      return namespace.deleteGroup(name);
    case 'getMeta':
      return namespace.getMeta(name);
    case 'setMeta':
      return namespace.setMeta(name, meta);
    case 'getSystemMeta':
      return (await namespace.getSystemMeta(name)).type;
    case 'export':
      return new Map(
        (await collect(namespace.export())).map((entry) => [
          entry.name.toString(),
          [entry.uri?.toString(), entry.userMeta],
        ]),
      );
  }
}

export async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const collected: Item[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

interface ModelNode {
  readonly uri: string | undefined;
  meta: PythonValue;
}

/** What a namespace should do: a map from absolute names to nodes. */
export class Model {
  private readonly nodes = new Map<string, ModelNode>([[':', { uri: undefined, meta: null }]]);

  /** Applies an operation, and says what it should come to. */
  apply(operation: Operation): Outcome {
    const refused = this.refusalOf(operation);
    if (refused !== undefined) return { refused };
    return { value: this.valueOf(operation) };
  }

  private refusalOf({ method, name }: Operation): string | undefined {
    const node = this.nodes.get(name.toString());
    switch (method) {
      case 'resolve':
        return this.objectRefusal(node, 'attempt to resolve groupname');
      case 'unregister':
        return this.objectRefusal(node, 'is a group, not an object');
      case 'register':
        if (name.isRoot) return 'invalid name';
        return this.parentRefusal(name) ?? (node && 'name already exists');
      case 'createGroup':
        return this.parentRefusal(name) ?? (node && 'group already exists');
      case 'deleteGroup':
        return name.isRoot ? 'not allowed to delete root group' : this.groupRefusal(node);
      case 'list':
        return this.groupRefusal(node);
      case 'getMeta':
      case 'setMeta':
      case 'getSystemMeta':
        return node === undefined ? 'name not found' : undefined;
      case 'resolveNow':
      case 'flatlist':
      case 'export':
        return undefined;
    }
  }

  private objectRefusal(node: ModelNode | undefined, ifGroup: string): string | undefined {
    if (node === undefined) return 'name not found';
    return typeOf(node) === GROUP ? ifGroup : undefined;
  }

  private groupRefusal(node: ModelNode | undefined): string | undefined {
    if (node === undefined) return 'group not found';
    return typeOf(node) === GROUP ? undefined : 'is no group';
  }

  /** Going down to the parent: what is missing first, or is an object. */
  private parentRefusal(name: Name): string | undefined {
    for (let depth = 1; depth < name.parts.length; depth += 1) {
      const ancestor = this.nodes.get(`:${name.parts.slice(0, depth).join('.')}`);
      if (ancestor === undefined) return '(parent)group not found';
      if (ancestor.uri !== undefined) return 'parent is no group';
    }
    return undefined;
  }

  private valueOf({ method, name, uri, meta }: Operation): unknown {
    const text = name.toString();
    const all = [...this.nodes];
    switch (method) {
      case 'resolve':
      case 'resolveNow':
        return this.nodes.get(text)?.uri;
      case 'register':
        return void this.nodes.set(text, { uri: uri.toString(), meta: null });
      case 'createGroup':
        return void this.nodes.set(text, { uri: undefined, meta: null });
      case 'unregister':
        return void this.nodes.delete(text);
      case 'deleteGroup':
        for (const [other] of all) if (Name.parse(other).isWithin(name)) this.nodes.delete(other);
        return undefined;
      case 'list':
        return new Map(
          all
            .map(([other, node]) => [Name.parse(other), typeOf(node)] as const)
            .filter(([other]) => !other.isRoot && other.parent.equals(name))
            .map(([other, type]) => [other.part, type]),
        );
      case 'flatlist':
        return new Map(all.filter(([, node]) => node.uri !== undefined).map(([other, node]) => [other, node.uri]));
      case 'getMeta':
        return this.nodes.get(text)?.meta;
      case 'setMeta': {
        const node = this.nodes.get(text);
        if (node !== undefined) node.meta = meta;
        return undefined;
      }
      case 'getSystemMeta':
        return typeOf(this.nodes.get(text));
      case 'export':
        return new Map(all.map(([other, node]) => [other, [node.uri, node.meta]]));
    }
  }
}

function typeOf(node: ModelNode | undefined): NodeType {
  return node?.uri === undefined ? GROUP : OBJECT;
}

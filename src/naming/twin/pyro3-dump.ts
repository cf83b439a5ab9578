/** The dump of a whole namespace that paired Pyro 3 servers exchange: the result of `_resync`. */
import { PyroError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { Name, NAMESERVER_NAME, PyroURI } from '../../names/index.js';
import {
  GROUP,
  OBJECT,
  systemMetaFromPython,
  systemMetaToPython,
  type NamespaceEntry,
  type NodeType,
  type SystemMeta,
} from '../../namespace/index.js';
import { PythonClass, PythonInstance, PythonTuple, textOf, tuple, type PythonValue } from '../../pickle/index.js';
import { RemoteError, uriFromPython, uriToPython } from '../../rpc/index.js';

/** The format of a dump: a tree of objects from servers without a database, lists from persistent ones. */
export type DumpShape = 'memory' | 'persistent';

const NAMED_TREE = new PythonClass('Pyro.naming', 'NamedTree');
const NAME_VALUE = new PythonClass('Pyro.naming', 'NameValue');

/** The group of the name server's own entry. A Pyro 3 server crashes if a dump does not have it. */
const PYRO_GROUP = Name.parse(NAMESERVER_NAME).parent;

/**
 * Writes a dump that a Pyro 3 server can always load: groups before their members, entries without their group left
 * out, and with the groups that it needs.
 * @param entries as `Namespace.export` yields them
 */
export async function writeDump(entries: AsyncIterable<NamespaceEntry>, shape: DumpShape): Promise<PythonValue> {
  const known = new Map<string, NamespaceEntry>();
  for await (const entry of entries) {
    if (entry.name.isRoot || known.has(entry.name.parent.toString())) known.set(entry.name.toString(), entry);
  }
  for (const name of [Name.root, PYRO_GROUP]) {
    if (!known.has(name.toString())) {
      known.set(name.toString(), { name, uri: undefined, systemMeta: undefined, userMeta: null });
    }
  }
  return shape === 'memory' ? writeTree([...known.values()]) : writeLists([...known.values()]);
}

function writeTree(entries: readonly NamespaceEntry[]): PythonValue {
  const branches = new Map<string, Map<PythonValue, PythonValue>>();
  let root: PythonValue = null;
  for (const { name, uri, systemMeta, userMeta } of entries) {
    const members = new Map<PythonValue, PythonValue>();
    const node = newObject(uri === undefined ? NAMED_TREE : NAME_VALUE, {
      name: name.isRoot ? '<root>' : name.part,
      systemMeta: systemMetaToPython(systemMeta ?? newSystemMeta(uri === undefined ? GROUP : OBJECT)),
      userMeta,
      ...(uri === undefined ? { branches: members } : { value: uriToPython(uri) }),
    });
    if (uri === undefined) branches.set(name.toString(), members);
    if (name.isRoot) root = node;
    else branches.get(name.parent.toString())?.set(name.part, node);
  }
  return root;
}

function writeLists(entries: readonly NamespaceEntry[]): PythonValue {
  const groups: PythonValue[] = [];
  const objects: PythonValue[] = [];
  for (const { name, uri, systemMeta, userMeta } of entries) {
    const system = systemMetaToPython(systemMeta ?? newSystemMeta(uri === undefined ? GROUP : OBJECT));
    if (uri === undefined) groups.push(tuple(name.toString(), system, userMeta));
    else objects.push(tuple(name.toString(), uri.toString(), system, userMeta));
  }
  return tuple(groups, objects);
}

/** A decoded dump. */
export interface Dump {
  readonly shape: DumpShape;
  /** Groups before their members, the root first. */
  readonly entries: readonly NamespaceEntry[];
  /** The names of entries that are not valid in our namespace. */
  readonly unusable: readonly string[];
}

/**
 * Decodes a dump of either format. Lists contain file names in place of names, a bug of Pyro 3: these are decoded.
 * @throws PyroError where it is no dump
 */
export function readDump(value: PythonValue): Dump {
  const reader = new DumpReader();
  if (value instanceof PythonInstance && value.isOf(NAMED_TREE.module, NAMED_TREE.name)) {
    reader.readTree(value);
    return { shape: 'memory', ...reader.result() };
  }
  const [groups, objects] = value instanceof PythonTuple ? value.items : [];
  if (!Array.isArray(groups) || !Array.isArray(objects)) {
    throw new PyroError(refusalText('TWIN_DUMP_INVALID'));
  }
  reader.readLists(groups, objects);
  return { shape: 'persistent', ...reader.result() };
}

/**
 * Reads the namespace of a persistent Pyro 3 server by `list` and `resolve`: with a `/` in a name, its `_resync` fails.
 * @param call calls a method of the server
 * @throws as `call`
 */
export async function readByListing(call: (method: string, ...args: string[]) => Promise<PythonValue>): Promise<Dump> {
  const reader = new DumpReader();
  const read = async (name: string, type: PythonValue): Promise<void> => {
    const uri = type === OBJECT ? await call('resolve', name) : undefined;
    reader.add(name, uri, await call('_getSystemMeta', name), await call('getMeta', name));
  };
  await read(':', GROUP);
  const groups = [':'];
  for (let group = groups.pop(); group !== undefined; group = groups.pop()) {
    const members = await call('list', group);
    for (const member of Array.isArray(members) ? members : []) {
      const [part, type = null] = member instanceof PythonTuple ? member.items : [];
      const name = (group === ':' ? group : `${group}.`) + (textOf(part) ?? '');
      try {
        await read(name, type);
        if (type === GROUP) groups.push(name);
      } catch (error) {
        // Removed meanwhile, or not a file of Pyro's: the server can't read it either.
        if (!(error instanceof RemoteError)) throw error;
        reader.addUnusable(name);
      }
    }
  }
  return { shape: 'persistent', ...reader.result() };
}

/** True if a dump has only what a new server has: the initial groups, and the name server's own entry. */
export function isBlank({ entries }: Dump, defaultGroup: Name): boolean {
  return entries.every(
    ({ name, uri, userMeta }) =>
      userMeta === null &&
      (uri === undefined ? isInitialGroup(name, defaultGroup) : name.toString() === NAMESERVER_NAME),
  );
}

const isInitialGroup = (name: Name, defaultGroup: Name): boolean =>
  PYRO_GROUP.isWithin(name) || defaultGroup.isWithin(name);

class DumpReader {
  private readonly entries = new Map<string, NamespaceEntry>();
  private readonly unusable: string[] = [];

  constructor() {
    this.entries.set(':', { name: Name.root, uri: undefined, systemMeta: undefined, userMeta: null });
  }

  result(): { entries: NamespaceEntry[]; unusable: string[] } {
    return { entries: [...this.entries.values()], unusable: this.unusable };
  }

  readTree(root: PythonInstance): void {
    const nodes: { name: string; node: PythonValue }[] = [{ name: ':', node: root }];
    for (let here = nodes.pop(); here !== undefined; here = nodes.pop()) {
      const { name, node } = here;
      const isGroup = node instanceof PythonInstance && node.isOf(NAMED_TREE.module, NAMED_TREE.name);
      const isObject = node instanceof PythonInstance && node.isOf(NAME_VALUE.module, NAME_VALUE.name);
      if (!isGroup && !isObject) {
        this.unusable.push(name);
        continue;
      }
      const uri = isObject ? node.attribute('value') : undefined;
      this.add(name, uri, node.attribute('systemMeta'), node.attribute('userMeta'));
      const members = isGroup ? node.attribute('branches') : undefined;
      if (!(members instanceof Map)) continue;
      for (const [part, member] of members) {
        nodes.push({ name: (name === ':' ? name : `${name}.`) + (textOf(part) ?? ''), node: member });
      }
    }
  }

  readLists(groups: readonly PythonValue[], objects: readonly PythonValue[]): void {
    for (const group of groups) {
      const [name, systemMeta, userMeta] = group instanceof PythonTuple ? group.items : [];
      this.add(nameOfFile(textOf(name)), undefined, systemMeta, userMeta);
    }
    for (const object of objects) {
      const [name, uri = null, systemMeta, userMeta] = object instanceof PythonTuple ? object.items : [];
      this.add(nameOfFile(textOf(name)), uri, systemMeta, userMeta);
    }
  }

  addUnusable(name: string): void {
    this.unusable.push(name);
  }

  add(
    text: string,
    value: PythonValue | undefined,
    systemMeta: PythonValue | undefined,
    userMeta: PythonValue | undefined,
  ): void {
    try {
      const name = Name.parse(text);
      const uri = value === undefined ? undefined : (uriFromPython(value) ?? PyroURI.parse(textOf(value) ?? ''));
      const parent = this.entries.get(name.parent.toString());
      if (parent === undefined || parent.uri !== undefined) throw new PyroError(refusalText('TWIN_DUMP_INCOMPLETE'));
      this.entries.set(name.toString(), {
        name,
        uri,
        systemMeta: systemMetaFromPython(systemMeta ?? null),
        userMeta: userMeta ?? null,
      });
    } catch (error) {
      if (!(error instanceof PyroError)) throw error;
      this.unusable.push(text);
    }
  }
}

/** Decodes the file name that Pyro 3 puts in place of a name: `\2f` is a slash, `\3a` a colon. */
function nameOfFile(fileName = ''): string {
  return fileName.replace(/\\([0-9a-f]{2})/gi, (_escape, code: string) => String.fromCharCode(parseInt(code, 16)));
}

const newSystemMeta = (type: NodeType): SystemMeta => ({ type, timestamp: Date.now() / 1000, owner: null });

function newObject(cls: PythonClass, attributes: Readonly<Record<string, PythonValue>>): PythonInstance {
  return new PythonInstance('newobj', cls, tuple(), new Map<PythonValue, PythonValue>(Object.entries(attributes)));
}

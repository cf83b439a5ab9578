import { type ErrorCode, NamingError } from '../../errors.js';
import { Name, type PyroURI } from '../../names/index.js';
import { GROUP, OBJECT, type Namespace, type NamespaceEntry, type SystemMeta } from '../../namespace/index.js';
import type { PythonValue } from '../../pickle/index.js';
import type { NameServerProxy } from '../name-server-proxy.js';

/** The part of a namespace, local or remote, that an import needs. */
export type ImportTarget = Pick<
  Namespace,
  'resolve' | 'register' | 'unregister' | 'createGroup' | 'getMeta' | 'setMeta' | 'setSystemMeta'
>;

/** The part of a namespace that an export needs. */
export type ExportSource = Pick<Namespace, 'export'>;

/** How many names are asked for at the same time. */
const BATCH_SIZE = 64;

/** The namespace of a remote name server, also of Pyro 3: the part that export and import need. */
export class RemoteNamespace implements ImportTarget, ExportSource {
  /** @param nameServer with `exactValues`, lest metadata come as something else */
  constructor(private readonly nameServer: NameServerProxy) {}

  resolve(name: Name): Promise<PyroURI> {
    return this.nameServer.resolve(name.toString());
  }

  register(name: Name, uri: PyroURI): Promise<void> {
    return this.nameServer.register(name.toString(), uri);
  }

  unregister(name: Name): Promise<void> {
    return this.nameServer.unregister(name.toString());
  }

  createGroup(name: Name): Promise<void> {
    return this.nameServer.createGroup(name.toString());
  }

  getMeta(name: Name): Promise<PythonValue> {
    return this.nameServer.getMeta(name.toString());
  }

  setMeta(name: Name, meta: PythonValue): Promise<void> {
    return this.nameServer.setMeta(name.toString(), meta);
  }

  setSystemMeta(name: Name, meta: SystemMeta): Promise<void> {
    return this.nameServer._setSystemMeta(name.toString(), meta);
  }

  /** All entries, parents first, a group at a time. Those that come or go meanwhile may or may not be among them. */
  async *export(): AsyncGenerator<NamespaceEntry> {
    yield await this.entry(Name.root, true);
    const groups = [Name.root];
    for (let group = groups.pop(); group !== undefined; group = groups.pop()) {
      const members = await unlessGone(this.nameServer.list(group.toString()));
      for (let start = 0; members !== undefined && start < members.length; start += BATCH_SIZE) {
        const batch = members.slice(start, start + BATCH_SIZE);
        const of = group;
        const entries = await Promise.all(
          batch.map(({ part, type }) => unlessGone(this.entry(of.child(part), type === GROUP))),
        );
        for (const entry of entries) {
          if (entry === undefined) continue;
          yield entry;
          if (entry.uri === undefined) groups.push(entry.name);
        }
      }
    }
  }

  private async entry(name: Name, isGroup: boolean): Promise<NamespaceEntry> {
    const [uri, systemMeta, userMeta] = await Promise.all([
      isGroup ? undefined : this.resolve(name),
      this.nameServer._getSystemMeta(name.toString()),
      this.getMeta(name),
    ]);
    return { name, uri, systemMeta: systemMeta && { ...systemMeta, type: isGroup ? GROUP : OBJECT }, userMeta };
  }
}

const GONE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['NAME_NOT_FOUND', 'GROUP_NOT_FOUND', 'NOT_A_GROUP']);

async function unlessGone<Result>(answer: Promise<Result>): Promise<Result | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof NamingError && GONE.has(error.code)) return undefined;
    throw error;
  }
}

import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { Name, NAMESERVER_NAME } from '../../names/index.js';
import type { NamespaceEntry } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import * as refusals from '../errors.js';
import { Deadline } from '../../sync/index.js';
import type { TransactionChange, Transactions } from './transactions.js';
import { EtcdError, type EtcdClient } from './client.js';
import type { Mirror } from './mirror.js';
import type { Keys, TreeKeys } from './keys.js';
import type { Comparison, Operation } from './protocol.js';
import { TRANSACTION } from './protocol.js';
import { GROUP_VALUE, newMeta, writeMeta } from './codec.js';

/** Names and bytes written in one transaction: etcd accepts 128 operations and 1.5 MiB by default. */
const MAX_BATCH_LENGTH = 50;
const MAX_BATCH_BYTES = 256 * 1024;

/** The operations that write one entry. */
interface EncodedEntry {
  readonly name: Name;
  readonly puts: readonly Operation[];
  readonly size: number;
}

/**
 * Replaces a whole namespace. A namespace is too large for one transaction, so the new tree is written beside the old one,
 * where no server reads it. Then one transaction makes it the served tree, and deletes all others. A replacement that is
 * interrupted leaves a tree that is never served; the next replacement deletes it.
 */
export class KeyspaceReplacement {
  constructor(
    private readonly client: EtcdClient,
    private readonly keys: Keys,
    private readonly mirror: Mirror,
    private readonly changes: Transactions,
  ) {}

  /**
   * @param entries parents before their members
   * @param timeoutMs timeout of each transaction
   * @throws NamingError, and whatever the source of the entries throws. The old tree is served on then
   */
  async make(entries: AsyncIterable<NamespaceEntry>, timeoutMs: number): Promise<void> {
    const { treeKeys: served } = this.mirror;
    const tree = await this.claim(served, timeoutMs);
    try {
      for await (const batch of batches(encodeEntries(entries, tree))) await this.write(batch, served, tree, timeoutMs);
      await this.serve(served, tree, timeoutMs);
    } catch (error) {
      await this.discard(served, tree, timeoutMs);
      throw error;
    }
  }

  /** Reserves the next free tree number, by creating the root of that tree. */
  private async claim(served: TreeKeys, timeoutMs: number): Promise<TreeKeys> {
    const deadline = Deadline.in(timeoutMs);
    for (let number = served.number + 1; !deadline.passed; number += 1) {
      const tree = this.keys.treeOf(number);
      const root = tree.name(Name.root);
      const isMade = await this.change(
        {
          requires: [{ key: root, result: 'equal', operand: { version: 0 } }],
          does: [
            { put: root, value: GROUP_VALUE },
            { put: tree.meta(Name.root), value: writeMeta(newMeta(GROUP)) },
          ],
          changes: root,
        },
        served,
        deadline,
      );
      if (isMade) return tree;
    }
    throw refusals.unavailableForChange(Name.root);
  }

  private async write(
    batch: readonly EncodedEntry[],
    served: TreeKeys,
    tree: TreeKeys,
    timeoutMs: number,
  ): Promise<void> {
    const request = {
      compare: this.isStillOurs(served, tree),
      success: batch.flatMap(({ puts }) => puts),
      failure: [],
    };
    const { succeeded } = await this.client
      .callWithRetry(TRANSACTION, request, Deadline.in(timeoutMs))
      .catch((error: unknown) => {
        if (!(error instanceof EtcdError)) throw error;
        const { name } = batch[0] ?? { name: Name.root };
        throw error.isTooLarge ? refusals.nameTooLong(name) : refusals.unavailableForChange(name);
      });
    if (!succeeded) throw replacedByAnother();
  }

  private async serve(served: TreeKeys, tree: TreeKeys, timeoutMs: number): Promise<void> {
    const isMade = await this.change(
      {
        requires: this.isStillOurs(served, tree),
        does: [
          { put: this.keys.tree, value: String(tree.number) },
          ...this.keys.otherTrees(tree).map((range) => ({ delete: range })),
        ],
        changes: this.keys.tree,
      },
      served,
      Deadline.in(timeoutMs),
    );
    if (!isMade) throw replacedByAnother();
  }

  private async discard(served: TreeKeys, tree: TreeKeys, timeoutMs: number): Promise<void> {
    const request = { compare: this.isStillOurs(served, tree), success: [{ delete: tree.all }], failure: [] };
    // Best effort: if etcd does not answer, the next replacement deletes it.
    await this.client.callWithRetry(TRANSACTION, request, Deadline.in(timeoutMs)).catch(() => undefined);
  }

  /** The precondition that no other replacement has finished since: it would have deleted this one's tree. */
  private isStillOurs(served: TreeKeys, tree: TreeKeys): Comparison[] {
    return [
      { key: this.keys.tree, result: 'equal', operand: { value: String(served.number) } },
      { key: tree.name(Name.root), result: 'greater', operand: { version: 0 } },
    ];
  }

  /** @returns false if a precondition of the change did not hold */
  private async change(
    change: Pick<TransactionChange, 'requires' | 'does' | 'changes'>,
    served: TreeKeys,
    deadline: Deadline,
  ): Promise<boolean> {
    const whole: TransactionChange = { ...change, name: Name.root.toString(), tree: served, alone: true };
    const { result } = await this.changes.make(whole, deadline);
    if (result === 'unknown') throw refusals.changeUncertain(Name.root);
    if (result === 'refused') throw refusals.unavailableForChange(Name.root);
    return result === 'made';
  }
}

const replacedByAnother = () => new NamingError(refusalText('REPLACED_ELSEWHERE'), Name.root.toString());

/** The operations for each entry. @throws NamingError where a parent is missing, or a name comes twice */
async function* encodeEntries(entries: AsyncIterable<NamespaceEntry>, tree: TreeKeys): AsyncGenerator<EncodedEntry> {
  const types = new Map([[Name.root.toString(), GROUP]]);
  for await (const { name, uri, systemMeta, userMeta } of entries) {
    // The server's own entry, which each server keeps in memory: it is not in etcd.
    if (name.toString() === NAMESERVER_NAME) continue;
    const type = uri === undefined ? GROUP : OBJECT;
    if (!name.isRoot) {
      const parent = types.get(name.parent.toString());
      if (parent === undefined) throw refusals.parentNotFound(name);
      if (parent === OBJECT) throw refusals.parentIsNoGroup(name);
      if (types.has(name.toString())) throw type === GROUP ? refusals.groupExists(name) : refusals.nameExists(name);
      types.set(name.toString(), type);
    }
    const value = uri?.toString() ?? GROUP_VALUE;
    const meta = writeMeta({ system: systemMeta ?? newMeta(type).system, user: userMeta });
    yield {
      name,
      puts: [
        { put: tree.name(name), value },
        { put: tree.meta(name), value: meta },
      ],
      size: value.length + meta.length + 2 * name.toString().length,
    };
  }
}

async function* batches(entries: AsyncIterable<EncodedEntry>): AsyncGenerator<readonly EncodedEntry[]> {
  let batch: EncodedEntry[] = [];
  let size = 0;
  for await (const entry of entries) {
    if (batch.length === MAX_BATCH_LENGTH || (batch.length > 0 && size + entry.size > MAX_BATCH_BYTES)) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(entry);
    size += entry.size;
  }
  if (batch.length > 0) yield batch;
}

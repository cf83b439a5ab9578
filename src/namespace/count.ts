import { setImmediate as othersRan } from 'node:timers/promises';
import { GROUP, type NamespaceSize, type NodeType } from './namespace.js';

/** How many names are counted before others run. */
const COUNTED_AT_ONCE = 50_000;

/** Counts groups and objects that are all in memory. @param nodes with the root, which is not counted */
export async function countNames(nodes: Iterable<{ readonly type: NodeType }>): Promise<NamespaceSize> {
  let [groups, objects] = [-1, 0];
  for (const { type } of nodes) {
    if (type === GROUP) groups += 1;
    else objects += 1;
    if ((groups + objects) % COUNTED_AT_ONCE === 0) await othersRan();
  }
  return { groups, objects };
}

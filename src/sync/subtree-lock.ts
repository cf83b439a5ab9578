/** A node of a tree, such as a name: it can tell whether it is another node or below it. */
export interface TreeNode<Node> {
  isWithin(ancestor: Node): boolean;
}

/**
 * A hierarchical lock: an action locks a node with all that is below it. It waits for earlier actions on the same node,
 * on an ancestor and on a descendant; actions on other nodes run at the same time.
 */
export class SubtreeLock<Node extends TreeNode<Node>> {
  private readonly pending = new Set<{ readonly node: Node; readonly done: Promise<unknown> }>();

  /**
   * Runs an action when no earlier one has locked the node, an ancestor or a descendant; at once where that is so now.
   * Settles as the action does.
   */
  run<Result>(node: Node, action: () => Promise<Result>): Promise<Result> {
    const earlier: Promise<unknown>[] = [];
    for (const other of this.pending) {
      if (other.node.isWithin(node) || node.isWithin(other.node)) earlier.push(other.done);
    }
    const result = earlier.length === 0 ? action() : Promise.all(earlier).then(action);
    const entry = { node, done: result.catch(() => undefined) };
    this.pending.add(entry);
    void entry.done.then(() => this.pending.delete(entry));
    return result;
  }
}

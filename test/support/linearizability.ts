/** Whether what clients saw of one name could have come from a name server that does one thing after the other. */

/** An operation on one name, as its client saw it. */
export interface Operation {
  readonly method: 'register' | 'unregister' | 'resolve';
  /** What is registered. */
  readonly uri?: string;
  /**
   * What the client was told: `done`, a URI, or that the name is `taken` or `missing`; or nothing, so that it may have come
   * to pass at any time since, or never.
   */
  readonly outcome: Outcome | undefined;
  /** When it was asked for. */
  readonly from: number;
  /** When it was answered; Infinity where it was not. */
  readonly to: number;
}

export type Outcome = 'done' | 'taken' | 'missing' | { readonly uri: string };

/** The URI under the name; undefined where there is none. */
type State = string | undefined;

/** What an operation does to the state, and what its client is told then. */
function apply(state: State, { method, uri }: Operation): { readonly next: State; readonly outcome: Outcome } {
  switch (method) {
    case 'register':
      return state === undefined ? { next: uri, outcome: 'done' } : { next: state, outcome: 'taken' };
    case 'unregister':
      return state === undefined ? { next: state, outcome: 'missing' } : { next: undefined, outcome: 'done' };
    case 'resolve':
      return { next: state, outcome: state === undefined ? 'missing' : { uri: state } };
  }
}

const textOf = (outcome: Outcome): string => (typeof outcome === 'string' ? outcome : outcome.uri);

/**
 * Looks for an order of the operations, in which each comes between its question and its answer, and whose outcomes are
 * those that the clients saw: the algorithm of Wing and Gong, with the memory of Lowe. The name is free at first.
 */
export function isLinearizable(history: readonly Operation[]): boolean {
  const operations = [...history].sort((a, b) => a.from - b.from);
  const seen = new Set<string>();
  const stack: { readonly done: bigint; readonly first: number; readonly state: State }[] = [
    { done: 0n, first: 0, state: undefined },
  ];
  for (let here = stack.pop(); here !== undefined; here = stack.pop()) {
    const { done, state } = here;
    let { first } = here;
    while (first < operations.length && (done >> BigInt(first)) & 1n) first += 1;
    // What is answered first must come before all that were asked for after that.
    let firstAnswer = Infinity;
    for (let index = first; index < operations.length; index += 1) {
      const operation = operations[index];
      if (operation === undefined || operation.from > firstAnswer) break;
      if (!((done >> BigInt(index)) & 1n)) firstAnswer = Math.min(firstAnswer, operation.to);
    }
    if (firstAnswer === Infinity) return true;
    for (let index = first; index < operations.length; index += 1) {
      const operation = operations[index];
      if (operation === undefined || operation.from > firstAnswer) break;
      if ((done >> BigInt(index)) & 1n) continue;
      const { next, outcome } = apply(state, operation);
      if (operation.outcome !== undefined && textOf(operation.outcome) !== textOf(outcome)) continue;
      const point = { done: done | (1n << BigInt(index)), first, state: next };
      const key = `${point.done.toString(36)} ${next ?? ''}`;
      if (seen.has(key)) continue;
      seen.add(key);
      stack.push(point);
    }
  }
  return false;
}

import type { NameServerStatus } from '../naming/index.js';
import type { PairDescription } from './api.js';

/** The pair's state in a name server's status; undefined if it is not paired. */
export function pairOf({ role, twin }: NameServerStatus): PairDescription | undefined {
  if (role === 'single' || twin === null) return undefined;
  const { state, uri, unconfirmed, problem } = twin;
  return { role, state, twin: addressOf(uri), unconfirmed, problem: problem ?? undefined };
}

function addressOf(uri: string | null): string | undefined {
  const [, address] = /^\w+:\/\/([^/]+)\//.exec(uri ?? '') ?? [];
  return address;
}

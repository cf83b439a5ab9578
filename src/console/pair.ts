import type { NameServerStatus } from '../naming/index.js';
import type { PairDescription } from './api.js';

/** What a name server says of the pair that it is one of; undefined where it is none of a pair. */
export function pairOf({ role, twin }: NameServerStatus): PairDescription | undefined {
  if (role === 'single' || twin === null) return undefined;
  const { state, uri, unconfirmed, problem } = twin;
  return { role, state, twin: addressOf(uri), unconfirmed, problem: problem ?? undefined };
}

function addressOf(uri: string | null): string | undefined {
  const [, address] = /^\w+:\/\/([^/]+)\//.exec(uri ?? '') ?? [];
  return address;
}

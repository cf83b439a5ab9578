import { setTimeout } from 'node:timers/promises';
import { RemoteError } from '../rpc/index.js';
import type { NameChange } from './change-feed.js';
import type { NameServerProxy } from './name-server-proxy.js';

/** A change; or `missed`, if changes may have been lost: then read all names again. */
export type WatchEvent = NameChange | { readonly operation: 'missed'; readonly name?: undefined };

/** Options of `watch`. */
export interface WatchOptions {
  /** The polling interval in seconds, for name servers without a change feed (Pyro 3's own); 2 by default. */
  readonly interval?: number | undefined;
  /** Ends the iteration at once: it throws the signal's reason (an AbortError, unless another was given). */
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_INTERVAL_SECONDS = 2;

/**
 * Yields changes of a name server's names as they happen: by long polling of a pyro-ns server's change feed, or by
 * polling all names of another one, which shows objects only. Use a proxy for this alone, also after the signal: a long
 * poll keeps its connection busy for up to half a minute.
 * @throws as the proxy's calls, when the name server is gone; the signal's reason
 */
export async function* watch(
  nameServer: NameServerProxy,
  { interval = DEFAULT_INTERVAL_SECONDS, signal }: WatchOptions = {},
): AsyncGenerator<WatchEvent> {
  let known: number;
  try {
    known = (await nameServer._changes(undefined, { signal })).position;
  } catch (error) {
    if (!(error instanceof RemoteError && error.className === 'AttributeError')) throw error;
    yield* poll(nameServer, interval, signal);
    return;
  }
  for (;;) {
    const { position, changes } = await nameServer._changes(known, { signal });
    known = position;
    if (changes === undefined) yield { operation: 'missed' };
    else yield* changes;
  }
}

async function* poll(
  nameServer: NameServerProxy,
  interval: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<NameChange> {
  const readAll = async (): Promise<Map<string, string>> =>
    new Map((await nameServer.flatlist({ signal })).map(([name, uri]) => [name, uri.toString()]));
  let before = await readAll();
  for (;;) {
    await setTimeout(interval * 1000, undefined, { signal }).catch(() => signal?.throwIfAborted());
    const now = await readAll();
    for (const [name, uri] of before) if (now.get(name) !== uri) yield { operation: 'unregister', name };
    for (const [name, uri] of now) if (before.get(name) !== uri) yield { operation: 'register', name, uri };
    before = now;
  }
}

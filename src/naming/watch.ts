import { setTimeout } from 'node:timers/promises';
import { RemoteError } from '../rpc/index.js';
import type { NameChange } from './change-feed.js';
import type { NameServerProxy } from './name-server-proxy.js';

/** A change, or `missed` where there may have been some that nobody can tell any more. */
export type WatchEvent = NameChange | { readonly operation: 'missed'; readonly name?: undefined };

/** How a name server is watched. */
export interface WatchOptions {
  /** Seconds between two looks at a name server that can't tell of changes by itself (Pyro 3's own). */
  readonly interval?: number | undefined;
  /** Ends the watching at once: the iteration throws the signal's reason (an AbortError, unless another was given). */
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_INTERVAL_SECONDS = 2;

/**
 * Tells of changes as they happen. Our own name servers are asked to answer when there are any; others are asked for all
 * names again and again, which shows objects only. The proxy waits for answers, so it should be used for nothing else, not
 * even after the signal: the answer to the last question may be due for half a minute.
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
  const look = async (): Promise<Map<string, string>> =>
    new Map((await nameServer.flatlist({ signal })).map(([name, uri]) => [name, uri.toString()]));
  let before = await look();
  for (;;) {
    await setTimeout(interval * 1000, undefined, { signal }).catch(() => signal?.throwIfAborted());
    const now = await look();
    for (const [name, uri] of before) if (now.get(name) !== uri) yield { operation: 'unregister', name };
    for (const [name, uri] of now) if (before.get(name) !== uri) yield { operation: 'register', name, uri };
    before = now;
  }
}

/** All that is to be told of a signal, and the signal's one listener. */
interface Subscription {
  readonly callbacks: Set<(reason: unknown) => void>;
  readonly listener: () => void;
}

const subscriptions = new WeakMap<AbortSignal, Subscription>();

/**
 * Has a function called when a signal is aborted. However many functions wait for a signal, it has one listener: of more
 * than ten, as many calls under way would have, Node warns.
 * @param signal without one, there is nothing to wait for
 * @param callback is given the signal's reason, and must not throw; each call must give another one
 * @returns what takes that back: so that a signal that lasts does not keep what has long ended
 */
export function onAbort(signal: AbortSignal | undefined, callback: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => undefined;
  const { callbacks, listener } = subscriptionOf(signal);
  callbacks.add(callback);
  return () => {
    if (!callbacks.delete(callback) || callbacks.size > 0) return;
    signal.removeEventListener('abort', listener);
    subscriptions.delete(signal);
  };
}

function subscriptionOf(signal: AbortSignal): Subscription {
  const known = subscriptions.get(signal);
  if (known !== undefined) return known;
  const callbacks: Subscription['callbacks'] = new Set();
  const listener = (): void => {
    for (const callback of callbacks) callback(signal.reason);
  };
  const audience = { callbacks, listener };
  subscriptions.set(signal, audience);
  signal.addEventListener('abort', listener);
  return audience;
}

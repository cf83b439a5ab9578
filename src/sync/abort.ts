/** The callbacks of a signal, and the one listener that calls them. */
interface Subscription {
  readonly callbacks: Set<(reason: unknown) => void>;
  readonly listener: () => void;
}

const subscriptions = new WeakMap<AbortSignal, Subscription>();

/**
 * Calls a function when a signal is aborted. However many functions are given for one signal, it has one listener: Node
 * warns of more than ten, and as many calls may be in flight.
 * @param signal without one, the callback is never called
 * @param callback gets the signal's reason, and must not throw; a new function for each call
 * @returns unsubscribes: a signal that lasts must not keep what has long ended
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
  const subscription = { callbacks, listener };
  subscriptions.set(signal, subscription);
  signal.addEventListener('abort', listener);
  return subscription;
}

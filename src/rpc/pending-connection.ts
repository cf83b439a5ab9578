import { TimeoutError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { onAbort } from '../sync/index.js';
import type { ObjectConnection } from './object-connection.js';

/**
 * A connection that is being opened (single flight), and the calls that wait for it, each with its own timeout and
 * signal. When no call waits any more, opening it is aborted.
 */
export class PendingConnection {
  /** Resolves with the open connection; rejects if it can't be opened, or that was aborted. */
  readonly opened: Promise<ObjectConnection>;
  private readonly controller = new AbortController();
  private waiting = 0;

  /** @param open opens the connection; aborted by the signal */
  constructor(open: (signal: AbortSignal) => Promise<ObjectConnection>) {
    const { signal } = this.controller;
    this.opened = new Promise((resolve, reject) => {
      // Rejects at once, because not every step of `open` can be interrupted.
      const removeListener = onAbort(signal, reject);
      open(signal)
        .finally(removeListener)
        .then((connection) => {
          if (signal.aborted) connection.destroy();
          signal.throwIfAborted();
          resolve(connection);
        })
        .catch(reject);
    });
  }

  get isAborted(): boolean {
    return this.controller.signal.aborted;
  }

  /** Aborts opening the connection: all waiting calls reject with this reason. */
  abort(reason: unknown): void {
    this.controller.abort(reason);
  }

  /**
   * Makes a call when the connection is open. The waiting calls are made in their order, one directly after the other,
   * so that no later call on the open connection gets in between.
   * @param timeout how long to wait for the connection, in milliseconds; 0: as long as opening it takes
   * @throws TimeoutError, the signal's reason, or the error of opening the connection
   */
  whenOpen<T>(
    call: (connection: ObjectConnection) => T | Promise<T>,
    timeout: number,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const fail: (reason: unknown) => void = reject;
      let isWaiting = true;
      const stopWaiting = (): void => {
        isWaiting = false;
        clearTimeout(timer);
        removeListener();
      };
      const cancel = (reason: unknown): void => {
        stopWaiting();
        fail(reason);
        if (--this.waiting === 0) this.abort(reason);
      };
      const onTimeout = (): void => {
        cancel(new TimeoutError(refusalText('CONNECT_TIMEOUT')));
      };
      const timer = timeout > 0 ? setTimeout(onTimeout, timeout) : undefined;
      const removeListener = onAbort(signal, cancel);
      this.waiting++;
      this.opened
        .then((connection) => {
          if (!isWaiting) return;
          stopWaiting();
          resolve(call(connection));
        })
        .catch((error: unknown) => {
          stopWaiting();
          fail(error);
        });
    });
  }
}

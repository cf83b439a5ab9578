import { TimeoutError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { onAbort } from '../sync/index.js';
import type { ClientConnection } from '../wire/index.js';

/**
 * A connection that is being opened, and the calls that wait for it: each as long as it may. When none waits for it any
 * more, opening it is given up.
 */
export class PendingConnection {
  /** The connection, once it is open; rejected with what hindered it. */
  readonly opened: Promise<ClientConnection>;
  private readonly controller = new AbortController();
  private waiting = 0;

  /** @param open opens the connection, unless the signal says that it is given up */
  constructor(open: (signal: AbortSignal) => Promise<ClientConnection>) {
    const { signal } = this.controller;
    this.opened = new Promise((resolve, reject) => {
      // Not all that goes on before there is a connection can be interrupted.
      const forget = onAbort(signal, reject);
      open(signal)
        .finally(forget)
        .then((connection) => {
          if (signal.aborted) connection.destroy();
          signal.throwIfAborted();
          resolve(connection);
        })
        .catch(reject);
    });
  }

  get isGivenUp(): boolean {
    return this.controller.signal.aborted;
  }

  /** Gives up: all that waits fails with this reason. */
  giveUp(reason: unknown): void {
    this.controller.abort(reason);
  }

  /**
   * Makes a call when the connection is open. Calls are made in the order in which they came here, one directly after the
   * other, so that none made later by the open connection gets in between.
   * @param timeout how long to wait for the connection, in milliseconds; 0 as long as opening it takes
   * @throws TimeoutError, the signal's reason, or what hindered opening the connection
   */
  whenOpen<T>(
    call: (connection: ClientConnection) => T | Promise<T>,
    timeout: number,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const fail: (reason: unknown) => void = reject;
      let isWaiting = true;
      const stop = (): void => {
        isWaiting = false;
        clearTimeout(timer);
        forget();
      };
      const leave = (reason: unknown): void => {
        stop();
        fail(reason);
        if (--this.waiting === 0) this.giveUp(reason);
      };
      const onTimeout = (): void => {
        leave(new TimeoutError(refusalText('CONNECT_TIMEOUT')));
      };
      const timer = timeout > 0 ? setTimeout(onTimeout, timeout) : undefined;
      const forget = onAbort(signal, leave);
      this.waiting++;
      this.opened
        .then((connection) => {
          if (!isWaiting) return;
          stop();
          resolve(call(connection));
        })
        .catch((error: unknown) => {
          stop();
          fail(error);
        });
    });
  }
}

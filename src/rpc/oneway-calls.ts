/**
 * Concurrency limit for the one-way calls of one connection. As the client does not wait for them, it could otherwise
 * have any number of them in progress.
 */
export class OnewayCalls {
  private inFlight = 0;
  private onSlotFree: () => void = () => undefined;

  /**
   * Counts a call until it settles.
   * @param limit how many calls may be in progress
   * @returns undefined if another call may begin now; else a promise that resolves when it may
   */
  begin(call: Promise<unknown>, limit: number): Promise<undefined> | undefined {
    this.inFlight += 1;
    void call.finally(() => {
      this.inFlight -= 1;
      this.onSlotFree();
    });
    if (this.inFlight < limit) return undefined;
    return new Promise((resolve) => {
      this.onSlotFree = () => {
        resolve(undefined);
      };
    });
  }
}

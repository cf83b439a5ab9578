/**
 * The one-way calls of one connection that are under way. Nobody waits for their ends, so it takes a limit to keep a client
 * from having any number of them made at the same time.
 */
export class OnewayCalls {
  private underWay = 0;
  private goOn: () => void = () => undefined;

  /**
   * Takes note of a call.
   * @param limit how many may be under way
   * @returns undefined where there may be one more; else a promise of that
   */
  begin(call: Promise<unknown>, limit: number): Promise<undefined> | undefined {
    this.underWay += 1;
    void call.finally(() => {
      this.underWay -= 1;
      this.goOn();
    });
    if (this.underWay < limit) return undefined;
    return new Promise((resolve) => {
      this.goOn = () => {
        resolve(undefined);
      };
    });
  }
}

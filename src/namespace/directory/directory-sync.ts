import { syncDirectory } from './files.js';

/**
 * Makes what was changed in directories durable. Those who wait for one directory at the same time share one fsync: of
 * a hundred changes in flight, most cost no more than their own file.
 */
export class DirectorySync {
  /** How often a directory was brought to the disk. */
  count = 0;
  private readonly running = new Map<string, { readonly done: Promise<void>; next?: Promise<void> }>();

  /** @param enabled false where speed is wanted over safety (PYRO_NS_SYNC=0): nothing is waited for then */
  constructor(readonly enabled: boolean) {}

  /**
   * Resolves when all that was changed in a directory before this call is on the disk.
   * @throws the system's error
   */
  sync(directory: string): Promise<void> {
    if (!this.enabled) return Promise.resolve();
    const running = this.running.get(directory);
    if (running === undefined) return this.start(directory);
    // The fsync that runs may have begun before the change: the one after it counts, for all who wait by then.
    const start = () => this.start(directory);
    running.next ??= running.done.then(start, start);
    return running.next;
  }

  private start(directory: string): Promise<void> {
    this.count += 1;
    const done = syncDirectory(directory).finally(() => {
      if (running.next === undefined) this.running.delete(directory);
    });
    const running: { readonly done: Promise<void>; next?: Promise<void> } = { done };
    this.running.set(directory, running);
    return done;
  }
}

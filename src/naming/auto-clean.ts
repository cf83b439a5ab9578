import type { Config, Log } from '../config/index.js';
import { NamingError } from '../errors.js';
import { NAMESERVER_NAME, type Name, type PyroURI } from '../names/index.js';
import type { Namespace } from '../namespace/index.js';
import { isDead, LivenessProbe, type ObjectStatus } from '../rpc/index.js';

export interface AutoCleanOptions {
  /** The PYRO_NS_AUTOCLEAN* items. */
  readonly config: Config;
  readonly log: Log;
  /** The host at which clients find this name server: see LivenessProbeOptions. */
  readonly nameServerHost: string;
  readonly namespace: Namespace;
  /** Removes an object's entry, as if a client had called `unregister`. */
  readonly unregister: (name: string) => Promise<void>;
}

/** An entry whose object was found dead in the last check, and perhaps in the checks before. */
interface Suspect {
  readonly name: Name;
  readonly uri: PyroURI;
  readonly status: ObjectStatus;
  /** How many checks in a row have found it dead. */
  readonly failures: number;
  /** The time of the first of these, by the monotonic clock. It decides, as the wall clock may be set. */
  readonly sinceMs: number;
  /** The same by the wall clock, in seconds since the epoch, to compare with entries' timestamps. */
  readonly sinceTimestamp: number;
}

const isUnreachable = ({ status }: ObjectStatus): boolean => status === 'unreachable';

/**
 * Garbage collection of entries whose objects are dead (PYRO_NS_AUTOCLEAN): periodically each object's daemon is asked
 * whether it still has the object. An entry is only removed if the object was dead in several checks in a row and for
 * long enough; the name server's own entry never is.
 */
export class AutoClean {
  private suspects = new Map<string, Suspect>();
  private timer: NodeJS.Timeout | undefined;
  private readonly stopping = new AbortController();
  /** How many entries were removed since the start. */
  removed = 0;

  constructor(private readonly options: AutoCleanOptions) {}

  /** Starts the periodic checks, if PYRO_NS_AUTOCLEAN is not 0. */
  start(): void {
    const { config, log } = this.options;
    if (config.PYRO_NS_AUTOCLEAN === 0) return;
    log.msg('AutoClean', `looks for dead objects every ${config.PYRO_NS_AUTOCLEAN} s`);
    this.scheduleNext();
  }

  stop(): void {
    this.stopping.abort();
    clearTimeout(this.timer);
  }

  private scheduleNext(): void {
    if (this.stopping.signal.aborted) return;
    this.timer = setTimeout(() => void this.clean(), this.options.config.PYRO_NS_AUTOCLEAN * 1000).unref();
  }

  private async clean(): Promise<void> {
    try {
      await this.checkAll();
      for (const suspect of [...this.suspects.values()]) if (this.isDue(suspect)) await this.remove(suspect);
    } catch (error) {
      if (!this.stopping.signal.aborted) this.options.log.warn('AutoClean', 'looking for dead objects failed:', error);
    }
    this.scheduleNext();
  }

  /** Checks all objects, and updates the suspects. */
  private async checkAll(): Promise<void> {
    const livenessProbe = new LivenessProbe({ ...this.options, signal: this.stopping.signal });
    const suspects = new Map<string, Suspect>();
    for await (const objects of this.options.namespace.flatlist()) {
      if (this.stopping.signal.aborted) return;
      const others = objects.filter(([name]) => name.toString() !== NAMESERVER_NAME);
      await Promise.all(
        others.map(async ([name, uri]) => {
          const status = await livenessProbe.ask(uri);
          if (isDead(status)) suspects.set(name.toString(), this.suspectOf(name, uri, status));
        }),
      );
    }
    this.suspects = suspects;
  }

  private suspectOf(name: Name, uri: PyroURI, status: ObjectStatus): Suspect {
    const before = this.suspects.get(name.toString());
    // A booting machine is reachable before its daemons run: when the kind of failure changes, the count starts again.
    if (before?.uri.equals(uri) === true && isUnreachable(before.status) === isUnreachable(status)) {
      return { ...before, status, failures: before.failures + 1 };
    }
    return { name, uri, status, failures: 1, sinceMs: performance.now(), sinceTimestamp: Date.now() / 1000 };
  }

  private isDue({ failures, sinceMs, status }: Suspect): boolean {
    const { PYRO_NS_AUTOCLEAN_FAILURES, PYRO_NS_AUTOCLEAN_SECONDS, PYRO_NS_AUTOCLEAN_UNREACHABLE } =
      this.options.config;
    if (isUnreachable(status) && PYRO_NS_AUTOCLEAN_UNREACHABLE === 0) return false;
    const seconds = isUnreachable(status) ? PYRO_NS_AUTOCLEAN_UNREACHABLE : PYRO_NS_AUTOCLEAN_SECONDS;
    return failures >= PYRO_NS_AUTOCLEAN_FAILURES && performance.now() - sinceMs >= seconds * 1000;
  }

  private async remove(suspect: Suspect): Promise<void> {
    const { log, unregister } = this.options;
    const { name, uri, status, failures, sinceMs } = suspect;
    if (this.stopping.signal.aborted) return;
    this.suspects.delete(name.toString());
    if (!(await this.isStillDead(suspect))) return;
    try {
      await unregister(name.toString());
      this.removed += 1;
      const seconds = Math.round((performance.now() - sinceMs) / 1000);
      log.warn(
        'AutoClean',
        `removed ${name.toString()}, which was ${uri.toString()}:`,
        `dead ${failures} times in a row, for ${seconds} s.`,
        status.explanation,
      );
    } catch (error) {
      // It was removed by somebody else, or the store refuses.
      if (!(error instanceof NamingError)) throw error;
      log.msg('AutoClean', `could not remove ${name.toString()}:`, error.message);
    }
  }

  /** Checks again right before the removal: since the check it may have been registered again, or come back. */
  private async isStillDead({ name, uri, sinceTimestamp }: Suspect): Promise<boolean> {
    const { namespace } = this.options;
    try {
      const status = await new LivenessProbe({ ...this.options, signal: this.stopping.signal }).ask(uri);
      const [current, { timestamp }] = await Promise.all([namespace.resolve(name), namespace.getSystemMeta(name)]);
      return isDead(status) && current.equals(uri) && timestamp <= sinceTimestamp;
    } catch (error) {
      if (error instanceof NamingError) return false;
      throw error;
    }
  }
}

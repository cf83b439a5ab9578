import type { Log } from '../../config/index.js';

/** Etcd counts as unreachable after so many seconds without a successful health check. */
export const UNREACHABLE_AFTER_SECONDS = 5;

/**
 * Health check of the mirror. `Mirror` reports each time that it has proved to be up to date. If no report comes for a while,
 * the mirror is stale: it is served for `staleSeconds` more, and then no longer. Each of these changes is logged.
 */
export class HealthMonitor {
  private contactTimer: NodeJS.Timeout | undefined;
  private expiryTimer: NodeJS.Timeout | undefined;
  private unreachableSince: number | undefined;
  private expired = false;

  /** @param staleSeconds how long a stale mirror may be served */
  constructor(
    private readonly staleSeconds: number,
    private readonly log: Log,
  ) {}

  /** True while the mirror may be served. */
  get usable(): boolean {
    return !this.expired;
  }

  /** Seconds since etcd was found to be unreachable; undefined while it is reachable. */
  get awaySeconds(): number | undefined {
    return this.unreachableSince === undefined ? undefined : (performance.now() - this.unreachableSince) / 1000;
  }

  /** Records a successful health check: etcd has answered, and the mirror is up to date. */
  recordContact(): void {
    if (this.unreachableSince !== undefined) {
      this.log.warn('EtcdNamespace', `names are up to date again, after ${this.awaySeconds?.toFixed(1) ?? 0} s`);
      this.unreachableSince = undefined;
    }
    this.expired = false;
    clearTimeout(this.expiryTimer);
    if (this.contactTimer === undefined)
      this.contactTimer = setTimeout(this.onContactLost, UNREACHABLE_AFTER_SECONDS * 1000);
    else this.contactTimer.refresh();
  }

  end(): void {
    clearTimeout(this.contactTimer);
    clearTimeout(this.expiryTimer);
  }

  private readonly onContactLost = (): void => {
    this.unreachableSince = performance.now();
    this.log.warn(
      'EtcdNamespace',
      `no answer from etcd for ${UNREACHABLE_AFTER_SECONDS} s: names are served from memory, for ${this.staleSeconds} s at most`,
    );
    this.expiryTimer = setTimeout(this.onStaleLimit, this.staleSeconds * 1000);
  };

  private readonly onStaleLimit = (): void => {
    this.expired = true;
    this.log.error('EtcdNamespace', 'no answer from etcd for too long: names are no longer served');
  };
}

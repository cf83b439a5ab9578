import type { Log } from '../../config/index.js';

/** After how many seconds without contact it counts as lost. */
export const AWAY_AFTER = 5;

/** Knows whether what is known of etcd is known to be up to date, and whether it may be told; says in the log when that changes. */
export class HealthMonitor {
  private awayTimer: NodeJS.Timeout | undefined;
  private expiryTimer: NodeJS.Timeout | undefined;
  private awaySince: number | undefined;
  private expired = false;

  /** @param staleSeconds how long what is known may be used, once etcd is away */
  constructor(
    private readonly staleSeconds: number,
    private readonly log: Log,
  ) {}

  /** True while what is known may be told. */
  get usable(): boolean {
    return !this.expired;
  }

  /** Seconds since etcd was found to be away; undefined while it is not. */
  get awaySeconds(): number | undefined {
    return this.awaySince === undefined ? undefined : (performance.now() - this.awaySince) / 1000;
  }

  /** Etcd has answered, and what is known is up to date. */
  made(): void {
    if (this.awaySince !== undefined) {
      this.log.warn('EtcdNamespace', `names are up to date again, after ${this.awaySeconds?.toFixed(1) ?? 0} s`);
      this.awaySince = undefined;
    }
    this.expired = false;
    clearTimeout(this.expiryTimer);
    if (this.awayTimer === undefined) this.awayTimer = setTimeout(this.lose, AWAY_AFTER * 1000);
    else this.awayTimer.refresh();
  }

  end(): void {
    clearTimeout(this.awayTimer);
    clearTimeout(this.expiryTimer);
  }

  private readonly lose = (): void => {
    this.awaySince = performance.now();
    this.log.warn(
      'EtcdNamespace',
      `nothing is heard from etcd for ${AWAY_AFTER} s: names are told as they were then, for ${this.staleSeconds} s`,
    );
    this.expiryTimer = setTimeout(this.expire, this.staleSeconds * 1000);
  };

  private readonly expire = (): void => {
    this.expired = true;
    this.log.error('EtcdNamespace', 'nothing is heard from etcd: names are not told any more');
  };
}

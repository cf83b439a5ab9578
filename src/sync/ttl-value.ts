export interface TTLOptions {
  /** The least time to live, in milliseconds. */
  readonly ttlMs?: number;
  /** The time to live is at least so many times as long as loading took: so that loading doesn't take all the time. */
  readonly costFactor: number;
}

/** A cached value with a time to live (TTL). Those who ask while it is being loaded share one load (single flight). */
export class TTLValue<T> {
  private cached: { readonly value: T; readonly expiresAt: number } | undefined;
  private inflight: Promise<T> | undefined;

  constructor(
    private readonly load: () => Promise<T>,
    private readonly options: TTLOptions,
  ) {}

  /** The value, loaded again where it has expired. @throws what the load throws */
  async get(): Promise<T> {
    if (this.cached !== undefined && performance.now() < this.cached.expiresAt) return this.cached.value;
    return this.inflight ?? this.reload();
  }

  /**
   * As `get`, for those who can't wait long.
   * @returns after so many milliseconds, the last value, however old; undefined where there is none
   */
  async getWithin(maxWaitMs: number): Promise<T | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const lastValue = new Promise<T | undefined>((resolve) => {
      timer = setTimeout(() => {
        resolve(this.cached?.value);
      }, maxWaitMs).unref();
    });
    try {
      return await Promise.race([this.get(), lastValue]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Loads the value again, whether it has expired or not. @throws what the load throws */
  reload(): Promise<T> {
    const begun = performance.now();
    const inflight = this.load()
      .then((value) => {
        // Where another load has begun since, this value is the older one.
        if (this.inflight === inflight) this.keep(value, begun);
        return value;
      })
      .finally(() => {
        if (this.inflight === inflight) this.inflight = undefined;
      });
    this.inflight = inflight;
    return inflight;
  }

  /** Lets the next caller get a new value, even if one is being loaded now. */
  invalidate(): void {
    this.cached = undefined;
    this.inflight = undefined;
  }

  private keep(value: T, begun: number): void {
    const { ttlMs = 0, costFactor } = this.options;
    const now = performance.now();
    this.cached = { value, expiresAt: now + Math.max(ttlMs, (now - begun) * costFactor) };
  }
}

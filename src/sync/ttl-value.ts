/** How many times as long as it took to get, a value is good for: so that a slow server isn't asked all the time. */
const COST_FACTOR = 10;

/** A value of a server that is asked for again once it is too old; who asks meanwhile shares one request. */
export class TTLValue<T> {
  private value: T | undefined;
  private expiry = 0;
  private inflight: Promise<T> | undefined;

  /** @param ttlMs how long a value is good for at least, in milliseconds */
  constructor(
    private readonly load: () => Promise<T>,
    private readonly ttlMs: number,
  ) {}

  /** The value, asked for again where it is too old. */
  async get(): Promise<T> {
    if (this.value !== undefined && performance.now() < this.expiry) return this.value;
    return this.inflight ?? this.reload();
  }

  /** Asks for the value again, however new it is. */
  reload(): Promise<T> {
    const asked = performance.now();
    const pending = this.load()
      .then((value) => {
        // Where it was asked for again meanwhile, this answer is the older one.
        if (this.inflight === pending) {
          const now = performance.now();
          this.value = value;
          this.expiry = now + Math.max(this.ttlMs, (now - asked) * COST_FACTOR);
        }
        return value;
      })
      .finally(() => {
        if (this.inflight === pending) this.inflight = undefined;
      });
    this.inflight = pending;
    return pending;
  }

  /** The value is no longer true: the next who asks gets a new one. */
  invalidate(): void {
    this.expiry = 0;
    this.inflight = undefined;
  }
}

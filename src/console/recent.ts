/** How many times as long as it took to get, a value is good for: so that a slow server isn't asked all the time. */
const COST_FACTOR = 10;

/** A value of a server that is asked for again once it is too old; who asks meanwhile shares one request. */
export class Recent<T> {
  private value: T | undefined;
  private expiry = 0;
  private pending: Promise<T> | undefined;

  /** @param lifetime how long a value is good for at least, in milliseconds */
  constructor(
    private readonly load: () => Promise<T>,
    private readonly lifetime: number,
  ) {}

  /** The value, asked for again where it is too old. */
  async get(): Promise<T> {
    if (this.value !== undefined && performance.now() < this.expiry) return this.value;
    return this.pending ?? this.renew();
  }

  /** Asks for the value again, however new it is. */
  renew(): Promise<T> {
    const asked = performance.now();
    const pending = this.load()
      .then((value) => {
        // Where it was asked for again meanwhile, this answer is the older one.
        if (this.pending === pending) {
          const now = performance.now();
          this.value = value;
          this.expiry = now + Math.max(this.lifetime, (now - asked) * COST_FACTOR);
        }
        return value;
      })
      .finally(() => {
        if (this.pending === pending) this.pending = undefined;
      });
    this.pending = pending;
    return pending;
  }

  /** The value is no longer true: the next who asks gets a new one. */
  forget(): void {
    this.expiry = 0;
    this.pending = undefined;
  }
}

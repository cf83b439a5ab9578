/** A moment on the monotonic clock by which something must be done. */
export class Deadline {
  private constructor(private readonly at: number) {}

  /** A deadline so many milliseconds from now. */
  static in(milliseconds: number): Deadline {
    return new Deadline(performance.now() + milliseconds);
  }

  /** Milliseconds that are left; 0 when it has passed. */
  get remainingMs(): number {
    return Math.max(0, this.at - performance.now());
  }

  get passed(): boolean {
    return this.remainingMs === 0;
  }
}

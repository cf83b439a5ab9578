/** How many keys are remembered; the one whose last failure is the longest ago is forgotten first. */
const MAX_KEYS = 1000;

/** So many failures are not punished: people mistype. */
const FREE_FAILURES = 3;

/** The delay after the first failure that is punished; each further one doubles it. */
const FIRST_DELAY_MS = 100;

/** No more failures of one key are counted: so that it is forgotten within two minutes, however many there were. */
const MAX_FAILURES = 12;

/** One failure is forgotten each time this has passed. */
const FORGET_MS = 10_000;

interface Failures {
  readonly count: number;
  readonly at: number;
}

/** Delays that grow with the failures of a key, such as a host whose passphrases are wrong, and shrink with time. */
export class FailureDelay {
  /** The one that failed the longest ago first. */
  private readonly failures = new Map<string, Failures>();

  /** Records a failure. */
  fail(key: string): void {
    const count = Math.min(this.countOf(key) + 1, MAX_FAILURES);
    this.failures.delete(key);
    this.failures.set(key, { count, at: performance.now() });
    const [oldest = key] = this.failures.keys();
    if (this.failures.size > MAX_KEYS) this.failures.delete(oldest);
  }

  /** How long the next answer is to be delayed, in milliseconds, and no longer than `maxMs`. */
  delayOf(key: string, maxMs: number): number {
    const punished = this.countOf(key) - FREE_FAILURES;
    return punished < 1 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (punished - 1), maxMs);
  }

  /** The failures that are not forgotten yet. */
  private countOf(key: string): number {
    const { count = 0, at = 0 } = this.failures.get(key) ?? {};
    return Math.max(0, count - Math.floor((performance.now() - at) / FORGET_MS));
  }
}

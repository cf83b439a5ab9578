import type { Answer, Servant } from '../rpc/index.js';
import type { CallRequest, ServerConnection } from '../wire/index.js';

/** The upper bounds of the histogram's buckets, in seconds; there is one more bucket for longer durations. */
export const DURATION_BOUNDS = [
  0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5,
] as const;

/**
 * Sampling: of the synchronous calls, one in this many is timed, because reading the clock costs as much as a look-up.
 */
const SAMPLING_INTERVAL = 32;

/** The metrics of one method, since the start. */
export class MethodMetrics {
  /** Calls that returned a result, and calls that raised an error. */
  answered = 0;
  failed = 0;
  /** The number of calls in each bucket: see DURATION_BOUNDS. */
  readonly durations: number[] = new Array<number>(DURATION_BOUNDS.length + 1).fill(0);
  /** The sum of all durations. */
  seconds = 0;
  private untilSample = 0;
  private lastSeconds = 0;
  private lastBucket = 0;

  /** True if the next call is to be timed. Counts down to the next sample. */
  get isTimed(): boolean {
    this.untilSample -= 1;
    if (this.untilSample > 0) return false;
    this.untilSample = SAMPLING_INTERVAL;
    return true;
  }

  /**
   * Records a synchronous call.
   * @param begun when it began; undefined: not timed, so counted with the last sample's duration
   */
  took(begun: number | undefined): void {
    if (begun !== undefined) {
      this.lastSeconds = (performance.now() - begun) / 1000;
      this.lastBucket = bucketOf(this.lastSeconds);
    }
    this.seconds += this.lastSeconds;
    this.durations[this.lastBucket] = (this.durations[this.lastBucket] ?? 0) + 1;
  }

  /** Records an asynchronous call. @param begun when it began */
  waited(begun: number): void {
    const seconds = (performance.now() - begun) / 1000;
    this.seconds += seconds;
    const bucket = bucketOf(seconds);
    this.durations[bucket] = (this.durations[bucket] ?? 0) + 1;
  }
}

function bucketOf(seconds: number): number {
  const index = DURATION_BOUNDS.findIndex((bound) => seconds <= bound);
  return index < 0 ? DURATION_BOUNDS.length : index;
}

/** An object whose calls are measured. */
export interface MeasuredServant extends Servant {
  /**
   * True if it has such a method. Calls of all other names are counted together, which bounds the number of metrics.
   */
  hasMethod(name: string): boolean;
}

/**
 * A decorator of a servant that measures its calls: number, result and duration by method. These are plain numbers,
 * which become Prometheus metrics only when they are scraped.
 */
export class RequestMetrics implements Servant {
  /** By method name, in the order of their first calls. */
  readonly methods = new Map<string, MethodMetrics>();
  /** Calls of methods that do not exist. */
  readonly other = new MethodMetrics();

  constructor(private readonly servant: MeasuredServant) {}

  GUID(): string {
    return this.servant.GUID();
  }

  setGUID(guid: string): void {
    this.servant.setGUID(guid);
  }

  invoke(call: CallRequest, caller: ServerConnection): Answer | Promise<Answer> {
    const counts = this.methods.get(call.method) ?? this.countsOf(call.method);
    const begun = counts.isTimed ? performance.now() : undefined;
    let answer: Answer | Promise<Answer>;
    try {
      answer = this.servant.invoke(call, caller);
    } catch (error) {
      counts.failed += 1;
      counts.took(begun);
      throw error;
    }
    if (answer instanceof Promise) return settled(answer, counts, begun ?? performance.now());
    counts.answered += 1;
    counts.took(begun);
    return answer;
  }

  private countsOf(method: string): MethodMetrics {
    if (!this.servant.hasMethod(method)) return this.other;
    const counts = new MethodMetrics();
    this.methods.set(method, counts);
    return counts;
  }
}

/** Records an asynchronous call when its result is available, before that is sent. */
async function settled(answer: Promise<Answer>, counts: MethodMetrics, begun: number): Promise<Answer> {
  try {
    const value = await answer;
    counts.answered += 1;
    return value;
  } catch (error) {
    counts.failed += 1;
    throw error;
  } finally {
    counts.waited(begun);
  }
}

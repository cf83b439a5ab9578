import type { Answer, Servant } from '../rpc/index.js';
import type { CallRequest, ServerConnection } from '../wire/index.js';

/** The upper bounds of the classes that durations are counted in, in seconds; above the last one there is one more. */
export const DURATION_BOUNDS = [
  0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5,
] as const;

/** Of the answers that are there at once, one in so many has its time taken: a look at the clock costs as much as a look-up. */
const TIMED_EVERY = 32;

/** How calls of one method went, since the start. */
export class MethodMetrics {
  /** Calls that were answered with a result, and with an error. */
  answered = 0;
  failed = 0;
  /** How many calls took how long: see DURATION_BOUNDS. */
  readonly durations: number[] = new Array<number>(DURATION_BOUNDS.length + 1).fill(0);
  /** All durations together. */
  seconds = 0;
  private untilTimed = 0;
  private lastSeconds = 0;
  private lastClass = 0;

  /** Counts down to the next call that has its time taken, if it is answered at once. */
  get isTimed(): boolean {
    this.untilTimed -= 1;
    if (this.untilTimed > 0) return false;
    this.untilTimed = TIMED_EVERY;
    return true;
  }

  /** Counts a call's duration, from when it began; without that, as long as the last one. */
  took(begun: number | undefined): void {
    if (begun !== undefined) {
      this.lastSeconds = (performance.now() - begun) / 1000;
      this.lastClass = classOf(this.lastSeconds);
    }
    this.seconds += this.lastSeconds;
    this.durations[this.lastClass] = (this.durations[this.lastClass] ?? 0) + 1;
  }

  /** Counts the duration of a call that had to wait. */
  waited(begun: number): void {
    const seconds = (performance.now() - begun) / 1000;
    this.seconds += seconds;
    const durationClass = classOf(seconds);
    this.durations[durationClass] = (this.durations[durationClass] ?? 0) + 1;
  }
}

function classOf(seconds: number): number {
  const index = DURATION_BOUNDS.findIndex((bound) => seconds <= bound);
  return index < 0 ? DURATION_BOUNDS.length : index;
}

/** An object whose calls are counted. */
export interface MeasuredServant extends Servant {
  /** True if it has such a method: what else peers call is counted as one. */
  hasMethod(name: string): boolean;
}

/**
 * Stands before an object, and counts what is asked of it and how it is answered: as plain numbers, which are read only
 * when somebody wants to know them.
 */
export class RequestMetrics implements Servant {
  /** By method, in the order of their first calls. */
  readonly methods = new Map<string, MethodMetrics>();
  /** Calls of methods that there are not. */
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

/** Counts an answer when it is there, before it is sent. */
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

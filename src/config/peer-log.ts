import { isNativeError } from 'node:util/types';
import type { Log } from './log.js';
import { printable } from './printable.js';

/** How much of what a peer has sent is written, in characters. */
const MAX_PEER_TEXT = 100;

/** How much is written of the text of an error: ours, with a peer's in it. */
const MAX_ERROR_TEXT = 300;

/** For so long lines are counted. */
const WINDOW_MS = 60_000;

/** How many lines of a kind are written for a peer in that time. Notes of changes are a record, which somebody has asked for. */
const MAX_LINES = { msg: 600, warn: 20, error: 20 } as const;

/** How many kinds of lines of peers are counted; the oldest is forgotten first. */
const MAX_COUNTS = 1000;

type Severity = keyof typeof MAX_LINES;

/** Lines of one kind of one peer. */
interface LineCount {
  readonly sinceMs: number;
  lines: number;
  /** Writes how many lines were left out. */
  readonly writeSum: (count: number) => void;
}

/**
 * Writes what peers do to a log, so that none of them can fill it: rate limiting. Their texts are cut, and of each kind of
 * line there are so many a minute for each peer; then their number. A kind is told by the first part of the line.
 */
export class PeerLog {
  /** The oldest first. */
  private readonly counts = new Map<string, LineCount>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly log: Log) {}

  /** A note. @param peer its address */
  msg(peer: string | undefined, source: string, kind: string, ...parts: unknown[]): void {
    this.write('msg', peer, source, kind, parts);
  }

  /** A warning. @param peer its address */
  warn(peer: string | undefined, source: string, kind: string, ...parts: unknown[]): void {
    this.write('warn', peer, source, kind, parts);
  }

  /** An error. @param peer its address */
  error(peer: string | undefined, source: string, kind: string, ...parts: unknown[]): void {
    this.write('error', peer, source, kind, parts);
  }

  /** Writes how many lines were left out, of which nothing is said yet: at the end. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.forget(() => true);
  }

  private write(
    severity: Severity,
    peer = 'unknown address',
    source: string,
    kind: string,
    parts: readonly unknown[],
  ): void {
    const max = MAX_LINES[severity];
    const count = this.countOf(`${severity} ${source} ${kind} ${peer}`, (lines) => {
      const more = (lines - max).toLocaleString('en');
      if (lines > max) this.log[severity](source, kind, `... and ${more} more like it from ${peer}`);
    });
    count.lines += 1;
    if (count.lines <= max) this.log[severity](source, kind, ...parts.map(shortened));
    else this.timer ??= this.startTimer();
  }

  private countOf(key: string, writeSum: LineCount['writeSum']): LineCount {
    const now = performance.now();
    const known = this.counts.get(key);
    if (known !== undefined && now - known.sinceMs < WINDOW_MS) return known;
    known?.writeSum(known.lines);
    this.counts.delete(key);
    const count: LineCount = { sinceMs: now, lines: 0, writeSum };
    this.counts.set(key, count);
    const [oldest = key] = this.counts.keys();
    if (this.counts.size > MAX_COUNTS) this.forget((_, candidate) => candidate === oldest);
    return count;
  }

  private writeSums(): void {
    this.timer = undefined;
    const now = performance.now();
    this.forget(({ sinceMs }) => now - sinceMs >= WINDOW_MS);
    if (this.counts.size > 0) this.timer = this.startTimer();
  }

  private startTimer(): NodeJS.Timeout {
    return setTimeout(() => {
      this.writeSums();
    }, WINDOW_MS).unref();
  }

  private forget(isDue: (count: LineCount, key: string) => boolean): void {
    for (const [key, count] of this.counts) {
      if (!isDue(count, key)) continue;
      this.counts.delete(key);
      count.writeSum(count.lines);
    }
  }
}

/** An error of Pyro's kind, which is no fault of the program: its texts, without a stack. */
const hasArguments = (error: Error): error is Error & { args: readonly unknown[] } =>
  'args' in error && Array.isArray(error.args);

function shortened(part: unknown): unknown {
  try {
    if (!isNativeError(part)) return printable(String(part), MAX_PEER_TEXT);
    if (!hasArguments(part)) return part;
    return printable(`${part.name}: ${[part.message, ...part.args.slice(1)].join(': ')}`, MAX_ERROR_TEXT);
  } catch {
    // Anything may be thrown by an object, also what has no text: the log says so.
    return part;
  }
}

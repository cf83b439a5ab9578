import type { Dir, Dirent, Stats } from 'node:fs';
import { opendir } from 'node:fs/promises';
import type { Reading } from './files.js';
import { inspect, inspectNow, readFileAt, readFileNow } from './files.js';

/** How long, in one turn of the event loop, files are read while everything else waits. */
const TURN_MS = 2;

/** A read that takes longer had to wait for the disk: what is to be read next is likely to have to, too. */
const SLOW_MS = 5;

/** How long after such a read nothing is read at once. */
const WARY_MS = 200;

/** Up to this size a file is read at once. */
const SMALL_FILE_SIZE = 64 * 1024;

/** How many entries are read from a directory at a time: more is not faster, and keeps others waiting. */
const ENTRIES = 1000;

/**
 * Looks at files the quick way where it can. A small file that the system has in memory is read at once in some 10 microseconds;
 * to have another thread do it costs ten times as much, of which half is this thread's. So files are read at once, a little
 * while in each turn of the event loop, and for as long as none of them has to come from the disk.
 */
export class Reader {
  private spentThisTurn = 0;
  private waryUntil = 0;

  /** @param mayBlock false where any look may take long: on a network file system */
  constructor(private readonly mayBlock: boolean) {}

  /** As `inspect` of files.ts. */
  inspect(path: string): Promise<Stats | undefined> {
    return this.isQuick() ? this.atOnce(() => inspectNow(path)) : inspect(path);
  }

  /** As `readFileAt` of files.ts. */
  read(path: string, limit: number): Promise<Reading | undefined> {
    const isQuick = limit <= SMALL_FILE_SIZE && this.isQuick();
    return isQuick ? this.atOnce(() => readFileNow(path, limit)) : readFileAt(path, limit);
  }

  /** The entries of a directory, some at a time. @throws the system's error */
  async *entries(path: string): AsyncGenerator<readonly Dirent[]> {
    const directory = await opendir(path, { bufferSize: ENTRIES });
    try {
      for (;;) {
        const first = await directory.read();
        if (first === null) return;
        yield [first, ...readAhead(directory, ENTRIES - 1)];
      }
    } finally {
      await directory.close();
    }
  }

  private isQuick(): boolean {
    return this.mayBlock && this.spentThisTurn < TURN_MS && performance.now() >= this.waryUntil;
  }

  /** Runs an action, and accounts for the time that it takes. */
  private atOnce<Result>(action: () => Result): Promise<Result> {
    return new Promise((resolve) => {
      const from = performance.now();
      try {
        resolve(action());
      } finally {
        this.account(performance.now() - from);
      }
    });
  }

  private account(tookMs: number): void {
    if (this.spentThisTurn === 0) {
      setImmediate(() => {
        this.spentThisTurn = 0;
      });
    }
    this.spentThisTurn += tookMs;
    if (tookMs > SLOW_MS) this.waryUntil = performance.now() + WARY_MS;
  }
}

/** The entries that came with the last one that was waited for: they are there, and waiting for each would take much longer. */
function readAhead(directory: Dir, count: number): Dirent[] {
  const entries: Dirent[] = [];
  while (entries.length < count) {
    const entry = directory.readSync();
    if (entry === null) break;
    entries.push(entry);
  }
  return entries;
}

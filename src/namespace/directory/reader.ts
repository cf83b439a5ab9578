import type { Dir, Dirent, Stats } from 'node:fs';
import { opendir } from 'node:fs/promises';
import type { Reading } from './files.js';
import { inspect, inspectNow, readFileAt, readFileNow } from './files.js';
import type { InlineIOPolicy } from './inline-io-policy.js';

/** Maximum size of a file that may be read inline, on the event loop's thread. */
const MAX_INLINE_READ_SIZE = 64 * 1024;

/** Directory entries per batch: more is not faster, and blocks the event loop for longer. */
const ENTRIES_PER_BATCH = 1000;

/** Reads files inline (synchronously, on the event loop's thread) where the policy allows it, else in the thread pool. */
export class Reader {
  constructor(private readonly inlineIO: InlineIOPolicy) {}

  /** As `inspect` of files.ts. */
  inspect(path: string): Promise<Stats | undefined> {
    return this.inlineIO.run(
      () => inspectNow(path),
      () => inspect(path),
    );
  }

  /** As `readFileAt` of files.ts. */
  read(path: string, limit: number): Promise<Reading | undefined> {
    const offload = () => readFileAt(path, limit);
    return limit <= MAX_INLINE_READ_SIZE ? this.inlineIO.run(() => readFileNow(path, limit), offload) : offload();
  }

  /** The entries of a directory, in batches. @throws the system's error */
  async *entries(path: string): AsyncGenerator<readonly Dirent[]> {
    const directory = await opendir(path, { bufferSize: ENTRIES_PER_BATCH });
    try {
      for (;;) {
        const first = await directory.read();
        if (first === null) return;
        yield [first, ...readBuffered(directory, ENTRIES_PER_BATCH - 1)];
      }
    } finally {
      await directory.close();
    }
  }
}

/** The entries that the last asynchronous read has buffered. To read each of them asynchronously would take much longer. */
function readBuffered(directory: Dir, count: number): Dirent[] {
  const entries: Dirent[] = [];
  while (entries.length < count) {
    const entry = directory.readSync();
    if (entry === null) break;
    entries.push(entry);
  }
  return entries;
}

import type { Dir, Dirent, Stats } from 'node:fs';
import { opendir } from 'node:fs/promises';
import type { Reading } from './files.js';
import { inspect, inspectNow, readFileAt, readFileNow } from './files.js';
import type { InlineIOPolicy } from './inline-io-policy.js';

/** Up to this size a file is read at once. */
const SMALL_FILE_SIZE = 64 * 1024;

/** How many entries are read from a directory at a time: more is not faster, and keeps others waiting. */
const ENTRIES = 1000;

/** Looks at files at once where it may, and else has another thread do it. */
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
    const later = () => readFileAt(path, limit);
    return limit <= SMALL_FILE_SIZE ? this.inlineIO.run(() => readFileNow(path, limit), later) : later();
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

import { writeSync } from 'node:fs';

const STDERR = 2;

/** Writes to stderr, before it returns. Never throws: where there is nobody left to tell, nothing happens. */
export function writeStderr(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {
    // It is closed.
  }
}

/** Warns whoever started this process, where no log is set up yet. */
export function warnOnStderr(warning: string): void {
  writeStderr(`PYRO: WARNING: ${warning}\n`);
}

/** The limit of open files of this process. Each connection is one of them, each file of a database that is being read or written, too. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { devNull } from 'node:os';
import type { Config, Log } from '../config/index.js';
import { maxSockets } from './admission.js';

/** How many files beside connections of clients a name server may have open: of its database, the metrics' clients, its log. */
const OTHER_FILES = 150;

/** How often it is logged that there are too many. */
const LOG_INTERVAL_MS = 10_000;

const ADVICE = 'Raise the limit of open files (ulimit -n), or lower PYRO_MAXCONNECTIONS.';

/** How many files may be open at once; undefined where the system is not asked. */
export function maxOpenFiles(): number | undefined {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

/** What to warn of where fewer files may be open than the configured connections need. */
export function openFilesWarning(config: Config, limit: number | undefined = maxOpenFiles()): string | undefined {
  const needed = maxSockets(config) + OTHER_FILES;
  if (limit === undefined || limit >= needed) return undefined;
  return `at most ${limit} files may be open at once, and ${needed} are needed for PYRO_MAXCONNECTIONS=${config.PYRO_MAXCONNECTIONS}. ${ADVICE}`;
}

/** True if an error says that this process, or the system, has too many files open. */
export function saysTooManyFiles(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return error.code === 'EMFILE' || error.code === 'ENFILE';
}

/**
 * Logs that connections can't be accepted, as there are too many open files. The system's own word for it gets lost: libuv then
 * accepts each further connection and closes it at once, without telling anybody.
 */
export class OpenFilesMonitor {
  private loggedAt = -Infinity;

  constructor(private readonly log: Log) {}

  /** To be called for each connection: looks whether it was the last that there was room for. */
  check(): void {
    try {
      closeSync(openSync(devNull, 'r'));
    } catch (error) {
      if (saysTooManyFiles(error)) this.report(error);
    }
  }

  report(error: unknown): void {
    const now = performance.now();
    if (now - this.loggedAt < LOG_INTERVAL_MS) return;
    this.loggedAt = now;
    this.log.error('TCPServer', 'no more connections can be accepted:', String(error), ADVICE);
  }
}

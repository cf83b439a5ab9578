#!/usr/bin/env node
/**
 * `pyro-ns` as it is installed: gives the process more threads, then runs the program.
 *
 * A change is on the disk before it is answered, and whoever waits for the disk holds one of libuv's threads, of which there
 * are four: no more than four files went to the disk at a time, while it takes many in the same time. How many threads there
 * are is settled when the first of them is needed, which loading an ES module does: so this is the one file that is none.
 */
/** Modules are read many at a time: with a lower limit of open files, that may fail. */
const FEW_FILES = 128;

/** What Node says then. */
const LOADING_ERRORS = new Set<unknown>(['EMFILE', 'ERR_MODULE_NOT_FOUND']);

process.env['UV_THREADPOOL_SIZE'] ??= '16';
// SIGHUP opens the log again, later: until the log is there, and while modules load, it must not end the process.
process.on('SIGHUP', () => undefined);
const maxOpenFiles = readMaxOpenFiles();
import('./pyro-ns.js').catch((error: unknown) => {
  if (maxOpenFiles > FEW_FILES || !LOADING_ERRORS.has(codeOf(error))) throw error;
  process.stderr.write(
    `pyro-ns: at most ${maxOpenFiles} files may be open at once, too few to load the program. ` +
      'Raise the limit (ulimit -n), to 1024 say\n',
  );
  process.exitCode = 1;
});

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** Before there are too many, and from no module of ours: those can't be loaded then. */
function readMaxOpenFiles(): number {
  try {
    const limits = process.getBuiltinModule('node:fs').readFileSync('/proc/self/limits', 'latin1');
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  } catch {
    return Infinity;
  }
}

#!/usr/bin/env node
/**
 * `pyro-ns` as it is installed: gives the process more threads, then runs the program.
 *
 * A change is on the disk before it is answered, and whoever waits for the disk holds one of libuv's threads, of which there
 * are four: no more than four files went to the disk at a time, while it takes many in the same time. How many threads there
 * are is settled when the first of them is needed, which loading an ES module does: so this is the one file that is none.
 */
process.env['UV_THREADPOOL_SIZE'] ??= '16';
// SIGHUP opens the log again, later: until the log is there, and while modules load, it must not end the process.
process.on('SIGHUP', () => undefined);
void import('./pyro-ns.js');

import { spawnSync } from 'node:child_process';

/**
 * True if a program isn't installed, which then is said on stderr: a test that needs it is skipped, not silently.
 * @param what what stays untested
 */
export function lacksProgram(program: string, what: string): boolean {
  return isMissing(spawnSync(program, ['--version']).error !== undefined, what, `Install ${program} to test it.`);
}

/** Likewise, if we aren't root. */
export function lacksRoot(what: string): boolean {
  return isMissing(process.getuid?.() !== 0, what, 'Run the tests as root to test it.');
}

function isMissing(isSo: boolean, what: string, advice: string): boolean {
  if (isSo) process.stderr.write(`NOT TESTED: ${what}. ${advice}\n`);
  return isSo;
}

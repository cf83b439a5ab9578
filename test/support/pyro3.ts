import { pyro3 } from './name-server-process.mjs';

/**
 * True if there is no real Pyro 3.16 here, which then is said on stderr: a suite that needs it is skipped, not silently.
 * @param what what stays untested
 */
export function lacksPyro3(what: string): boolean {
  if (pyro3 !== undefined) return false;
  process.stderr.write(
    `NOT TESTED: ${what}. Set PYRO3_HOME to a checkout of Pyro 3.16 and PYTHON2 to a Python 2.7 to test it.\n`,
  );
  return true;
}

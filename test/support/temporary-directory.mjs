// Jest's globalSetup: one private directory for all temporary files of a run, which `os.tmpdir()` names to tests and to the
// programs that they start. What others have put into the system's directory (a package.json, a Pyro.conf, a node_modules)
// doesn't reach the tests, and what they leave behind is noticed.
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files of the run itself, and the compile cache that Node makes for programs that ask for one. */
const EXPECTED = new Set(['package.json', 'node-compile-cache', 'jiti']);

/** What TMPDIR was before, and is again at the end. */
let before;
let directory;

export async function createTemporaryDirectory() {
  before = process.env.TMPDIR;
  // The name is short, as the path of a Unix socket may have 107 bytes only.
  directory = await mkdtemp(join(tmpdir(), 'pn-'));
  // Others may neither list nor change it; tests that run programs as another user need the way through it.
  await chmod(directory, 0o711);
  // The search for the nearest package.json ends here.
  await writeFile(join(directory, 'package.json'), '{}\n');
  process.env.TMPDIR = directory;
}

/** Removes the directory. @throws Error, which fails the run, where tests have left files behind in it */
export async function removeTemporaryDirectory() {
  const left = (await readdir(directory)).filter((name) => !EXPECTED.has(name));
  await rm(directory, { recursive: true, force: true });
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  if (left.length > 0) throw new Error(`tests have left temporary files behind: ${left.sort().join(', ')}`);
}

import { opendir, readdir } from 'node:fs/promises';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { readFileAt } from './files.js';
import { isOfDatabase, MAX_PATH_BYTES, MAX_URI_FILE_SIZE, META_SUFFIX, OWN_DIRECTORY, readURIFile } from './layout.js';

/** How many files are read, and how many directories, to find out whether a directory is a database. */
const MAX_FILES_READ = 200;

/** What the system keeps at the top of a file system: a fresh one may become a database. */
const OF_THE_SYSTEM = new Set(['lost+found']);

/**
 * Refuses to serve a directory that holds other things than names, such as `/etc`: its files would be taken for names, and
 * removed with their groups. Without the group `Pyro`, each file that can be read must be a name's: the URI file that a
 * server has left in a home directory makes no database of it.
 * @throws NamingError that says how to make a database of it; the system's error
 */
export async function refuseForeignDirectory(root: string): Promise<void> {
  if (await hasOurMark(root)) return;
  for (const path of await filesIn(root)) {
    if (path.endsWith(META_SUFFIX) || !(await holdsSomethingElse(path))) continue;
    throw new NamingError(
      refusalText(
        'DATABASE_FOREIGN',
        root,
        `it holds other things, and no group 'Pyro'. To make it one all the same: mkdir '${root}/Pyro'`,
      ),
    );
  }
}

/**
 * Refuses to repair what may be no database, lest the files of something else be moved aside.
 * @throws NamingError; the system's error
 */
export async function requireDatabase(root: string): Promise<void> {
  if ((await hasOurMark(root)) || (await readdir(root)).length === 0) return;
  throw new NamingError(refusalText('DATABASE_FOREIGN', root, "there is no group 'Pyro' in it"));
}

/** True where a name server has been: each makes the group `Pyro`. */
async function hasOurMark(root: string): Promise<boolean> {
  return (await readdir(root)).some((name) => name === 'Pyro' || name === OWN_DIRECTORY);
}

/**
 * A file or directory below a group's directory that is no name's and no metadata's; undefined where there is none. Only
 * file names count: what a file holds is not looked at. Links are passed over, as only the link itself would be removed.
 * @throws the system's error
 */
export async function foreignFileIn(directory: string): Promise<string | undefined> {
  const directories = [directory];
  for (const path of directories) {
    for await (const entry of await opendir(path)) {
      const member = `${path}/${entry.name}`;
      if (entry.isDirectory()) {
        if (Buffer.byteLength(member) <= MAX_PATH_BYTES) directories.push(member);
      } else if (!entry.isFile() && !entry.isSymbolicLink()) return member;
      if (!isOfDatabase(entry.name) && !entry.isSymbolicLink()) return member;
    }
  }
  return undefined;
}

/** Files in a directory and below it that may be names, the first ones that are found. */
async function filesIn(root: string): Promise<string[]> {
  const files: string[] = [];
  const directories = [root];
  for (const path of directories) {
    const entries = await readdir(path, { withFileTypes: true });
    for (const entry of entries.filter(({ name }) => isOfDatabase(name) && !OF_THE_SYSTEM.has(name))) {
      const member = `${path}/${entry.name}`;
      if (!entry.isDirectory()) files.push(member);
      else if (directories.length < MAX_FILES_READ) directories.push(member);
      if (files.length === MAX_FILES_READ) return files;
    }
  }
  return files;
}

/** True if a file holds no URI. What can't be read tells nothing. */
async function holdsSomethingElse(path: string): Promise<boolean> {
  const reading = await readFileAt(path, MAX_URI_FILE_SIZE).catch(() => undefined);
  return reading !== undefined && !(reading.kind === 'file' && readURIFile(reading.content) !== undefined);
}

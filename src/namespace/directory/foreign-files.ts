import { opendir, readdir } from 'node:fs/promises';
import { NamingError } from '../../errors.js';
import { readFileAt } from './files.js';
import { isOfDatabase, MAX_URI_FILE_SIZE, META_SUFFIX, OWN_DIRECTORY, readURIFile } from './layout.js';

/** How many files are read, and how many directories, to find out whether a directory is a database. */
const MAX_FILES_READ = 200;

/** Longer paths are not looked at: a tree may be too deep for the longest path of a system. */
const MAX_PATH_BYTES = 2048;

/** What the system keeps at the top of a file system: a fresh one may become a database. */
const OF_THE_SYSTEM = new Set(['lost+found']);

/**
 * Refuses a directory that holds other things than names, such as `/etc`: its files would be taken for names, and removed
 * with their groups. Those without files are taken, and those that hold the group `Pyro`,
 * the server's own directory, metadata, or a file with a URI.
 * @throws NamingError that says how to make a database of it; the system's error
 */
export async function refuseForeignDirectory(root: string): Promise<void> {
  const entries = await readdir(root);
  if (entries.some((name) => name === 'Pyro' || name === OWN_DIRECTORY)) return;
  const files = await filesIn(root);
  if (files.length === 0) return;
  for (const path of files) if (path.endsWith(META_SUFFIX) || (await holdsURI(path))) return;
  throw new NamingError(
    `${root} is no database of a name server: it holds other things, and no group 'Pyro'. ` +
      `To make it one all the same: mkdir '${root}/Pyro'`,
  );
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

async function holdsURI(path: string): Promise<boolean> {
  const reading = await readFileAt(path, MAX_URI_FILE_SIZE).catch(() => undefined);
  return reading?.kind === 'file' && readURIFile(reading.content) !== undefined;
}

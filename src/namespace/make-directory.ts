import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { DirectorySync } from './directory/directory-sync.js';

/**
 * Makes a directory, with those above it that are missing, and brings them to the disk: else a power failure may take away all
 * that is in them, synced or not.
 * @param sync false where nothing is waited for (PYRO_NS_SYNC=0)
 * @throws the system's error
 */
export async function makeDirectory(path: string, sync: boolean): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  const directories = new DirectorySync(sync);
  for (let made = resolve(path); made.length >= first.length; made = dirname(made))
    await directories.sync(dirname(made));
}

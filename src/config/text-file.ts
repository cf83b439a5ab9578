/** Files that people write with an editor. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { ConfigError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { isReadableByEverybody } from './ownership.js';
import { printable } from './printable.js';

/** Reads text: UTF-8, or UTF-16 where a byte order mark says so. The mark, which some editors write, is no part of the text. */
export function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return new TextDecoder('utf-16le').decode(bytes);
  if (first === 0xfe && second === 0xff) return new TextDecoder('utf-16be').decode(bytes);
  return new TextDecoder().decode(bytes);
}

/**
 * The first line of a file that holds a secret, such as a passphrase.
 * @param item the configuration item that names the file
 * @param what it holds, such as `a passphrase`
 * @param warn is told where every user of the machine may read the file
 * @throws ConfigError if the file can't be read, or its first line is empty
 */
export function readSecretFile(
  item: string,
  file: string,
  { what, warn }: { readonly what: string; readonly warn: (warning: string) => void },
): string {
  const where = `${item} ${printable(file)}`;
  let content: Buffer;
  try {
    const descriptor = openSync(file, 'r');
    try {
      const stats = fstatSync(descriptor);
      if (stats.isFile() && isReadableByEverybody(stats))
        warn(`${where} can be read by every user of this machine: take that permission away (chmod o-r)`);
      content = readFileSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw new ConfigError(refusalText('FILE_UNREADABLE', where, reasonOf(error)));
  }
  const [firstLine = ''] = decodeText(content).split(/\r?\n/, 1);
  if (firstLine === '') throw new ConfigError(`${where} must have ${what} on its first line`);
  return firstLine;
}

/** The code of an error of the file system, such as ENOENT. */
export function reasonOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error);
}

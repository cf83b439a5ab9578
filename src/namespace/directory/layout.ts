/** How names stand in file names, and URIs in files: Pyro 3's own layout, which its name server reads and writes too. */
import type { Name } from '../../names/index.js';
import { PyroURI } from '../../names/index.js';

/** Metadata of `X` is in `X.ns_meta` beside it. */
export const META_SUFFIX = '.ns_meta';

/**
 * The directory in the database that this server works in: its lock, files not yet whole, groups about to vanish. No
 * name, because of its dots; and Pyro 3 passes over all that ends like metadata, should a crash leave it behind.
 */
export const OWN_DIRECTORY = '.pyro-ns.ns_meta';

/** What a file or directory in the server's own directory is called while it is being made or removed. */
export function stagedFileName(prefix: string, count: number): string {
  return `${prefix}-${count}${META_SUFFIX}`;
}

const STAGED = /^[0-9a-f]{1,8}-\d+\.ns_meta$/;

/** True if a file name is one that `stagedFileName` gives: only what is called so is ever removed after a crash. */
export function isStagedFileName(fileName: string): boolean {
  return STAGED.test(fileName);
}

/** How large a file of a URI may be: room for the longest URI, and some white space. Larger ones are not read. */
export const MAX_URI_FILE_SIZE = 8192;

const PART = /^[!-\-/-[\]-~]+$/;
const ESCAPE = /\\([0-9a-fA-F]{2})/g;

/** The file name of a part: `a/b` is `a\2fb`. */
export function fileNameOf(part: string): string {
  return part.replaceAll('/', '\\2f').replaceAll(':', '\\3a');
}

/** The part that a file name stands for, with any `\hh` read back; undefined where it is no name. */
export function partOf(fileName: string): string | undefined {
  const part = fileName.includes('\\')
    ? fileName.replace(ESCAPE, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
    : fileName;
  return PART.test(part) ? part : undefined;
}

/** True if a file name is a name's, or its metadata's, or the root's metadata's: what else is in a database isn't ours. */
export function isOfDatabase(fileName: string): boolean {
  if (fileName === META_SUFFIX) return true;
  const about = fileName.endsWith(META_SUFFIX) ? fileName.slice(0, -META_SUFFIX.length) : fileName;
  return partOf(about) !== undefined;
}

/** True if a file name is that of metadata beside what it is about. */
export function isMetadataOfMember(fileName: string): boolean {
  return fileName.endsWith(META_SUFFIX) && partOf(fileName.slice(0, -META_SUFFIX.length)) !== undefined;
}

/** True if a part is spelled in a file name as this server spells it: `a\2fb`, not `a\2Fb` or `\61\2fb`. */
export function isUsualSpelling(fileName: string, part: string): boolean {
  return fileName === part ? !fileName.includes(':') : fileName === fileNameOf(part);
}

/** The path of a name below the root of a database, in the usual spelling. */
export function pathOf(root: string, name: Name): string {
  return [root, ...name.parts.map(fileNameOf)].join('/');
}

/** The path of the metadata of what is at a path. The root's is in the root, all other is beside what it is about. */
export function metaPathOf(path: string, name: Name): string {
  return name.isRoot ? `${path}/${META_SUFFIX}` : path + META_SUFFIX;
}

const BYTE_ORDER_MARK = Buffer.from('\ufeff');

/** What is in the file of an object: bytes, each of which is a character of the URI. */
export function uriFileContent(uri: PyroURI): Buffer {
  return Buffer.from(`${uri.toString()}\n`, 'latin1');
}

/**
 * The URI in a file, undefined where there is none. As Pyro 3 does, what follows the URI is not looked at; and white space
 * before it (or a byte order mark, from an editor) does no harm.
 */
export function readURIFile(content: Buffer): PyroURI | undefined {
  const withoutMark = content.subarray(content.indexOf(BYTE_ORDER_MARK) === 0 ? BYTE_ORDER_MARK.length : 0);
  const [text = ''] = withoutMark.toString('latin1').trimStart().split(/\s/, 1);
  try {
    return PyroURI.parse(text);
  } catch {
    return undefined;
  }
}

/** The file layout of a database: names as file names, URIs as file contents. It is Pyro 3's own, so that its name server can use it. */
import type { Name } from '../../names/index.js';
import { PyroURI } from '../../names/index.js';

/** Metadata of `X` is in `X.ns_meta` beside it. */
export const META_SUFFIX = '.ns_meta';

/**
 * The server's own directory in the database: its lock, files that are being written, groups that are being deleted. It can't
 * be a name, because of its dots. If a crash leaves it behind, Pyro 3 ignores it, as all that ends like metadata.
 */
export const OWN_DIRECTORY = '.pyro-ns.ns_meta';

/** The name of a file or directory in the server's own directory while it is being made or removed. */
export function stagedFileName(prefix: string, count: number): string {
  return `${prefix}-${count}${META_SUFFIX}`;
}

const STAGED = /^[0-9a-f]{1,8}-\d+\.ns_meta$/;

/** True if a file name is one that `stagedFileName` gives: after a crash, only files with such names are removed. */
export function isStagedFileName(fileName: string): boolean {
  return STAGED.test(fileName);
}

/** Up to how many bytes of a path a tree is gone through: it may be too deep for the longest path of a system. */
export const MAX_PATH_BYTES = 2048;

/** Maximum size of an object's file: enough for the longest URI and some white space. A larger one is not read. */
export const MAX_URI_FILE_SIZE = 8192;

const PART = /^[!-\-/-[\]-~]+$/;
const ESCAPE = /\\([0-9a-fA-F]{2})/g;

/** The file name of a part: `a/b` is `a\2fb`. */
export function fileNameOf(part: string): string {
  return part.replaceAll('/', '\\2f').replaceAll(':', '\\3a');
}

/** The part that a file name stands for, with each `\hh` unescaped; undefined if it is not a valid part. */
export function partOf(fileName: string): string | undefined {
  const part = fileName.includes('\\')
    ? fileName.replace(ESCAPE, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
    : fileName;
  return PART.test(part) ? part : undefined;
}

/** True if a file belongs to the database: to a name, a name's metadata or the root's metadata. Others are left alone. */
export function isOfDatabase(fileName: string): boolean {
  if (fileName === META_SUFFIX) return true;
  const owner = fileName.endsWith(META_SUFFIX) ? fileName.slice(0, -META_SUFFIX.length) : fileName;
  return partOf(owner) !== undefined;
}

/** True if a file name is that of a member's metadata. (The root's metadata is not a member's.) */
export function isMetadataOfMember(fileName: string): boolean {
  return fileName.endsWith(META_SUFFIX) && partOf(fileName.slice(0, -META_SUFFIX.length)) !== undefined;
}

/** True if a file name is the spelling of a part that this server writes: `a\2fb`, not `a\2Fb` or `\61\2fb`. */
export function isUsualSpelling(fileName: string, part: string): boolean {
  return fileName === part ? !fileName.includes(':') : fileName === fileNameOf(part);
}

/** The path of a name below the root of a database, in the usual spelling. */
export function pathOf(root: string, name: Name): string {
  return [root, ...name.parts.map(fileNameOf)].join('/');
}

/** The path of a name's metadata, given the name's path. The root's is in the root; all others are beside their names. */
export function metaPathOf(path: string, name: Name): string {
  return name.isRoot ? `${path}/${META_SUFFIX}` : path + META_SUFFIX;
}

const BYTE_ORDER_MARK = Buffer.from('\ufeff');

/** The content of an object's file: its URI in Latin-1, and a newline. */
export function uriFileContent(uri: PyroURI): Buffer {
  return Buffer.from(`${uri.toString()}\n`, 'latin1');
}

/**
 * The URI in an object's file; undefined if there is none. As in Pyro 3, text after the URI is ignored. White space before it,
 * and a byte order mark, which some editors write, are skipped.
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

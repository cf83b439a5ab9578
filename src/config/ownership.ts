import type { Stats } from 'node:fs';

/** The permission bits for everybody but the owner and the group. */
const OTHERS_MAY_READ = 0o004;
const GROUP_OR_OTHERS_MAY_WRITE = 0o022;

/** The user that this process acts as; undefined on Windows, where files have no such owners and no such permissions. */
const ownUser = (): number | undefined => process.geteuid?.();

/** True if a file belongs to the user of this process, or to root. On Windows it always does. */
export function isOwnedByUsOrRoot({ uid }: Pick<Stats, 'uid'>): boolean {
  const own = ownUser();
  return own === undefined || uid === own || uid === 0;
}

/** True if others than a file's owner may change it. On Windows that can't be told, and the answer is no. */
export function isWritableByOthers({ mode }: Pick<Stats, 'mode'>): boolean {
  return ownUser() !== undefined && (mode & GROUP_OR_OTHERS_MAY_WRITE) !== 0;
}

/** True if everybody on this machine may read a file. On Windows that can't be told, and the answer is no. */
export function isReadableByEverybody({ mode }: Pick<Stats, 'mode'>): boolean {
  return ownUser() !== undefined && (mode & OTHERS_MAY_READ) !== 0;
}

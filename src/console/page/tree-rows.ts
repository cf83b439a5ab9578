import type { GroupListing } from '../api.js';

/** A visible row of the tree. */
export interface TreeRow {
  /** The absolute name. */
  readonly name: string;
  /** The text: the last part of the name. */
  readonly part: string;
  readonly isGroup: boolean;
  readonly isOpen: boolean;
  /** The depth; the root is 1. */
  readonly level: number;
  /** Its position among its siblings, from 1, and their number. */
  readonly position: number;
  readonly siblings: number;
  /** The number of a group's members, if it is known. */
  readonly members: number | undefined;
}

export const ROOT = ':';

/** The name of a group's member. */
export function childName(group: string, part: string): string {
  return group === ROOT ? ROOT + part : `${group}.${part}`;
}

/** The group that a name is in; the root's parent is the root. */
export function parentName(name: string): string {
  const end = name.lastIndexOf('.');
  return end < 0 ? ROOT : name.slice(0, end);
}

/** The last part of a name. */
export function lastPart(name: string): string {
  return name.slice(Math.max(name.lastIndexOf('.'), 0) + 1);
}

/** The rows of a tree of which some groups are open. Groups come before objects, each sorted. */
export function treeRows(listings: ReadonlyMap<string, GroupListing>, opened: ReadonlySet<string>): TreeRow[] {
  const rows: TreeRow[] = [];
  const add = (name: string, part: string, isGroup: boolean, place: Place): void => {
    const listing = isGroup ? listings.get(name) : undefined;
    const isOpen = isGroup && opened.has(name);
    const members = listing && listing.groups.length + listing.objects.length;
    rows.push({ name, part, isGroup, isOpen, members, ...place });
    if (!isOpen || listing === undefined || members === undefined) return;
    let position = 0;
    const level = place.level + 1;
    for (const group of listing.groups) {
      add(childName(name, group), group, true, { level, position: ++position, siblings: members });
    }
    for (const object of listing.objects) {
      add(childName(name, object), object, false, { level, position: ++position, siblings: members });
    }
  };
  add(ROOT, ROOT, true, { level: 1, position: 1, siblings: 1 });
  return rows;
}

type Place = Pick<TreeRow, 'level' | 'position' | 'siblings'>;

import { createHash } from 'node:crypto';
import type { Comparison, Difference, FlatEntry, FlatPage, FlatlistRequest } from './api.js';

/** The most names in a list of differences. */
const MAX_DIFFERENCES = 500;

/** All objects of a server at one moment, and the groups that they are in, sorted by name. */
export class FlatSnapshot {
  readonly version: string;
  private readonly entries: readonly FlatEntry[];
  private lastFilter = '';
  private lastMatches: readonly FlatEntry[];

  /** @param uris the URIs of all objects, by name */
  constructor(readonly uris: ReadonlyMap<string, string>) {
    const groups = new Set<string>();
    for (const name of uris.keys()) {
      for (let end = name.lastIndexOf('.'); end > 0; end = name.lastIndexOf('.', end - 1)) {
        const group = name.slice(0, end);
        if (groups.has(group)) break;
        groups.add(group);
      }
    }
    const entries: FlatEntry[] = Array.from(groups, (name) => ({ name }));
    for (const [name, uri] of uris) entries.push({ name, uri });
    entries.sort((one, other) => (one.name < other.name ? -1 : one.name > other.name ? 1 : 0));
    this.entries = entries;
    this.lastMatches = entries;
    const hash = createHash('sha1');
    for (const { name, uri } of entries) hash.update(`${name} ${uri ?? ''}\n`);
    this.version = hash.digest('base64url');
  }

  /** A page of the entries that match a filter. */
  page({ filter, offset, limit }: FlatlistRequest): FlatPage {
    const matches = this.matches(filter.toLowerCase().trim());
    const entries = matches.slice(offset, offset + limit);
    return { version: this.version, total: matches.length, offset, entries };
  }

  /** The entries that match a filter. The last result is cached, because the page requests it page by page. */
  private matches(filter: string): readonly FlatEntry[] {
    if (filter === this.lastFilter) return this.lastMatches;
    const words = filter.split(/\s+/).filter((word) => word !== '');
    // A longer filter can only match a subset of what the shorter one matched.
    const candidates = filter.startsWith(this.lastFilter) ? this.lastMatches : this.entries;
    this.lastMatches = candidates.filter(({ name, uri = '' }) => {
      const text = `${name} ${uri}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    this.lastFilter = filter;
    return this.lastMatches;
  }
}

/**
 * Compares the objects of two servers.
 * @param ignored a name that is not compared, such as the name server's own
 */
export function compareSnapshots(first: FlatSnapshot, second: FlatSnapshot, ignored: string): Comparison {
  const onlyFirst: string[] = [];
  const otherURI: string[] = [];
  let same = 0;
  for (const [name, uri] of first.uris) {
    const other = second.uris.get(name);
    if (name === ignored) continue;
    if (other === undefined) onlyFirst.push(name);
    else if (other === uri) same += 1;
    else otherURI.push(name);
  }
  const onlySecond = Array.from(second.uris.keys()).filter((name) => name !== ignored && !first.uris.has(name));
  return {
    same,
    onlyFirst: difference(onlyFirst),
    onlySecond: difference(onlySecond),
    otherURI: difference(otherURI),
  };
}

function difference(names: string[]): Difference {
  return { count: names.length, names: names.sort().slice(0, MAX_DIFFERENCES) };
}

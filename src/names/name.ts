import { NamingError } from '../errors.js';
import { refusalText } from '../refusals.js';

const ROOT = ':';
const SEPARATOR = '.';

// The grammar of the manual's chapter "Pyro's hierarchical object naming scheme": parts of ASCII 33-126 without
// backslash, dot and colon. Existing entries of a database may contain a colon (Pyro 3 accepted it), so names with a
// colon are parsed, and only refused for new entries: see `requireNewName`.
const ABSOLUTE_NAME = /^:(?:[!-\-/-[\]-~]+(?:\.[!-\-/-[\]-~]+)*)?$/;

/** The most characters in a name. Longer ones are refused before they are parsed. */
export const MAX_NAME_LENGTH = 4096;

/**
 * The absolute name of a group or an object: the root `:`, or `:part.part...`. Immutable, and valid by construction.
 */
export class Name {
  /** The root group. */
  static readonly root = new Name(ROOT);

  private splitParts: readonly string[] | undefined;

  private constructor(private readonly text: string) {}

  /**
   * Parses an absolute name.
   * @throws NamingError `invalid name` or `invalid character(s) in name`, which are Pyro 3's texts; `name too long`
   */
  static parse(text: string): Name {
    if (text.length > MAX_NAME_LENGTH) throw new NamingError(refusalText('NAME_TOO_LONG'), `${text.slice(0, 64)}...`);
    if (ABSOLUTE_NAME.test(text)) return text === ROOT ? Name.root : new Name(text);
    const isMalformed = !text.startsWith(ROOT) || text.slice(1).split(SEPARATOR).includes('');
    throw new NamingError(isMalformed ? 'invalid name' : 'invalid character(s) in name', text);
  }

  /**
   * Parses a name as clients write it: a relative one is below `defaultGroup`; an empty one is `defaultGroup` itself.
   * @throws NamingError where the result is not a valid name
   */
  static expand(text: string, defaultGroup: Name): Name {
    if (text.startsWith(ROOT)) return Name.parse(text);
    if (text === '') return defaultGroup;
    return Name.parse(defaultGroup.isRoot ? ROOT + text : defaultGroup.text + SEPARATOR + text);
  }

  /** The name of a member of this group. @throws NamingError as `parse` */
  child(part: string): Name {
    return Name.parse(this.isRoot ? ROOT + part : this.text + SEPARATOR + part);
  }

  get isRoot(): boolean {
    return this.text === ROOT;
  }

  /** The parts from the root down; none for the root. */
  get parts(): readonly string[] {
    this.splitParts ??= this.isRoot ? [] : this.text.slice(1).split(SEPARATOR);
    return this.splitParts;
  }

  /** The last part; empty for the root. */
  get part(): string {
    return this.text.slice(Math.max(this.text.lastIndexOf(SEPARATOR), 0) + 1);
  }

  /** The group that this name is in; the root's parent is the root. */
  get parent(): Name {
    const end = this.text.lastIndexOf(SEPARATOR);
    return end === -1 ? Name.root : new Name(this.text.slice(0, end));
  }

  /** True if this is `group`, or anywhere below it. */
  isWithin(group: Name): boolean {
    return group.isRoot || this.text === group.text || this.text.startsWith(group.text + SEPARATOR);
  }

  equals(other: Name): boolean {
    return this.text === other.text;
  }

  toString(): string {
    return this.text;
  }

  toJSON(): string {
    return this.text;
  }
}

/**
 * Refuses a name with a colon in a part for a new entry. Pyro 3 accepted it, against its manual.
 * @throws NamingError `invalid character(s) in name`
 */
export function requireNewName(name: Name): void {
  if (name.toString().includes(ROOT, 1)) throw new NamingError(refusalText('NAME_INVALID_CHARACTERS'), name.toString());
}

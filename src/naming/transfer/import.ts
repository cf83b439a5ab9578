import { type ErrorCode, NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { PyroURI } from '../../names/index.js';
import type { NamespaceEntry } from '../../namespace/index.js';
import { dumps, type PythonValue } from '../../pickle/index.js';
import { readEntryLine } from './entry-line.js';
import { MAX_LINE_LENGTH, TOO_LONG, type Line } from './lines.js';
import type { ImportTarget } from './remote-namespace.js';

/** What to do with a name that is there already, and is not the same: leave it and fail, leave it, or replace it. */
export type ExistingNames = 'fail' | 'skip' | 'replace';

export interface ImportOptions {
  readonly existing: ExistingNames;
  /** A name that is never touched, such as the name server's own. */
  readonly except?: string | undefined;
  /** Told of each line that was not imported, with its number from 1, and why. */
  readonly onFailure: (line: number, reason: string) => void;
}

/** How many entries came to what. */
export interface ImportReport {
  imported: number;
  /** There already, and the same. */
  unchanged: number;
  /** There already and not the same, or never touched. */
  skipped: number;
  failed: number;
}

/** How many entries are on their way at the same time. */
const MAX_UNDERWAY = 64;

/**
 * Imports entries, a line each as an export writes them. Groups must come before their members. What is wrong with one entry
 * does not stop the others.
 * @throws ProtocolError where the name server is lost on the way, and whatever the lines throw
 */
export async function importEntries(
  target: ImportTarget,
  lines: AsyncIterable<Line>,
  options: ImportOptions,
): Promise<ImportReport> {
  return new Import(target, options).run(lines);
}

class Import {
  private readonly report: ImportReport = { imported: 0, unchanged: 0, skipped: 0, failed: 0 };
  /** What ends the whole import. */
  private fatal: { readonly error: unknown } | undefined;
  private readonly inflight = new Set<Promise<void>>();
  /** Groups that are on their way: members wait for them. */
  private readonly groups = new Map<string, Promise<void>>();

  constructor(
    private readonly target: ImportTarget,
    private readonly options: ImportOptions,
  ) {}

  async run(lines: AsyncIterable<Line>): Promise<ImportReport> {
    let number = 0;
    for await (const line of lines) {
      number += 1;
      if (line === TOO_LONG) this.fail(number, lineTooLong());
      else if (line.trim() !== '') this.begin(line, number);
      if (this.inflight.size >= MAX_UNDERWAY) await Promise.race(this.inflight);
      if (this.fatal !== undefined) break;
    }
    await Promise.all(this.inflight);
    if (this.fatal !== undefined) throw this.fatal.error;
    return this.report;
  }

  private begin(line: string, number: number): void {
    let entry: NamespaceEntry;
    try {
      entry = readEntryLine(line);
    } catch (error) {
      this.fail(number, error);
      return;
    }
    const name = entry.name.toString();
    const parent = this.groups.get(entry.name.parent.toString());
    const done = this.importAfter(parent, entry)
      .then((outcome) => {
        this.report[outcome] += 1;
      })
      .catch((error: unknown) => {
        this.fail(number, error, name);
      })
      .finally(() => {
        this.inflight.delete(done);
        this.groups.delete(name);
      });
    this.inflight.add(done);
    if (entry.uri === undefined) this.groups.set(name, done);
  }

  private async importAfter(parent: Promise<void> | undefined, entry: NamespaceEntry): Promise<keyof ImportReport> {
    await parent;
    if (entry.name.toString() === this.options.except) return 'skipped';
    if (entry.name.isRoot) return this.meet(entry);
    try {
      await this.create(entry);
    } catch (error) {
      if (!(error instanceof NamingError && TAKEN.has(error.code))) throw error;
      return this.meet(entry);
    }
    await this.describe(entry);
    return 'imported';
  }

  private create({ name, uri }: NamespaceEntry): Promise<void> {
    return uri === undefined ? this.target.createGroup(name) : this.target.register(name, uri);
  }

  private async describe({ name, systemMeta, userMeta }: NamespaceEntry): Promise<void> {
    if (systemMeta !== undefined) await this.target.setSystemMeta(name, systemMeta);
    if (userMeta !== null) await this.target.setMeta(name, userMeta);
  }

  /** Does what is wanted where a name is there already. */
  private async meet(entry: NamespaceEntry): Promise<keyof ImportReport> {
    const { target } = this;
    const { name, uri, userMeta } = entry;
    const { existing } = this.options;
    const [there, meta] = await Promise.all([this.uriThere(entry), target.getMeta(name)]);
    if ((there === undefined) !== (uri === undefined)) {
      throw new NamingError(refusalText('IMPORT_EXISTS', `and is ${there === undefined ? 'a group' : 'an object'}`));
    }
    const hasSameURI = there === undefined || uri === undefined || there.equals(uri);
    const isSame = hasSameURI && isSameValue(meta, userMeta);
    if (existing === 'replace') {
      await this.replace(entry, hasSameURI, meta);
      return isSame ? 'unchanged' : 'imported';
    }
    if (isSame) return 'unchanged';
    // The groups that each server has from the start are no obstacle.
    if (uri === undefined && (meta === null || userMeta === null)) {
      if (userMeta !== null) await target.setMeta(name, userMeta);
      return 'imported';
    }
    if (existing === 'skip') return 'skipped';
    throw new NamingError(refusalText('IMPORT_EXISTS', `with ${hasSameURI ? 'other metadata' : 'another URI'}`));
  }

  private async replace(entry: NamespaceEntry, hasSameURI: boolean, meta: PythonValue): Promise<void> {
    const { name, uri, userMeta } = entry;
    if (uri !== undefined && !hasSameURI) {
      await this.target.unregister(name);
      await this.target.register(name, uri);
    } else if (userMeta === null && meta !== null) await this.target.setMeta(name, null);
    await this.describe(entry);
  }

  /** The URI that there is under a name; undefined of a group. */
  private async uriThere({ name }: NamespaceEntry): Promise<PyroURI | undefined> {
    if (name.isRoot) return undefined;
    try {
      return await this.target.resolve(name);
    } catch (error) {
      if (error instanceof NamingError && error.code === 'RESOLVED_GROUP') return undefined;
      throw error;
    }
  }

  private fail(line: number, error: unknown, name?: string): void {
    if (!(error instanceof NamingError)) {
      this.fatal ??= { error };
      return;
    }
    this.report.failed += 1;
    this.options.onFailure(line, name === undefined ? error.message : `${name}: ${error.message}`);
  }
}

const TAKEN: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['NAME_EXISTS', 'GROUP_EXISTS']);

const isSameValue = (one: PythonValue, other: PythonValue): boolean => dumps(one).equals(dumps(other));

const lineTooLong = (): NamingError => new NamingError(refusalText('IMPORT_LINE_TOO_LONG', MAX_LINE_LENGTH));

import { type ErrorCode, NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { PyroURI } from '../../names/index.js';
import type { NamespaceEntry } from '../../namespace/index.js';
import { dumps, type PythonValue } from '../../pickle/index.js';
import { readEntryLine } from './entry-line.js';
import { MAX_LINE_LENGTH, TOO_LONG, type Line } from './lines.js';
import type { ImportTarget } from './remote-namespace.js';

/** What to do with a name that exists with other content: keep it and report a failure, keep it, or replace it. */
export type ExistingNames = 'fail' | 'skip' | 'replace';

export interface ImportOptions {
  readonly existing: ExistingNames;
  /** A name that is not imported, such as the name server's own. */
  readonly except?: string | undefined;
  /** Called for each line that was not imported, with its number, from 1, and the reason. */
  readonly onFailure: (line: number, reason: string) => void;
}

/** The number of entries by outcome. */
export interface ImportReport {
  imported: number;
  /** Existed already, with the same content. */
  unchanged: number;
  /** Existed already with other content, or was the excepted name. */
  skipped: number;
  failed: number;
}

/** Concurrency limit: how many entries are imported at the same time. */
const IMPORT_CONCURRENCY = 64;

/**
 * Imports entries, one per line as an export writes them. Groups must come before their members. An entry that can't be
 * imported does not stop the others.
 * @throws ProtocolError where the connection to the name server is lost; as iterating over `lines`
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
  /** The error that ends the whole import. */
  private fatal: { readonly error: unknown } | undefined;
  private readonly inflight = new Set<Promise<void>>();
  /** The groups being imported: their members wait for them. */
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
      if (this.inflight.size >= IMPORT_CONCURRENCY) await Promise.race(this.inflight);
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
    if (entry.name.isRoot) return this.importExisting(entry);
    try {
      await this.create(entry);
    } catch (error) {
      if (!(error instanceof NamingError && TAKEN.has(error.code))) throw error;
      return this.importExisting(entry);
    }
    await this.setMetadata(entry);
    return 'imported';
  }

  private create({ name, uri }: NamespaceEntry): Promise<void> {
    return uri === undefined ? this.target.createGroup(name) : this.target.register(name, uri);
  }

  private async setMetadata({ name, systemMeta, userMeta }: NamespaceEntry): Promise<void> {
    if (systemMeta !== undefined) await this.target.setSystemMeta(name, systemMeta);
    if (userMeta !== null) await this.target.setMeta(name, userMeta);
  }

  /** Handles an entry whose name exists already, as the options say. */
  private async importExisting(entry: NamespaceEntry): Promise<keyof ImportReport> {
    const { target } = this;
    const { name, uri, userMeta } = entry;
    const { existing } = this.options;
    const [there, meta] = await Promise.all([this.existingURI(entry), target.getMeta(name)]);
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
    // A group without metadata on one side is no conflict: every server has some groups from the start.
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
    await this.setMetadata(entry);
  }

  /** The URI that a name has now; undefined for a group. */
  private async existingURI({ name }: NamespaceEntry): Promise<PyroURI | undefined> {
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

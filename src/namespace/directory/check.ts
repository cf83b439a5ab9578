/**
 * Finds what is wrong in a database, and repairs it without deleting anything: what harms is moved aside, where no server takes
 * it for a name. The tree is looked at as it is on the disk, whatever a server would make of it.
 */
import type { Dirent } from 'node:fs';
import { requireDatabase } from './foreign-files.js';
import { lstat, mkdir, readdir, realpath, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Log } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { MAX_NAME_LENGTH } from '../../names/index.js';
import { DirectorySync } from './directory-sync.js';
import { FsErrors } from './fs-errors.js';
import { codeOf, readFileAt, type Reading } from './files.js';
import {
  isStagedFileName,
  isUsualSpelling,
  MAX_URI_FILE_SIZE,
  META_SUFFIX,
  OWN_DIRECTORY,
  partOf,
  readURIFile,
} from './layout.js';
import { InlineIOPolicy, WRITE_BACKOFF } from './inline-io-policy.js';
import { DatabaseLock, LOCK_FILES } from './lock.js';
import { MAX_META_FILE_SIZE, readMetaFile } from './metadata.js';
import { TreeReplacement, REPLACEMENT_STATES } from './replace.js';
import { Staging } from './staging.js';

/** What can be wrong. */
export type DamageKind =
  | 'empty file'
  | 'torn file'
  | 'bad URI'
  | 'large file'
  | 'bad name'
  | 'second spelling'
  | 'link'
  | 'no file'
  | 'orphaned metadata'
  | 'damaged metadata'
  | 'leftover'
  | 'foreign file'
  | 'unfinished replacement'
  | 'unreadable'
  | 'case clash';

/** Something that is wrong in a database, or may become so. */
export interface Finding {
  readonly kind: DamageKind;
  /** False for what does no harm here, and is left as it is: it may do harm where the database is moved to. */
  readonly isDamage: boolean;
  /** Relative to the database. What is no ASCII in it is as in Latin-1. */
  readonly path: string;
  /** A sentence: what it is, and what follows from it. */
  readonly explanation: string;
  /** What was done about it; undefined where nothing was. */
  readonly repair: string | undefined;
}

/** How a database is checked. */
export interface CheckOptions {
  readonly log: Log;
  /** Move aside what is wrong. */
  readonly repair?: boolean | undefined;
  /** Is told, in a sentence, that the database must be waited for: whoever has it may be dead. */
  readonly onWait?: ((text: string) => void) | undefined;
  /** Takes each finding as soon as it is made, and repaired. */
  readonly onFinding: (finding: Finding) => void;
}

/** What a check has seen. */
export interface CheckReport {
  /** Of the database. */
  readonly root: string;
  /** Groups and objects that are as they should be. */
  readonly groups: number;
  readonly objects: number;
  /** Where things were moved to; undefined where nothing was. */
  readonly movedTo: string | undefined;
}

/** How many files are looked at at the same time. */
const BATCH_SIZE = 64;

/** What directories are called that things were moved to: no name, and Pyro 3 passes over it too. */
const ASIDE = /^\.repaired-[\d-]+\.ns_meta$/;

/** A part of an id as Pyro makes it, of which the end is missing. */
const CUT_GUID = /^[0-9a-f]{8,33}$/;

/** What is wrong with something. */
type Problem = Pick<Finding, 'kind' | 'explanation'>;

/** Something in a directory, under the name that it has there, byte by byte. */
interface Entry {
  readonly fileName: string;
  readonly dirent: Dirent<Buffer>;
}

/** A directory that is looked at; the name of its group as far as its length matters. */
interface Place {
  readonly path: string;
  /** Relative to the database, with a slash behind it, or empty. */
  readonly prefix: string;
  readonly nameLength: number;
}

/**
 * Checks a database, alone: it takes the database's lock.
 * @param path a database directory
 * @throws NamingError where it is no database, or can't be used; DatabaseInUseError where a server holds it
 */
export async function checkDatabase(path: string, options: CheckOptions): Promise<CheckReport> {
  try {
    const root = await realpath(path);
    await requireDatabase(root);
    const lock = await DatabaseLock.acquire(root, options.log, { onWait: options.onWait });
    try {
      return await new Check(root, options).run();
    } finally {
      await lock.release();
    }
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    throw new NamingError(refusalText('DATABASE_UNUSABLE', path, 'checked', String(error)));
  }
}

class Check {
  private readonly directories = new DirectorySync(true);
  private readonly aside: string;
  private asideMade: Promise<void> | undefined;
  private readonly changed = new Set<string>();
  private groups = 0;
  private objects = 0;

  constructor(
    private readonly root: string,
    private readonly options: CheckOptions,
  ) {
    this.aside = `.repaired-${new Date().toISOString().slice(0, 23).replaceAll(/[T:.]/g, '-')}${META_SUFFIX}`;
  }

  async run(): Promise<CheckReport> {
    await this.checkOwnDirectory();
    const places: Place[] = [{ path: this.root, prefix: '', nameLength: 0 }];
    for (let place = places.pop(); place !== undefined; place = places.pop()) {
      places.push(...(await this.checkDirectory(place)));
    }
    for (const directory of this.changed) await this.directories.sync(directory);
    return {
      root: this.root,
      groups: this.groups,
      objects: this.objects,
      movedTo: this.asideMade && `${this.root}/${this.aside}`,
    };
  }

  /** Where servers work: what one leaves there at its end is a change that a crash has stopped. */
  private async checkOwnDirectory(): Promise<void> {
    const place = { path: `${this.root}/${OWN_DIRECTORY}`, prefix: `${OWN_DIRECTORY}/`, nameLength: 0 };
    const { entries } = await this.read(place);
    if (entries.some(({ fileName }) => REPLACEMENT_STATES.has(fileName))) await this.finishReplacement();
    for (const { fileName, dirent } of entries) {
      if (LOCK_FILES.has(fileName) || REPLACEMENT_STATES.has(fileName)) continue;
      if (!isStagedFileName(fileName)) {
        const explanation = 'It stands where servers work, but no server made it: it is left alone, and does no harm.';
        this.tell(place.prefix + fileName, { kind: 'foreign file', explanation }, false);
        continue;
      }
      await this.moveAside(place, dirent.name, {
        kind: 'leftover',
        explanation:
          'A server died before this became a name, or while it was being removed: nobody was told that it is there.',
      });
    }
  }

  private async finishReplacement(): Promise<void> {
    const { log, repair, onFinding } = this.options;
    if (repair === true) {
      const inlineIO = new InlineIOPolicy(false, WRITE_BACKOFF);
      const staging = new Staging(`${this.root}/${OWN_DIRECTORY}`, true, inlineIO, new FsErrors(log, this.root));
      await new TreeReplacement(this.root, staging, this.directories, log).finish();
      await staging.close();
    }
    onFinding({
      kind: 'unfinished replacement',
      isDamage: true,
      path: OWN_DIRECTORY,
      explanation: 'A server died while all names were being replaced: some are in the tree, some are still here.',
      repair: repair === true ? 'finished the replacement' : undefined,
    });
  }

  /** Checks the members of a directory, and gives the groups among them. */
  private async checkDirectory(place: Place): Promise<Place[]> {
    const { entries, problem } = await this.read(place);
    if (problem !== undefined) this.tell(place.prefix.slice(0, -1), problem);
    const metadata: Entry[] = [];
    const members = new Map<string, Entry[]>();
    for (const entry of entries) {
      if (place.prefix === '' && (entry.fileName === OWN_DIRECTORY || ASIDE.test(entry.fileName))) continue;
      if (entry.fileName.endsWith(META_SUFFIX)) metadata.push(entry);
      else await this.sortIn(place, entry, members);
    }
    const sound = await this.checkMembers(place, members);
    this.lookForCaseClashes(place, sound);
    const soundNames = new Set(sound.map(({ fileName }) => fileName));
    // What is moved aside takes its metadata along.
    const unsoundNames = new Set([...members.values()].flat().map(({ fileName }) => fileName + META_SUFFIX));
    for (const fileName of soundNames) unsoundNames.delete(fileName + META_SUFFIX);
    const others = metadata.filter(({ fileName }) => !unsoundNames.has(fileName));
    await inBatches(others, (entry) => this.checkMetadata(place, entry, soundNames));
    return sound
      .filter(({ dirent }) => dirent.isDirectory())
      .map(({ fileName }) => ({
        path: `${place.path}/${fileName}`,
        prefix: `${place.prefix}${fileName}/`,
        nameLength: place.nameLength + 1 + (partOf(fileName)?.length ?? 0),
      }));
  }

  private async read({ path }: Place): Promise<{ readonly entries: Entry[]; readonly problem?: Problem }> {
    const entries: Entry[] = [];
    try {
      // By their bytes, as names need not be text.
      for (const dirent of await readdir(path, { encoding: 'buffer', withFileTypes: true })) {
        entries.push({ fileName: dirent.name.toString('latin1'), dirent });
      }
      return { entries };
    } catch (error) {
      return { entries, problem: unreadable(error) };
    }
  }

  /** Puts an entry where its name belongs, or tells that it is none. What has a dot is none, and may stand where it is. */
  private async sortIn(place: Place, { fileName, dirent }: Entry, members: Map<string, Entry[]>): Promise<void> {
    const part = partOf(fileName);
    if (part !== undefined && place.nameLength + 1 + part.length <= MAX_NAME_LENGTH) {
      const same = members.get(part);
      if (same === undefined) members.set(part, [{ fileName, dirent }]);
      else same.push({ fileName, dirent });
      return;
    }
    const isHarmless = fileName.includes('.') && !(await holdsURI(`${place.path}/${fileName}`, dirent));
    if (isHarmless) return;
    const reason =
      part === undefined
        ? 'A part of a name is made of ASCII characters without white space, backslash and dot'
        : 'It is too long for a name';
    await this.moveAside(place, dirent.name, { kind: 'bad name', explanation: `${reason}: nobody is shown this.` });
  }

  /** Gives those that are as they should be. */
  private async checkMembers(place: Place, members: ReadonlyMap<string, readonly Entry[]>): Promise<Entry[]> {
    const sound: Entry[] = [];
    await inBatches([...members], async ([part, spellings]) => {
      const sorted = [...spellings].sort((one, other) => rank(one, part) - rank(other, part));
      for (const [index, entry] of sorted.entries()) {
        const problem =
          index === 0 ? await problemOf(`${place.path}/${entry.fileName}`, entry.dirent) : SECOND_SPELLING;
        if (problem?.kind === 'unreadable') this.tell(place.prefix + entry.fileName, problem);
        else if (problem !== undefined) await this.moveAside(place, entry.dirent.name, problem);
        if (problem !== undefined && problem.kind !== 'unreadable') continue;
        // What can't be read stays, and so does what belongs to it.
        sound.push(entry);
        if (problem !== undefined) continue;
        if (entry.dirent.isDirectory()) this.groups += 1;
        else this.objects += 1;
      }
    });
    return sound;
  }

  private lookForCaseClashes({ prefix }: Place, entries: readonly Entry[]): void {
    const seen = new Map<string, string>();
    for (const { fileName } of entries) {
      const other = seen.get(fileName.toLowerCase());
      if (other === undefined) seen.set(fileName.toLowerCase(), fileName);
      else {
        const explanation = `It differs from ${other} only in case: where a file system ignores case, one of them is lost.`;
        this.tell(prefix + fileName, { kind: 'case clash', explanation }, false);
      }
    }
  }

  private async checkMetadata(place: Place, { fileName, dirent }: Entry, members: ReadonlySet<string>): Promise<void> {
    const about = fileName.slice(0, -META_SUFFIX.length);
    const isOfRoot = place.prefix === '' && about === '';
    if (!isOfRoot && !members.has(about)) {
      const isOurs = fileName === OWN_DIRECTORY;
      if (about.includes('.') && !isOurs) return;
      const explanation = isOurs
        ? 'A database was copied into this group, with what a server works in.'
        : 'There is no such name any more: Pyro 3 would let the next one that is registered under it inherit this.';
      await this.moveAside(place, dirent.name, { kind: isOurs ? 'leftover' : 'orphaned metadata', explanation });
      return;
    }
    const problem = await problemOfMetadata(`${place.path}/${fileName}`);
    if (problem?.kind === 'unreadable') this.tell(place.prefix + fileName, problem);
    else if (problem !== undefined) await this.moveAside(place, dirent.name, problem);
  }

  /** Not where there is something of that name: through a link that others have put there, files would leave the database. */
  private makeAside(): Promise<void> {
    this.asideMade ??= mkdir(`${this.root}/${this.aside}`);
    return this.asideMade;
  }

  private tell(path: string, problem: Problem, isDamage = true): void {
    this.options.onFinding({ ...problem, isDamage, path, repair: undefined });
  }

  /** Tells of something that is wrong, and takes it out of the tree where that is wanted, with its metadata. */
  private async moveAside(place: Place, name: Buffer, problem: Problem): Promise<void> {
    const path = place.prefix + name.toString('latin1');
    if (this.options.repair !== true) {
      this.tell(path, problem);
      return;
    }
    const target = `${this.root}/${this.aside}/${place.prefix}`;
    try {
      await this.makeAside();
      await mkdir(target, { recursive: true });
      await rename(joined(place.path, name), joined(target, name));
    } catch (error) {
      if (codeOf(error) !== 'ENAMETOOLONG') throw error;
      this.tell(path, { ...problem, explanation: `${problem.explanation} Its path is too long to move it.` });
      return;
    }
    const metadata = Buffer.concat([name, Buffer.from(META_SUFFIX)]);
    await rename(joined(place.path, metadata), joined(target, metadata)).catch((error: unknown) => {
      if (codeOf(error) !== 'ENOENT' && codeOf(error) !== 'ENAMETOOLONG') throw error;
    });
    for (let directory = target.slice(0, -1); directory.length >= this.root.length; directory = dirname(directory)) {
      this.changed.add(directory);
    }
    this.changed.add(place.path);
    const repair = `moved to ${this.aside}/${path}`;
    this.options.onFinding({ ...problem, isDamage: true, path, repair });
  }
}

const SECOND_SPELLING: Problem = {
  kind: 'second spelling',
  explanation: 'Another file name in this group spells the same name, and counts: nobody is shown this one.',
};

/** The usual spelling of a name comes before all others, which come in the order of the alphabet. */
const rank = ({ fileName }: Entry, part: string): number => (isUsualSpelling(fileName, part) ? 0 : 1);

const joined = (directory: string, name: Buffer): Buffer => Buffer.concat([Buffer.from(`${directory}/`), name]);

async function holdsURI(path: string, dirent: Dirent<Buffer>): Promise<boolean> {
  if (!dirent.isFile()) return false;
  const reading = await readFileAt(path, MAX_URI_FILE_SIZE).catch(() => undefined);
  return reading?.kind === 'file' && readURIFile(reading.content) !== undefined;
}

/** What is wrong with what has a name; undefined if nothing is. */
async function problemOf(path: string, dirent: Dirent<Buffer>): Promise<Problem | undefined> {
  if (dirent.isDirectory()) return undefined;
  if (dirent.isSymbolicLink()) {
    return { kind: 'link', explanation: 'Links are not followed: nobody is shown this. Pyro 3 would follow it.' };
  }
  if (!dirent.isFile()) {
    return { kind: 'no file', explanation: 'It is neither a file nor a directory. Pyro 3 would wait for it for ever.' };
  }
  try {
    return problemOfObject(await readAt(path, MAX_URI_FILE_SIZE));
  } catch (error) {
    return unreadable(error);
  }
}

/** As `readFileAt`, to which there is nothing where a path is too long. @throws the system's error there, too */
async function readAt(path: string, limit: number): Promise<Reading | undefined> {
  const reading = await readFileAt(path, limit);
  if (reading === undefined) {
    await lstat(path).catch((error: unknown) => {
      if (codeOf(error) === 'ENAMETOOLONG') throw error;
    });
  }
  return reading;
}

function problemOfObject(reading: Reading | undefined): Problem | undefined {
  if (reading?.kind === 'too large') {
    return { kind: 'large file', explanation: 'It is larger than any URI: nobody can resolve this.' };
  }
  // It has gone, or become something else: somebody is at work here.
  if (reading?.kind !== 'file') return undefined;
  const text = reading.content.toString('latin1');
  if (text.trim() === '') return { kind: 'empty file', explanation: 'There is no URI in it: nobody can resolve this.' };
  const uri = readURIFile(reading.content);
  const hasEnd = text.includes('\n');
  const isCut = uri === undefined ? text.startsWith('PYRO') || text.includes('\0') : CUT_GUID.test(uri.objectID);
  if (isCut && !hasEnd) {
    return { kind: 'torn file', explanation: 'The end of the URI is missing, so it leads nowhere.' };
  }
  if (uri === undefined) return { kind: 'bad URI', explanation: 'There is no URI in it: nobody can resolve this.' };
  if (uri.objectID === '') return { kind: 'bad URI', explanation: 'The URI names no object, so it leads nowhere.' };
  return undefined;
}

async function problemOfMetadata(path: string): Promise<Problem | undefined> {
  const kind = 'damaged metadata';
  try {
    const reading = await readAt(path, MAX_META_FILE_SIZE);
    if (reading?.kind === 'file') readMetaFile(reading.content);
    else if (reading !== undefined)
      return { kind, explanation: 'It is no file that can be read: the name has no metadata.' };
    return undefined;
  } catch (error) {
    if (codeOf(error) !== undefined) return unreadable(error);
    return { kind, explanation: 'It is no pickle of metadata: the name has none.' };
  }
}

/** @throws the error where it says something else */
function unreadable(error: unknown): Problem {
  if (codeOf(error) === 'ENAMETOOLONG') {
    return { kind: 'unreadable', explanation: 'Its path is too long to look at what is in it: nobody is shown that.' };
  }
  if (codeOf(error) !== 'EACCES' && codeOf(error) !== 'EIO') throw error;
  return {
    kind: 'unreadable',
    explanation: `It can't be read (${codeOf(error) ?? ''}): let the server's user read it.`,
  };
}

async function inBatches<Item>(items: readonly Item[], action: (item: Item) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += BATCH_SIZE) {
    await Promise.all(items.slice(start, start + BATCH_SIZE).map(action));
  }
}

import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Log } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { PyroURI } from '../../names/index.js';
import { MAX_NAME_LENGTH, Name } from '../../names/index.js';
import type { PythonValue } from '../../pickle/index.js';
import { KeyedMutex, RWLock } from '../../sync/index.js';
import type { DirectoryStatus, ListEntry, Namespace, NamespaceEntry, NamespaceSize, SystemMeta } from '../namespace.js';
import { GROUP, OBJECT } from '../namespace.js';
import * as refusals from '../errors.js';
import type { LoadResult } from './cache.js';
import { Cache } from './cache.js';
import { TreeWriter } from './tree-writer.js';
import { DirectorySync } from './directory-sync.js';
import { FsErrors } from './fs-errors.js';
import { codeOf, inspect, saysAbsent } from './files.js';
import { foreignFileIn, refuseForeignDirectory } from './foreign-files.js';
import { InlineIOPolicy, WRITE_BACKOFF, READ_BACKOFF } from './inline-io-policy.js';
import { fileNameOf, MAX_URI_FILE_SIZE, metaPathOf, OWN_DIRECTORY, readURIFile, uriFileContent } from './layout.js';
import { DatabaseLock, LOCK_FILES, type DatabaseLockOptions } from './lock.js';
import { MAX_META_FILE_SIZE, metaFileContent, readMetaFile, systemMetaOf } from './metadata.js';
import { requireNoMountAbove, requireNoMountIn } from './mounts.js';
import { Reader } from './reader.js';
import { TreeReplacement } from './replace.js';
import { Staging } from './staging.js';
import type { Directory, Found, Member } from './tree.js';
import { Tree } from './tree.js';
import type { WatchMode } from './watcher.js';
import { suitableWatchMode, Watcher } from './watcher.js';

/** How a database is opened and kept. */
export interface DirectoryOptions extends DatabaseLockOptions {
  readonly log: Log;
  /** Whether a change is on the disk before it is answered (PYRO_NS_SYNC). Without, a power failure may undo or tear it. */
  readonly sync?: boolean;
  /** How many names are remembered (PYRO_NS_CACHE_NAMES). */
  readonly cacheNames?: number;
  /** How changes made by other programs are noticed (PYRO_NS_WATCH); `auto` suits the file system. */
  readonly watch?: WatchMode | 'auto';
}

const DEFAULT_CACHE_NAMES = 200_000;

type Refusal = (name: Name) => NamingError;

/** What is known of a name's metadata, its own file or not. */
interface KnownMetadata {
  readonly system: SystemMeta;
  readonly user: PythonValue;
  /** What is in its own file; undefined where it has none. */
  readonly content: Buffer | undefined;
}

type NamedMember = Member & { readonly name: Name };

/** How many files are read at the same time where all are wanted. */
const READ_AHEAD = 64;

/**
 * A namespace in a directory, as Pyro 3 keeps it: a group is a directory, an object is a file that holds its URI. The
 * tree is the truth: ordinary tools may look at it and change it at any time.
 */
export class DirectoryNamespace implements Namespace {
  /** What is cached has a bound of its own. */
  readonly bytesInMemory = 0;
  private readonly nameMutex = new KeyedMutex();
  private readonly treeLock = new RWLock();
  private readonly fsErrors: FsErrors;
  private readonly cache: Cache;
  private readonly watcher: Watcher;
  private readonly reader: Reader;
  private readonly tree: Tree;
  private readonly staging: Staging;
  private readonly directorySync: DirectorySync;
  private readonly treeWriter: TreeWriter;
  private readonly replacement: TreeReplacement;
  /** Changes so far, and how long they took together. */
  private readonly changed = { changes: 0, changeSeconds: 0 };

  private constructor(
    private readonly lock: DatabaseLock,
    options: DirectoryOptions,
    watchMode: WatchMode,
    ignoresCase: boolean,
  ) {
    const { log, sync = true, cacheNames = DEFAULT_CACHE_NAMES } = options;
    const { root } = lock;
    this.fsErrors = new FsErrors(log, root);
    this.cache = new Cache(cacheNames);
    this.watcher = new Watcher(root, { mode: watchMode, ignoresCase, listener: this.cache, log });
    const mayBlock = watchMode === 'native';
    this.reader = new Reader(new InlineIOPolicy(mayBlock, READ_BACKOFF));
    this.tree = new Tree(root, this.reader, this.watcher, this.cache);
    this.staging = new Staging(
      `${root}/${OWN_DIRECTORY}`,
      sync,
      new InlineIOPolicy(mayBlock, WRITE_BACKOFF),
      this.fsErrors,
    );
    this.directorySync = new DirectorySync(sync);
    this.treeWriter = new TreeWriter(this.reader, this.staging, this.directorySync, this.fsErrors);
    this.replacement = new TreeReplacement(root, this.staging, this.directorySync, log);
  }

  /**
   * Opens a database, and makes the directory if there is none (its parent must be there). Nothing in it is read before it
   * is asked for.
   * @throws DatabaseInUseError where another server or tool holds it; NamingError, with the path, where it can't be used; the
   *   signal's reason
   */
  static async open(path: string, options: DirectoryOptions): Promise<DirectoryNamespace> {
    try {
      return await DirectoryNamespace.openUnexplained(path, options);
    } catch (error) {
      if (codeOf(error) === undefined) throw error;
      throw new NamingError(refusalText('DATABASE_UNUSABLE', path, 'used', String(error)));
    }
  }

  private static async openUnexplained(path: string, options: DirectoryOptions): Promise<DirectoryNamespace> {
    const isMade = await mkdir(path).then(
      () => true,
      (error: unknown) => {
        if (codeOf(error) !== 'EEXIST') throw error;
        return false;
      },
    );
    // Else a power failure may take away all of the database, whatever was synced in it.
    if (isMade) await new DirectorySync(options.sync ?? true).sync(dirname(resolve(path)));
    await refuseForeignDirectory(path);
    let namespace: DirectoryNamespace | undefined;
    const onRetaken = (): void => {
      // Another server may have changed anything.
      namespace?.watcher.invalidate(Name.root);
      options.onRetaken?.();
    };
    const lock = await DatabaseLock.acquire(path, options.log, { ...options, onRetaken });
    try {
      const { root } = lock;
      const { watch = 'auto' } = options;
      const watchMode = watch === 'auto' ? await suitableWatchMode(root) : watch;
      const ignoresCase = (await inspect(`${root}/${OWN_DIRECTORY.toUpperCase()}`)) !== undefined;
      namespace = new DirectoryNamespace(lock, options, watchMode, ignoresCase);
      await namespace.replacement.finish();
      await namespace.staging.open(LOCK_FILES);
      return namespace;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  resolve(name: Name): Promise<PyroURI> {
    const known = this.resolveNow(name);
    if (known !== undefined) return Promise.resolve(known);
    return this.attempt(name, refusals.nameNotFound, () =>
      this.cache.uris.getOrLoad(name.toString(), () => this.readObject(name)),
    );
  }

  resolveNow(name: Name): PyroURI | undefined {
    return this.cache.uris.get(name.toString());
  }

  register(name: Name, uri: PyroURI): Promise<void> {
    if (name.isRoot) return Promise.reject(refusals.nameInvalid(name));
    return this.change(name, refusals.parentNotFound, async () => {
      const parent = await this.tree.parentOf(name);
      const mayHaveMetadata = await this.tree.mayHoldMetadata(parent, name.parent);
      // A name is hardly ever taken, and to look for it costs a tenth of all: the change itself would find it, as it replaces
      // nothing. But then the metadata of a new name, which an old one may have left, must not be cleared away before.
      const isLookedFor = mayHaveMetadata || this.cache.uris.peek(name.toString()) !== undefined;
      const path = await this.freePath(parent, name, refusals.nameExists, isLookedFor);
      await this.treeWriter
        .addFile(path, uriFileContent(uri), mayHaveMetadata ? metaPathOf(path, name) : undefined)
        .catch(ifTaken(name, refusals.nameExists));
    });
  }

  unregister(name: Name): Promise<void> {
    return this.change(name, refusals.nameNotFound, async () => {
      const found = await this.tree.find(name);
      if (found === undefined) throw refusals.nameNotFound(name);
      if (found.type === GROUP) throw refusals.isGroupNotObject(name);
      await this.treeWriter.remove(found.path, metaPathOf(found.path, name));
    });
  }

  list(group: Name): Promise<ListEntry[]> {
    return this.attempt(group, refusals.groupNotFound, async () => {
      const listing = await this.cache.listings.getOrLoad(group.toString(), () => this.readListing(group));
      return [...listing];
    });
  }

  async *flatlist(): AsyncGenerator<readonly (readonly [Name, PyroURI])[]> {
    for await (const members of this.walk()) {
      const objects = members.filter(({ type }) => type === OBJECT);
      const uris = await Promise.all(
        objects.map(async ({ name, path }) => this.cache.uris.peek(name.toString()) ?? this.readMember(path)),
      );
      yield objects.flatMap(({ name }, index) => {
        const uri = uris[index];
        return uri === undefined ? [] : [[name, uri] as const];
      });
    }
  }

  createGroup(group: Name): Promise<void> {
    if (group.isRoot) return Promise.reject(refusals.groupExists(group));
    return this.change(group, refusals.parentNotFound, async () => {
      const parent = await this.tree.parentOf(group);
      const path = await this.freePath(parent, group, refusals.groupExists);
      requireNoMountAbove(parent.path, this.tree.root);
      await this.treeWriter.addDirectory(path, metaPathOf(path, group)).catch(ifTaken(group, refusals.groupExists));
    });
  }

  deleteGroup(group: Name): Promise<void> {
    if (group.isRoot) return Promise.reject(refusals.rootNotDeletable());
    return this.change(group, refusals.groupNotFound, async () => {
      const found = await this.tree.find(group);
      if (found === undefined) throw refusals.groupNotFound(group);
      if (found.type === OBJECT) throw refusals.isNoGroup(group);
      requireNoMountIn(found.path);
      await this.requireOnlyNames(found.path, group);
      try {
        await this.treeWriter.remove(found.path, metaPathOf(found.path, group));
      } finally {
        this.watcher.invalidate(group);
      }
    });
  }

  /** What is no name must not be erased with a group: people keep notes beside their names. */
  private async requireOnlyNames(path: string, group: Name): Promise<void> {
    const foreign = await foreignFileIn(path);
    if (foreign === undefined) return;
    const refusal = refusals.holdsForeignFiles(group);
    this.fsErrors.report(`group ${group.toString()} is not deleted:`, refusal, `Move away or remove ${foreign}`);
    throw refusal;
  }

  getMeta(name: Name): Promise<PythonValue> {
    return this.metadataOf(name).then(({ user }) => user);
  }

  setMeta(name: Name, meta: PythonValue): Promise<void> {
    return this.changeMetadata(name, ({ system }) => ({ system, user: meta }));
  }

  getSystemMeta(name: Name): Promise<SystemMeta> {
    return this.metadataOf(name).then(({ system }) => system);
  }

  setSystemMeta(name: Name, meta: SystemMeta): Promise<void> {
    return this.changeMetadata(name, ({ user }) => ({ system: meta, user }));
  }

  async *export(): AsyncGenerator<NamespaceEntry> {
    const { system, user } = await this.metadataOf(Name.root);
    yield { name: Name.root, uri: undefined, systemMeta: system, userMeta: user };
    for await (const members of this.walk()) {
      const entries = await Promise.all(members.map((member) => this.exported(member)));
      for (const entry of entries) if (entry !== undefined) yield entry;
    }
  }

  async replace(entries: AsyncIterable<NamespaceEntry>): Promise<void> {
    await this.nameMutex.run('replace', async () => {
      const tree = await this.attempt(Name.root, refusals.nameNotFound, async () => {
        await this.lock.confirm();
        return this.replacement.build(entries);
      });
      await this.treeLock.exclusive(async () => {
        await this.confirmLockFor(tree);
        this.watcher.invalidate(Name.root);
        try {
          await this.replacement.swap(tree);
        } finally {
          this.watcher.invalidate(Name.root);
        }
      });
    });
  }

  /** To build a tree may take long: another may have taken the lock meanwhile. */
  private async confirmLockFor(tree: string): Promise<void> {
    try {
      await this.lock.confirm();
    } catch (error) {
      this.staging.deleteLater(tree);
      throw this.fsErrors.toNamingError(error, Name.root);
    }
  }

  async count(): Promise<NamespaceSize> {
    let [groups, objects] = [0, 0];
    for await (const members of this.walk()) {
      const groupsHere = members.filter(({ type }) => type === GROUP).length;
      groups += groupsHere;
      objects += members.length - groupsHere;
    }
    return { groups, objects };
  }

  status(): DirectoryStatus {
    const { uris } = this.cache;
    return {
      kind: 'directory',
      problem: this.lock.problem,
      isDurable: this.directorySync.enabled,
      ...this.changed,
      directorySyncs: this.directorySync.count,
      fsErrors: this.fsErrors.count,
      cachedNames: uris.size,
      cacheHits: uris.hits,
      cacheMisses: uris.misses,
    };
  }

  async close(): Promise<void> {
    this.watcher.close();
    await this.treeLock.exclusive(() => this.staging.close());
    await this.lock.release();
  }

  private async readObject(name: Name): Promise<LoadResult<PyroURI>> {
    const { reading, validity } = (await this.tree.read(name, MAX_URI_FILE_SIZE)) ?? {};
    if (reading === undefined || reading.kind === 'other') throw refusals.nameNotFound(name);
    if (reading.kind === 'directory') throw refusals.resolvedGroup(name);
    const value = reading.kind === 'file' ? readURIFile(reading.content) : undefined;
    if (value === undefined) throw refusals.uriInvalid(name);
    // Nobody tells if a file is changed by another of its names.
    const isOnlyName = reading.kind === 'file' && reading.stats.nlink === 1;
    return { value, validity: isOnlyName ? validity : undefined };
  }

  private async readListing(group: Name): Promise<LoadResult<readonly ListEntry[]>> {
    const directory = await this.tree.directoryOf(group);
    if (directory === undefined)
      throw (await this.tree.find(group)) ? refusals.isNoGroup(group) : refusals.groupNotFound(group);
    const value: ListEntry[] = [];
    for await (const members of this.tree.members(directory.path)) {
      for (const { part, type } of this.isAddressable(group, members)) value.push({ part, type });
    }
    return { value, validity: directory.validity };
  }

  /**
   * Where a new name's file goes.
   * @param isLookedFor false to leave it to who makes the file whether there is one
   * @throws the refusal if there is something with that name, in any spelling
   */
  private async freePath(parent: Directory, name: Name, refusal: Refusal, isLookedFor = true): Promise<string> {
    const path = `${parent.path}/${fileNameOf(name.part)}`;
    if (isLookedFor && (await this.reader.inspect(path))) throw refusal(name);
    if (await this.tree.isSpelledUnusually(parent, name)) throw refusal(name);
    return path;
  }

  /** Runs a change of a name: after those of the same name that came before. */
  private change(name: Name, ifVanished: Refusal, action: () => Promise<void>): Promise<void> {
    return this.nameMutex.run(name.toString(), async () => {
      const begun = performance.now();
      try {
        await this.attempt(name, ifVanished, () => {
          const confirming = this.lock.confirm();
          return confirming === undefined ? action() : confirming.then(action);
        });
      } finally {
        this.cache.invalidate(name);
        this.changed.changes += 1;
        this.changed.changeSeconds += (performance.now() - begun) / 1000;
      }
    });
  }

  /**
   * Runs an action; what goes wrong with the file system becomes a refusal.
   * @param ifVanished what to say if a file or directory isn't there any more that was there a moment ago
   */
  private attempt<Result>(name: Name, ifVanished: Refusal, action: () => Promise<Result>): Promise<Result> {
    return this.treeLock.shared(async () => {
      try {
        return await action();
      } catch (error) {
        const isVanished = saysAbsent(error) && codeOf(error) !== 'ENAMETOOLONG' && (await inspect(this.tree.root));
        throw isVanished ? ifVanished(name) : this.fsErrors.toNamingError(error, name);
      }
    });
  }

  private changeMetadata(name: Name, change: (before: KnownMetadata) => Omit<KnownMetadata, 'content'>): Promise<void> {
    return this.change(name, refusals.nameNotFound, async () => {
      const { path, stats } = await this.requireName(name);
      const metaPath = metaPathOf(path, name);
      const before = await this.readMetadata(metaPath, stats);
      const { system, user } = change(before);
      if (before.content === undefined && system === before.system && user === null) return;
      try {
        await this.treeWriter.writeFile(metaPath, metaFileContent(system, user), before.content);
      } finally {
        this.cache.metadataAdded(name.parent.toString());
      }
    });
  }

  private async metadataOf(name: Name): Promise<KnownMetadata> {
    return this.attempt(name, refusals.nameNotFound, async () => {
      const { path, stats } = await this.requireName(name);
      return this.readableMetadata(metaPathOf(path, name), stats);
    });
  }

  private async requireName(name: Name): Promise<Found> {
    const found = await this.tree.find(name);
    if (found === undefined) throw refusals.nameNotFound(name);
    return found;
  }

  /** As `readMetadata`, and takes what may not be read for none, too: which is nothing to write over. */
  private async readableMetadata(metaPath: string, stats: Stats): Promise<KnownMetadata> {
    try {
      return await this.readMetadata(metaPath, stats);
    } catch (error) {
      if (codeOf(error) !== 'EACCES') throw error;
      this.fsErrors.report(`ignored ${metaPath}:`, error, 'Let the user that this server runs as read it.');
      return { system: systemMetaOf(stats), user: null, content: undefined };
    }
  }

  /** As Pyro 3 does, takes what is no metadata for none. @throws the system's error where it can't be told */
  private async readMetadata(metaPath: string, stats: Stats): Promise<KnownMetadata> {
    const isThere = await this.reader.inspect(metaPath);
    const reading = isThere && (await this.reader.read(metaPath, MAX_META_FILE_SIZE));
    const content = reading?.kind === 'file' ? reading.content : undefined;
    const told = systemMetaOf(stats);
    if (reading === undefined) return { system: told, user: null, content };
    try {
      if (content === undefined) throw new TypeError(`${reading.kind}: no file of metadata`);
      const { system = told, user } = readMetaFile(content);
      return { system, user, content };
    } catch (error) {
      this.fsErrors.report(`ignored ${metaPath}:`, error, 'It is no metadata. Remove it, or put back what it was.');
      return { system: told, user: null, content };
    }
  }

  /** All names but the root, parents before their members, a few at a time. Groups that can't be read are left out. */
  private async *walk(): AsyncGenerator<readonly NamedMember[]> {
    const groups = [{ name: Name.root, path: this.tree.root }];
    for (let group = groups.pop(); group !== undefined; group = groups.pop()) {
      const { name, path } = group;
      for await (const batch of this.readableMembers(path)) {
        const members = this.isAddressable(name, batch).map((member) => ({ ...member, name: name.child(member.part) }));
        groups.push(...members.filter(({ type }) => type === GROUP));
        for (let start = 0; start < members.length; start += READ_AHEAD) {
          yield members.slice(start, start + READ_AHEAD);
        }
      }
    }
  }

  /** Those members of a group that have names: nobody can ask for what is so deep that its name would be too long. */
  private isAddressable(group: Name, members: readonly Member[]): readonly Member[] {
    const room = MAX_NAME_LENGTH - group.toString().length - (group.isRoot ? 0 : 1);
    const tooDeep = members.find(({ part }) => part.length > room);
    if (tooDeep === undefined) return members;
    const what = `left out of listings what has no name, as that would be longer than ${MAX_NAME_LENGTH} characters:`;
    this.fsErrors.report(what, tooDeep.path, 'Move it up, or remove it.');
    return members.filter(({ part }) => part.length <= room);
  }

  private async *readableMembers(directory: string): AsyncGenerator<readonly Member[]> {
    try {
      yield* this.tree.members(directory);
    } catch (error) {
      await this.skip(directory, error);
    }
  }

  /** The URI of an object, undefined where its file has none. */
  private async readMember(path: string): Promise<PyroURI | undefined> {
    try {
      const reading = await this.reader.read(path, MAX_URI_FILE_SIZE);
      if (reading === undefined) await this.requireDatabase();
      return reading?.kind === 'file' ? readURIFile(reading.content) : undefined;
    } catch (error) {
      await this.skip(path, error);
      return undefined;
    }
  }

  private async exported({ name, path, type }: NamedMember): Promise<NamespaceEntry | undefined> {
    try {
      const stats = await this.reader.inspect(path);
      if (stats === undefined) await this.requireDatabase();
      const uri = type === OBJECT ? await this.readMember(path) : undefined;
      if (stats === undefined || (type === OBJECT && uri === undefined)) return undefined;
      const { system, user } = await this.readableMetadata(metaPathOf(path, name), stats);
      return { name, uri, systemMeta: system, userMeta: user };
    } catch (error) {
      await this.skip(path, error);
      return undefined;
    }
  }

  /** A listing leaves out what is gone by now or may not be read; any other error ends it, as it would be incomplete. */
  private async skip(path: string, error: unknown): Promise<void> {
    const isAbsent = saysAbsent(error);
    if (!isAbsent && codeOf(error) !== 'EACCES') throw this.fsErrors.toNamingError(error, Name.root);
    await this.requireDatabase();
    if (isAbsent) return;
    this.fsErrors.report(`left ${path} out of a listing:`, error, 'Let the user that this server runs as read it.');
  }

  /** Where something in it is out of reach: it may be all of the database, and a listing would end early, as if it were whole. */
  private async requireDatabase(): Promise<void> {
    await access(`${this.tree.root}/.`, constants.R_OK | constants.X_OK).catch((error: unknown) => {
      throw this.fsErrors.toNamingError(error, Name.root);
    });
  }
}

/** Turns the system's word for a name that somebody took meanwhile into the refusal. */
function ifTaken(name: Name, refusal: Refusal): (error: unknown) => never {
  return (error) => {
    throw codeOf(error) === 'EEXIST' ? refusal(name) : error;
  };
}

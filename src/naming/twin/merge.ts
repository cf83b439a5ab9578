import { isDeepStrictEqual } from 'node:util';
import type { Log } from '../../config/index.js';
import { type ErrorCode, NamingError } from '../../errors.js';
import { Name, NAMESERVER_NAME, type PyroURI } from '../../names/index.js';
import { GROUP, type Namespace } from '../../namespace/index.js';
import { dumps, type PythonValue } from '../../pickle/index.js';
import { applyChange, type Change } from '../change.js';
import type { ChangeFeed } from '../change-feed.js';
import type { SubtreeLock } from '../../sync/index.js';
import { isNewer, type NameRecord, type NameState, type Timestamp, type TwinRole } from './records.js';
import type { Version, Versions } from './versions.js';

/** Concurrency limit: how many names are read or merged at the same time. */
const MERGE_CONCURRENCY = 64;

export interface ReplicaOptions {
  readonly namespace: Namespace;
  readonly versions: Versions;
  readonly lock: SubtreeLock<Name>;
  /** Gets each change that a merge makes here. */
  readonly changes: ChangeFeed;
  readonly log: Log;
  readonly role: TwinRole;
  /** The wall clock, in milliseconds since the epoch. */
  readonly now?: () => number;
}

/** The local state of a name. */
interface LocalState {
  readonly state: NameState;
  readonly timestamp: Timestamp;
  /** Undefined if the name was not changed since this server started. */
  readonly version: Version | undefined;
}

/**
 * One replica of a namespace that two servers share. It records versions of names, and merges records of the twin.
 * Conflicts are resolved per name by last writer wins: the change with the later timestamp wins, also if it is a
 * removal; of equal timestamps, the primary's. The removal of a group removes what is older within it; the group
 * remains if anything in it is newer.
 */
export class Replica {
  constructor(private readonly options: ReplicaOptions) {}

  /**
   * Makes a change that a client asked for, under the lock of its name.
   * @param tell called with the new state of the name, still under that lock, so before any change that depends on it
   * @throws NamingError where the namespace refuses it
   */
  perform(change: Change, tell: (record: NameRecord, change: Change) => void): Promise<void> {
    const { namespace, lock, versions } = this.options;
    return lock.run(change.name, async () => {
      const timestamp = versions.next();
      await applyChange(namespace, change);
      if (isOwnEntry(change.name)) return;
      this.recordVersion(change, timestamp);
      tell(await this.recordOfChange(change, timestamp), change);
    });
  }

  /** Merges a record of the twin, under the lock of its name. */
  merge(record: NameRecord): Promise<void> {
    const { name } = record;
    if (isOwnEntry(name)) return Promise.resolve();
    const { lock, versions } = this.options;
    return lock.run(name, async () => {
      // Also if the record loses: later changes here must have later timestamps than everything that was seen.
      versions.observe(record.timestamp);
      try {
        if (record.state === undefined) await this.mergeRemoval(name, record.timestamp);
        else await this.mergeState(record, record.state);
      } catch (error) {
        this.skipUnusable(name, error);
      }
    });
  }

  /** Merges records, each under the lock of its name. */
  async mergeAll(records: readonly NameRecord[]): Promise<void> {
    for (let start = 0; start < records.length; start += MERGE_CONCURRENCY) {
      await Promise.all(records.slice(start, start + MERGE_CONCURRENCY).map((record) => this.merge(record)));
    }
  }

  /** Records that the twin has merged these. */
  confirm(records: readonly NameRecord[]): void {
    for (const { name, timestamp } of records) this.options.versions.confirm(name, timestamp);
  }

  /**
   * The full state, for a full merge: all names but the name server's own entry, groups before their members, then all
   * tombstones. In batches.
   */
  async *records(): AsyncGenerator<NameRecord[]> {
    const { lock, versions } = this.options;
    let names: Name[] = [Name.root];
    const read = (): Promise<(NameRecord | undefined)[]> =>
      // Under its lock, so that a name's state and its timestamp are consistent.
      Promise.all(names.map((name) => lock.run(name, () => this.recordOf(name))));
    for await (const name of this.walk(Name.root)) {
      if (names.length === MERGE_CONCURRENCY) {
        yield (await read()).filter((record) => record !== undefined);
        names = [];
      }
      names.push(name);
    }
    yield (await read()).filter((record) => record !== undefined);
    const tombstones = versions.allTombstones();
    for (let start = 0; start < tombstones.length; start += MERGE_CONCURRENCY) {
      yield tombstones.slice(start, start + MERGE_CONCURRENCY).map(([name, { timestamp }]) => ({
        name: Name.parse(name),
        timestamp,
        observed: true,
        state: undefined,
      }));
    }
  }

  private recordVersion({ kind, name }: Change, timestamp: Timestamp): void {
    const { versions } = this.options;
    const tombstone = { timestamp, confirmed: false };
    switch (kind) {
      case 'unregister':
        versions.remove(name, tombstone);
        return;
      case 'deleteGroup':
        versions.dropVersionsWithin(name);
        versions.remove(name, tombstone);
        return;
      case 'register':
      case 'createGroup':
        versions.set(name, { ...tombstone, systemMetaSet: false });
        return;
      case 'setMeta':
      case 'setSystemMeta': {
        const systemMetaSet = kind === 'setSystemMeta' || versions.get(name)?.systemMetaSet === true;
        versions.set(name, { ...tombstone, systemMetaSet });
      }
    }
  }

  private async recordOfChange(change: Change, timestamp: Timestamp): Promise<NameRecord> {
    const { kind, name } = change;
    const made = { userMeta: null, systemMeta: undefined, systemMetaSet: false };
    let state: NameState | undefined;
    if (kind === 'register') state = { ...made, uri: change.uri };
    else if (kind === 'createGroup') state = { ...made, uri: undefined };
    else if (kind !== 'unregister' && kind !== 'deleteGroup') state = (await this.find(name))?.state;
    return { name, timestamp, observed: true, state };
  }

  private async recordOf(name: Name): Promise<NameRecord | undefined> {
    if (isOwnEntry(name)) return undefined;
    try {
      const here = await this.find(name);
      return here && { name, timestamp: here.timestamp, observed: here.version !== undefined, state: here.state };
    } catch (error) {
      this.skipUnusable(name, error);
      return undefined;
    }
  }

  private async mergeState(record: NameRecord, state: NameState): Promise<void> {
    const here = await this.find(record.name);
    if (here === undefined) {
      await this.add(record, state);
    } else if (isSameContent(here.state, state)) {
      await this.adopt(record, state, here);
    } else if (!this.wins(record, state, here)) {
      if (record.observed) this.reportLoss(record.name, "the twin's", state, 'what is here is newer');
    } else if (here.state.uri === undefined && state.uri !== undefined) {
      await this.replaceGroup(record, state, here);
    } else {
      this.reportOwnLoss(record.name, here, describe(state));
      await this.replace(record, state, here);
    }
  }

  /**
   * For a name that is equal on both sides: takes over the newer timestamp, and system metadata that was set
   * explicitly.
   */
  private async adopt({ name, timestamp, observed }: NameRecord, state: NameState, here: LocalState): Promise<void> {
    const { versions } = this.options;
    if (!observed || !isNewer(timestamp, here.timestamp)) {
      versions.confirm(name, here.timestamp);
      return;
    }
    if (state.systemMetaSet && state.systemMeta)
      await this.apply({ kind: 'setSystemMeta', name, meta: state.systemMeta });
    versions.set(name, { timestamp, confirmed: true, systemMetaSet: state.systemMetaSet });
  }

  private wins(record: NameRecord, state: NameState, here: LocalState): boolean {
    const untouchedHere = here.version === undefined;
    if (isBare(state, !record.observed, here.state)) return false;
    if (isBare(here.state, untouchedHere, state)) return true;
    if (isNewer(record.timestamp, here.timestamp)) return true;
    // Equal timestamps but different content: the database was changed from outside. The primary's wins.
    return !isNewer(here.timestamp, record.timestamp) && this.options.role === 'secondary';
  }

  private async add(record: NameRecord, state: NameState): Promise<void> {
    const { name, timestamp } = record;
    const tombstone = this.options.versions.tombstoneOf(name);
    if (tombstone && isNewer(tombstone.timestamp, timestamp)) {
      if (record.observed) this.reportLoss(name, "the twin's", state, 'it was removed here later');
      return;
    }
    if (tombstone && !tombstone.confirmed) this.reportLoss(name, 'our removal of', state, "the twin's change is newer");
    if (!(await this.ensureGroups(record, state))) return;
    await this.create(record, state);
  }

  /** Creates missing groups on the path of a name. @returns false if one of them is an object here, and newer */
  private async ensureGroups({ name, timestamp, observed }: NameRecord, state: NameState): Promise<boolean> {
    const { versions } = this.options;
    const missing: Name[] = [];
    for (let group = name.parent; !group.isRoot; group = group.parent) {
      const here = await this.find(group);
      if (here?.state.uri !== undefined) {
        if (!isNewer(timestamp, here.timestamp)) {
          if (observed) this.reportLoss(name, "the twin's", state, `${group.toString()} is an object here, and newer`);
          return false;
        }
        this.reportOwnLoss(group, here, 'a group');
        await this.apply({ kind: 'unregister', name: group });
        versions.remove(group, { timestamp: here.timestamp, confirmed: true });
      }
      if (here === undefined || here.state.uri !== undefined) missing.unshift(group);
      else break;
    }
    for (const group of missing) await ifMissing(this.apply({ kind: 'createGroup', name: group }));
    return true;
  }

  private async create({ name, timestamp, observed }: NameRecord, state: NameState): Promise<void> {
    const { versions } = this.options;
    if (state.uri === undefined) await ifMissing(this.apply({ kind: 'createGroup', name }));
    else await this.apply({ kind: 'register', name, uri: state.uri });
    if (state.systemMeta) await this.apply({ kind: 'setSystemMeta', name, meta: state.systemMeta });
    if (state.userMeta !== null) await this.apply({ kind: 'setMeta', name, meta: state.userMeta });
    if (observed) versions.set(name, { timestamp, confirmed: true, systemMetaSet: state.systemMetaSet });
  }

  /**
   * Overwrites a name with the twin's state: an object with another URI, a group in place of an object, or other
   * metadata.
   */
  private async replace(record: NameRecord, state: NameState, here: LocalState): Promise<void> {
    const { versions } = this.options;
    const { name, timestamp } = record;
    if (!isSameURI(here.state.uri, state.uri)) {
      await this.apply({ kind: 'unregister', name });
      await this.create(record, state);
      return;
    }
    if (state.systemMetaSet && state.systemMeta)
      await this.apply({ kind: 'setSystemMeta', name, meta: state.systemMeta });
    await this.apply({ kind: 'setMeta', name, meta: state.userMeta });
    versions.set(name, { timestamp, confirmed: true, systemMetaSet: state.systemMetaSet });
  }

  /** Replaces a group by an object, unless anything in the group is newer. */
  private async replaceGroup(record: NameRecord, state: NameState, here: LocalState): Promise<void> {
    const { name, timestamp } = record;
    const kept = await this.purge(name, timestamp, here);
    if (kept) this.reportLoss(name, "the twin's", state, 'it is a group here, and what is in it is newer');
    else await this.create(record, state);
  }

  private async mergeRemoval(name: Name, timestamp: Timestamp): Promise<void> {
    if (name.isRoot) return;
    const { versions } = this.options;
    const here = await this.find(name);
    const known = versions.tombstoneOf(name);
    // A lost removal is only logged if the twin has not acknowledged our version, and we had no tombstone as new as its
    // removal.
    const isUnknownHere =
      here?.version?.confirmed === false && (known === undefined || isNewer(timestamp, known.timestamp));
    const reportIfUnknown = (state: NameState, reason: string): void => {
      if (isUnknownHere) this.reportLoss(name, "the twin's removal of", state, reason);
    };
    if (here?.state.uri === undefined) {
      if (here && (await this.purge(name, timestamp, here)))
        reportIfUnknown(here.state, 'it or what is in it is newer');
    } else if (!isNewer(timestamp, here.timestamp)) {
      reportIfUnknown(here.state, 'what is here is newer');
    } else {
      this.reportOwnLoss(name, here, 'removed');
      await this.apply({ kind: 'unregister', name });
    }
    versions.remove(name, { timestamp, confirmed: true });
  }

  /**
   * Removes a group and everything within it that is older than a timestamp: with a single `deleteGroup` if all of it
   * is.
   * @returns true if the group remains, because it or something in it is newer
   */
  private async purge(group: Name, timestamp: Timestamp, here: LocalState): Promise<boolean> {
    const { namespace, versions } = this.options;
    const members = new Map<Name, LocalState | undefined>();
    for await (const name of this.walk(group)) members.set(name, isOwnEntry(name) ? undefined : await this.find(name));
    const isKept = (member: LocalState | undefined): boolean =>
      member === undefined || isNewer(member.timestamp, timestamp);
    const kept = isKept(here) || [...members.values()].some(isKept);
    // In reverse order, so members before their groups.
    for (const [name, member] of [...members].reverse()) {
      if (member === undefined || isKept(member)) continue;
      if (member.state.uri !== undefined) this.reportOwnLoss(name, member, `removed, with ${group.toString()}`);
      if (!kept) continue;
      if (member.state.uri !== undefined) await this.apply({ kind: 'unregister', name });
      else if ((await namespace.list(name)).length === 0) await this.apply({ kind: 'deleteGroup', name });
      else await this.clear(name, member);
      versions.remove(name, { timestamp, confirmed: true });
    }
    if (kept) {
      if (!isKept(here)) await this.clear(group, here);
      return true;
    }
    await this.apply({ kind: 'deleteGroup', name: group });
    versions.dropVersionsWithin(group);
    versions.remove(group, { timestamp, confirmed: true });
    return false;
  }

  /**
   * For a removed group that remains because of its members: clears its metadata, as if it was removed and created
   * again.
   */
  private async clear(group: Name, here: LocalState): Promise<void> {
    if (here.state.userMeta === null) return;
    this.reportOwnLoss(group, here, 'removed, but for what is in it');
    await this.apply({ kind: 'setMeta', name: group, meta: null });
  }

  /** Applies a change to our namespace, and publishes it in the change feed. */
  private async apply(change: Change): Promise<void> {
    await applyChange(this.options.namespace, change);
    this.options.changes.append(change);
  }

  private async find(name: Name): Promise<LocalState | undefined> {
    const { namespace, versions, role, now = Date.now } = this.options;
    const uri = await this.uriAt(name);
    if (uri === 'absent') return undefined;
    const [systemMeta, userMeta] = await Promise.all([namespace.getSystemMeta(name), namespace.getMeta(name)]);
    const version = versions.get(name);
    const age: Timestamp = { time: ageOf(systemMeta.timestamp, now() / 1000), role };
    const state = { uri, userMeta, systemMeta, systemMetaSet: version?.systemMetaSet === true };
    return { state, timestamp: version?.timestamp ?? age, version };
  }

  private async uriAt(name: Name): Promise<PyroURI | undefined | 'absent'> {
    try {
      return await this.options.namespace.resolve(name);
    } catch (error) {
      if (!(error instanceof NamingError)) throw error;
      if (error.code === 'RESOLVED_GROUP') return undefined;
      if (error.code === 'NAME_NOT_FOUND') return 'absent';
      throw error;
    }
  }

  /** All names within a group, groups before their members. */
  private async *walk(group: Name): AsyncGenerator<Name> {
    const groups = [group];
    for (let here = groups.pop(); here !== undefined; here = groups.pop()) {
      for (const { part, type } of await listIfThere(this.options.namespace, here)) {
        const name = here.child(part);
        yield name;
        if (type === GROUP) groups.push(name);
      }
    }
  }

  /** Logs a name that this store can't hold or read, and skips it: it must not stop the replication of all others. */
  private skipUnusable(name: Name, error: unknown): void {
    if (!(error instanceof NamingError && UNUSABLE.has(error.code))) throw error;
    this.options.log.error('NameServer', `twin: ${name.toString()} is not the same on both sides:`, error);
  }

  private reportOwnLoss(name: Name, { state, version }: LocalState, successor: string): void {
    // The twin had our version when it made its change, so this is no conflict.
    if (version?.confirmed === true) return;
    this.reportLoss(name, 'our', state, `the twin's change is newer: ${successor}`);
  }

  private reportLoss(name: Name, whose: string, state: NameState, reason: string): void {
    this.options.log.warn('NameServer', `twin: ${whose} ${name.toString()} (${describe(state)}) is lost: ${reason}`);
  }
}

/** The errors of a store for a name that it can't hold, or a file without a URI. */
const UNUSABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['NAME_TOO_LONG', 'URI_INVALID']);

const isOwnEntry = (name: Name): boolean => name.toString() === NAMESERVER_NAME;

const describe = ({ uri, userMeta }: NameState): string =>
  (uri?.toString() ?? 'a group') + (userMeta === null ? '' : ', with metadata');

/**
 * True for a state that always loses: the same URI as the other but no metadata, and unchanged since its server
 * started.
 */
function isBare(state: NameState, untouched: boolean, other: NameState): boolean {
  return untouched && state.userMeta === null && other.userMeta !== null && isSameURI(state.uri, other.uri);
}

/**
 * The timestamp of an entry's system metadata, in seconds, clamped to 0..now: a client or a file may contain any
 * number.
 */
export const ageOf = (time: number, now: number): number =>
  Number.isFinite(time) ? Math.max(0, Math.min(time, now)) : 0;

const isSameURI = (uri: PyroURI | undefined, other: PyroURI | undefined): boolean =>
  uri?.toString() === other?.toString();

type Content = Pick<NameState, 'uri' | 'userMeta'>;

export const isSameContent = (state: Content, other: Content): boolean =>
  isSameURI(state.uri, other.uri) && isSameValue(state.userMeta, other.userMeta);

function isSameValue(value: PythonValue, other: PythonValue): boolean {
  return value === other || isDeepStrictEqual(dumps(value), dumps(other));
}

/** Ignores the error that the group exists already. */
async function ifMissing(creation: Promise<void>): Promise<void> {
  try {
    await creation;
  } catch (error) {
    if (!(error instanceof NamingError && error.code === 'GROUP_EXISTS')) throw error;
  }
}

async function listIfThere(namespace: Namespace, group: Name) {
  try {
    return await namespace.list(group);
  } catch (error) {
    if (error instanceof NamingError) return [];
    throw error;
  }
}

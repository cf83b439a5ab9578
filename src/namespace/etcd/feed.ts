import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { Log } from '../../config/index.js';
import { Name, NAMESERVER_NAME } from '../../names/index.js';
import { GROUP } from '../namespace.js';
import { Deadline } from '../../sync/index.js';
import { EtcdError, type EtcdClient } from './client.js';
import type { Contact } from './contact.js';
import type { Keys, TreeKey, TreeKeys } from './keys.js';
import { RANGE, TRANSACTION, type KeyRange, type KeyValue, type WatchEvent, type WatchResponse } from './protocol.js';
import { Tree } from './tree.js';
import { GROUP_VALUE, newMeta, writeMeta } from './values.js';

/** What the feed has seen of a change, by the token that was put with it. */
export interface Sighting {
  /** The events that it made, and others around them; undefined while it was not seen. */
  events: readonly WatchEvent[] | undefined;
  revision: number;
  /** The feed has skipped revisions since it was asked to look out: the change may have been among them. */
  gap: boolean;
}

interface Waiter {
  readonly revision: number;
  readonly settle: (reached: boolean) => void;
}

const OWN_GROUP = Name.parse(NAMESERVER_NAME).parent;

/** Etcd 3.4 looks at all keys that are left for each page: so pages are few. */
const PAGE_SIZE = 10_000;
const PAGE_TIMEOUT = 20_000;
/** Milliseconds that a member may take for a page. */
const PAGE_PATIENCE = 10_000;
const PROBE_INTERVAL = 1000;
const PROBE_TIMEOUT = 5000;
const RETRY_PAUSE = 50;

/**
 * Follows a namespace in etcd: loads it as it was at one revision, and takes over all that the watch tells from there on.
 * What is known is always whole, as of one revision; it goes from one to the next, and never back.
 *
 * When a watch ends, another one begins where it left off. Where that is not possible (the history was compacted, or is
 * another one since a backup was restored) all is loaded again, while the old tree serves.
 */
export class Feed {
  private known = new Tree();
  private knownKeys: TreeKeys;
  private revision = 0;
  /** The token of the last change up to `revision`. */
  private lastChange = '';
  private mustLoad = true;
  private troubled = false;
  private closed = false;
  private running = Promise.resolve();
  private probing = Promise.resolve();
  private following = new AbortController();
  private announceWatch: () => void = () => undefined;
  /** The values of this server's own entry and its metadata. */
  private readonly own = new Map<TreeKey['of'], Uint8Array>();
  private readonly waiters = new Set<Waiter>();
  private readonly sightings = new Map<string, Sighting>();
  private readingChange: Promise<unknown> = Promise.resolve();
  private nextReadOfChange: Promise<number> | undefined;

  private constructor(
    private readonly client: EtcdClient,
    private readonly keys: Keys,
    private readonly contact: Contact,
    private readonly log: Log,
  ) {
    this.knownKeys = keys.firstTree;
  }

  /** Loads the namespace, makes an empty one if there is none, and begins to follow it. @throws EtcdError */
  static async open(client: EtcdClient, keys: Keys, contact: Contact, log: Log): Promise<Feed> {
    const feed = new Feed(client, keys, contact, log);
    await feed.load();
    // Etcd lets a watch wait that begins with changes of the past: so this one begins before there are any.
    const isWatched = new Promise<void>((resolve) => {
      feed.announceWatch = resolve;
    });
    feed.running = feed.run();
    await isWatched;
    return feed;
  }

  /** The namespace as far as it is known. Another object after it was loaded again. */
  get tree(): Tree {
    return this.known;
  }

  /** The keys of that tree. */
  get treeKeys(): TreeKeys {
    return this.knownKeys;
  }

  /** Changes this server's own entry, `:Pyro.NameServer`: each server has another one, so it is not in etcd. */
  setOwn(key: string, value: string | Uint8Array | undefined): void {
    const treeKey = this.knownKeys.parse(key);
    if (treeKey === undefined) return;
    if (value === undefined) this.own.delete(treeKey.of);
    else this.own.set(treeKey.of, Buffer.from(value));
    this.known.set(treeKey, this.own.get(treeKey.of), 0);
  }

  /** Waits until what is known has this revision. @returns false if it has not by the deadline */
  reached(revision: number, deadline: Deadline): Promise<boolean> {
    if (revision <= this.revision) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiter: Waiter = {
        revision,
        settle: (reached) => {
          clearTimeout(timer);
          this.waiters.delete(waiter);
          resolve(reached);
        },
      };
      const timer = setTimeout(waiter.settle, deadline.remainingMs, false);
      this.waiters.add(waiter);
    });
  }

  /**
   * Waits until what is known has every change that was made before this call.
   * @returns false if it has not by the deadline
   */
  async caughtUp(deadline: Deadline): Promise<boolean> {
    const late = new AbortController();
    const expiry = pause(deadline.remainingMs, Infinity, { signal: late.signal });
    expiry.catch(() => undefined);
    try {
      return await this.reached(await Promise.race([this.revisionOfLastChange(), expiry]), deadline);
    } finally {
      late.abort();
    }
  }

  /** Begins to look out for a change, until it is forgotten. */
  expect(token: string): Sighting {
    const sighting: Sighting = { events: undefined, revision: 0, gap: false };
    this.sightings.set(token, sighting);
    return sighting;
  }

  forget(token: string): void {
    this.sightings.delete(token);
  }

  /** Ends what is under way; calls to etcd are ended by closing the client. */
  async close(): Promise<void> {
    this.closed = true;
    this.following.abort();
    this.contact.end();
    for (const waiter of this.waiters) waiter.settle(false);
    await Promise.allSettled([this.running, this.probing]);
  }

  private async run(): Promise<void> {
    for (;;) {
      try {
        if (this.mustLoad || !(await this.historyIsKnown())) await this.load();
        await this.follow();
      } catch (error) {
        this.announceWatch();
        if (this.closed) return;
        const reason = error instanceof EtcdError ? error.message : error;
        if (!this.troubled) this.log.warn('EtcdNamespace', 'lost the watch, and looks for another:', reason);
        this.troubled = true;
        await pause(RETRY_PAUSE);
      }
    }
  }

  /** Watches until all must be loaded again. @throws EtcdError when the watch was lost, or stays behind */
  private async follow(): Promise<void> {
    const following = new AbortController();
    this.following = following;
    const watching = this.client.watch(
      { ...this.keys.everything, startRevision: this.revision + 1 },
      (response) => {
        if (!following.signal.aborted) this.take(response);
      },
      following.signal,
    );
    this.probing = this.probe(following.signal);
    try {
      await Promise.race([watching, this.probing]);
    } catch (error) {
      if (!this.mustLoad) throw error;
    } finally {
      following.abort();
      await Promise.allSettled([watching]);
    }
  }

  /** Finds out again and again whether the watch tells the last change: one that is stuck looks like one without news. */
  private async probe(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const deadline = Deadline.in(PROBE_TIMEOUT);
      if (!(await this.caughtUp(deadline))) {
        throw new EtcdError('the watch stays behind', 'unknown');
      }
      this.contact.made();
      this.troubled = false;
      await pause(PROBE_INTERVAL, undefined, { signal }).catch(() => undefined);
    }
  }

  private take({ created, canceled, cancelReason, compactRevision, events }: WatchResponse): void {
    if (created) this.announceWatch();
    if (canceled) {
      this.log.warn('EtcdNamespace', 'etcd has ended the watch:', cancelReason);
      this.mustLoad ||= compactRevision > 0;
      this.following.abort();
      return;
    }
    const replaced = events.find(({ key }) => key === this.keys.tree)?.modRevision ?? Infinity;
    for (const event of events) {
      if (event.modRevision < replaced) this.takeEvent(event, events);
    }
    if (replaced < Infinity) {
      this.mustLoad = true;
      this.following.abort();
    }
    this.wake();
  }

  private takeEvent({ key, value, modRevision }: WatchEvent, events: readonly WatchEvent[]): void {
    this.revision = modRevision;
    const treeKey = this.knownKeys.parse(key);
    if (treeKey !== undefined) {
      if (treeKey.text !== NAMESERVER_NAME) this.known.set(treeKey, value, modRevision);
      if (key === this.knownKeys.name(OWN_GROUP) && value === undefined) this.deleteOwn();
    } else if (key === this.keys.change && value !== undefined) {
      this.lastChange = textOf(value);
      const sighting = this.sightings.get(this.lastChange);
      if (sighting !== undefined) Object.assign(sighting, { events, revision: modRevision });
    }
  }

  private deleteOwn(): void {
    for (const of of this.own.keys()) this.known.set({ of, text: NAMESERVER_NAME }, undefined, 0);
    this.own.clear();
  }

  private wake(): void {
    for (const waiter of this.waiters) if (waiter.revision <= this.revision) waiter.settle(true);
  }

  private async load(): Promise<void> {
    const { number, revision, change } = await this.readHead();
    const keys = this.keys.treeOf(number);
    const tree = new Tree();
    for await (const page of this.pages(keys.all, revision)) {
      for (const { key, value, modRevision } of page) {
        const treeKey = keys.parse(key);
        if (treeKey !== undefined && treeKey.text !== NAMESERVER_NAME) tree.set(treeKey, value, modRevision);
      }
    }
    for (const [of, value] of this.own) tree.set({ of, text: NAMESERVER_NAME }, value, 0);
    for (const sighting of this.sightings.values()) sighting.gap = true;
    this.known = tree;
    this.knownKeys = keys;
    this.revision = revision;
    this.lastChange = change;
    this.mustLoad = false;
    this.contact.made();
    this.wake();
    this.log.msg('EtcdNamespace', `loaded ${tree.size} names of revision ${revision} from ${this.client.endpoint}`);
  }

  /** All keys of a range, as they were at a revision. */
  private async *pages({ key, end }: Required<KeyRange>, revision: number): AsyncGenerator<readonly KeyValue[]> {
    let next = key;
    let limit = PAGE_SIZE;
    for (;;) {
      try {
        const request = { key: next, end, limit, revision };
        const deadline = Deadline.in(PAGE_TIMEOUT);
        const { keyValues, more } = await this.client.ask(RANGE, request, deadline, PAGE_PATIENCE);
        yield keyValues;
        const last = keyValues.at(-1);
        if (!more || last === undefined) return;
        next = `${last.key}\0`;
      } catch (error) {
        if (!(error instanceof EtcdError && error.isTooLarge && limit > 1)) throw error;
        limit = Math.ceil(limit / 10);
      }
    }
  }

  /** Which tree is served, and the last change, at the newest revision. Makes an empty tree if there is none. */
  private async readHead(): Promise<{ number: number; revision: number; change: string }> {
    const { keys } = this;
    const head = [{ range: { key: keys.tree } }, { range: { key: keys.change } }];
    const request = {
      compare: [{ key: keys.tree, result: 'greater', operand: { version: 0 } }],
      success: head,
      failure: [
        { put: keys.tree, value: String(keys.firstTree.number) },
        { put: keys.firstTree.name(Name.root), value: GROUP_VALUE },
        { put: keys.firstTree.meta(Name.root), value: writeMeta(newMeta(GROUP)) },
        { put: keys.change, value: randomUUID() },
        ...head,
      ],
    } as const;
    const { revision, ranges } = await this.client.ask(TRANSACTION, request, Deadline.in(PROBE_TIMEOUT));
    const [tree, change] = ranges.map(({ keyValues: [keyValue] }) => valueOf(keyValue));
    const number = Number(tree);
    if (!Number.isSafeInteger(number)) {
      throw new EtcdError(`${keys.tree} holds no number`, 'refused', status.FAILED_PRECONDITION);
    }
    return { number, revision, change: change ?? '' };
  }

  /** Whether etcd still has the history that is known here: it has not if it was compacted, or came from a backup. */
  private async historyIsKnown(): Promise<boolean> {
    const request = { key: this.keys.change, revision: this.revision };
    try {
      const { keyValues } = await this.client.ask(RANGE, request, Deadline.in(PROBE_TIMEOUT));
      return valueOf(keyValues[0]) === this.lastChange;
    } catch (error) {
      if (error instanceof EtcdError && error.code === status.OUT_OF_RANGE) return false;
      throw error;
    }
  }

  /** Asks etcd; who asks while an answer is under way waits for the next, as that one may be older than the question. */
  private revisionOfLastChange(): Promise<number> {
    this.nextReadOfChange ??= this.readingChange.then(() => {
      const reading = this.readRevisionOfLastChange();
      this.readingChange = reading.catch(() => undefined);
      this.nextReadOfChange = undefined;
      return reading;
    });
    return this.nextReadOfChange;
  }

  private async readRevisionOfLastChange(): Promise<number> {
    const { keyValues } = await this.client.ask(RANGE, { key: this.keys.change }, Deadline.in(PROBE_TIMEOUT));
    return keyValues[0]?.modRevision ?? 0;
  }
}

function textOf(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString();
}

function valueOf(keyValue: KeyValue | undefined): string {
  return keyValue === undefined ? '' : textOf(keyValue.value);
}

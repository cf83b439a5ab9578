import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { Log } from '../../config/index.js';
import { Name, NAMESERVER_NAME } from '../../names/index.js';
import { GROUP } from '../namespace.js';
import { Deadline } from '../../sync/index.js';
import { EtcdError, type EtcdClient } from './client.js';
import type { HealthMonitor } from './health.js';
import type { Keys, TreeKey, TreeKeys } from './keys.js';
import { RANGE, TRANSACTION, type KeyRange, type KeyValue, type WatchEvent, type WatchResponse } from './protocol.js';
import { MirrorTree } from './mirror-tree.js';
import { GROUP_VALUE, newMeta, writeMeta } from './codec.js';

/** What the feed has seen of a change, by the token that was put with it. */
export interface PendingWrite {
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
const PAGE_TIMEOUT_MS = 20_000;
/** Milliseconds that a member may take for a page. */
const PAGE_ATTEMPT_MS = 10_000;
const PROBE_INTERVAL_MS = 1000;
const PROBE_TIMEOUT_MS = 5000;
const RETRY_DELAY_MS = 50;

/**
 * Follows a namespace in etcd: loads it as it was at one revision, and takes over all that the watch tells from there on.
 * What is known is always whole, as of one revision; it goes from one to the next, and never back.
 *
 * When a watch ends, another one begins where it left off. Where that is not possible (the history was compacted, or is
 * another one since a backup was restored) all is loaded again, while the old tree serves.
 */
export class Mirror {
  private mirrored = new MirrorTree();
  private mirroredKeys: TreeKeys;
  private revision = 0;
  /** The token of the last change up to `revision`. */
  private lastChange = '';
  private mustLoad = true;
  private isFailing = false;
  private closed = false;
  private running = Promise.resolve();
  private probing = Promise.resolve();
  private following = new AbortController();
  private announceWatch: () => void = () => undefined;
  /** The values of this server's own entry and its metadata. */
  private readonly ownEntry = new Map<TreeKey['of'], Uint8Array>();
  private readonly waiters = new Set<Waiter>();
  private readonly pendingWrites = new Map<string, PendingWrite>();
  private readingChange: Promise<unknown> = Promise.resolve();
  private nextReadOfChange: Promise<number> | undefined;

  private constructor(
    private readonly client: EtcdClient,
    private readonly keys: Keys,
    private readonly contact: HealthMonitor,
    private readonly log: Log,
  ) {
    this.mirroredKeys = keys.firstTree;
  }

  /** Loads the namespace, makes an empty one if there is none, and begins to follow it. @throws EtcdError */
  static async open(client: EtcdClient, keys: Keys, contact: HealthMonitor, log: Log): Promise<Mirror> {
    const feed = new Mirror(client, keys, contact, log);
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
  get tree(): MirrorTree {
    return this.mirrored;
  }

  /** The keys of that tree. */
  get treeKeys(): TreeKeys {
    return this.mirroredKeys;
  }

  /** Changes this server's own entry, `:Pyro.NameServer`: each server has another one, so it is not in etcd. */
  setOwn(key: string, value: string | Uint8Array | undefined): void {
    const treeKey = this.mirroredKeys.parse(key);
    if (treeKey === undefined) return;
    if (value === undefined) this.ownEntry.delete(treeKey.of);
    else this.ownEntry.set(treeKey.of, Buffer.from(value));
    this.mirrored.set(treeKey, this.ownEntry.get(treeKey.of), 0);
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
  expect(token: string): PendingWrite {
    const pendingWrite: PendingWrite = { events: undefined, revision: 0, gap: false };
    this.pendingWrites.set(token, pendingWrite);
    return pendingWrite;
  }

  forget(token: string): void {
    this.pendingWrites.delete(token);
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
        if (!this.isFailing) this.log.warn('EtcdNamespace', 'lost the watch, and looks for another:', reason);
        this.isFailing = true;
        await pause(RETRY_DELAY_MS);
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
      const deadline = Deadline.in(PROBE_TIMEOUT_MS);
      if (!(await this.caughtUp(deadline))) {
        throw new EtcdError('the watch stays behind', 'unknown');
      }
      this.contact.made();
      this.isFailing = false;
      await pause(PROBE_INTERVAL_MS, undefined, { signal }).catch(() => undefined);
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
    const treeKey = this.mirroredKeys.parse(key);
    if (treeKey !== undefined) {
      if (treeKey.text !== NAMESERVER_NAME) this.mirrored.set(treeKey, value, modRevision);
      if (key === this.mirroredKeys.name(OWN_GROUP) && value === undefined) this.deleteOwn();
    } else if (key === this.keys.change && value !== undefined) {
      this.lastChange = textOf(value);
      const pendingWrite = this.pendingWrites.get(this.lastChange);
      if (pendingWrite !== undefined) Object.assign(pendingWrite, { events, revision: modRevision });
    }
  }

  private deleteOwn(): void {
    for (const of of this.ownEntry.keys()) this.mirrored.set({ of, text: NAMESERVER_NAME }, undefined, 0);
    this.ownEntry.clear();
  }

  private wake(): void {
    for (const waiter of this.waiters) if (waiter.revision <= this.revision) waiter.settle(true);
  }

  private async load(): Promise<void> {
    const { number, revision, change } = await this.readHead();
    const keys = this.keys.treeOf(number);
    const tree = new MirrorTree();
    for await (const page of this.pages(keys.all, revision)) {
      for (const { key, value, modRevision } of page) {
        const treeKey = keys.parse(key);
        if (treeKey !== undefined && treeKey.text !== NAMESERVER_NAME) tree.set(treeKey, value, modRevision);
      }
    }
    for (const [of, value] of this.ownEntry) tree.set({ of, text: NAMESERVER_NAME }, value, 0);
    for (const pendingWrite of this.pendingWrites.values()) pendingWrite.gap = true;
    this.mirrored = tree;
    this.mirroredKeys = keys;
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
        const deadline = Deadline.in(PAGE_TIMEOUT_MS);
        const { keyValues, more } = await this.client.ask(RANGE, request, deadline, PAGE_ATTEMPT_MS);
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
    const { revision, ranges } = await this.client.ask(TRANSACTION, request, Deadline.in(PROBE_TIMEOUT_MS));
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
      const { keyValues } = await this.client.ask(RANGE, request, Deadline.in(PROBE_TIMEOUT_MS));
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
    const { keyValues } = await this.client.ask(RANGE, { key: this.keys.change }, Deadline.in(PROBE_TIMEOUT_MS));
    return keyValues[0]?.modRevision ?? 0;
  }
}

function textOf(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString();
}

function valueOf(keyValue: KeyValue | undefined): string {
  return keyValue === undefined ? '' : textOf(keyValue.value);
}

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
import { RANGE, TRANSACTION, type KeyRange, type KeyValue, type KeyEvent, type WatchResponse } from './protocol.js';
import { MirrorTree } from './mirror-tree.js';
import { GROUP_VALUE, newMeta, writeMeta } from './codec.js';

/** A write whose outcome the mirror watches for, by the token that was put in the same transaction. */
export interface PendingWrite {
  /** The watch response that contains the write, possibly with events of other writes; undefined until the watch reports it. */
  events: readonly KeyEvent[] | undefined;
  /** The revision of the write, once it was reported. */
  revision: number;
  /** True if all was loaded again meanwhile, so that revisions were skipped: the write may be in one of them, unseen. */
  hasGap: boolean;
}

interface Waiter {
  readonly revision: number;
  readonly settle: (reached: boolean) => void;
}

const OWN_GROUP = Name.parse(NAMESERVER_NAME).parent;

/** Keys per page. Large, because etcd 3.4 scans all remaining keys for each page. */
const PAGE_SIZE = 10_000;
const PAGE_TIMEOUT_MS = 20_000;
/** Timeout of one attempt at one member to read a page. */
const PAGE_ATTEMPT_MS = 10_000;
const PROBE_INTERVAL_MS = 1000;
const PROBE_TIMEOUT_MS = 5000;
const RETRY_DELAY_MS = 50;

/**
 * A mirror in memory of the namespace in etcd: it loads all keys as of one revision, and applies the events of a watch from
 * there on. It is always a consistent copy as of one revision, and its revision only grows.
 *
 * When a watch ends, the next one resumes after the last revision. Where that is not possible (etcd has compacted its
 * history, or its history is another one since a backup was restored), all is loaded again. The old tree is served until then.
 */
export class Mirror {
  private currentTree = new MirrorTree();
  private currentKeys: TreeKeys;
  private revision = 0;
  /** The token of the last change at `revision`. Etcd must have it too, else its history is not the one mirrored here. */
  private lastChangeToken = '';
  private mustLoad = true;
  private isFailing = false;
  private closed = false;
  private runLoop = Promise.resolve();
  private probeLoop = Promise.resolve();
  private watchAbort = new AbortController();
  private onWatchCreated: () => void = () => undefined;
  /** The values of this server's own entry, `:Pyro.NameServer`, and of its metadata. */
  private readonly ownEntry = new Map<TreeKey['of'], Uint8Array>();
  private readonly waiters = new Set<Waiter>();
  private readonly pendingWrites = new Map<string, PendingWrite>();
  private currentRevisionRead: Promise<unknown> = Promise.resolve();
  private queuedRevisionRead: Promise<number> | undefined;

  private constructor(
    private readonly client: EtcdClient,
    private readonly keys: Keys,
    private readonly health: HealthMonitor,
    private readonly log: Log,
  ) {
    this.currentKeys = keys.firstTree;
  }

  /** Loads the namespace (creates an empty one if there is none), and begins to watch it. @throws EtcdError */
  static async open(client: EtcdClient, keys: Keys, health: HealthMonitor, log: Log): Promise<Mirror> {
    const mirror = new Mirror(client, keys, health, log);
    await mirror.load();
    // Wait until the watch exists: etcd delivers past changes to a new watch with a delay, so have it before there are any.
    const watchCreated = new Promise<void>((resolve) => {
      mirror.onWatchCreated = resolve;
    });
    mirror.runLoop = mirror.run();
    await watchCreated;
    return mirror;
  }

  /** The mirrored namespace. It is another object after all was loaded again. */
  get tree(): MirrorTree {
    return this.currentTree;
  }

  /** The keys of that tree. */
  get treeKeys(): TreeKeys {
    return this.currentKeys;
  }

  /** Changes this server's own entry, `:Pyro.NameServer`. It is kept in memory only, because it differs for each server. */
  setOwn(key: string, value: string | Uint8Array | undefined): void {
    const treeKey = this.currentKeys.parse(key);
    if (treeKey === undefined) return;
    if (value === undefined) this.ownEntry.delete(treeKey.of);
    else this.ownEntry.set(treeKey.of, Buffer.from(value));
    this.currentTree.set(treeKey, this.ownEntry.get(treeKey.of), 0);
  }

  /** Waits until the mirror is at this revision or a later one. @returns false if it is not by the deadline */
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
   * Waits until the mirror contains every change that was made before this call.
   * @returns false if it does not by the deadline
   */
  async catchUp(deadline: Deadline): Promise<boolean> {
    const cancelExpiry = new AbortController();
    const expiry = pause(deadline.remainingMs, Infinity, { signal: cancelExpiry.signal });
    expiry.catch(() => undefined);
    try {
      return await this.reached(await Promise.race([this.lastChangeRevision(), expiry]), deadline);
    } finally {
      cancelExpiry.abort();
    }
  }

  /** Records what the watch reports of the write with this token, until `untrackWrite`. */
  trackWrite(token: string): PendingWrite {
    const pendingWrite: PendingWrite = { events: undefined, revision: 0, hasGap: false };
    this.pendingWrites.set(token, pendingWrite);
    return pendingWrite;
  }

  untrackWrite(token: string): void {
    this.pendingWrites.delete(token);
  }

  /** Ends the watch and all waits. Calls to etcd end only when the client is closed, too. */
  async close(): Promise<void> {
    this.closed = true;
    this.watchAbort.abort();
    this.health.end();
    for (const waiter of this.waiters) waiter.settle(false);
    await Promise.allSettled([this.runLoop, this.probeLoop]);
  }

  private async run(): Promise<void> {
    for (;;) {
      try {
        if (this.mustLoad || !(await this.historyIsIntact())) await this.load();
        await this.follow();
      } catch (error) {
        this.onWatchCreated();
        if (this.closed) return;
        const reason = error instanceof EtcdError ? error.message : error;
        if (!this.isFailing) this.log.warn('EtcdNamespace', 'the watch has ended, starting another:', reason);
        this.isFailing = true;
        await pause(RETRY_DELAY_MS);
      }
    }
  }

  /** Watches until all must be loaded again. @throws EtcdError when the watch ended, or falls behind */
  private async follow(): Promise<void> {
    const watchAbort = new AbortController();
    this.watchAbort = watchAbort;
    const watching = this.client.watch(
      { ...this.keys.everything, startRevision: this.revision + 1 },
      (response) => {
        if (!watchAbort.signal.aborted) this.onWatchResponse(response);
      },
      watchAbort.signal,
    );
    this.probeLoop = this.probe(watchAbort.signal);
    try {
      await Promise.race([watching, this.probeLoop]);
    } catch (error) {
      if (!this.mustLoad) throw error;
    } finally {
      watchAbort.abort();
      await Promise.allSettled([watching]);
    }
  }

  /**
   * Checks each second that the watch has delivered the last change: without this check, a watch that hangs could not be
   * told from one without events.
   */
  private async probe(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const deadline = Deadline.in(PROBE_TIMEOUT_MS);
      if (!(await this.catchUp(deadline))) {
        throw new EtcdError('the watch is behind etcd', 'unknown');
      }
      this.health.recordContact();
      this.isFailing = false;
      await pause(PROBE_INTERVAL_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  private onWatchResponse({ created, canceled, cancelReason, compactRevision, events }: WatchResponse): void {
    if (created) this.onWatchCreated();
    if (canceled) {
      this.log.warn('EtcdNamespace', 'etcd has ended the watch:', cancelReason);
      this.mustLoad ||= compactRevision > 0;
      this.watchAbort.abort();
      return;
    }
    const replacedAt = events.find(({ key }) => key === this.keys.tree)?.modRevision ?? Infinity;
    for (const event of events) {
      if (event.modRevision < replacedAt) this.applyEvent(event, events);
    }
    if (replacedAt < Infinity) {
      this.mustLoad = true;
      this.watchAbort.abort();
    }
    this.settleWaiters();
  }

  private applyEvent({ key, value, modRevision }: KeyEvent, events: readonly KeyEvent[]): void {
    this.revision = modRevision;
    const treeKey = this.currentKeys.parse(key);
    if (treeKey !== undefined) {
      if (treeKey.text !== NAMESERVER_NAME) this.currentTree.set(treeKey, value, modRevision);
      if (key === this.currentKeys.name(OWN_GROUP) && value === undefined) this.deleteOwn();
    } else if (key === this.keys.change && value !== undefined) {
      this.lastChangeToken = textOf(value);
      const pendingWrite = this.pendingWrites.get(this.lastChangeToken);
      if (pendingWrite !== undefined) Object.assign(pendingWrite, { events, revision: modRevision });
    }
  }

  private deleteOwn(): void {
    for (const of of this.ownEntry.keys()) this.currentTree.set({ of, text: NAMESERVER_NAME }, undefined, 0);
    this.ownEntry.clear();
  }

  /** Resolves the waits for a revision that the mirror has reached. */
  private settleWaiters(): void {
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
    for (const pendingWrite of this.pendingWrites.values()) pendingWrite.hasGap = true;
    this.currentTree = tree;
    this.currentKeys = keys;
    this.revision = revision;
    this.lastChangeToken = change;
    this.mustLoad = false;
    this.health.recordContact();
    this.settleWaiters();
    this.log.msg('EtcdNamespace', `loaded ${tree.size} names of revision ${revision} from ${this.client.endpoint}`);
  }

  /** All keys of a range as of a revision, in pages. A page that is too large for one message is read again in smaller ones. */
  private async *pages({ key, end }: Required<KeyRange>, revision: number): AsyncGenerator<readonly KeyValue[]> {
    let next = key;
    let limit = PAGE_SIZE;
    for (;;) {
      try {
        const request = { key: next, end, limit, revision };
        const deadline = Deadline.in(PAGE_TIMEOUT_MS);
        const { keyValues, more } = await this.client.callWithRetry(RANGE, request, deadline, PAGE_ATTEMPT_MS);
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

  /** The number of the served tree and the last change's token, at the newest revision. Creates an empty tree if there is none. */
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
    const { revision, ranges } = await this.client.callWithRetry(TRANSACTION, request, Deadline.in(PROBE_TIMEOUT_MS));
    const [tree, change] = ranges.map(({ keyValues: [keyValue] }) => valueOf(keyValue));
    const number = Number(tree);
    if (!Number.isSafeInteger(number)) {
      throw new EtcdError(`${keys.tree} holds no number`, 'refused', status.FAILED_PRECONDITION);
    }
    return { number, revision, change: change ?? '' };
  }

  /** True if etcd still has the history that was mirrored: not if it was compacted, or etcd was restored from a backup. */
  private async historyIsIntact(): Promise<boolean> {
    const request = { key: this.keys.change, revision: this.revision };
    try {
      const { keyValues } = await this.client.callWithRetry(RANGE, request, Deadline.in(PROBE_TIMEOUT_MS));
      return valueOf(keyValues[0]) === this.lastChangeToken;
    } catch (error) {
      if (error instanceof EtcdError && error.code === status.OUT_OF_RANGE) return false;
      throw error;
    }
  }

  /**
   * Reads the revision of the last change, once for all callers that wait. A caller that comes while a read is in flight waits
   * for the next one, because the answer of that read may be older than the caller's question.
   */
  private lastChangeRevision(): Promise<number> {
    this.queuedRevisionRead ??= this.currentRevisionRead.then(() => {
      const reading = this.readLastChangeRevision();
      this.currentRevisionRead = reading.catch(() => undefined);
      this.queuedRevisionRead = undefined;
      return reading;
    });
    return this.queuedRevisionRead;
  }

  private async readLastChangeRevision(): Promise<number> {
    const { keyValues } = await this.client.callWithRetry(
      RANGE,
      { key: this.keys.change },
      Deadline.in(PROBE_TIMEOUT_MS),
    );
    return keyValues[0]?.modRevision ?? 0;
  }
}

function textOf(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString();
}

function valueOf(keyValue: KeyValue | undefined): string {
  return keyValue === undefined ? '' : textOf(keyValue.value);
}

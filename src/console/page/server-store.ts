import { batch, computed, signal } from '@preact/signals';
import type {
  EntryDescription,
  FlatEntry,
  FlatPage,
  GroupListing,
  PairDescription,
  ServerChanges,
  ServerDescription,
  WatchedServer,
} from '../api.js';
import { call } from './api-client.js';
import { childName, parentName, ROOT, treeRows } from './tree-rows.js';

/** The page size of requests for the flat list. */
export const PAGE_SIZE = 200;

/** The most groups that are watched: the ones opened last. */
const MAX_WATCHED_GROUPS = 200;

/** How long a new name is highlighted. */
const MARK_DURATION_MS = 2500;

/** Logs what changed on a server. */
export type Notice = (text: string, kind: 'change' | 'problem' | 'done') => void;

/** The state of one name server on the page: loaded data, and what is shown of it. */
export class ServerStore {
  readonly description;
  readonly listings = signal<ReadonlyMap<string, GroupListing>>(new Map());
  readonly opened = signal<ReadonlySet<string>>(new Set([ROOT]));
  readonly rows = computed(() => treeRows(this.listings.value, this.opened.value));
  /** The name of the row with the keyboard focus. */
  readonly active = signal(ROOT);
  readonly view = signal<'tree' | 'names'>('tree');
  readonly filter = signal('');
  /** The loaded pages of the flat list. */
  readonly pages = signal<ReadonlyMap<number, readonly FlatEntry[]>>(new Map());
  readonly total = signal<number | undefined>(undefined);
  /** New names, which are highlighted. */
  readonly marked = signal<ReadonlySet<string>>(new Set());
  private flatVersion: string | undefined;
  /** The pages of the flat list that were requested. */
  private readonly requested = new Set<number>();

  constructor(description: ServerDescription) {
    this.description = signal(description);
  }

  get id(): string {
    return this.description.value.id;
  }

  /** True if the flat list is shown: always with a filter. */
  get isFlat(): boolean {
    return this.view.value === 'names' || this.filter.value.trim() !== '';
  }

  call<Reply = unknown>(method: string, request: object = {}): Promise<Reply> {
    return call<Reply>(`servers/${this.id}/${method}`, request);
  }

  /** Opens a group: loads and shows its members. */
  async open(group: string): Promise<void> {
    this.opened.value = new Set(this.opened.value).add(group);
    if (!this.listings.value.has(group)) this.setListing(await this.call<GroupListing>('list', { group }));
  }

  close(group: string): void {
    const opened = new Set(this.opened.value);
    opened.delete(group);
    batch(() => {
      this.opened.value = opened;
      if (this.active.value.startsWith(childName(group, ''))) this.active.value = group;
    });
  }

  /** Opens all groups on the path of a name, and moves the keyboard focus to its row. */
  async reveal(name: string): Promise<void> {
    const above: string[] = [];
    for (let group = parentName(name); ; group = parentName(group)) {
      above.unshift(group);
      if (group === ROOT) break;
    }
    batch(() => {
      this.filter.value = '';
      this.view.value = 'tree';
    });
    for (const group of above) await this.open(group);
    this.active.value = name;
  }

  /** Reloads a group and the flat list, after a change made on this page. */
  async refresh(group: string): Promise<void> {
    if (this.listings.value.has(group)) this.setListing(await this.call<GroupListing>('list', { group }));
    if (this.isFlat) this.reloadPages();
  }

  /** Loads the pages of the flat list with the rows from `first` to `last` that were not requested yet. */
  loadPages(first: number, last: number): void {
    for (let page = Math.floor(first / PAGE_SIZE); page * PAGE_SIZE <= last; page++) {
      if (this.requested.has(page)) continue;
      this.requested.add(page);
      void this.loadPage(page);
    }
  }

  /** Reloads the flat list, from its first page. */
  reloadPages(): void {
    this.requested.clear();
    this.flatVersion = undefined;
    this.loadPages(0, 0);
  }

  setFilter(filter: string): void {
    batch(() => {
      this.filter.value = filter;
      if (this.isFlat) this.reloadPages();
    });
  }

  setView(view: 'tree' | 'names'): void {
    this.view.value = view;
    if (this.isFlat) this.reloadPages();
  }

  /** The versions that the page has of this server's data, for the long poll. */
  watched(entry: EntryDescription | undefined): WatchedServer {
    const listings = [...this.opened.value].map((group) => this.listings.value.get(group));
    const groups = listings.filter((listing) => listing !== undefined).slice(-MAX_WATCHED_GROUPS);
    return {
      server: this.description.value.version,
      groups: Object.fromEntries(groups.map(({ group, version }) => [group, version])),
      entries: entry === undefined ? {} : { [entry.name]: entry.version },
      ...(this.isFlat && this.flatVersion !== undefined ? { flatlist: this.flatVersion } : {}),
    };
  }

  /** Applies the changes in the reply of a long poll. */
  apply(changes: ServerChanges, notice: Notice): void {
    const before = this.description.value;
    this.description.value = changes.server;
    logState(before, changes.server, notice);
    for (const [group, listing] of Object.entries(changes.groups)) {
      if (listing === null) this.removeGroup(group);
      else this.setListing(listing, notice);
    }
    if (changes.flatlist) this.reloadPages();
  }

  private async loadPage(page: number): Promise<void> {
    const filter = this.filter.value;
    const request = { filter, offset: page * PAGE_SIZE, limit: PAGE_SIZE };
    const reply = await this.call<FlatPage>('flatlist', request).catch(() => undefined);
    if (filter !== this.filter.value || reply === undefined) {
      if (reply === undefined) this.requested.delete(page);
      return;
    }
    const isSame = reply.version === this.flatVersion;
    if (!isSame) {
      this.flatVersion = reply.version;
      this.requested.clear();
      this.requested.add(page);
    }
    batch(() => {
      this.pages.value = new Map(isSame ? this.pages.value : []).set(page, reply.entries);
      this.total.value = reply.total;
    });
  }

  private removeGroup(group: string): void {
    const listings = new Map(this.listings.value);
    for (const name of listings.keys()) {
      if (name === group || name.startsWith(childName(group, ''))) listings.delete(name);
    }
    batch(() => {
      this.listings.value = listings;
      this.close(group);
    });
  }

  private setListing(listing: GroupListing, notice?: Notice): void {
    const before = this.listings.value.get(listing.group);
    this.listings.value = new Map(this.listings.value).set(listing.group, listing);
    if (before === undefined || before.version === listing.version) return;
    const known = new Set([...before.groups, ...before.objects]);
    const now = [...listing.groups, ...listing.objects];
    const appeared = now.filter((part) => !known.has(part)).map((part) => childName(listing.group, part));
    const gone = known.size + appeared.length - now.length;
    this.mark(appeared);
    const texts = [];
    if (appeared.length > 0) texts.push(`${count(appeared.length)} appeared`);
    if (gone > 0) texts.push(`${count(gone)} disappeared`);
    notice?.(`${texts.join(', ')} in ${listing.group}`, 'change');
  }

  private mark(names: readonly string[]): void {
    this.marked.value = new Set([...this.marked.value, ...names]);
    setTimeout(() => {
      this.marked.value = new Set([...this.marked.value].filter((name) => !names.includes(name)));
    }, MARK_DURATION_MS);
  }
}

/** Logs if a server or its twin was lost or is back. */
function logState(before: ServerDescription, now: ServerDescription, notice: Notice): void {
  if (now.state !== before.state) {
    if (now.state === 'lost') notice(`Connection to ${now.address} lost: ${now.problem ?? ''}`, 'problem');
    else notice(`${now.address} is back`, 'done');
  } else if (now.pair !== undefined && before.pair !== undefined && now.pair.state !== before.pair.state) {
    notice(pairText(now.pair), now.pair.state === 'lost' ? 'problem' : 'done');
  }
}

/** The state of a server and its twin as text. */
export function pairText({ role, state, twin = 'its twin', unconfirmed, problem }: PairDescription): string {
  if (state === 'lost') return `${role}, has lost its twin${problem === undefined ? '' : `: ${problem}`}`;
  if (state === 'merging') return `${role}, exchanging all names with ${twin}`;
  if (unconfirmed === 0) return `${role}, in step with ${twin}`;
  return `${role}, ${unconfirmed.toLocaleString('en')} ${unconfirmed === 1 ? 'change' : 'changes'} on the way to ${twin}`;
}

const count = (names: number): string => (names === 1 ? '1 name' : `${names.toLocaleString('en')} names`);

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

/** How many names one request for the flat list asks for. */
export const PAGE_SIZE = 200;

/** How many groups may be watched at a time: the ones opened last. */
const MAX_WATCHED_GROUPS = 200;

/** How long a name that has appeared is marked, in milliseconds. */
const MARK_DURATION_MS = 2500;

/** What changed on a server, for the log. */
export type Notice = (text: string, kind: 'change' | 'problem' | 'done') => void;

/** What the page knows of one name server, and what of it is open. */
export class ServerStore {
  readonly description;
  readonly listings = signal<ReadonlyMap<string, GroupListing>>(new Map());
  readonly opened = signal<ReadonlySet<string>>(new Set([ROOT]));
  readonly rows = computed(() => treeRows(this.listings.value, this.opened.value));
  /** The name of the line that the keyboard is at. */
  readonly active = signal(ROOT);
  readonly view = signal<'tree' | 'names'>('tree');
  readonly filter = signal('');
  /** Lines of the flat list, as far as they were asked for, by page. */
  readonly pages = signal<ReadonlyMap<number, readonly FlatEntry[]>>(new Map());
  readonly total = signal<number | undefined>(undefined);
  /** Names that have just appeared. */
  readonly marked = signal<ReadonlySet<string>>(new Set());
  private flatVersion: string | undefined;
  private readonly asked = new Set<number>();

  constructor(description: ServerDescription) {
    this.description = signal(description);
  }

  get id(): string {
    return this.description.value.id;
  }

  /** Names are shown flat where a filter is on, too. */
  get isFlat(): boolean {
    return this.view.value === 'names' || this.filter.value.trim() !== '';
  }

  call<Reply = unknown>(method: string, request: object = {}): Promise<Reply> {
    return call<Reply>(`servers/${this.id}/${method}`, request);
  }

  /** Lists a group, and shows its members. */
  async open(group: string): Promise<void> {
    this.opened.value = new Set(this.opened.value).add(group);
    if (!this.listings.value.has(group)) this.take(await this.call<GroupListing>('list', { group }));
  }

  close(group: string): void {
    const opened = new Set(this.opened.value);
    opened.delete(group);
    batch(() => {
      this.opened.value = opened;
      if (this.active.value.startsWith(childName(group, ''))) this.active.value = group;
    });
  }

  /** Opens the groups above a name, so that its line is there. */
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

  /** Asks again for all that is open: after a change of our own. */
  async refresh(group: string): Promise<void> {
    if (this.listings.value.has(group)) this.take(await this.call<GroupListing>('list', { group }));
    if (this.isFlat) this.forgetPages();
  }

  /** Asks for the lines of the flat list from `first` to `last`, where they aren't there yet. */
  loadPages(first: number, last: number): void {
    for (let page = Math.floor(first / PAGE_SIZE); page * PAGE_SIZE <= last; page++) {
      if (this.asked.has(page)) continue;
      this.asked.add(page);
      void this.loadPage(page);
    }
  }

  /** The flat list is no longer true. */
  forgetPages(): void {
    this.asked.clear();
    this.flatVersion = undefined;
    this.loadPages(0, 0);
  }

  setFilter(filter: string): void {
    batch(() => {
      this.filter.value = filter;
      if (this.isFlat) this.forgetPages();
    });
  }

  setView(view: 'tree' | 'names'): void {
    this.view.value = view;
    if (this.isFlat) this.forgetPages();
  }

  /** What the page has of this server, to be told when it is no longer so. */
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

  /** Takes in what has changed. */
  apply(changes: ServerChanges, notice: Notice): void {
    const before = this.description.value;
    this.description.value = changes.server;
    noteState(before, changes.server, notice);
    for (const [group, listing] of Object.entries(changes.groups)) {
      if (listing === null) this.forget(group);
      else this.take(listing, notice);
    }
    if (changes.flatlist) this.forgetPages();
  }

  private async loadPage(page: number): Promise<void> {
    const filter = this.filter.value;
    const request = { filter, offset: page * PAGE_SIZE, limit: PAGE_SIZE };
    const reply = await this.call<FlatPage>('flatlist', request).catch(() => undefined);
    if (filter !== this.filter.value || reply === undefined) {
      if (reply === undefined) this.asked.delete(page);
      return;
    }
    const isSame = reply.version === this.flatVersion;
    if (!isSame) {
      this.flatVersion = reply.version;
      this.asked.clear();
      this.asked.add(page);
    }
    batch(() => {
      this.pages.value = new Map(isSame ? this.pages.value : []).set(page, reply.entries);
      this.total.value = reply.total;
    });
  }

  private forget(group: string): void {
    const listings = new Map(this.listings.value);
    for (const name of listings.keys()) {
      if (name === group || name.startsWith(childName(group, ''))) listings.delete(name);
    }
    batch(() => {
      this.listings.value = listings;
      this.close(group);
    });
  }

  private take(listing: GroupListing, notice?: Notice): void {
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

/** Says where a server, or its twin, is lost or back. */
function noteState(before: ServerDescription, now: ServerDescription, notice: Notice): void {
  if (now.state !== before.state) {
    if (now.state === 'lost') notice(`Connection to ${now.address} lost: ${now.problem ?? ''}`, 'problem');
    else notice(`${now.address} is back`, 'done');
  } else if (now.pair !== undefined && before.pair !== undefined && now.pair.state !== before.pair.state) {
    notice(pairText(now.pair), now.pair.state === 'lost' ? 'problem' : 'done');
  }
}

/** How a server and its twin are, in words. */
export function pairText({ role, state, twin = 'its twin', unconfirmed, problem }: PairDescription): string {
  if (state === 'lost') return `${role}, has lost its twin${problem === undefined ? '' : `: ${problem}`}`;
  if (state === 'merging') return `${role}, exchanging all names with ${twin}`;
  if (unconfirmed === 0) return `${role}, in step with ${twin}`;
  return `${role}, ${unconfirmed.toLocaleString('en')} ${unconfirmed === 1 ? 'change' : 'changes'} on the way to ${twin}`;
}

const count = (names: number): string => (names === 1 ? '1 name' : `${names.toLocaleString('en')} names`);

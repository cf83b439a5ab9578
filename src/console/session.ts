import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { silentLog, type Config } from '../config/index.js';
import { NamingError, ProtocolError, PyroError } from '../errors.js';
import { NameServerProxy } from '../naming/index.js';
import { Name, NAMESERVER_NAME, PyroURI } from '../names/index.js';
import { GROUP } from '../namespace/index.js';
import { LivenessProbe, RemoteError } from '../rpc/index.js';
import { TTLValue, type TTLOptions } from '../sync/index.js';
import type {
  EntryDescription,
  FlatlistRequest,
  FlatPage,
  GroupListing,
  GroupSize,
  ObjectStatus,
  PairDescription,
  ServerChanges,
  ServerDescription,
  SetMetaRequest,
  WatchedServer,
} from './api.js';
import { FlatSnapshot } from './flat-snapshot.js';
import { pairOf } from './pair.js';
import { describePython, pythonFromJSON } from './python-value.js';

/** How long the answers of a server are cached: for the pace of live changes. */
const CACHE: TTLOptions = { ttlMs: 900, costFactor: 10 };

/** How many groups' listings are remembered. */
const MAX_LISTINGS = 500;

/** How many groups are counted before a deletion. */
const MAX_COUNTED_GROUPS = 5000;

/** How long a name server may take for one answer, in seconds. */
const CALL_TIMEOUT_SECONDS = 20;

/** Where a name server is, and is found again. */
export interface ServerLocation {
  readonly host: string;
  readonly port: number;
  readonly identification: string | undefined;
}

/** A name server that the console is connected to: what it said lately, and the way back to it. */
export class NameServerSession {
  private nameServer: NameServerProxy;
  private problem: string | undefined;
  private readonly listings = new LRUCache<string, TTLValue<GroupListing>>({ max: MAX_LISTINGS });
  private readonly snapshot = new TTLValue(() => this.readSnapshot(), CACHE);
  private readonly pair = new TTLValue(() => this.readPair(), CACHE);
  private lastPair: PairDescription | undefined;
  /** False once the server has shown that it doesn't say. */
  private saysStatus = true;

  constructor(
    readonly id: string,
    private location: ServerLocation,
    private readonly config: Config,
  ) {
    this.nameServer = this.newProxy();
  }

  get description(): ServerDescription {
    const description = {
      id: this.id,
      address: `${this.location.host}:${this.location.port}`,
      uri: this.nameServer.URI.toString(),
      state: this.problem === undefined ? ('connected' as const) : ('lost' as const),
      problem: this.problem,
      pair: this.problem === undefined ? this.lastPair : undefined,
    };
    return { ...description, version: versionOf(JSON.stringify(description)) };
  }

  /** The same name server is reached in another way from now on. */
  moveTo(location: ServerLocation): void {
    this.location = location;
    void this.nameServer._release();
    this.nameServer = this.newProxy();
    this.forgetAll();
  }

  async close(): Promise<void> {
    await this.nameServer._release();
  }

  /** @returns how long the answer took, in milliseconds */
  async ping(): Promise<number> {
    const start = performance.now();
    await this.ask((nameServer) => nameServer.ping());
    return performance.now() - start;
  }

  /** Lists a group, as it is now. */
  list(group: string): Promise<GroupListing> {
    return this.listing(this.fullName(group)).reload();
  }

  async flatlist(request: FlatlistRequest): Promise<FlatPage> {
    const snapshot = await this.snapshot.get();
    return snapshot.page(request);
  }

  /** All names, as they are now. */
  allNames(): Promise<FlatSnapshot> {
    return this.snapshot.reload();
  }

  async resolve(name: string): Promise<{ readonly name: string; readonly uri: PyroURI }> {
    const full = this.fullName(name);
    return { name: full, uri: await this.ask((nameServer) => nameServer.resolve(full)) };
  }

  /** Everything that the server knows of a name. */
  async entry(name: string): Promise<EntryDescription> {
    const full = this.fullName(name);
    const [meta, metadata] = await this.ask((nameServer) =>
      Promise.all([nameServer._getSystemMeta(full), nameServer.getMeta(full)]),
    );
    // The root, and what Pyro 3 made without metadata, have none: then asking for the URI tells what it is.
    const isGroup = meta === undefined ? full === ':' : meta.type === GROUP;
    const uri = isGroup ? undefined : (await this.resolve(full)).uri;
    const description = {
      name: full,
      type: isGroup ? ('group' as const) : ('object' as const),
      since: meta?.timestamp,
      owner: meta === undefined || meta.owner === null ? undefined : describePython(meta.owner),
      uri: uri === undefined ? undefined : partsOf(uri),
      metadata: describePython(metadata),
    };
    return { ...description, version: versionOf(JSON.stringify(description)) };
  }

  async register(name: string, uri: string): Promise<string> {
    const full = this.fullName(name);
    await this.change(full, (nameServer) => nameServer.register(full, uri));
    return full;
  }

  async unregister(name: string): Promise<string> {
    const full = this.fullName(name);
    await this.change(full, (nameServer) => nameServer.unregister(full));
    return full;
  }

  async createGroup(group: string): Promise<string> {
    const full = this.fullName(group);
    await this.change(full, (nameServer) => nameServer.createGroup(full));
    return full;
  }

  async deleteGroup(group: string): Promise<string> {
    const full = this.fullName(group);
    await this.change(full, (nameServer) => nameServer.deleteGroup(full));
    return full;
  }

  async setMeta({ name, as, text }: SetMetaRequest): Promise<string> {
    const full = this.fullName(name);
    const meta = as === 'none' ? null : as === 'json' ? pythonFromJSON(text) : text;
    await this.ask((nameServer) => nameServer.setMeta(full, meta));
    return full;
  }

  async resync(): Promise<void> {
    await this.ask((nameServer) => nameServer.resync());
    this.forgetAll();
  }

  /** @returns the server's answer: it may deny it */
  shutdown(): Promise<string> {
    return this.ask((nameServer) => nameServer._shutdown());
  }

  /** Whether the daemon of an object still has it. */
  async objectStatus(name: string): Promise<ObjectStatus> {
    const { uri } = await this.resolve(name);
    const own = this.nameServer.URI;
    const isOwn = uri.address === own.address && uri.port === own.port;
    const { identification } = this.location;
    const livenessProbe = new LivenessProbe({
      config: this.config,
      nameServerHost: own.address,
      // Another daemon is not told anything from which the passphrase could be guessed.
      identificationFor: () => (isOwn ? identification : undefined),
    });
    const start = performance.now();
    const { status, explanation } = await livenessProbe.ask(uri);
    const milliseconds = Math.round(performance.now() - start);
    return { status, explanation, milliseconds };
  }

  /** Counts what a group holds, all the way down. */
  async sizeOf(group: string): Promise<GroupSize> {
    const pending = [this.fullName(group)];
    let [objects, groups, listed] = [0, 0, 0];
    while (listed < MAX_COUNTED_GROUPS) {
      const name = pending.pop();
      if (name === undefined) break;
      const listing = await this.list(name);
      listed += 1;
      objects += listing.objects.length;
      groups += listing.groups.length;
      for (const part of listing.groups) pending.push(Name.parse(name).child(part).toString());
    }
    return { objects, groups, complete: pending.length === 0 };
  }

  /** What is no longer as the page has it; undefined where all is. */
  async changes(known: WatchedServer): Promise<ServerChanges | undefined> {
    let groups: Record<string, GroupListing | null> = {};
    let entries: Record<string, EntryDescription | null> = {};
    let flatlist = false;
    try {
      // A server with nothing to watch is asked whether it is still there.
      if (Object.keys(known.groups).length === 0) await this.ping();
      await this.pair.get();
      groups = await changed(known.groups, (group) => this.listing(group).get());
      entries = await changed(known.entries, (name) => this.entry(name));
      flatlist = known.flatlist !== undefined && (await this.snapshot.get()).version !== known.flatlist;
    } catch (error) {
      if (!(error instanceof PyroError || error instanceof RemoteError)) throw error;
    }
    const server = this.description;
    const isSame = server.version === known.server && !flatlist && isEmpty(groups) && isEmpty(entries);
    return isSame ? undefined : { server, groups, entries, flatlist };
  }

  private fullName(name: string): string {
    return this.nameServer.fullName(name);
  }

  private listing(group: string): TTLValue<GroupListing> {
    let listing = this.listings.get(group);
    if (listing === undefined) {
      listing = new TTLValue(() => this.readListing(group), CACHE);
      this.listings.set(group, listing);
    }
    return listing;
  }

  private async readListing(group: string): Promise<GroupListing> {
    const groups: string[] = [];
    const objects: string[] = [];
    for (const { part, type } of await this.ask((nameServer) => nameServer.list(group))) {
      (type === GROUP ? groups : objects).push(part);
    }
    groups.sort();
    objects.sort();
    return { group, version: versionOf(`${groups.join(' ')}\n${objects.join(' ')}`), groups, objects };
  }

  private async readSnapshot(): Promise<FlatSnapshot> {
    const objects = await this.ask((nameServer) => nameServer.flatlist());
    return new FlatSnapshot(new Map(objects.map(([name, uri]) => [name, uri.toString()])));
  }

  private async readPair(): Promise<void> {
    if (!this.saysStatus) return;
    try {
      this.lastPair = pairOf(await this.ask((nameServer) => nameServer._status()));
    } catch (error) {
      if (meansLoss(error)) throw error;
      // Pyro 3 has no such method, and a guard may keep it to itself.
      this.saysStatus = false;
      this.lastPair = undefined;
    }
  }

  /** Asks for a change of a name, after which what is remembered of its surroundings is no longer true. */
  private async change(name: string, question: Question<void>): Promise<void> {
    await this.ask(question);
    this.listings.delete(Name.parse(name).parent.toString());
    this.snapshot.invalidate();
  }

  private forgetAll(): void {
    this.listings.clear();
    this.snapshot.invalidate();
    this.pair.invalidate();
    this.saysStatus = true;
  }

  /** Asks the name server; one that was lost is looked for again by the next question. */
  private async ask<Answer>(question: Question<Answer>): Promise<Answer> {
    const { nameServer } = this;
    try {
      const answer = await question(nameServer);
      if (nameServer === this.nameServer) this.problem = undefined;
      return answer;
    } catch (error) {
      if (meansLoss(error) && nameServer === this.nameServer) {
        this.problem = error.args.join(': ');
        this.forgetAll();
        // What comes back may be another object, which the old one's id does not lead to.
        this.nameServer = this.newProxy();
        await nameServer._release();
      }
      throw error;
    }
  }

  private newProxy(): NameServerProxy {
    const { host, port, identification } = this.location;
    const uri = new PyroURI('PYROLOC', host, port, NAMESERVER_NAME);
    const options = { config: this.config, log: silentLog, exactValues: true, timeout: CALL_TIMEOUT_SECONDS };
    return new NameServerProxy(uri, { ...options, identification });
  }
}

/** What a name server is asked. */
type Question<Answer> = (nameServer: NameServerProxy) => Promise<Answer>;

/** True where the name server is gone; one that answers nonsense is still there. */
const meansLoss = (error: unknown): error is ProtocolError =>
  error instanceof ProtocolError && error.code !== 'ANSWER_UNEXPECTED';

/** Looks at each watched thing again, and returns those whose version is another; null for those that are gone. */
async function changed<T extends { readonly version: string }>(
  known: Readonly<Record<string, string>>,
  look: (name: string) => Promise<T>,
): Promise<Record<string, T | null>> {
  const found = await Promise.all(
    Object.entries(known).map(async ([name, version]) => {
      const now = await look(name).catch((error: unknown) => {
        if (error instanceof NamingError) return null;
        throw error;
      });
      return now?.version === version ? undefined : ([name, now] as const);
    }),
  );
  return Object.fromEntries(found.filter((change) => change !== undefined));
}

function partsOf(uri: PyroURI): EntryDescription['uri'] {
  const { protocol, address, port, objectID } = uri;
  return { text: uri.toString(), protocol, address, port, objectID };
}

const versionOf = (text: string): string => createHash('sha1').update(text).digest('base64url');

const isEmpty = (record: object): boolean => Object.keys(record).length === 0;

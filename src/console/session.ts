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

/** The TTL of a server's replies: a little below the polling interval. */
const CACHE: TTLOptions = { ttlMs: 900, costFactor: 10 };

/** The most groups whose listings are cached. */
const MAX_LISTINGS = 500;

/** The most groups that `sizeOf` lists. */
const MAX_COUNTED_GROUPS = 5000;

/** The timeout of a call of a name server, in seconds. */
const CALL_TIMEOUT_SECONDS = 20;

/** The address of a name server, and the passphrase for it. */
export interface ServerLocation {
  readonly host: string;
  readonly port: number;
  readonly identification: string | undefined;
}

/**
 * A name server that the console is connected to, with a cache of its replies. Reconnects when the connection was lost.
 */
export class NameServerSession {
  private nameServer: NameServerProxy;
  private problem: string | undefined;
  private readonly listings = new LRUCache<string, TTLValue<GroupListing>>({ max: MAX_LISTINGS });
  private readonly snapshot = new TTLValue(() => this.readSnapshot(), CACHE);
  private readonly pair = new TTLValue(() => this.readPair(), CACHE);
  private lastPair: PairDescription | undefined;
  /** False once a call of `_status` has failed: then it is not asked again. */
  private hasStatus = true;

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

  /** Changes the address by which the same name server is reached. */
  moveTo(location: ServerLocation): void {
    this.location = location;
    void this.nameServer._release();
    this.nameServer = this.newProxy();
    this.invalidateAll();
  }

  async close(): Promise<void> {
    await this.nameServer._release();
  }

  /** @returns the round-trip time in milliseconds */
  async ping(): Promise<number> {
    const start = performance.now();
    await this.ask((nameServer) => nameServer.ping());
    return performance.now() - start;
  }

  /** Lists a group, bypassing the cache. */
  list(group: string): Promise<GroupListing> {
    return this.listing(this.fullName(group)).reload();
  }

  async flatlist(request: FlatlistRequest): Promise<FlatPage> {
    const snapshot = await this.snapshot.get();
    return snapshot.page(request);
  }

  /** All names, bypassing the cache. */
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
    // The root, and some entries of Pyro 3, have no system metadata: then `resolve` tells objects from groups.
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
    this.invalidateAll();
  }

  /** @returns the server's reply, which may be a denial */
  shutdown(): Promise<string> {
    return this.ask((nameServer) => nameServer._shutdown());
  }

  /** Asks the daemon of an object whether it still has it. */
  async objectStatus(name: string): Promise<ObjectStatus> {
    const { uri } = await this.resolve(name);
    const own = this.nameServer.URI;
    const isOwn = uri.address === own.address && uri.port === own.port;
    const { identification } = this.location;
    const livenessProbe = new LivenessProbe({
      config: this.config,
      nameServerHost: own.address,
      // Only the name server's own daemon gets a token: from a token the passphrase can be guessed offline.
      identificationFor: () => (isOwn ? identification : undefined),
    });
    const start = performance.now();
    const { status, explanation } = await livenessProbe.ask(uri);
    const milliseconds = Math.round(performance.now() - start);
    return { status, explanation, milliseconds };
  }

  /** Counts the members of a group recursively, up to a limit of groups. */
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

  /** What has changed compared to the versions that the page has; undefined if nothing has. */
  async changes(known: WatchedServer): Promise<ServerChanges | undefined> {
    let groups: Record<string, GroupListing | null> = {};
    let entries: Record<string, EntryDescription | null> = {};
    let flatlist = false;
    try {
      // Without groups to watch nothing else is called: the ping notices a lost connection.
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
    if (!this.hasStatus) return;
    try {
      this.lastPair = pairOf(await this.ask((nameServer) => nameServer._status()));
    } catch (error) {
      if (meansLoss(error)) throw error;
      // Pyro 3 has no such method, and a security plugin may refuse it.
      this.hasStatus = false;
      this.lastPair = undefined;
    }
  }

  /** Makes a change of a name, and invalidates the cache accordingly. */
  private async change(name: string, call: Call<void>): Promise<void> {
    await this.ask(call);
    this.listings.delete(Name.parse(name).parent.toString());
    this.snapshot.invalidate();
  }

  private invalidateAll(): void {
    this.listings.clear();
    this.snapshot.invalidate();
    this.pair.invalidate();
    this.hasStatus = true;
  }

  /** Calls the name server. If the connection is lost, the next call connects again. */
  private async ask<Result>(call: Call<Result>): Promise<Result> {
    const { nameServer } = this;
    try {
      const result = await call(nameServer);
      if (nameServer === this.nameServer) this.problem = undefined;
      return result;
    } catch (error) {
      if (meansLoss(error) && nameServer === this.nameServer) {
        this.problem = error.args.join(': ');
        this.invalidateAll();
        // A new proxy, because after a restart the name server may be an object with another id.
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

/** A call of a name server. */
type Call<Result> = (nameServer: NameServerProxy) => Promise<Result>;

/** True if the error means that the connection is lost; an invalid reply does not. */
const meansLoss = (error: unknown): error is ProtocolError =>
  error instanceof ProtocolError && error.code !== 'ANSWER_UNEXPECTED';

/**
 * Reads each watched item again, and returns those whose version has changed; null for those that do not exist any
 * more.
 */
async function changed<T extends { readonly version: string }>(
  known: Readonly<Record<string, string>>,
  read: (name: string) => Promise<T>,
): Promise<Record<string, T | null>> {
  const found = await Promise.all(
    Object.entries(known).map(async ([name, version]) => {
      const now = await read(name).catch((error: unknown) => {
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

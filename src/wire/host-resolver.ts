import { lookup, Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import { hostname } from 'node:os';
import { onAbort } from '../sync/index.js';
import { HostsFile, SYSTEM_HOSTS_FILE } from './hosts-file.js';
import { SystemLookups, type SystemLookup } from './system-lookups.js';

/** The longest name of DNS. */
const MAX_NAME_LENGTH = 253;

/** How long an answer is used again, in milliseconds: a program that registers many objects names its host each time. */
const FOUND_TTL_MS = 10_000;

/** How long a failure is. */
const FAILED_TTL_MS = 3000;

/** How many names are remembered; the oldest is forgotten first. */
const MAX_REMEMBERED = 1000;

/** Which part of all names that clients may have looked up at a time is of one client. */
const CLIENT_SHARE = 1 / 4;

/** So many tries of a DNS server fit into the timeout: each waits twice as long as the one before. */
const TRIES = 2;
const FIRST_TRY_SHARE = 1 / 4;

/** How long a name may take where nothing else is said. */
const DEFAULT_TIMEOUT_MS = 5000;

/** Why a host name has no address here. */
export type HostLookupFailure =
  /** It is not known. */
  | 'UNKNOWN'
  /** Nobody has answered in time. */
  | 'TIMEOUT'
  /** Clients have too many names looked up, all together. */
  | 'TOO_MANY'
  /** The client has too many names looked up. */
  | 'TOO_MANY_OF_CLIENT';

const FAILURE_TEXTS: Readonly<Record<HostLookupFailure, string>> = {
  UNKNOWN: 'unknown host',
  TIMEOUT: 'no DNS server answered in time for host',
  TOO_MANY: 'too many host names are being looked up, so not this one',
  TOO_MANY_OF_CLIENT: 'too many host names of this client are being looked up, so not this one',
};

/** A host name that has no address here. */
export class HostLookupError extends Error {
  constructor(
    readonly code: HostLookupFailure,
    host: string,
  ) {
    super(`${FAILURE_TEXTS[code]}: ${host}`);
    this.name = 'HostLookupError';
  }
}

/** For whom a name is looked up, where that is a client: it gets a share of what all of them may. */
export interface LookupClient {
  readonly address: string | undefined;
  /** How many names all clients may have looked up at a time. */
  readonly maxLookups: number;
}

export interface LookupOptions {
  /** How long it may take, in milliseconds. */
  readonly timeoutMs?: number | undefined;
  /** Ends it, with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Without it, the name is this program's own affair, and not limited. */
  readonly client?: LookupClient | undefined;
}

/** What asks DNS: a `Resolver` of `node:dns/promises`. */
interface DNSResolver {
  resolve4(name: string): Promise<readonly string[]>;
  cancel(): void;
}

export interface HostResolverOptions {
  readonly hostsFile: string;
  /** This machine's own name. */
  readonly ownName: string;
  readonly createResolver: (options: { timeout: number; tries: number }) => DNSResolver;
  readonly systemLookup: SystemLookup;
}

const defaultOptions: HostResolverOptions = {
  hostsFile: SYSTEM_HOSTS_FILE,
  ownName: hostname(),
  createResolver: (options) => new Resolver(options),
  systemLookup: async (name) => (await lookup(name, { family: 4, all: true })).map(({ address }) => address),
};

/** A name that is being looked up. */
interface PendingLookup {
  /** The address of the client that was the first to ask; undefined for this program itself. */
  readonly client: LookupClient | undefined;
  readonly addresses: Promise<readonly string[]>;
  readonly abort: AbortController;
  waiters: number;
}

type Outcome = { readonly addresses: readonly string[] } | { readonly error: HostLookupError };

/**
 * Looks up the IPv4 addresses of host names. `dns.lookup` would take one of four threads for each name, for as long as DNS
 * doesn't answer: then files are neither read nor written, and the process doesn't end. So DNS is asked without a thread
 * (c-ares), with a timeout; names of clients are bounded, all together and each client's; equal names are asked once.
 *
 * The system is asked, in at most two threads, for what DNS can't know: names in mDNS (`.local`), in LDAP, of a search domain,
 * and this machine's own. Where DNS doesn't answer, it is not: it would ask the same DNS.
 */
export class HostResolver {
  private readonly options: HostResolverOptions;
  private readonly hosts: HostsFile;
  private readonly system: SystemLookups;
  private readonly pending = new Map<string, PendingLookup>();
  private readonly remembered = new Map<string, Outcome & { readonly expiresAt: number }>();

  constructor(options: Partial<HostResolverOptions> = {}) {
    this.options = { ...defaultOptions, ...options };
    this.hosts = new HostsFile(this.options.hostsFile);
    this.system = new SystemLookups(this.options.systemLookup);
  }

  /**
   * The IPv4 addresses of a host, by its name or dotted; at least one.
   * @throws HostLookupError; the signal's reason
   */
  async addressesOf(host: string, options: LookupOptions = {}): Promise<readonly string[]> {
    const { signal } = options;
    signal?.throwIfAborted();
    const version = isIP(host);
    if (version === 4) return [host];
    const name = host.toLowerCase().replace(/\.$/, '');
    // RFC 6761: neither is asked for.
    if (/(?:^|\.)localhost$/.test(name)) return ['127.0.0.1'];
    if (version === 6 || name.length > MAX_NAME_LENGTH || /(?:^|\.)invalid$/.test(name)) {
      throw new HostLookupError('UNKNOWN', host);
    }
    const listed = await this.hosts.addressesOf(name);
    if (listed.length > 0) return listed;
    const remembered = this.recall(name);
    if (remembered === undefined) return this.wait(name, this.pending.get(name) ?? this.begin(name, options), signal);
    if ('error' in remembered) throw remembered.error;
    return remembered.addresses;
  }

  private recall(name: string): Outcome | undefined {
    const outcome = this.remembered.get(name);
    if (outcome === undefined || performance.now() < outcome.expiresAt) return outcome;
    this.remembered.delete(name);
    return undefined;
  }

  private remember(name: string, outcome: Outcome): void {
    const ttlMs = 'error' in outcome ? FAILED_TTL_MS : FOUND_TTL_MS;
    this.remembered.delete(name);
    this.remembered.set(name, { ...outcome, expiresAt: performance.now() + ttlMs });
    const [oldest = name] = this.remembered.keys();
    if (this.remembered.size > MAX_REMEMBERED) this.remembered.delete(oldest);
  }

  /** Waits for a name together with others: when nobody waits any more, it is given up. */
  private async wait(name: string, lookup: PendingLookup, signal: AbortSignal | undefined): Promise<readonly string[]> {
    lookup.waiters += 1;
    let forget = (): void => undefined;
    try {
      signal?.throwIfAborted();
      const aborted = new Promise<never>((_, reject) => {
        forget = onAbort(signal, reject);
      });
      return await Promise.race([lookup.addresses, aborted]);
    } finally {
      forget();
      lookup.waiters -= 1;
      if (lookup.waiters === 0) {
        this.forget(name, lookup);
        lookup.abort.abort();
      }
    }
  }

  /** @throws HostLookupError where too many names are being looked up */
  private begin(name: string, { client, timeoutMs = DEFAULT_TIMEOUT_MS }: LookupOptions): PendingLookup {
    if (client !== undefined) this.requireRoom(name, client);
    const abort = new AbortController();
    const timer = setTimeout(() => {
      abort.abort(new HostLookupError('TIMEOUT', name));
    }, timeoutMs);
    const addresses = this.ask(name, client?.address, timeoutMs, abort.signal)
      .then(
        (found) => {
          this.remember(name, { addresses: found });
          return found;
        },
        (error: unknown) => {
          if (error instanceof HostLookupError) this.remember(name, { error });
          throw error;
        },
      )
      .finally(() => {
        clearTimeout(timer);
        this.forget(name, lookup);
      });
    // Nobody may be waiting any more.
    addresses.catch(() => undefined);
    const lookup: PendingLookup = { client, addresses, abort, waiters: 0 };
    this.pending.set(name, lookup);
    return lookup;
  }

  private forget(name: string, lookup: PendingLookup): void {
    if (this.pending.get(name) === lookup) this.pending.delete(name);
  }

  private requireRoom(name: string, { address, maxLookups }: LookupClient): void {
    const ofClients = [...this.pending.values()].flatMap(({ client }) => client ?? []);
    if (ofClients.length >= maxLookups) throw new HostLookupError('TOO_MANY', name);
    const ofClient = ofClients.filter((client) => client.address === address).length;
    if (ofClient >= Math.ceil(maxLookups * CLIENT_SHARE)) throw new HostLookupError('TOO_MANY_OF_CLIENT', name);
  }

  private async ask(
    name: string,
    client: string | undefined,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const isLocal = name.endsWith('.local') || name === this.options.ownName.toLowerCase();
    try {
      const told = isLocal ? [] : await this.askDNS(name, timeoutMs, signal);
      const found = told.length > 0 ? told : await this.system.run(name, client, signal);
      if (found.length > 0) return found;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof HostLookupError) throw error;
    }
    throw new HostLookupError('UNKNOWN', name);
  }

  /** @returns no address where another source may know the name */
  private async askDNS(name: string, timeoutMs: number, signal: AbortSignal): Promise<readonly string[]> {
    // A resolver for each name: it can be cancelled alone, and knows what DNS servers there are now.
    const resolver = this.options.createResolver({ timeout: Math.ceil(timeoutMs * FIRST_TRY_SHARE), tries: TRIES });
    const forget = onAbort(signal, () => {
      resolver.cancel();
    });
    try {
      return await resolver.resolve4(name);
    } catch (error) {
      signal.throwIfAborted();
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'ETIMEOUT') throw new HostLookupError('TIMEOUT', name);
      // What answers for a name's own domain is at fault. Names without a dot are often refused like this.
      if (code === 'ESERVFAIL' && name.includes('.')) throw new HostLookupError('UNKNOWN', name);
      return [];
    } finally {
      forget();
    }
  }
}

/** The host resolver of this process: threads and DNS servers are shared by all of it. */
export const hostResolver = new HostResolver();

/** `hostResolver` as sockets take it. */
export function socketLookup(options: Pick<LookupOptions, 'timeoutMs' | 'signal'>): LookupFunction {
  return (host, _options, callback) => {
    hostResolver.addressesOf(host, options).then(
      ([address = '']) => {
        callback(null, address, 4);
      },
      (error: unknown) => {
        callback(error instanceof Error ? error : new HostLookupError('UNKNOWN', host), '');
      },
    );
  };
}

import { networkInterfaces } from 'node:os';
import { printable, type Config, type Log } from '../../config/index.js';
import { ConnectionDeniedError, PyroError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { ObjectProtocol, PyroURI } from '../../names/index.js';
import { RemoteError } from '../../rpc/index.js';
import { hostResolver, type ServerConnection } from '../../wire/index.js';
import { openPeer, type PeerAddress, type PeerLink } from './peer-link.js';
import type { TwinRole } from './records.js';

/** Rate limit: unknown callers can make us look up the twin's address only once in this time. */
const LOOKUP_INTERVAL_MS = 1000;

/** The configured address of the twin. */
export interface TwinAddress {
  readonly host: string;
  /** By default, the configured port of a server with the twin's role. */
  readonly port?: number | undefined;
}

export interface TwinFinderOptions {
  readonly config: Config;
  readonly log: Log;
  readonly print: (line: string) => void;
  readonly role: TwinRole;
  /** PYROSSL if both servers use TLS. */
  readonly protocol: ObjectProtocol;
  readonly identification?: string | undefined;
  /** As given with -1 or -2. */
  readonly address: TwinAddress | undefined;
  /** Finds a name server by broadcast; undefined if none answers. */
  readonly broadcast: () => Promise<PyroURI | undefined>;
}

/**
 * Finds the other name server of a pair, by configuration, broadcast or its own call, and decides which callers may be
 * it.
 */
export class TwinFinder {
  readonly role: TwinRole;
  private readonly isIdentified: boolean;
  private readonly address: TwinAddress | undefined;
  /** The twin's address, as it was last found, or as the twin itself has said. */
  private found: PeerAddress | undefined;
  private own: PeerAddress | undefined;
  private located: PeerLink | undefined;
  private trusted: ReadonlySet<string> = new Set();
  private lastLookup = -Infinity;
  private lookingUp: Promise<void> | undefined;
  private readonly stopping = new AbortController();

  constructor(private readonly options: TwinFinderOptions) {
    const { config, role, address, identification } = options;
    this.role = role;
    this.isIdentified = identification !== undefined;
    const hostname = role === 'primary' ? config.PYRO_NS2_HOSTNAME : config.PYRO_NS_HOSTNAME;
    this.address = address ?? (hostname === undefined ? undefined : { host: hostname });
  }

  /** True if the twin's address is configured. If not, the twin is who answers a broadcast, or calls first. */
  get isAddressGiven(): boolean {
    return this.address !== undefined;
  }

  /** Sets our own address, which can't be the twin's. */
  exclude(own: PyroURI): void {
    this.own = { host: own.address, port: own.port };
  }

  /** Records where the twin is. */
  note(uri: PyroURI): void {
    this.found = { host: uri.address, port: uri.port };
  }

  /**
   * Connects to the twin.
   * @throws ConnectionDeniedError where it refuses the connection; PyroError, RemoteError where it can't be found
   */
  async connect(): Promise<PeerLink> {
    const where = this.addressOfTwin() ?? (await this.locateByBroadcast());
    return openPeer(where, this.options);
  }

  /**
   * Connects to the twin if it can be found, and prints that as Pyro does. `takeLocated` returns the connection.
   * @throws ConnectionDeniedError where it refuses the connection
   */
  async locate(announcement: string): Promise<void> {
    const { log, print } = this.options;
    print(announcement);
    try {
      const peer = await this.connect();
      this.located = peer;
      print(`Found twin NameServer at ${peer.uri.address} port ${peer.uri.port}`);
      log.msg('NameServerStarter', 'Found twin NS at', peer.uri);
    } catch (error) {
      if (error instanceof ConnectionDeniedError || !isExpected(error)) throw error;
      print(`WARNING: Cannot find twin NS yet:  ${printable(error.message)}`);
      log.msg('NameServerStarter', 'Cannot find twin NS yet:', error.message);
    }
  }

  /** Passes on the connection that `locate` has opened, if it is still open. */
  takeLocated(): PeerLink | undefined {
    const peer = this.located;
    this.located = undefined;
    return peer?.isOpen ? peer : undefined;
  }

  stop(): void {
    this.stopping.abort();
    this.located?.destroy();
  }

  /**
   * True if a caller may act as the twin. With a passphrase every caller may, as it was authenticated when it
   * connected; without, a caller from the twin's addresses.
   */
  async trusts(caller: Pick<ServerConnection, 'remoteAddress'>): Promise<boolean> {
    if (this.isIdentified) return true;
    const { remoteAddress } = caller;
    if (remoteAddress === undefined) return false;
    if (this.trusted.has(remoteAddress)) return true;
    if (this.lookingUp === undefined && performance.now() - this.lastLookup < LOOKUP_INTERVAL_MS) return false;
    this.lookingUp ??= this.lookUp().finally(() => {
      this.lookingUp = undefined;
      this.lastLookup = performance.now();
    });
    await this.lookingUp;
    return this.trusted.has(remoteAddress);
  }

  /**
   * Trust on first use: accepts a caller as the twin if none is known yet. Needed for Pyro 3 servers, which call us
   * before they answer broadcasts. The caller's address must be the one in the URI.
   * @param uri the URI that the caller says is its own
   * @returns true if it is the twin from now on
   */
  async acceptFirst({ remoteAddress }: Pick<ServerConnection, 'remoteAddress'>, uri: PyroURI): Promise<boolean> {
    if (this.addressOfTwin() !== undefined || remoteAddress === undefined || this.isOwn(uri)) return false;
    const addresses = await this.addressesOf(uri.address).catch(() => new Set<string>());
    // Checked again: another caller may have been first meanwhile.
    if (!addresses.has(remoteAddress) || this.addressOfTwin() !== undefined) return false;
    this.note(uri);
    this.trusted = addresses;
    this.options.log.warn('NameServer', 'twin: taken for it, as the first that has called:', uri);
    return true;
  }

  private addressOfTwin(): PeerAddress | undefined {
    const { config, role } = this.options;
    if (this.address === undefined) return this.found;
    const port = role === 'primary' ? config.PYRO_NS2_PORT : config.PYRO_NS_PORT;
    return { host: this.address.host, port: this.address.port ?? port };
  }

  private async locateByBroadcast(): Promise<PeerAddress> {
    const uri = await this.options.broadcast();
    if (uri === undefined || this.isOwn(uri)) {
      throw new PyroError(refusalText('NAME_SERVER_SILENT'));
    }
    this.note(uri);
    return { host: uri.address, port: uri.port };
  }

  private async lookUp(): Promise<void> {
    try {
      const { host } = this.addressOfTwin() ?? (await this.locateByBroadcast());
      this.trusted = await this.addressesOf(host);
    } catch (error) {
      this.options.log.warn('NameServer', 'twin: where it is, is not known:', error);
    }
  }

  private isOwn({ address, port }: PyroURI): boolean {
    return address === this.own?.host && port === this.own.port;
  }

  /** The addresses from which a server on this host may call. */
  private async addressesOf(host: string): Promise<ReadonlySet<string>> {
    const timeoutMs = this.options.config.PYRO_DNS_TIMEOUT * 1000;
    const addresses = await hostResolver.addressesOf(host, { timeoutMs, signal: this.stopping.signal });
    const own = ownAddresses();
    // A twin on this machine may call from any of this machine's addresses.
    const isHere = addresses.some((address) => own.has(address) || address.startsWith('127.'));
    return new Set(isHere ? [...addresses, ...own] : addresses);
  }
}

/** True for the errors of a peer that is unreachable, or no name server; any other error is a bug. */
export function isExpected(error: unknown): error is PyroError | RemoteError {
  return error instanceof PyroError || error instanceof RemoteError;
}

function ownAddresses(): ReadonlySet<string> {
  return new Set(
    Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .map(({ address }) => address),
  );
}

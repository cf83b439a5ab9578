import { networkInterfaces } from 'node:os';
import { printable, type Config, type Log } from '../../config/index.js';
import { ConnectionDeniedError, PyroError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { ObjectProtocol, PyroURI } from '../../names/index.js';
import { RemoteError } from '../../rpc/index.js';
import { hostResolver, type ServerConnection } from '../../wire/index.js';
import { PeerConnection, type PeerAddress } from './peer-link.js';
import type { TwinRole } from './records.js';

/** How often, at most, strangers can make us look up where the twin is, in milliseconds. */
const LOOKUP_INTERVAL_MS = 1000;

/** Where the twin is, as far as it is known. */
export interface TwinAddress {
  readonly host: string;
  /** Without it, the port that a server of the twin's role has. */
  readonly port?: number | undefined;
}

export interface TwinFinderOptions {
  readonly config: Config;
  readonly log: Log;
  readonly print: (line: string) => void;
  readonly role: TwinRole;
  /** PYROSSL where both servers speak TLS. */
  readonly protocol: ObjectProtocol;
  readonly identification?: string | undefined;
  /** As given with -1 or -2. */
  readonly address: TwinAddress | undefined;
  /** Asks by broadcast; undefined where nobody answers. */
  readonly broadcast: () => Promise<PyroURI | undefined>;
}

/** Knows where the other name server of a pair is, or finds it; and knows it from strangers. */
export class TwinFinder {
  readonly role: TwinRole;
  private readonly isIdentified: boolean;
  private readonly address: TwinAddress | undefined;
  /** The twin, as it was last found or as it told itself. */
  private found: PeerAddress | undefined;
  private own: PeerAddress | undefined;
  private located: PeerConnection | undefined;
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

  /** True where somebody has said where the twin is. Else it is who answers a broadcast, or calls first. */
  get isAddressGiven(): boolean {
    return this.address !== undefined;
  }

  /** Tells where we are ourselves: that is not the twin. */
  exclude(own: PyroURI): void {
    this.own = { host: own.address, port: own.port };
  }

  /** Tells where the twin is, by who found it or by itself. */
  note(uri: PyroURI): void {
    this.found = { host: uri.address, port: uri.port };
  }

  /**
   * Connects to the twin.
   * @throws ConnectionDeniedError where it doesn't let us in; PyroError, RemoteError where it can't be found
   */
  async connect(): Promise<PeerConnection> {
    const where = this.addressOfTwin() ?? (await this.locateByBroadcast());
    return PeerConnection.open(where, this.options);
  }

  /**
   * Looks for the twin, and says so as Pyro does; `takeLocated` has the connection.
   * @throws ConnectionDeniedError where it doesn't let us in
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

  /** Hands over the connection that `locate` made, if it is still open. */
  takeLocated(): PeerConnection | undefined {
    const peer = this.located;
    this.located = undefined;
    return peer?.isOpen ? peer : undefined;
  }

  stop(): void {
    this.stopping.abort();
    this.located?.close();
  }

  /**
   * True if a caller may act as the twin: it has the passphrase where one is required; else it calls from where the
   * twin is.
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
   * Takes a caller for the twin where none is known: as a Pyro 3 server starts, it calls us before it answers broadcasts.
   * It has to call from where it says that it is; from then on, it is known.
   * @param uri where it says that it is
   */
  async acceptFirst({ remoteAddress }: Pick<ServerConnection, 'remoteAddress'>, uri: PyroURI): Promise<boolean> {
    if (this.addressOfTwin() !== undefined || remoteAddress === undefined || this.isOwn(uri)) return false;
    const addresses = await this.addressesOf(uri.address).catch(() => new Set<string>());
    // Somebody else may have been first meanwhile.
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

  /** From which addresses a server on this host may call. */
  private async addressesOf(host: string): Promise<ReadonlySet<string>> {
    const timeoutMs = this.options.config.PYRO_DNS_TIMEOUT * 1000;
    const addresses = await hostResolver.addressesOf(host, { timeoutMs, signal: this.stopping.signal });
    const own = ownAddresses();
    // A twin on this machine may call from any of this machine's addresses.
    const isHere = addresses.some((address) => own.has(address) || address.startsWith('127.'));
    return new Set(isHere ? [...addresses, ...own] : addresses);
  }
}

/** What can go wrong with a peer that is not there, or is no name server. */
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

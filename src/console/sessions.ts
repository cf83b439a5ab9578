import { silentLog, type Config } from '../config/index.js';
import { NamingError, PyroError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { NAMESERVER_NAME } from '../names/index.js';
import { NameServerLocator } from '../naming/index.js';
import type {
  Comparison,
  FindRequest,
  ServerChanges,
  ServerDescription,
  WatchedServer,
  WatchReply,
  WatchRequest,
} from './api.js';
import { compareSnapshots } from './flat-snapshot.js';
import { NameServerSession, type ServerLocation } from './session.js';

/** The most name servers that a console is connected to. */
const MAX_SESSIONS = 32;

/** The polling interval for watched servers. */
const WATCH_INTERVAL_MS = 1000;

/** The timeout of a long poll. */
const WATCH_DURATION_MS = 25_000;

/** The name servers that a console is connected to. Passphrases are only kept here, in memory. */
export class Sessions {
  private readonly sessions = new Map<string, NameServerSession>();
  private lastID = 0;

  constructor(private readonly config: Config) {}

  get descriptions(): readonly ServerDescription[] {
    return Array.from(this.sessions.values(), (session) => session.description);
  }

  /** @throws NamingError `not connected to this name server` */
  get(id: string): NameServerSession {
    const session = this.sessions.get(id);
    if (session === undefined) throw new NamingError(refusalText('CONSOLE_NOT_CONNECTED'), id);
    return session;
  }

  /**
   * Finds a name server, at a host or by broadcast, and connects to it.
   * @throws NamingError where none is found, ConnectionDeniedError where it requires another identification
   */
  async find(request: FindRequest): Promise<ServerDescription> {
    if (this.sessions.size >= MAX_SESSIONS) throw tooMany();
    const location = await this.locate(request);
    this.lastID += 1;
    const session = new NameServerSession(String(this.lastID), location, this.config);
    await session.ping();
    // If the console is connected to this server already, that session gets the new location, which works.
    const same = Array.from(this.sessions.values()).find(
      ({ description }) => description.uri === session.description.uri,
    );
    if (same !== undefined) {
      await session.close();
      same.moveTo(location);
      await same.ping();
      return same.description;
    }
    // Checked again: others may have been added meanwhile.
    if (this.sessions.size >= MAX_SESSIONS) {
      await session.close();
      throw tooMany();
    }
    this.sessions.set(session.id, session);
    return session.description;
  }

  disconnect(id: string): void {
    void this.get(id).close();
    this.sessions.delete(id);
  }

  async compare(first: string, second: string): Promise<Comparison> {
    const [one, other] = await Promise.all([this.get(first).allNames(), this.get(second).allNames()]);
    return compareSnapshots(one, other, NAMESERVER_NAME);
  }

  /**
   * Long polling: waits until one of the versions has changed, or the timeout.
   * @param signal aborted when the page has closed the request
   * @returns the changes; empty after the timeout
   */
  async watch({ servers }: WatchRequest, signal: AbortSignal): Promise<WatchReply> {
    const end = performance.now() + WATCH_DURATION_MS;
    for (;;) {
      const looks = Object.entries(servers).map(([id, known]) => this.changesOf(id, known));
      const changes = (await Promise.all(looks)).filter((change) => change !== undefined);
      if (changes.length > 0 || signal.aborted || performance.now() > end) {
        return { servers: Object.fromEntries(changes) };
      }
      await pause(signal);
    }
  }

  private async locate({ host, port, broadcastAddress, identification }: FindRequest): Promise<ServerLocation> {
    if (host !== undefined) return { host, port: port ?? this.config.PYRO_NS_PORT, identification };
    // A copy of the configuration, as a locator that finds the second server of a pair swaps the settings of the two.
    const locator = new NameServerLocator({ config: { ...this.config }, log: silentLog, identification });
    const uri = await locator.detectNS({ port, bcaddr: broadcastAddress });
    return { host: uri.address, port: uri.port, identification };
  }

  private async changesOf(id: string, known: WatchedServer): Promise<[string, ServerChanges | null] | undefined> {
    const session = this.sessions.get(id);
    if (session === undefined) return [id, null];
    const changes = await session.changes(known);
    return changes === undefined ? undefined : [id, changes];
  }

  close(): void {
    for (const session of this.sessions.values()) void session.close();
    this.sessions.clear();
  }
}

const tooMany = (): PyroError => new PyroError(refusalText('CONSOLE_FULL', MAX_SESSIONS));

/** Waits one polling interval, or until the signal. */
function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, WATCH_INTERVAL_MS);
    signal.addEventListener('abort', done);
  });
}

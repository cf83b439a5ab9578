import { EventEmitter, once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config, Log } from '../../config/index.js';
import { NamingError, ProtocolError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { newGUID, PyroURI } from '../../names/index.js';
import type { PythonValue, PythonWritable } from '../../pickle/index.js';
import { onAbort } from '../../sync/index.js';
import { RequestFlag } from '../../wire/index.js';
import { isExpected } from './finder.js';
import { Inbox } from './inbox.js';
import { Outbox } from './outbox.js';
import type { PeerLink } from './peer-link.js';
import { isNonce, isProof, newNonce, proofOf, TwinAuthenticator, type Credentials } from './proof.js';
import { pyro3Refusal } from './pyro3-twin.js';
import {
  isTwinRole,
  isPlausible,
  MAX_BATCH_LENGTH,
  MAX_CLOCK_SKEW_SECONDS,
  recordFromPython,
  secondsFromPython,
  type NameRecord,
  type TwinRole,
} from './records.js';
import type { Replica } from './merge.js';

/** The method of the handshake. It also identifies a pyro-ns server: Pyro 3 has no method of this name. */
export const HELLO = '_twinHello';

/**
 * Exponential back-off with jitter between attempts to reach the twin: doubled after each failure, times 0.5 to 1.5.
 */
const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 10_000;

/** The interval of heartbeats, and the timeout of each. */
const HEARTBEAT_MS = 5000;
const HEARTBEAT_TIMEOUT_MS = 10_000;

/** The timeout of `resync`: a full merge in both directions for which a client waits. */
const RESYNC_TIMEOUT_MS = 60_000;

/** A larger difference of the two clocks is logged, because last writer wins depends on them. */
const CLOCK_SKEW_WARNING_SECONDS = 1;

export type PairState = 'looking' | 'merging' | 'connected';

export interface TwinSessionOptions {
  readonly role: TwinRole;
  readonly replica: Replica;
  readonly finder: SessionFinder;
  readonly config: Config;
  readonly log: Log;
  /** The shared passphrase for mutual authentication; undefined: no authentication. */
  readonly identification?: string | undefined;
  /** Clock and timer, to be replaced in tests. */
  readonly timing?: SessionTiming;
}

/** What a session needs of the `TwinFinder`. */
export interface SessionFinder {
  connect(): Promise<PeerLink>;
  note(uri: PyroURI): void;
}

export interface SessionTiming {
  /** The wall clock, in milliseconds since the epoch. */
  now(): number;
  /** Resolves after that time; rejects when it is aborted. */
  delay(milliseconds: number, signal: AbortSignal): Promise<void>;
}

const systemTiming: SessionTiming = {
  now: () => Date.now(),
  delay: (milliseconds, signal) => delay(milliseconds, undefined, { signal, ref: false }),
};

/** The handshake's request: what a server says of itself when it has connected to the other. */
interface Introduction extends Credentials {
  readonly instance: string;
  readonly role: TwinRole;
  readonly uri: PyroURI;
  readonly time: number;
  /** Requests a full merge from the other. */
  readonly merge: boolean;
}

/** The handshake's reply. */
interface Greeting extends Credentials {
  readonly instance: string;
  readonly role: TwinRole;
  readonly time: number;
  /** The sequence number of the last change of ours that it has; undefined if it has none of this run. */
  readonly received: number | undefined;
}

/**
 * The session between two pyro-ns servers. Each connects to the other, and sends its own changes over that connection;
 * the other confirms them over its own connection. After a loss it reconnects, with back-off.
 */
export class TwinSession {
  /** Identifies this run of the server. */
  private readonly instance = newGUID('0.0.0.0', process.pid);
  private readonly outbox: Outbox;
  private readonly authenticator: TwinAuthenticator;
  private readonly timing: SessionTiming;
  private readonly events = new EventEmitter();
  private readonly stopping = new AbortController();
  private uri: PyroURI | undefined;
  private peer: PeerLink | undefined;
  /** The run of the twin that our connection leads to. */
  private peerInstance: string | undefined;
  private inbox: Inbox | undefined;
  /** The run of the twin that had changes refused because of their timestamps: logged once for each run. */
  private refusedRun: string | undefined;
  /** True once a full merge from the twin was received. */
  private hasFullState = false;
  private failures = 0;
  private skipBackoff = false;
  private running: Promise<void> | undefined;
  private lastProblem: string | undefined;
  state: PairState = 'looking';

  constructor(private readonly options: TwinSessionOptions) {
    this.timing = options.timing ?? systemTiming;
    const { role, identification, replica, config, log } = options;
    const onAttention = (): void => {
      this.wake();
    };
    this.outbox = new Outbox({ instance: this.instance, replica, config, log, onAttention });
    this.authenticator = new TwinAuthenticator(identification, { instance: this.instance, role });
    this.events.setMaxListeners(0);
  }

  get twinURI(): PyroURI | undefined {
    return this.peer?.uri;
  }

  get unconfirmed(): number {
    return this.outbox.unconfirmed;
  }

  /** True if a full merge has to be sent. */
  get mergeIsDue(): boolean {
    return this.outbox.isBehind;
  }

  /** Why there is no connection; undefined if there is one. */
  get problem(): string | undefined {
    return this.state === 'looking' ? this.lastProblem : undefined;
  }

  /**
   * Begins to connect to the twin, or uses a connection that is open already.
   * @param uri our own name server object's
   */
  start(uri: PyroURI, peer: PeerLink | undefined): void {
    this.uri = uri;
    this.running = this.run(peer);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    this.peer?.destroy();
    await this.running;
  }

  /** Waits for a full merge from the twin. Resolves early if the twin is unreachable, or after `timeoutMs`. */
  async received(timeoutMs: number): Promise<void> {
    if (this.hasFullState) return;
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(timeoutMs)]);
    await Promise.race([once(this.events, 'received', { signal }), once(this.events, 'lost', { signal })]).catch(
      () => undefined,
    );
  }

  /** Sends a change to the twin, now or when it is connected. */
  tell(record: NameRecord): void {
    this.outbox.add(record);
  }

  /** Full merge in both directions. @throws NamingError where the twin can't be reached */
  async resync(): Promise<void> {
    const { peer } = this;
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(RESYNC_TIMEOUT_MS)]);
    try {
      if (!peer?.isOpen) throw new ProtocolError(refusalText('TWIN_NOT_CONNECTED'));
      const done = Promise.all([once(this.events, 'received', { signal }), once(this.events, 'sent', { signal })]);
      this.outbox.requireMerge();
      await Promise.all([done, peer.call(HELLO, [this.introduction(true)])]);
    } catch (error) {
      this.options.log.warn('NameServer', 'cannot resync:', error);
      throw new NamingError(refusalText('TWIN_UNREACHABLE'));
    }
  }

  /**
   * Handles the twin's introduction (the handshake). With a passphrase the twin introduces itself twice: first with its
   * challenge, then with its response to ours. Before that, nothing is sent to it or accepted from it.
   * @param caller its connection
   * @returns the greeting
   * @throws NamingError where it can't be our twin, or fails the authentication
   */
  greet(value: PythonValue | undefined, caller: object): PythonWritable {
    const { role, finder } = this.options;
    const other = readIntroduction(value);
    this.checkRole(other.role);
    const { instance } = this;
    const time = this.timing.now() / 1000;
    const challenge = this.authenticator.admit(caller, { ...other, uri: other.uri.toString() }, other);
    if (challenge) return { instance, role, time, ...challenge };
    this.checkClock(other.time);
    if (this.inbox?.instance !== other.instance) this.inbox = this.newInbox(other.instance);
    const received = this.inbox.received ?? null;
    finder.note(other.uri);
    if (other.merge) this.outbox.requireMerge();
    // The twin has restarted or reconnected, so our connection to it is stale or missing: reconnect without back-off.
    if (!this.peer?.isOpen || this.peerInstance !== other.instance) {
      this.skipBackoff = true;
      this.peer?.destroy();
      this.wake();
    }
    return { instance, role, time, received };
  }

  /**
   * Receives changes of the twin.
   * @param first the sequence number of the first one
   * @throws ProtocolError where they are malformed; NamingError where the caller is not authenticated
   */
  takeChanges(caller: object, instance: PythonValue, first: PythonValue, values: PythonValue): null {
    if (!isChangeNumber(first)) throw new ProtocolError(refusalText('TWIN_CHANGE_NUMBER'));
    const inbox = this.inboxOf(caller, instance);
    try {
      inbox.take(first, this.readRecords(values));
    } catch (error) {
      this.tellReceived(inbox, error);
    }
    return null;
  }

  /**
   * Receives the twin's confirmation (acknowledgement) of our changes.
   * @param number the sequence number of the last change that it has
   * @param isBroken true if it could not merge the next ones: they have to be sent again, over a new connection
   */
  takeConfirmation(caller: object, instance: PythonValue, number: PythonValue, isBroken: PythonValue): null {
    if (!this.authenticator.isTwin(caller)) throw new NamingError(refusalText('TWIN_NOT_INTRODUCED'));
    if (instance !== this.instance) return null;
    if (isChangeNumber(number)) this.outbox.confirm(number);
    if (isBroken === true) this.peer?.destroy();
    return null;
  }

  /**
   * Receives a part of a full merge.
   * @param next in the first part: the sequence number of the next change after the merge has begun; else None
   * @param isLast true in the last part
   */
  async takeMerge(
    caller: object,
    instance: PythonValue,
    next: PythonValue,
    values: PythonValue,
    isLast: PythonValue,
  ): Promise<null> {
    const inbox = this.inboxOf(caller, instance);
    if (next !== null && !isChangeNumber(next)) throw new ProtocolError(refusalText('TWIN_CHANGE_NUMBER'));
    if (next !== null) inbox.begin(next);
    await this.options.replica.mergeAll(this.readRecords(values).filter((record) => record !== undefined));
    if (isLast !== true) return null;
    this.hasFullState = true;
    this.events.emit('received');
    return null;
  }

  /** Decodes records; undefined in place of those that are refused because of their timestamps. */
  private readRecords(values: PythonValue): (NameRecord | undefined)[] {
    if (!Array.isArray(values)) throw new ProtocolError(refusalText('TWIN_CHANGES_INVALID'));
    if (values.length > MAX_BATCH_LENGTH) {
      throw new ProtocolError(refusalText('TWIN_CHANGES_TOO_MANY', values.length, MAX_BATCH_LENGTH));
    }
    return values.map((value) => {
      const record = recordFromPython(value);
      if (isPlausible(record.timestamp, this.timing.now() / 1000)) return record;
      this.reportRefusal(record);
      return undefined;
    });
  }

  private reportRefusal({ name, timestamp }: NameRecord): void {
    const run = this.inbox?.instance;
    if (run === this.refusedRun) return;
    this.refusedRun = run;
    this.options.log.error(
      'NameServer',
      `twin: refused its change of ${name.toString()}, and all such: its time, ${timestamp.time}, can't be,`,
      `or is more than ${MAX_CLOCK_SKEW_SECONDS} seconds ahead of our clock. Set the clocks, then resync`,
    );
  }

  private newInbox(instance: string): Inbox {
    const inbox: Inbox = new Inbox(instance, this.options.replica, (error) => {
      this.tellReceived(inbox, error);
    });
    return inbox;
  }

  private tellReceived({ instance, received }: Inbox, error?: unknown): void {
    if (error !== undefined) this.options.log.warn('NameServer', "twin: its changes can't be made here:", error);
    const { peer } = this;
    if (peer?.isOpen)
      peer.send('_twinConfirmed', [instance, received ?? null, error !== undefined], { flags: RequestFlag.Oneway });
  }

  private inboxOf(caller: object, instance: PythonValue): Inbox {
    if (this.inbox?.instance !== instance || !this.authenticator.isAdmitted(caller, instance)) {
      throw new NamingError(refusalText('TWIN_NOT_INTRODUCED'));
    }
    return this.inbox;
  }

  private async run(first: PeerLink | undefined): Promise<void> {
    const { finder, log } = this.options;
    const { signal } = this.stopping;
    let found = first;
    while (!signal.aborted) {
      try {
        const peer = found ?? (await finder.connect());
        found = undefined;
        await this.runSession(peer);
      } catch (error) {
        if (!isExpected(error)) log.error('NameServer', 'twin: unexpected error:', error);
        this.noteLoss(isExpected(error) ? error.message : 'unexpected error');
      }
      await this.pause();
    }
  }

  /**
   * Runs one session: handshake, then sends our changes, full merges and heartbeats until the connection ends. Always
   * throws.
   */
  private async runSession(peer: PeerLink): Promise<void> {
    const { log } = this.options;
    const { signal } = this.stopping;
    const close = (): void => {
      peer.destroy();
    };
    // From the very beginning, so that `stop` does not wait for the handshake.
    const removeListener = onAbort(signal, close);
    if (signal.aborted) close();
    try {
      if (!(await isPyroNS(peer))) {
        throw new ProtocolError(pyro3Refusal(this.options) ?? refusalText('TWIN_PYRO3_CALLS'));
      }
      const { instance, received } = await this.introduceOurselves(peer);
      this.peer = peer;
      this.peerInstance = instance;
      this.failures = 0;
      this.outbox.attach(peer, received);
      if (this.inbox) this.tellReceived(this.inbox);
      void peer.closed.then(() => {
        if (this.peer === peer) this.wake();
      });
      log.msg('NameServer', 'twin: connected to', peer.uri);
      for (;;) {
        await this.catchUp(peer);
        if (!peer.isOpen || signal.aborted) throw new ProtocolError(refusalText('CONNECTION_LOST'));
        this.state = 'connected';
        await this.sleep(HEARTBEAT_MS);
        await isPyroNS(peer, HEARTBEAT_TIMEOUT_MS);
        if (this.outbox.isStalled) throw new ProtocolError(refusalText('TWIN_CHANGES_UNCONFIRMED'));
      }
    } finally {
      removeListener();
      this.outbox.detach();
      this.peer = undefined;
      this.state = 'looking';
      peer.destroy();
    }
  }

  private async catchUp(peer: PeerLink): Promise<void> {
    while (this.outbox.isBehind) {
      this.state = 'merging';
      await this.outbox.merge(peer);
      this.options.log.msg('NameServer', 'twin: merged with', peer.uri);
      this.events.emit('sent');
    }
  }

  /** Client side of the handshake; with a passphrase, including mutual authentication. */
  private async introduceOurselves(peer: PeerLink): Promise<Greeting> {
    const { identification } = this.options;
    const credentials = identification === undefined ? {} : { proof: await this.proofFor(peer, identification) };
    const other = await this.hello(peer, credentials);
    this.checkRole(other.role);
    this.checkClock(other.time);
    return other;
  }

  /** Authenticates the twin. @returns our own proof for it @throws PyroError where it fails */
  private async proofFor(peer: PeerLink, passphrase: string): Promise<string> {
    const callerNonce = newNonce();
    const answerer = await this.hello(peer, { nonce: callerNonce });
    this.checkRole(answerer.role);
    if (!isNonce(answerer.nonce)) throw new ProtocolError(refusalText('TWIN_WITHOUT_PROOF', 'it'));
    const caller = { instance: this.instance, role: this.options.role, uri: this.ownURI };
    const exchange = { callerNonce, answererNonce: answerer.nonce, caller, answerer };
    if (answerer.instance === this.instance || !isProof(answerer.proof, passphrase, 'answerer', exchange)) {
      throw new ProtocolError(refusalText('TWIN_PASSPHRASE', 'it'));
    }
    return proofOf(passphrase, 'caller', exchange);
  }

  private async hello(peer: PeerLink, credentials: Readonly<Record<string, string>>): Promise<Greeting> {
    return readGreeting(await peer.call(HELLO, [{ ...this.introduction(false), ...credentials }]));
  }

  private get ownURI(): string {
    return this.uri?.toString() ?? '';
  }

  private introduction(merge: boolean): Readonly<Record<string, string | number | boolean>> {
    const { instance, ownURI } = this;
    return { instance, role: this.options.role, uri: ownURI, time: this.timing.now() / 1000, merge };
  }

  private checkRole(role: TwinRole): void {
    if (role !== this.options.role) return;
    throw new NamingError(refusalText('TWIN_SAME_ROLE', role));
  }

  private checkClock(time: number): void {
    const difference = Math.abs(this.timing.now() / 1000 - time);
    if (difference <= CLOCK_SKEW_WARNING_SECONDS) return;
    const seconds = difference.toFixed(1);
    if (difference > MAX_CLOCK_SKEW_SECONDS) {
      throw new NamingError(refusalText('TWIN_CLOCK', seconds, MAX_CLOCK_SKEW_SECONDS));
    }
    this.options.log.warn('NameServer', `twin: the clocks differ by ${seconds} seconds`);
  }

  private noteLoss(reason: string): void {
    const { log } = this.options;
    this.failures += 1;
    if (reason !== this.lastProblem || this.failures === 1) log.warn('NameServer', 'twin: not connected:', reason);
    this.lastProblem = reason;
    this.events.emit('lost');
  }

  private async pause(): Promise<void> {
    const doubled = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** Math.min(this.failures - 1, 10));
    if (!this.skipBackoff && !this.stopping.signal.aborted) await this.sleep(doubled * (0.5 + Math.random()));
    this.skipBackoff = false;
  }

  /** Sleeps until `wake`, at most that long. Adds no reactions to long-lived promises, which would leak memory. */
  private async sleep(milliseconds: number): Promise<void> {
    const waking = new AbortController();
    const { signal } = waking;
    const woken = [once(this.events, 'wake', { signal }), this.timing.delay(milliseconds, signal)];
    await Promise.race(woken.map((waited) => waited.catch(() => undefined)));
    waking.abort();
  }

  private wake(): void {
    this.events.emit('wake');
  }
}

/** True if a name server is pyro-ns; false for Pyro 3. Also the heartbeat. */
export async function isPyroNS(peer: PeerLink, timeoutMs?: number): Promise<boolean> {
  return (await peer.call('_r_ha', [HELLO], { timeoutMs })) === 1;
}

function readIntroduction(value: PythonValue | undefined): Introduction {
  const [instance, role, uri, time, merge] = fields(value, 'instance', 'role', 'uri', 'time', 'merge');
  const [nonce, proof] = fields(value, 'nonce', 'proof');
  const seconds = secondsFromPython(time);
  if (typeof instance !== 'string' || !isTwinRole(role) || typeof uri !== 'string' || seconds === undefined) {
    throw new ProtocolError(refusalText('TWIN_INTRODUCTION_INVALID'));
  }
  return { instance, role, uri: PyroURI.parse(uri), time: seconds, merge: merge === true, nonce, proof };
}

function readGreeting(value: PythonValue): Greeting {
  const [instance, role, time, received] = fields(value, 'instance', 'role', 'time', 'received');
  const [nonce, proof] = fields(value, 'nonce', 'proof');
  const seconds = secondsFromPython(time);
  if (typeof instance !== 'string' || !isTwinRole(role) || seconds === undefined) {
    throw new ProtocolError(refusalText('ANSWER_INVALID'));
  }
  return { instance, role, time: seconds, received: typeof received === 'number' ? received : undefined, nonce, proof };
}

const isChangeNumber = (value: PythonValue): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

function fields(value: PythonValue | undefined, ...names: string[]): (PythonValue | undefined)[] {
  return names.map((name) => (value instanceof Map ? value.get(name) : undefined));
}

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

/** The method by which a server of ours is known: Pyro 3 has none of this name. */
export const HELLO = '_twinHello';

/** How long to wait before a lost twin is looked for again, in milliseconds: twice as long each time, give or take a half. */
const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 10_000;

/** How often a silent twin is asked whether it is still there, and how long it may take to answer, in milliseconds. */
const HEARTBEAT_MS = 5000;
const HEARTBEAT_TIMEOUT_MS = 10_000;

/** How long a merge in both directions may take, in milliseconds, where somebody waits for it. */
const RESYNC_TIMEOUT_MS = 60_000;

/** By how many seconds the two clocks may differ before the log says so: which change is newer depends on them. */
const CLOCK_SKEW_WARNING_SECONDS = 1;

export type PairState = 'looking' | 'merging' | 'connected';

export interface TwinSessionOptions {
  readonly role: TwinRole;
  readonly replica: Replica;
  readonly finder: SessionFinder;
  readonly config: Config;
  readonly log: Log;
  /** The passphrase that both servers have: each proves it to the other. */
  readonly identification?: string | undefined;
  /** The clock and the timer. */
  readonly timing?: SessionTiming;
}

/** What a pair needs of the `TwinFinder`. */
export interface SessionFinder {
  connect(): Promise<PeerLink>;
  note(uri: PyroURI): void;
}

export interface SessionTiming {
  /** The time of day, in milliseconds. */
  now(): number;
  /** Resolves after so many milliseconds; rejected when it is aborted. */
  delay(milliseconds: number, signal: AbortSignal): Promise<void>;
}

const systemTiming: SessionTiming = {
  now: () => Date.now(),
  delay: (milliseconds, signal) => delay(milliseconds, undefined, { signal, ref: false }),
};

/** What one server tells the other when it connects. */
interface Introduction extends Credentials {
  readonly instance: string;
  readonly role: TwinRole;
  readonly uri: PyroURI;
  readonly time: number;
  /** Asks the other to send everything. */
  readonly merge: boolean;
}

/** What a server says of itself when it is introduced to another. */
interface Greeting extends Credentials {
  readonly instance: string;
  readonly role: TwinRole;
  readonly time: number;
  /** The number of the last change that it has of ours. */
  readonly received: number | undefined;
}

/**
 * The link between two servers of ours. Each connects to the other and sends its own changes over that connection;
 * what it sends is confirmed. A lost twin is looked for until it is there again.
 */
export class TwinSession {
  /** Names this run of the server. */
  private readonly instance = newGUID('0.0.0.0', process.pid);
  private readonly outbox: Outbox;
  private readonly authenticator: TwinAuthenticator;
  private readonly timing: SessionTiming;
  private readonly events = new EventEmitter();
  private readonly stopping = new AbortController();
  private uri: PyroURI | undefined;
  private peer: PeerLink | undefined;
  /** The run of the twin that our connection leads to. */
  private greeted: string | undefined;
  private inbox: Inbox | undefined;
  /** The run of the twin some of whose changes were refused because of their time: the log says it once. */
  private refusedRun: string | undefined;
  /** True once all that the twin has was received. */
  private isWhole = false;
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

  /** True where more has changed than is kept: only a merge makes the twin equal. */
  get mergeIsDue(): boolean {
    return this.outbox.isBehind;
  }

  /** Why the twin is not connected. */
  get problem(): string | undefined {
    return this.state === 'looking' ? this.lastProblem : undefined;
  }

  /** Begins to look for the twin, or takes the connection that there is already. */
  start(uri: PyroURI, peer: PeerLink | undefined): void {
    this.uri = uri;
    this.running = this.run(peer);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    this.peer?.close();
    await this.running;
  }

  /** Resolves when all that the twin has is here, or it turns out to be unreachable, or after so many milliseconds. */
  async received(limit: number): Promise<void> {
    if (this.isWhole) return;
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(limit)]);
    await Promise.race([once(this.events, 'received', { signal }), once(this.events, 'lost', { signal })]).catch(
      () => undefined,
    );
  }

  tell(record: NameRecord): void {
    this.outbox.add(record);
  }

  /** Merges everything in both directions. @throws NamingError where the twin can't be reached */
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
   * Answers the twin's introduction. Where there is a passphrase, the twin introduces itself twice: with its challenge,
   * and with its answer to ours. Until then it is told nothing, and nothing of it is believed.
   * @param caller its connection
   * @throws NamingError where it can't be our twin, or can't prove it
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
    // It has been started, or has lost us: what we have of it is stale, or it waits to be told what is new here.
    if (!this.peer?.isOpen || this.greeted !== other.instance) {
      this.skipBackoff = true;
      this.peer?.close();
      this.wake();
    }
    return { instance, role, time, received };
  }

  /** Takes changes of the twin, numbered from the first. @throws NamingError where some are missing before them */
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

  /** Takes the twin's word that it has our changes up to this one; `isBroken` where it wants them again from there. */
  takeConfirmation(caller: object, instance: PythonValue, number: PythonValue, isBroken: PythonValue): null {
    if (!this.authenticator.isTwin(caller)) throw new NamingError(refusalText('TWIN_NOT_INTRODUCED'));
    if (instance !== this.instance) return null;
    if (isChangeNumber(number)) this.outbox.confirm(number);
    if (isBroken === true) this.peer?.close();
    return null;
  }

  /** Takes a part of all that the twin has. `next` is the number of the first change after the merge has begun. */
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
    this.isWhole = true;
    this.events.emit('received');
    return null;
  }

  /** Reads records, with undefined in place of those that are refused because of their time. */
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
      peer.send('_twinConfirmed', RequestFlag.Oneway, [instance, received ?? null, error !== undefined]);
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

  /** Tells the twin our changes for as long as the connection lasts. */
  private async runSession(peer: PeerLink): Promise<void> {
    const { log } = this.options;
    const { signal } = this.stopping;
    const close = (): void => {
      peer.close();
    };
    // Before it is known to be our twin, too: stopping doesn't wait for its answer.
    const stopWaiting = onAbort(signal, close);
    if (signal.aborted) close();
    try {
      if (!(await isPyroNS(peer))) {
        throw new ProtocolError(pyro3Refusal(this.options) ?? refusalText('TWIN_PYRO3_CALLS'));
      }
      const { instance, received } = await this.introduceOurselves(peer);
      this.peer = peer;
      this.greeted = instance;
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
      stopWaiting();
      this.outbox.detach();
      this.peer = undefined;
      this.state = 'looking';
      peer.close();
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

  /** Introduces us to the twin; where there is a passphrase, once each has proved to the other that it has it. */
  private async introduceOurselves(peer: PeerLink): Promise<Greeting> {
    const { identification } = this.options;
    const credentials = identification === undefined ? {} : { proof: await this.proofFor(peer, identification) };
    const other = await this.hello(peer, credentials);
    this.checkRole(other.role);
    this.checkClock(other.time);
    return other;
  }

  /** Has the twin prove itself. @returns our own proof @throws PyroError where it can't */
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

  /** Waits, or until it is woken. Nothing that lasts is waited for, since it would remember each time: see `wake`. */
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

/** True if a name server is one of ours. */
export async function isPyroNS(peer: PeerLink, timeout?: number): Promise<boolean> {
  return (await peer.call('_r_ha', [HELLO], timeout)) === 1;
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

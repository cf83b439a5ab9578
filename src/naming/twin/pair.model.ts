/**
 * Two servers of a pair in one process, with a network, clocks and timers that a test has in its hand: nothing happens
 * but by the steps that it takes. Both are what they are in a process of their own, from the pair down to the namespace;
 * only the connections between them are simulated.
 */
import fc from 'fast-check';
import { loadConfig, silentLog, type Log } from '../../config/index.js';
import { ConnectionClosedError, NamingError, ProtocolError, PyroError } from '../../errors.js';
import { Name, PyroURI } from '../../names/index.js';
import { MemoryNamespace } from '../../namespace/index.js';
import { dumps, loads, type PythonValue, type PythonWritable } from '../../pickle/index.js';
import { RemoteError } from '../../rpc/index.js';
import type { Change } from '../change.js';
import { ChangeFeed } from '../change-feed.js';
import { SubtreeLock } from '../../sync/index.js';
import { HELLO, TwinSession, type SessionTiming } from './session.js';
import type { PeerLink } from './peer-link.js';
import { isNewer, recordFromPython, type NameRecord, type TwinRole } from './records.js';
import { Replica } from './merge.js';
import { Versions } from './versions.js';

export const ROLES: readonly TwinRole[] = ['primary', 'secondary'];

const other = (role: TwinRole): TwinRole => (role === 'primary' ? 'secondary' : 'primary');

/** How many turns a pair may take to become equal when nothing disturbs it. */
const MAX_TURNS = 2000;

/** Lets all run that can run without a step of the network, the clock or a timer. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A record by what tells it from others. */
export const keyOf = ({ name, timestamp }: NameRecord): string =>
  `${name.toString()} ${timestamp.time} ${timestamp.role}`;

interface Call {
  readonly method: string;
  readonly args: Buffer;
  /** Undefined for a call that has no answer. */
  readonly answer:
    { readonly resolve: (value: PythonValue) => void; readonly reject: (error: Error) => void } | undefined;
}

/**
 * A connection. Calls arrive in their order, and so do answers; how two connections go on beside each other is the
 * test's to say. What was sent before its sender closed the connection may still arrive.
 */
class SimulatedLink implements PeerLink {
  readonly unsent = 0;
  readonly uri: PyroURI;
  readonly closed: Promise<void>;
  isOpen = true;
  readonly calls: Call[] = [];
  readonly answers: (() => void)[] = [];
  private readonly unanswered = new Set<(error: Error) => void>();
  private tellClosed: () => void = () => undefined;

  constructor(
    readonly from: SimulatedServer,
    readonly to: SimulatedServer,
  ) {
    this.uri = to.uri;
    this.closed = new Promise((resolve) => {
      this.tellClosed = resolve;
    });
  }

  call(method: string, args: readonly PythonWritable[]): Promise<PythonValue> {
    if (!this.isOpen) return Promise.reject(new ConnectionClosedError('connection lost'));
    return new Promise((resolve, reject) => {
      this.unanswered.add(reject);
      this.calls.push({ method, args: dumps([...args]), answer: { resolve, reject } });
    });
  }

  send(method: string, args: readonly PythonWritable[]): void {
    if (!this.isOpen) throw new ConnectionClosedError('connection lost');
    this.calls.push({ method, args: dumps([...args]), answer: undefined });
  }

  destroy(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.answers.length = 0;
    for (const reject of this.unanswered) reject(new ConnectionClosedError('connection lost'));
    this.unanswered.clear();
    this.tellClosed();
  }

  /** Closes it, and loses what is under way. */
  break(): void {
    this.calls.length = 0;
    this.destroy();
  }

  /** The next call arrives. */
  async arrive(): Promise<void> {
    const call = this.calls.shift();
    if (call === undefined) return;
    const { method, args, answer } = call;
    const values = loads(args);
    const outcome = await this.to.invoke(method, Array.isArray(values) ? values : [], this).then(
      (value) => (): void => answer?.resolve(loads(dumps(value))),
      (error: unknown) => {
        if (!(error instanceof PyroError)) throw error;
        return (): void => answer?.reject(new RemoteError('Pyro.errors', error.constructor.name, [error.message]));
      },
    );
    if (answer && this.isOpen) {
      this.answers.push(() => {
        this.unanswered.delete(answer.reject);
        outcome();
      });
    }
  }
}

/** One run of a server. */
export class SimulatedServer {
  readonly uri: PyroURI;
  readonly pair: TwinSession;
  readonly replica: Replica;
  readonly lock = new SubtreeLock<Name>();
  readonly logged: string[] = [];

  constructor(
    readonly simulation: Simulation,
    readonly role: TwinRole,
    readonly namespace: SimulatedNamespace,
    queue: number,
    identification: string | undefined,
  ) {
    const warn = (_source: string, ...parts: unknown[]): void => {
      this.logged.push(parts.map(String).join(' '));
      simulation.logged.push(parts.map(String).join(' '));
    };
    const log: Log = { ...silentLog, warn, error: warn };
    const now = (): number => simulation.now(role);
    this.uri = PyroURI.parse(`PYRO://10.0.0.${role === 'primary' ? 1 : 2}:9090/x`);
    this.replica = new Replica({
      namespace,
      versions: new Versions(role, now),
      lock: this.lock,
      changes: new ChangeFeed(),
      log,
      role,
      now,
    });
    const finder = { connect: () => simulation.connect(this), note: () => undefined };
    const config = { ...loadConfig({ environment: {}, currentDirectory: '/' }), PYRO_NS_TWIN_QUEUE: queue };
    const timing: SessionTiming = { now, delay: (milliseconds, signal) => simulation.delay(milliseconds, signal) };
    this.pair = new TwinSession({ role, replica: this.replica, finder, config, log, timing, identification });
  }

  start(): void {
    this.pair.start(this.uri, undefined);
  }

  /** Makes a change as a client asks for it. @returns why it is refused */
  async perform(change: Change): Promise<string | undefined> {
    try {
      await this.replica.perform(change, (record) => {
        this.simulation.made.push(record);
        this.simulation.seen[this.role].add(keyOf(record));
        this.simulation.knownAt.set(keyOf(record), new Set(this.simulation.seen[this.role]));
        this.pair.tell(record);
      });
      return undefined;
    } catch (error) {
      if (!(error instanceof NamingError)) throw error;
      return error.message;
    }
  }

  /** Answers what only the twin may call. */
  async invoke(method: string, args: readonly PythonValue[], caller: object): Promise<PythonWritable> {
    const [first = null, second = null, third = null, fourth = null] = args;
    switch (method) {
      case '_r_ha':
        return 1;
      case HELLO:
        return this.pair.greet(first, caller);
      case '_twinConfirmed':
        return this.pair.takeConfirmation(caller, first, second, third);
      case '_twinChanges': {
        const answer = this.pair.takeChanges(caller, first, second, third);
        this.noteSeen(third);
        return answer;
      }
      case '_twinMerge': {
        const answer = await this.pair.takeMerge(caller, first, second, third, fourth);
        this.noteSeen(third);
        return answer;
      }
      default:
        throw new PyroError(`there is no ${method}`);
    }
  }

  /** All names with what they are. */
  async contents(): Promise<Record<string, unknown>> {
    const all: Record<string, unknown> = {};
    for await (const { name, uri, userMeta } of this.namespace.export()) {
      all[name.toString()] = [uri?.toString() ?? 'a group', userMeta];
    }
    return all;
  }

  private noteSeen(values: PythonValue): void {
    for (const value of Array.isArray(values) ? values : []) {
      this.simulation.seen[this.role].add(keyOf(recordFromPython(value)));
    }
  }
}

/** A namespace whose entries are made at the time of its server's clock. */
export class SimulatedNamespace extends MemoryNamespace {
  constructor(private readonly atOwnTime: <Result>(action: () => Result) => Result) {
    super();
  }

  override register(name: Name, uri: PyroURI): Promise<void> {
    return this.atOwnTime(() => super.register(name, uri));
  }

  override createGroup(group: Name): Promise<void> {
    return this.atOwnTime(() => super.createGroup(group));
  }
}

export type Step =
  | { readonly step: 'change'; readonly at: TwinRole; readonly change: Change; readonly alone: boolean }
  /** Something that is under way arrives: which one, of all that may arrive next. */
  | { readonly step: 'arrive'; readonly which: number }
  | { readonly step: 'wait'; readonly milliseconds: number }
  | { readonly step: 'cut' }
  | { readonly step: 'restore' }
  | { readonly step: 'restart'; readonly at: TwinRole; readonly keepsNames: boolean };

export interface SimulationOptions {
  /** By how many milliseconds the secondary's clock is ahead. */
  readonly difference?: number;
  /** How many changes may wait for the twin. */
  readonly queue?: number;
  /** The passphrase of both servers. */
  readonly identification?: string | undefined;
}

export class Simulation {
  /** All changes that clients made, and what of them each server's present run, or an earlier one, has taken. */
  readonly made: NameRecord[] = [];
  readonly seen: Readonly<Record<TwinRole, Set<string>>> = { primary: new Set(), secondary: new Set() };
  /** What a server had taken when a change was made there. */
  readonly knownAt = new Map<string, ReadonlySet<string>>();
  readonly logged: string[] = [];
  readonly servers: Record<TwinRole, SimulatedServer>;
  private time = 1_000_000;
  private isCut = false;
  private ending: TwinRole | undefined;
  private links: SimulatedLink[] = [];
  private timers: { readonly at: number; readonly end: () => void }[] = [];
  private readonly changing: Promise<unknown>[] = [];
  /** The time that new entries have. */
  private entryTime: number | undefined;

  constructor(private readonly options: SimulationOptions = {}) {
    this.servers = {
      primary: this.newServer('primary', this.newNamespace('primary')),
      secondary: this.newServer('secondary', this.newNamespace('secondary')),
    };
    for (const server of Object.values(this.servers)) server.start();
  }

  /** The time of a server's clock; without a role, what `Date.now` is to tell. */
  now(role?: TwinRole): number {
    if (role === undefined) return this.entryTime ?? this.time;
    return this.time + (role === 'secondary' ? (this.options.difference ?? 0) : 0);
  }

  connect(from: SimulatedServer): Promise<PeerLink> {
    if (this.isCut || this.ending === other(from.role)) return Promise.reject(new ProtocolError('connection failed'));
    const link = new SimulatedLink(from, this.servers[other(from.role)]);
    this.links.push(link);
    return Promise.resolve(link);
  }

  delay(milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = { at: this.time + milliseconds, end: resolve };
      this.timers.push(timer);
      signal.addEventListener('abort', () => {
        this.timers = this.timers.filter((one) => one !== timer);
        reject(new Error('aborted'));
      });
    });
  }

  async take(step: Step): Promise<void> {
    switch (step.step) {
      case 'change': {
        const made = this.servers[step.at].perform(step.change);
        this.changing.push(made);
        if (!step.alone) return;
        break;
      }
      case 'arrive':
        await this.arrive(step.which);
        break;
      case 'wait':
        this.wait(step.milliseconds);
        break;
      case 'cut':
        this.isCut = true;
        for (const link of this.links) link.break();
        break;
      case 'restore':
        this.isCut = false;
        break;
      case 'restart':
        await this.restart(step.at, step.keepsNames);
    }
    await settle();
  }

  /** Restores the network, and lets all arrive until nothing is left to be said. */
  async finish(): Promise<void> {
    await this.take({ step: 'restore' });
    await Promise.all(this.changing);
    for (let turn = 0; turn < MAX_TURNS; turn += 1) {
      if (this.underWay().length > 0) await this.take({ step: 'arrive', which: 0 });
      else if (this.isEqual()) return;
      else await this.take({ step: 'wait', milliseconds: 20_000 });
    }
    throw new Error(`not connected after ${MAX_TURNS} turns: ${this.logged.slice(-5).join('; ')}`);
  }

  async stop(): Promise<void> {
    await Promise.all(ROLES.map((role) => this.servers[role].pair.stop()));
  }

  /** The newest change of a name, or removal of what it is in, of those that clients made (at one server). */
  newest(name: Name, at?: TwinRole): NameRecord | undefined {
    let newest: NameRecord | undefined;
    for (const record of this.made) {
      if (at !== undefined && record.timestamp.role !== at) continue;
      const concerns = record.name.equals(name) || (record.state === undefined && name.isWithin(record.name));
      if (concerns && (newest === undefined || isNewer(record.timestamp, newest.timestamp))) newest = record;
    }
    return newest;
  }

  private isEqual(): boolean {
    return ROLES.every((role) => {
      const { state, unconfirmed, mergeIsDue } = this.servers[role].pair;
      return state === 'connected' && unconfirmed === 0 && !mergeIsDue;
    });
  }

  private underWay(): (() => Promise<void> | void)[] {
    return this.links.flatMap((link) => [
      ...(link.calls.length > 0 ? [() => link.arrive()] : []),
      ...(link.answers.length > 0 ? [() => link.answers.shift()?.()] : []),
    ]);
  }

  private async arrive(which: number): Promise<void> {
    const underWay = this.underWay();
    await underWay[which % underWay.length]?.();
    this.links = this.links.filter((link) => link.isOpen || link.calls.length > 0);
  }

  private wait(milliseconds: number): void {
    this.time += milliseconds;
    const due = this.timers.filter(({ at }) => at <= this.time);
    this.timers = this.timers.filter(({ at }) => at > this.time);
    for (const { end } of due) end();
  }

  private async restart(role: TwinRole, keepsNames: boolean): Promise<void> {
    await Promise.all(this.changing);
    const old = this.servers[role];
    // Nobody reaches a server that is ending, or has ended.
    this.ending = role;
    for (const link of this.links) if (link.to === old) link.break();
    await old.pair.stop();
    await settle();
    // A start takes its time: no two runs have a timestamp in common.
    this.time += 10;
    this.servers[role] = this.newServer(role, keepsNames ? old.namespace : this.newNamespace(role));
    this.servers[role].start();
    this.ending = undefined;
  }

  private newNamespace(role: TwinRole): SimulatedNamespace {
    return new SimulatedNamespace((action) => {
      this.entryTime = this.now(role);
      try {
        return action();
      } finally {
        this.entryTime = undefined;
      }
    });
  }

  private newServer(role: TwinRole, namespace: SimulatedNamespace): SimulatedServer {
    const { queue = 1000, identification } = this.options;
    return new SimulatedServer(this, role, namespace, queue, identification);
  }
}

const role = fc.constantFrom<TwinRole[]>(...ROLES);
const uri = fc.nat(3).map((digit) => PyroURI.parse(`PYRO://10.1.2.3:7766/${digit}`));
const meta = fc.constantFrom<PythonValue[]>(null, 'm', 'n');

const named = (...texts: string[]): fc.Arbitrary<Name> => fc.constantFrom(...texts).map((text) => Name.parse(text));

/** Changes of few names, so that they meet. */
export function changesOf(objects: readonly string[], groups: readonly string[]): fc.Arbitrary<Change> {
  const object = named(...objects);
  const group = named(...groups);
  return fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('register' as const), name: object, uri }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('unregister' as const), name: object }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('createGroup' as const), name: group }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('deleteGroup' as const), name: group }) },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('setMeta' as const), name: named(...objects, ...groups), meta }),
    },
  );
}

/** Restarts of servers, with or without the names that they had. */
export const restartsOf = (roles: readonly TwinRole[], keepsNames: readonly boolean[]): fc.Arbitrary<Step> =>
  fc.record({
    step: fc.constant('restart' as const),
    at: fc.constantFrom(...roles),
    keepsNames: fc.constantFrom(...keepsNames),
  });

export function stepsOf(change: fc.Arbitrary<Change>, restarts?: fc.Arbitrary<Step>): fc.Arbitrary<Step[]> {
  return fc.array(
    fc.oneof(
      {
        weight: 10,
        arbitrary: fc.record({ step: fc.constant('change' as const), at: role, change, alone: fc.boolean() }),
      },
      { weight: 16, arbitrary: fc.record({ step: fc.constant('arrive' as const), which: fc.nat(5) }) },
      {
        weight: 4,
        arbitrary: fc.record({ step: fc.constant('wait' as const), milliseconds: fc.constantFrom(1, 500, 20_000) }),
      },
      { weight: 2, arbitrary: fc.constant<Step>({ step: 'cut' }) },
      { weight: 3, arbitrary: fc.constant<Step>({ step: 'restore' }) },
      ...(restarts ? [{ weight: 1, arbitrary: restarts }] : []),
    ),
    { maxLength: 60, size: 'max' },
  );
}

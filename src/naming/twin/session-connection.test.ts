import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Log } from '../../config/index.js';
import { ProtocolError } from '../../errors.js';
import { Name, PyroURI } from '../../names/index.js';
import { MemoryNamespace } from '../../namespace/index.js';
import type { CallOptions, RequestOptions } from '../../rpc/index.js';
import { dumps, loads, textOf, type PythonValue, type PythonWritable } from '../../pickle/index.js';
import { RequestFlag } from '../../wire/index.js';
import { ChangeFeed } from '../change-feed.js';
import { SubtreeLock } from '../../sync/index.js';
import { TwinSession } from './session.js';
import type { PeerLink } from './peer-link.js';
import { newNonce, proofOf, type ProofSide } from './proof.js';
import type { NameRecord } from './records.js';
import { Replica } from './merge.js';
import { Versions } from './versions.js';

const URI = PyroURI.parse('PYRO://10.0.0.2:9090/x');
const OWN = PyroURI.parse('PYRO://10.0.0.1:9090/x');

type Answer = (args: readonly PythonWritable[]) => PythonValue | Promise<PythonValue>;

/** A connection to a twin that answers as the test says. */
class FakeLink implements PeerLink {
  readonly uri = URI;
  readonly unsent = 0;
  readonly closed: Promise<void>;
  isOpen = true;
  readonly calls: { method: string; timeoutMs: number | undefined }[] = [];
  readonly sent: { method: string; flags: number; args: readonly PythonWritable[] }[] = [];
  readonly answers: Record<string, Answer>;
  private tellClosed: () => void = () => undefined;

  constructor(answers: Record<string, Answer> = {}) {
    this.closed = new Promise((resolve) => {
      this.tellClosed = resolve;
    });
    this.answers = { _r_ha: () => 1, _twinHello: () => hello(), _twinMerge: () => null, ...answers };
  }

  async call(method: string, args: readonly PythonWritable[], { timeoutMs }: CallOptions = {}): Promise<PythonValue> {
    this.calls.push({ method, timeoutMs });
    return (await this.answers[method]?.(args)) ?? null;
  }

  send(method: string, args: readonly PythonWritable[], { flags = 0 }: RequestOptions): void {
    this.sent.push({ method, flags, args });
  }

  destroy(): void {
    this.isOpen = false;
    this.tellClosed();
  }
}

const hello = (more: Record<string, PythonValue> = {}): PythonValue =>
  new Map<PythonValue, PythonValue>(
    Object.entries({ instance: 'run', role: 'secondary', time: 1000, received: null, ...more }),
  );

const introduction = (more: Record<string, PythonValue> = {}): PythonValue =>
  new Map<PythonValue, PythonValue>(
    Object.entries({ instance: 'run', role: 'secondary', uri: URI.toString(), time: 1000, merge: false, ...more }),
  );

/** The connection that the twin calls by. */
const CALLER = {};

let begin: (identification: string | undefined) => TwinSession;
let pair: TwinSession;
let logged: string[];
let noted: string[];
/** The delays that were begun, with what ends each. */
let delays: { readonly milliseconds: number; readonly end: () => void }[];
let connect: jest.Mock<() => Promise<PeerLink>>;
let timestamp: number;

beforeEach(() => {
  logged = [];
  noted = [];
  delays = [];
  timestamp = 0;
  jest.spyOn(Math, 'random').mockReturnValue(0.5);
  jest.spyOn(performance, 'now').mockImplementation(() => timestamp);
  const write =
    (level: string) =>
    (_source: string, ...parts: unknown[]): void => {
      logged.push([level, ...parts].map(String).join(' '));
    };
  const log: Log = { ...silentLog, msg: write('msg'), warn: write('warn'), error: write('error') };
  const now = (): number => 1_000_000;
  const versions = new Versions('primary', now);
  const options = {
    namespace: new MemoryNamespace(),
    lock: new SubtreeLock<Name>(),
    changes: new ChangeFeed(),
    log,
    now,
  };
  const replica = new Replica({ ...options, versions, role: 'primary' });
  connect = jest.fn(() => Promise.reject<PeerLink>(new ProtocolError('connection failed')));
  begin = (identification) =>
    new TwinSession({
      role: 'primary',
      identification,
      replica,
      log,
      config: loadConfig({ environment: {}, currentDirectory: '/' }),
      finder: { connect, note: (uri) => noted.push(uri.toString()) },
      timing: {
        now,
        delay: (milliseconds, signal) =>
          new Promise((resolve, reject) => {
            delays.push({ milliseconds, end: resolve });
            signal.addEventListener('abort', () => {
              reject(new Error('aborted'));
            });
          }),
      },
    });
  pair = begin(undefined);
});

afterEach(async () => {
  await pair.stop();
  jest.restoreAllMocks();
});

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The delay that is under way ends. */
async function elapse(): Promise<void> {
  delays.at(-1)?.end();
  await settle();
}

/** A pair that is connected by this link. */
async function connected(link = new FakeLink()): Promise<FakeLink> {
  pair.start(OWN, link);
  await settle();
  return link;
}

const waited = (): number[] => delays.map(({ milliseconds }) => milliseconds);

describe('a twin that can not be reached', () => {
  test('is looked for again and again, each time twice as late, up to ten seconds', async () => {
    pair.start(OWN, undefined);
    await settle();
    for (let time = 1; time < 8; time += 1) await elapse();
    expect(waited()).toEqual([500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]);
    expect(connect).toHaveBeenCalledTimes(8);
  });

  test.each([
    [0, 250],
    [0.99, 745],
  ])('give or take a half: at random %d after %d ms', async (random, expected) => {
    jest.spyOn(Math, 'random').mockReturnValue(random);
    pair.start(OWN, undefined);
    await settle();
    expect(waited()).toEqual([expected]);
  });

  test('is told in the log once for each reason', async () => {
    pair.start(OWN, undefined);
    await settle();
    await elapse();
    connect.mockRejectedValueOnce(new ProtocolError('another reason'));
    await elapse();
    expect(logged).toEqual(['warn twin: not connected: connection failed', 'warn twin: not connected: another reason']);
    expect([pair.state, pair.problem, pair.twinURI]).toEqual(['looking', 'another reason', undefined]);
  });

  test('because of a defect of ours: the log has it, and it is looked for all the same', async () => {
    connect.mockRejectedValueOnce(new TypeError('defect'));
    pair.start(OWN, undefined);
    await settle();
    expect(logged).toEqual([
      'error twin: unexpected error: TypeError: defect',
      'warn twin: not connected: unexpected error',
    ]);
    expect(waited()).toEqual([500]);
  });

  test('is looked for at once when it calls', async () => {
    pair.start(OWN, undefined);
    await settle();
    connect.mockResolvedValueOnce(new FakeLink());
    pair.greet(introduction(), CALLER);
    await settle();
    expect([pair.state, noted, waited()]).toEqual(['connected', [URI.toString()], [500, 5000]]);
  });
});

describe('what answers is no twin', () => {
  test.each<[string, Record<string, Answer>, string]>([
    ['a Pyro 3 server', { _r_ha: () => 2 }, 'it is a Pyro 3 server, which has to call us'],
    ['an answer of no kind', { _twinHello: () => null }, 'incorrect answer received'],
    ['no run', { _twinHello: () => hello({ instance: 1 }) }, 'incorrect answer received'],
    ['no time', { _twinHello: () => hello({ time: 'now' }) }, 'incorrect answer received'],
    [
      'a server whose clock differs by more than five minutes',
      { _twinHello: () => hello({ time: 699 }) },
      'the clocks differ by 301.0 seconds, and may by 300: set them, best by NTP',
    ],
    ['no role', { _twinHello: () => hello({ role: 'x' }) }, 'incorrect answer received'],
    [
      'our own role',
      { _twinHello: () => hello({ role: 'primary' }) },
      'both name servers are primary: one must be started with -1, the other with -2',
    ],
  ])('%s: the connection is closed, and the status says why', async (_what, answers, problem) => {
    const link = await connected(new FakeLink(answers));
    expect([link.isOpen, pair.state, pair.problem]).toEqual([false, 'looking', problem]);
    expect(connect).not.toHaveBeenCalled();
    await elapse();
    expect(connect).toHaveBeenCalledTimes(1);
  });
});

describe('a connection', () => {
  test('that is there already is taken; everything is merged, and then it is connected', async () => {
    const link = await connected();
    expect(connect).not.toHaveBeenCalled();
    expect([pair.state, pair.problem, pair.twinURI, pair.mergeIsDue]).toEqual(['connected', undefined, URI, false]);
    expect(link.calls.map(({ method }) => method).slice(0, 3)).toEqual(['_r_ha', '_twinHello', '_twinMerge']);
    expect(logged).toEqual([`msg twin: connected to ${URI.toString()}`, `msg twin: merged with ${URI.toString()}`]);
  });

  test('is merging while the merge lasts', async () => {
    let end: () => void = () => undefined;
    const merging = new Promise<PythonValue>((resolve) => {
      end = () => {
        resolve(null);
      };
    });
    await connected(new FakeLink({ _twinMerge: () => merging }));
    expect(pair.state).toBe('merging');
    end();
    await settle();
    expect(pair.state).toBe('connected');
  });

  test('is asked every five seconds whether it is there, for an answer within ten', async () => {
    const link = await connected();
    link.calls.length = 0;
    await elapse();
    await elapse();
    expect(waited()).toEqual([5000, 5000, 5000]);
    const asked = { method: '_r_ha', timeoutMs: 10_000 };
    expect([link.calls, link.isOpen]).toEqual([[asked, asked], true]);
    link.answers['_r_ha'] = () => Promise.reject(new ProtocolError('connection timeout'));
    await elapse();
    expect([link.isOpen, pair.state, pair.problem, pair.twinURI]).toEqual([
      false,
      'looking',
      'connection timeout',
      undefined,
    ]);
  });

  test('that is closed is noticed at once, and the first wait is short again', async () => {
    pair.start(OWN, undefined);
    await settle();
    await elapse();
    const link = new FakeLink();
    connect.mockResolvedValueOnce(link);
    await elapse();
    link.destroy();
    await settle();
    expect([pair.state, pair.problem, waited()]).toEqual(['looking', 'connection lost', [500, 1000, 5000, 500]]);
  });

  test('is given up where the twin answers, but does not confirm our changes', async () => {
    const link = await connected();
    const record: NameRecord = {
      name: Name.parse(':a'),
      timestamp: { time: 1, role: 'primary' },
      observed: true,
      state: undefined,
    };
    pair.tell(record);
    await settle();
    timestamp = 3_600_000;
    await elapse();
    expect([link.isOpen, pair.problem]).toEqual([false, 'it does not confirm our changes']);
  });

  test('is made anew at once where the twin was started again, and not where it just calls again', async () => {
    const link = await connected();
    pair.greet(introduction(), CALLER);
    await settle();
    expect([link.isOpen, pair.state]).toEqual([true, 'connected']);
    const next = new FakeLink({ _twinHello: () => hello({ instance: 'another run' }) });
    connect.mockResolvedValueOnce(next);
    pair.greet(introduction({ instance: 'another run' }), CALLER);
    await settle();
    expect([link.isOpen, next.isOpen, pair.state, waited()]).toEqual([false, true, 'connected', [5000, 5000]]);
    next.destroy();
    await settle();
    // The hurry was for that one time.
    expect(waited()).toEqual([5000, 5000, 500]);
  });

  test('is made anew where the twin misses changes', async () => {
    const link = await connected();
    const greeting = loads(dumps(pair.greet(introduction(), CALLER)));
    const instance = (greeting instanceof Map ? greeting.get('instance') : undefined) ?? null;
    pair.takeConfirmation(CALLER, 'another run', null, true);
    expect(link.isOpen).toBe(true);
    pair.takeConfirmation(CALLER, instance, null, false);
    expect(link.isOpen).toBe(true);
    pair.takeConfirmation(CALLER, instance, null, true);
    expect(link.isOpen).toBe(false);
  });

  test('tells the twin first what we have of it, without waiting for an answer', async () => {
    pair.start(OWN, undefined);
    await settle();
    pair.greet(introduction(), CALLER);
    await pair.takeMerge(CALLER, 'run', 8, [], true);
    const link = new FakeLink();
    connect.mockResolvedValueOnce(link);
    await elapse();
    await elapse();
    expect(link.sent).toEqual([{ method: '_twinConfirmed', flags: RequestFlag.Oneway, args: ['run', 7, false] }]);
  });

  test('is closed when the server stops, also while the twin is silent', async () => {
    const link: FakeLink = new FakeLink({
      _twinHello: () => link.closed.then(() => Promise.reject(new ProtocolError('lost'))),
    });
    await connected(link);
    await pair.stop();
    expect([link.isOpen, pair.state, connect.mock.calls.length]).toEqual([false, 'looking', 0]);
  });
});

describe('with a passphrase', () => {
  const ANSWERER = { instance: 'run', role: 'secondary' as const };

  /** What a twin with this passphrase answers. */
  function proving(passphrase: string, side: ProofSide = 'answerer', more: Record<string, PythonValue> = {}): Answer {
    return ([introduction]) => {
      const told = loads(dumps(introduction ?? null));
      const field = (key: string): string => (told instanceof Map ? (textOf(told.get(key)) ?? '') : '');
      if (field('proof') !== '') return hello();
      const nonces = { callerNonce: field('nonce'), answererNonce: newNonce() };
      const caller = { instance: field('instance'), role: 'primary' as const, uri: field('uri') };
      const proof = proofOf(passphrase, side, { ...nonces, caller, answerer: ANSWERER });
      return hello({ nonce: nonces.answererNonce, proof, ...more });
    };
  }

  beforeEach(async () => {
    await pair.stop();
    pair = begin('secret');
  });

  test('a twin that has it is told everything once each has proved it', async () => {
    const link = await connected(new FakeLink({ _twinHello: proving('secret') }));
    expect(link.calls.map(({ method }) => method).slice(0, 4)).toEqual([
      '_r_ha',
      '_twinHello',
      '_twinHello',
      '_twinMerge',
    ]);
    expect([pair.state, pair.problem]).toEqual(['connected', undefined]);
  });

  /** A false twin that hands our own greeting to us. */
  const mirror: Answer = ([introduction]) => loads(dumps(pair.greet(loads(dumps(introduction ?? null)), CALLER)));

  test.each<[string, Answer, string]>([
    ['has another one', proving('guess'), 'it does not have our passphrase: both need the same -i'],
    ['proves the wrong side', proving('secret', 'caller'), 'it does not have our passphrase: both need the same -i'],
    ['replays a proof', proving('secret', 'answerer', { nonce: newNonce() }), 'it does not have our passphrase'],
    ['names another run', proving('secret', 'answerer', { instance: 'x' }), 'it does not have our passphrase'],
    ['sends what is no proof', proving('secret', 'answerer', { proof: 1 }), 'it does not have our passphrase'],
    ['proves nothing', () => hello(), 'it gives no proof that it has the passphrase'],
    ['sends no challenge', proving('secret', 'answerer', { nonce: 'x' }), 'it gives no proof'],
    ['has ourselves answer', mirror, 'both name servers are primary'],
  ])('who %s is told nothing', async (_what, answer, problem) => {
    const link = await connected(new FakeLink({ _twinHello: answer }));
    expect([link.isOpen, pair.state, pair.problem]).toEqual([false, 'looking', expect.stringContaining(problem)]);
    expect([link.calls.map(({ method }) => method), link.sent]).toEqual([['_r_ha', '_twinHello'], []]);
  });

  test('a Pyro 3 server is no twin, and the status says how it can be', async () => {
    await connected(new FakeLink({ _r_ha: () => 2 }));
    expect(pair.problem).toContain('PYRO_NS_PYRO3_TWIN=1');
  });
});

import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Name, PyroURI } from '../../names/index.js';
import { dumps, loads, PythonFloat, textOf, tuple, type PythonValue } from '../../pickle/index.js';
import { RemoteError } from '../../rpc/index.js';
import { newNonce, proofOf } from './proof.js';
import { isPyroNS } from './session.js';
import { Simulation, type SimulationOptions } from './pair.model.js';
import type { PeerLink } from './peer-link.js';
import { recordToPython, type NameRecord } from './records.js';

/** The connection that the twin calls by. */
const CALLER = {};

let simulation: Simulation;

beforeEach(() => {
  jest.spyOn(performance, 'now').mockReturnValue(0);
});

afterEach(async () => {
  await simulation.stop();
  jest.restoreAllMocks();
});

/** Two servers that are cut off from each other, unless they are to be connected. */
async function begin(connected: boolean, options?: SimulationOptions): Promise<Simulation> {
  simulation = new Simulation(options);
  if (connected) await simulation.finish();
  else await simulation.take({ step: 'cut' });
  return simulation;
}

const introduction = (more: Record<string, PythonValue> = {}): Map<PythonValue, PythonValue> =>
  new Map<PythonValue, PythonValue>(
    Object.entries({
      instance: 'run',
      role: 'secondary',
      uri: 'PYRO://10.0.0.2:9090/x',
      time: 1000,
      merge: false,
      ...more,
    }),
  );

const record: NameRecord = {
  name: Name.parse(':a'),
  timestamp: { time: 1, role: 'secondary' },
  observed: true,
  state: { uri: PyroURI.parse('PYRO://10.1.2.3:7766/x'), userMeta: null, systemMeta: undefined, systemMetaSet: false },
};
const travelling = (): PythonValue => {
  const { name, timestamp, state } = record;
  return tuple(
    name.toString(),
    timestamp.time,
    timestamp.role,
    true,
    tuple(state?.uri?.toString() ?? null, null, null, false),
  );
};

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('an introduction', () => {
  test('is answered with ours, and with what was received of that run', async () => {
    const { servers } = await begin(false);
    const { pair } = servers.primary;
    const answer = { role: 'primary', time: 1000, received: null };
    expect(pair.greet(introduction(), CALLER)).toMatchObject(answer);
    await pair.takeMerge(CALLER, 'run', 5, [], true);
    pair.takeChanges(CALLER, 'run', 5, [travelling()]);
    await settle();
    expect(pair.greet(introduction(), CALLER)).toMatchObject({ ...answer, received: 5 });
    expect(pair.greet(introduction({ instance: 'another run' }), CALLER)).toMatchObject(answer);
    expect(pair.greet(introduction(), CALLER)).toMatchObject(answer);
    expect(await servers.primary.contents()).toMatchObject({ ':a': ['PYRO://10.1.2.3:7766/x', null] });
  });

  test.each<[string, Record<string, PythonValue>, string]>([
    [
      'of the same role',
      { role: 'primary' },
      'both name servers are primary: one must be started with -1, the other with -2',
    ],
    ['of no role', { role: 'third' }, 'invalid introduction of a twin'],
    ['of no run', { instance: 1 }, 'invalid introduction of a twin'],
    ['of no URI', { uri: null }, 'invalid introduction of a twin'],
    ['of no time', { time: 'now' }, 'invalid introduction of a twin'],
    ['of a clock ahead', { time: 1301 }, 'the clocks differ by 301.0 seconds, and may by 300: set them, best by NTP'],
    ['of a clock behind', { time: 699 }, 'the clocks differ by 301.0 seconds'],
    ['of an invalid URI', { uri: 'x' }, 'invalid URI'],
  ])('%s is refused', async (_what, more, message) => {
    const { servers } = await begin(false);
    expect(() => servers.primary.pair.greet(introduction(more), CALLER)).toThrow(message);
  });

  test('that is none is refused', async () => {
    const { servers } = await begin(false);
    for (const value of [undefined, null, 'x', []]) {
      expect(() => servers.primary.pair.greet(value, CALLER)).toThrow('invalid introduction of a twin');
    }
  });

  test.each([
    [1001, []],
    [999, []],
    [1001.1, ['twin: the clocks differ by 1.1 seconds']],
    [990, ['twin: the clocks differ by 10.0 seconds']],
  ])('of the time %d, where ours is 1000: what the log says', async (time, lines) => {
    const { servers } = await begin(false);
    const { pair, logged } = servers.primary;
    logged.length = 0;
    pair.greet(introduction({ time }), CALLER);
    expect(logged).toEqual(lines);
  });

  test('asks for everything where it says so', async () => {
    const { servers } = await begin(true);
    expect(servers.primary.pair.mergeIsDue).toBe(false);
    servers.primary.pair.greet(introduction(), CALLER);
    expect(servers.primary.pair.mergeIsDue).toBe(false);
    servers.primary.pair.greet(introduction({ merge: true }), CALLER);
    expect(servers.primary.pair.mergeIsDue).toBe(true);
  });
});

describe('what comes without an introduction, or is none of the protocol, is refused', () => {
  test('changes and merges of a run that we do not know', async () => {
    const { pair } = (await begin(false)).servers.primary;
    const message = 'a twin introduces itself first';
    expect(() => pair.takeChanges(CALLER, 'run', 1, [travelling()])).toThrow(message);
    await expect(pair.takeMerge(CALLER, 'run', 1, [travelling()], true)).rejects.toThrow(message);
    pair.greet(introduction(), CALLER);
    expect(() => pair.takeChanges(CALLER, 'another', 1, [])).toThrow(message);
    await expect(pair.takeMerge(CALLER, null, 1, [travelling()], true)).rejects.toThrow(message);
    expect(await simulation.servers.primary.contents()).not.toHaveProperty([':a']);
  });

  test('a number or records that are none', async () => {
    const { pair } = (await begin(false)).servers.primary;
    pair.greet(introduction(), CALLER);
    for (const number of ['1', -1, 1.5, NaN, Infinity, 2 ** 53]) {
      expect(() => pair.takeChanges(CALLER, 'run', number, [])).toThrow('invalid number of a change');
      await expect(pair.takeMerge(CALLER, 'run', number, [], true)).rejects.toThrow('invalid number of a change');
    }
    await expect(pair.takeMerge(CALLER, 'run', null, 'x', true)).rejects.toThrow('invalid records of changes');
    await expect(pair.takeMerge(CALLER, 'run', null, [null], true)).rejects.toThrow('invalid record of a change');
  });

  test('changes with a gap before them: the twin is asked for what is missing', async () => {
    const { servers } = await begin(true);
    servers.primary.pair.greet(introduction(), CALLER);
    servers.primary.pair.takeChanges(CALLER, 'run', 7, [travelling()]);
    await settle();
    expect(await servers.primary.contents()).not.toHaveProperty([':a']);
    expect(servers.primary.logged).toContain(
      "twin: its changes can't be made here: NamingError: changes before these are missing",
    );
  });

  test('a confirmation of changes of another run', async () => {
    const { servers } = await begin(true);
    const { pair } = servers.primary;
    await servers.primary.perform({ kind: 'createGroup', name: Name.parse(':g') });
    expect(pair.unconfirmed).toBe(1);
    pair.greet(introduction(), CALLER);
    pair.takeConfirmation(CALLER, 'another run', 1, true);
    expect([pair.unconfirmed, pair.state]).toEqual([1, 'connected']);
    await simulation.finish();
    expect([pair.unconfirmed, pair.state]).toEqual([0, 'connected']);
  });
});

describe('with a passphrase', () => {
  const URI = 'PYRO://10.0.0.2:9090/x';

  /** What the primary answers to a challenge of the secondary, and the proof that it then waits for. */
  async function challenge(passphrase = 'secret'): Promise<{ answer: Map<PythonValue, PythonValue>; proof: string }> {
    const { pair } = (await begin(false, { identification: 'secret' })).servers.primary;
    const nonce = newNonce();
    const answer = loads(dumps(pair.greet(introduction({ nonce }), CALLER)));
    if (!(answer instanceof Map)) throw new Error('no answer');
    const exchange = {
      callerNonce: nonce,
      answererNonce: textOf(answer.get('nonce')) ?? '',
      caller: { instance: 'run', role: 'secondary' as const, uri: URI },
      answerer: { instance: textOf(answer.get('instance')) ?? '', role: 'primary' as const },
    };
    return { answer, proof: proofOf(passphrase, 'caller', exchange) };
  }

  test('a twin is told nothing of what we have of it, and nothing of it is taken, until it has proved itself', async () => {
    const { answer, proof } = await challenge();
    const { pair } = simulation.servers.primary;
    expect([...answer.keys()].sort()).toEqual(['instance', 'nonce', 'proof', 'role', 'time']);
    await expect(pair.takeMerge(CALLER, 'run', 1, [travelling()], true)).rejects.toThrow('introduces itself first');
    expect(() => pair.takeConfirmation(CALLER, 'run', 1, false)).toThrow('introduces itself first');
    expect(pair.greet(introduction({ proof }), CALLER)).toMatchObject({ role: 'primary', received: null });
    await pair.takeMerge(CALLER, 'run', 1, [travelling()], true);
    expect(await simulation.servers.primary.contents()).toHaveProperty([':a']);
  });

  test('what another connection says in its name is refused', async () => {
    const { proof } = await challenge();
    const { pair } = simulation.servers.primary;
    pair.greet(introduction({ proof }), CALLER);
    await pair.takeMerge(CALLER, 'run', 1, [], false);
    const stranger = {};
    expect(() => pair.takeChanges(stranger, 'run', 1, [travelling()])).toThrow('introduces itself first');
    await expect(pair.takeMerge(stranger, 'run', 1, [travelling()], true)).rejects.toThrow('introduces itself first');
    expect(() => pair.greet(introduction({ proof }), stranger)).toThrow('does not have our passphrase');
    expect(await simulation.servers.primary.contents()).not.toHaveProperty([':a']);
  });

  test('a twin with another one, or of an older version, is refused', async () => {
    const { proof } = await challenge('guess');
    const { pair } = simulation.servers.primary;
    expect(() => pair.greet(introduction({ proof }), CALLER)).toThrow('does not have our passphrase');
    expect(() => pair.greet(introduction(), CALLER)).toThrow('is of an older version of pyro-ns');
  });
});

describe('a change of the twin', () => {
  const ofTime = (time: number, name = ':a'): PythonValue =>
    tuple(name, new PythonFloat(time), 'secondary', true, tuple('PYRO://10.1.2.3:7766/x', null, null, false));

  test.each([Infinity, NaN, -1, 1301, 1e300])('of the time %d is refused, others are made', async (time) => {
    const { servers } = await begin(false);
    const { pair, logged } = servers.primary;
    pair.greet(introduction(), CALLER);
    logged.length = 0;
    await pair.takeMerge(CALLER, 'run', 1, [ofTime(time), ofTime(1300, ':b')], true);
    pair.takeChanges(CALLER, 'run', 1, [ofTime(time), ofTime(1300, ':c')]);
    await settle();
    expect(Object.keys(await servers.primary.contents()).sort()).toEqual([':', ':b', ':c']);
    expect(logged.filter((line) => line.startsWith('twin: refused'))).toEqual([
      expect.stringContaining(`twin: refused its change of :a, and all such: its time, ${time},`),
    ]);
    // It is not sent again and again: its number counts.
    expect(pair.greet(introduction(), CALLER)).toMatchObject({ received: 2 });
  });

  test('that is refused does not make our own clock run away', async () => {
    const { servers } = await begin(false);
    servers.primary.pair.greet(introduction(), CALLER);
    await servers.primary.pair.takeMerge(CALLER, 'run', 1, [ofTime(1e300)], true);
    await servers.primary.perform({ kind: 'createGroup', name: Name.parse(':g') });
    expect(simulation.made.at(-1)?.timestamp.time).toBe(1000);
  });

  test('comes with 500 others at most', async () => {
    const { pair } = (await begin(false)).servers.primary;
    pair.greet(introduction(), CALLER);
    const many = (count: number): PythonValue => Array<PythonValue>(count).fill(travelling());
    await pair.takeMerge(CALLER, 'run', 1, many(500), false);
    await expect(pair.takeMerge(CALLER, 'run', null, many(501), true)).rejects.toThrow(
      'too many records of changes in one call: 501 of 500',
    );
  });
});

describe('the state of a pair', () => {
  test('is looking with a problem, merging, and connected without one', async () => {
    const { servers } = await begin(false);
    const { pair } = servers.primary;
    expect([pair.state, pair.problem, pair.twinURI]).toEqual(['looking', 'connection lost', undefined]);
    await simulation.finish();
    expect([pair.state, pair.problem, pair.twinURI?.toString()]).toEqual([
      'connected',
      undefined,
      'PYRO://10.0.0.2:9090/x',
    ]);
    await simulation.take({ step: 'cut' });
    expect([pair.state, pair.problem]).toEqual(['looking', 'connection lost']);
    expect(servers.primary.logged.filter((line) => line === 'twin: not connected: connection lost')).toHaveLength(2);
  });

  test('of one that is told everything again by resync', async () => {
    const { servers } = await begin(true);
    // As `cp` does: no client has made it.
    await servers.primary.namespace.createGroup(Name.parse(':by-hand'));
    const resyncing = servers.secondary.pair.resync();
    await simulation.take({ step: 'arrive', which: 0 });
    await simulation.finish();
    await resyncing;
    expect(await servers.secondary.contents()).toEqual(await servers.primary.contents());
    expect(await servers.secondary.contents()).toHaveProperty([':by-hand']);
  });

  test('resync is refused where the twin can not be reached', async () => {
    const { servers } = await begin(false);
    await expect(servers.primary.pair.resync()).rejects.toThrow('cannot resync: twin NS is unknown or unreachable');
    expect(servers.primary.logged.at(-1)).toBe('cannot resync: ProtocolError: the twin is not connected');
  });

  test('all was received at once where it is so, where the twin can not be reached, or at the end', async () => {
    const { servers } = await begin(true);
    await servers.primary.pair.received(60_000);
    await simulation.take({ step: 'restart', at: 'secondary', keepsNames: false });
    const { pair } = simulation.servers.secondary;
    let ended = false;
    const received = pair.received(60_000).then(() => {
      ended = true;
    });
    await settle();
    expect(ended).toBe(false);
    await simulation.finish();
    await received;
    const lonely = await begin(false);
    const lost = lonely.servers.primary.pair.received(60_000);
    await lonely.take({ step: 'wait', milliseconds: 20_000 });
    await lost;
    const waiting = lonely.servers.primary.pair.received(60_000);
    await lonely.stop();
    await waiting;
    expect(ended).toBe(true);
  });
});

test('stopping waits for no answer of the twin, also before it is known to be one', async () => {
  simulation = new Simulation();
  await settle();
  await simulation.stop();
  expect(simulation.servers.primary.pair.state).toBe('looking');
});

test('a server is one of ours where it says so', async () => {
  simulation = new Simulation();
  const asked: unknown[] = [];
  const answering = (value: PythonValue): PeerLink => ({
    uri: PyroURI.parse('PYRO://10.0.0.2:9090/x'),
    closed: Promise.resolve(),
    isOpen: true,
    unsent: 0,
    call: (method, args, options) => {
      asked.push([method, args, options]);
      return value === 'no answer' ? Promise.reject(new RemoteError('x', 'Y', [])) : Promise.resolve(value);
    },
    send: () => undefined,
    destroy: () => undefined,
  });
  expect(await isPyroNS(answering(1), 5)).toBe(true);
  // Pyro 3 says 2 of a method that it does not have.
  expect(await isPyroNS(answering(2))).toBe(false);
  expect(await isPyroNS(answering(null))).toBe(false);
  await expect(isPyroNS(answering('no answer'))).rejects.toThrow(RemoteError);
  expect(asked[0]).toEqual(['_r_ha', ['_twinHello'], { timeoutMs: 5 }]);
  expect(recordToPython(record)).toEqual(travelling());
});

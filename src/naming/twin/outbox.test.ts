import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Log } from '../../config/index.js';
import { ConnectionClosedError } from '../../errors.js';
import { Name, PyroURI } from '../../names/index.js';
import type { RequestOptions } from '../../rpc/index.js';
import { PythonTuple, type PythonWritable } from '../../pickle/index.js';
import { RequestFlag } from '../../wire/index.js';
import { Outbox } from './outbox.js';
import type { PeerLink } from './peer-link.js';
import { sizeOf, type NameRecord } from './records.js';

const CONFIG = loadConfig({ environment: {}, currentDirectory: '/' });

const record = (part: string | number, metaSize = 0): NameRecord => ({
  name: Name.parse(`:n${part}`),
  timestamp: { time: 1, role: 'primary' },
  observed: true,
  state: {
    uri: undefined,
    userMeta: metaSize === 0 ? null : 'm'.repeat(metaSize),
    systemMeta: undefined,
    systemMetaSet: false,
  },
});

/** A number or a text, or what else goes in a call, as text. */
const text = (value: PythonWritable | undefined): string => (typeof value === 'string' ? value : JSON.stringify(value));

/** The parts of the names of records that travel. */
function namesOf(values: PythonWritable | undefined): string {
  const items = Array.isArray(values) ? values : [];
  return items.map((item) => (item instanceof PythonTuple ? text(item.items[0]).slice(2) : '?')).join(' ');
}

class FakePeer implements PeerLink {
  readonly uri = PyroURI.parse('PYRO://10.1.2.3:9090/x');
  readonly closed = Promise.resolve();
  readonly unsent = 0;
  isOpen = true;
  /** What was sent and called, as text. */
  readonly sent: string[] = [];
  failure: Error | undefined;

  call(method: string, [instance, next, records, isLast]: readonly PythonWritable[]): Promise<null> {
    this.sent.push(`${method} ${text(instance)} ${text(next)} [${namesOf(records)}] ${text(isLast)}`);
    return this.failure ? Promise.reject(this.failure) : Promise.resolve(null);
  }

  send(method: string, [instance, first, records]: readonly PythonWritable[], { flags = 0 }: RequestOptions): void {
    if (this.failure) throw this.failure;
    this.sent.push(`${method} ${flags} ${text(instance)} ${text(first)} [${namesOf(records)}]`);
  }

  destroy(): void {
    this.isOpen = false;
  }
}

const changes = (first: number, names: string): string => `_twinChanges ${RequestFlag.Oneway} run ${first} [${names}]`;
const merge = (next: number | null, names: string, isLast: boolean): string =>
  `_twinMerge run ${next} [${names}] ${isLast}`;

let logged: string[];
let attentions: number;
let confirmed: string[];
let batches: NameRecord[][];
let now: number;

beforeEach(() => {
  logged = [];
  attentions = 0;
  confirmed = [];
  batches = [];
  now = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
});

afterEach(() => {
  jest.restoreAllMocks();
});

function newOutbox(items: { PYRO_NS_TWIN_QUEUE?: number; PYRO_NS_MAX_MESSAGE_SIZE?: number } = {}): Outbox {
  const write =
    (level: string) =>
    (...parts: unknown[]): void => {
      logged.push([level, ...parts].map(String).join(' '));
    };
  const log: Log = { ...silentLog, warn: write('warn'), error: write('error') };
  const replica = {
    confirm: (records: readonly NameRecord[]): void => {
      confirmed.push(...records.map(({ name }) => name.part.slice(1)));
    },
    // eslint-disable-next-line @typescript-eslint/require-await
    async *records(): AsyncGenerator<NameRecord[]> {
      yield* batches;
    },
  };
  const onAttention = (): void => {
    attentions += 1;
  };
  return new Outbox({ instance: 'run', replica, config: { ...CONFIG, ...items }, log, onAttention });
}

/** An outbox after the first merge, and its connection. */
async function merged(items?: Parameters<typeof newOutbox>[0]): Promise<{ outbox: Outbox; peer: FakePeer }> {
  const outbox = newOutbox(items);
  const peer = new FakePeer();
  outbox.attach(peer, undefined);
  await outbox.merge(peer);
  peer.sent.length = 0;
  return { outbox, peer };
}

describe('a merge', () => {
  test('is due at first, and changes need not wait for it', () => {
    const outbox = newOutbox();
    outbox.add(record(1));
    expect([outbox.isBehind, outbox.unconfirmed, outbox.isStalled]).toEqual([true, 0, false]);
  });

  test('sends all that there is: the number of the next change, the names, and that it is the end', async () => {
    const outbox = newOutbox();
    const peer = new FakePeer();
    outbox.attach(peer, undefined);
    batches = [[record('a'), record('b')], [], [record('c')]];
    await outbox.merge(peer);
    expect(peer.sent).toEqual([
      merge(1, '', false),
      merge(null, 'a b', false),
      merge(null, 'c', false),
      merge(null, '', true),
    ]);
    expect([outbox.isBehind, confirmed]).toEqual([false, ['a', 'b', 'c']]);
  });

  test('confirms names only after the twin has taken them', async () => {
    const outbox = newOutbox();
    const peer = new FakePeer();
    batches = [[record('a')], [record('b')]];
    const call = peer.call.bind(peer);
    jest.spyOn(peer, 'call').mockImplementation((method, args) => {
      const answer = call(method, args);
      return namesOf(args[2]) === 'b' ? Promise.reject(new ConnectionClosedError('gone')) : answer;
    });
    await expect(outbox.merge(peer)).rejects.toThrow('gone');
    expect([outbox.isBehind, confirmed]).toEqual([true, ['a']]);
  });

  test('takes the place of what waited; what comes meanwhile is sent as it comes', async () => {
    const { outbox, peer } = await merged();
    outbox.add(record(1));
    const merging = outbox.merge(peer);
    outbox.add(record(2));
    await merging;
    expect(peer.sent).toEqual([changes(1, '1'), merge(2, '', false), changes(2, '2'), merge(null, '', true)]);
    expect(outbox.unconfirmed).toBe(1);
    outbox.confirm(2);
    expect([outbox.unconfirmed, confirmed]).toEqual([0, ['2']]);
  });

  test('goes in parts of about a megabyte; a name may be larger than that', async () => {
    const outbox = newOutbox();
    const peer = new FakePeer();
    batches = [[record('a', 500_000), record('b', 500_000), record('c', 500_000), record('d', 2_000_000), record('e')]];
    await outbox.merge(peer);
    expect(peer.sent.slice(1, -1)).toEqual(['a b', 'c', 'd', 'e'].map((names) => merge(null, names, false)));
  });

  test('leaves out, and names, what is too large for the twin, and confirms the others only', async () => {
    const large = record('large', 1000);
    const outbox = newOutbox({ PYRO_NS_MAX_MESSAGE_SIZE: sizeOf(large) + 64 * 1024 - 1 });
    const peer = new FakePeer();
    batches = [[large, record('b')]];
    await outbox.merge(peer);
    expect([peer.sent[1], confirmed]).toEqual([merge(null, 'b', false), ['b']]);
    expect(logged).toEqual(['error NameServer twin: :nlarge is not the same on both sides: its metadata is too large']);
  });
});

describe('changes', () => {
  test('are sent at once, numbered, and wait until they are confirmed', async () => {
    const { outbox, peer } = await merged();
    outbox.add(record(1));
    outbox.add(record(2));
    expect(peer.sent).toEqual([changes(1, '1'), changes(2, '2')]);
    expect(outbox.unconfirmed).toBe(2);
    outbox.confirm(1);
    expect([outbox.unconfirmed, confirmed]).toEqual([1, ['1']]);
    outbox.add(record(3));
    expect(peer.sent.at(-1)).toBe(changes(3, '3'));
    outbox.confirm(3);
    outbox.confirm(1);
    expect([outbox.unconfirmed, confirmed]).toEqual([0, ['1', '2', '3']]);
    outbox.add(record(4));
    expect(peer.sent.at(-1)).toBe(changes(4, '4'));
  });

  test('wait while there is no connection, and are sent over the next one, together', async () => {
    const { outbox, peer } = await merged();
    outbox.add(record(1));
    outbox.detach();
    outbox.add(record(2));
    outbox.add(record(3));
    expect(peer.sent).toEqual([changes(1, '1')]);
    const next = new FakePeer();
    outbox.attach(next, 0);
    expect(next.sent).toEqual([changes(1, '1 2 3')]);
    expect(outbox.isBehind).toBe(false);
  });

  test.each([
    ['none of them', 0, false, [changes(1, '1 2 3')], 3],
    ['some', 2, false, [changes(3, '3')], 1],
    ['all', 3, false, [], 0],
    ['more than there were', 4, true, [], 0],
    ['what it can not tell', undefined, true, [], 0],
  ])('are sent again where the twin has %s; else all is merged', async (_what, received, isBehind, sent, left) => {
    const { outbox } = await merged();
    outbox.detach();
    for (const number of [1, 2, 3]) outbox.add(record(number));
    const next = new FakePeer();
    outbox.attach(next, received);
    expect([outbox.isBehind, next.sent, outbox.unconfirmed]).toEqual([isBehind, sent, left]);
  });

  test('are merged where the twin has less than it had confirmed', async () => {
    const { outbox, peer } = await merged();
    outbox.add(record(1));
    outbox.add(record(2));
    outbox.confirm(1);
    outbox.detach();
    outbox.attach(peer, 0);
    expect(outbox.isBehind).toBe(true);
  });

  test('are not sent over a connection that is closed, and a failure closes it', async () => {
    const { outbox, peer } = await merged();
    peer.failure = new ConnectionClosedError('gone');
    outbox.add(record(1));
    expect([peer.isOpen, outbox.unconfirmed]).toEqual([false, 1]);
    expect(logged).toEqual(['warn NameServer twin: it did not take our changes: ConnectionClosedError: gone']);
    peer.failure = undefined;
    outbox.add(record(2));
    expect(peer.sent).toEqual([]);
    const next = new FakePeer();
    outbox.attach(next, 0);
    expect(next.sent).toEqual([changes(1, '1 2')]);
  });

  test('go in calls of at most 500, and of about a megabyte', async () => {
    const { outbox } = await merged();
    outbox.detach();
    for (let number = 1; number <= 501; number += 1) outbox.add(record(number));
    for (let number = 502; number <= 504; number += 1) outbox.add(record(number, 500_000));
    const next = new FakePeer();
    outbox.attach(next, 0);
    expect(next.sent.map((text) => [text.split(' ')[3], text.slice(text.indexOf('[')).split(' ').length])).toEqual([
      ['1', 500],
      ['501', 3],
      ['504', 1],
    ]);
  });

  test.each([
    ['as large as the twin takes waits', 0, 1],
    ['larger than that is left out, and named', 1, 0],
  ])('one %s', async (_what, beyond, unconfirmed) => {
    const large = record('large', 1000);
    const { outbox } = await merged({ PYRO_NS_MAX_MESSAGE_SIZE: sizeOf(large) + 64 * 1024 - beyond });
    outbox.add(large);
    expect([outbox.unconfirmed, logged.length]).toEqual([unconfirmed, beyond]);
  });
});

describe('where more waits than may', () => {
  test('the changes are dropped, and a merge is asked for', async () => {
    const { outbox, peer } = await merged({ PYRO_NS_TWIN_QUEUE: 2 });
    for (const number of [1, 2]) outbox.add(record(number));
    expect([outbox.unconfirmed, outbox.isBehind, attentions]).toEqual([2, false, 0]);
    outbox.add(record(3));
    expect([outbox.unconfirmed, outbox.isBehind, attentions]).toEqual([0, true, 1]);
    expect(logged).toEqual(['warn NameServer twin: 2 changes wait for it: all names will be merged']);
    peer.sent.length = 0;
    await outbox.merge(peer);
    outbox.add(record(4));
    // The numbers of what was dropped are not used again.
    expect(peer.sent).toEqual([merge(3, '', false), merge(null, '', true), changes(3, '4')]);
  });

  test('bytes count as well: over 64 MB wait for no confirmation', async () => {
    const { outbox } = await merged();
    const size = 8 * 1024 * 1024;
    for (let number = 1; number <= 8; number += 1) outbox.add(record(number, size));
    outbox.confirm(1);
    outbox.add(record(9, size));
    expect([outbox.unconfirmed, outbox.isBehind]).toEqual([8, false]);
    outbox.add(record(10));
    expect([outbox.unconfirmed, outbox.isBehind, attentions]).toEqual([0, true, 1]);
  });

  test('bytes of what was dropped count no more', async () => {
    const { outbox, peer } = await merged();
    const size = 8 * 1024 * 1024;
    for (let number = 1; number <= 9; number += 1) outbox.add(record(number, size));
    await outbox.merge(peer);
    outbox.add(record(10));
    expect([outbox.unconfirmed, outbox.isBehind]).toEqual([1, false]);
  });
});

describe('a twin is stalled', () => {
  test('where it has been sent changes, and confirmed none for over a minute', async () => {
    const { outbox } = await merged();
    now = 100_000;
    expect(outbox.isStalled).toBe(false);
    outbox.add(record(1));
    now += 60_000;
    outbox.add(record(2));
    expect(outbox.isStalled).toBe(false);
    now += 1;
    expect(outbox.isStalled).toBe(true);
    outbox.confirm(1);
    expect(outbox.isStalled).toBe(false);
    now += 60_001;
    expect(outbox.isStalled).toBe(true);
    outbox.confirm(2);
    now += 60_001;
    expect(outbox.isStalled).toBe(false);
  });

  test('but not while there is no connection to it, nor because of an earlier one', async () => {
    const { outbox } = await merged();
    outbox.detach();
    outbox.add(record(1));
    now = 100_000;
    expect(outbox.isStalled).toBe(false);
    outbox.attach(new FakePeer(), 0);
    expect(outbox.isStalled).toBe(false);
    now += 60_001;
    expect(outbox.isStalled).toBe(true);
    outbox.requireMerge();
    expect([outbox.isStalled, attentions]).toEqual([false, 1]);
  });
});

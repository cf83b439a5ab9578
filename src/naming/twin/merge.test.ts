import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { silentLog, type Log } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { Name, NAMESERVER_NAME, PyroURI } from '../../names/index.js';
import { GROUP, MemoryNamespace, OBJECT, type SystemMeta } from '../../namespace/index.js';
import type { PythonValue } from '../../pickle/index.js';
import { ChangeFeed } from '../change-feed.js';
import type { Change } from '../change.js';
import { SubtreeLock } from '../../sync/index.js';
import type { NameRecord, NameState, Timestamp, TwinRole } from './records.js';
import { Replica } from './merge.js';
import { Versions } from './versions.js';

const name = (text: string): Name => Name.parse(text);
const uri = (text: string): PyroURI => PyroURI.parse(`PYRO://10.1.2.3:7766/${text}`);
const text = (id: string): string => `PYRO://10.1.2.3:7766/${id}`;

/** The time of the clock, in seconds: later than all stamps of the tests but for those that say so. */
const NOW = 1000;

class Server {
  readonly namespace = new MemoryNamespace();
  readonly versions: Versions;
  readonly changes = new ChangeFeed();
  readonly logged: string[] = [];
  readonly replica: Replica;
  readonly told: NameRecord[] = [];
  /** What watchers were told. */
  readonly watched: string[] = [];

  constructor(readonly role: TwinRole) {
    this.versions = new Versions(role, () => NOW * 1000);
    const write =
      (level: string) =>
      (source: string, ...parts: unknown[]): void => {
        const from = source === 'NameServer' ? [] : [`from ${source}:`];
        this.logged.push([level, ...from, ...parts].map(String).join(' '));
      };
    const log: Log = { ...silentLog, warn: write('warn'), error: write('error') };
    const { namespace, versions, changes } = this;
    const lock = new SubtreeLock<Name>();
    this.replica = new Replica({ namespace, versions, lock, changes, log, role, now: () => NOW * 1000 });
    jest.spyOn(changes, 'append').mockImplementation(({ kind, name: changed }) => {
      if (kind !== 'setSystemMeta') this.watched.push(`${kind} ${changed.toString()}`);
    });
  }

  /** What stands here: made by a client of this server at that time, and confirmed by the twin or not. */
  async has(what: string, content: string | null, time: number, more: Partial<Content> = {}): Promise<void> {
    await this.untouched(what, content, time, more);
    const { confirmed = false, systemMetaSet = false, by = this.role } = more;
    this.versions.set(name(what), { timestamp: { time, role: by }, confirmed, systemMetaSet });
  }

  /** What stands here since before the server was started. */
  async untouched(what: string, content: string | null, time: number, more: Partial<Content> = {}): Promise<void> {
    const type = content === null ? GROUP : OBJECT;
    if (content !== null) await this.namespace.register(name(what), uri(content));
    else if (what !== ':') await this.namespace.createGroup(name(what));
    await this.namespace.setSystemMeta(name(what), { type, timestamp: time, owner: null });
    if (more.meta !== undefined) await this.namespace.setMeta(name(what), more.meta);
  }

  async perform(change: Change): Promise<void> {
    await this.replica.perform(change, (record) => this.told.push(record));
  }

  /** All names with their URIs and metadata. */
  async contents(): Promise<Record<string, unknown>> {
    const all: Record<string, unknown> = {};
    for await (const entry of this.namespace.export()) {
      if (entry.name.isRoot && entry.userMeta === null) continue;
      const content = entry.uri?.objectID ?? 'group';
      all[entry.name.toString()] = entry.userMeta === null ? content : [content, entry.userMeta];
    }
    return all;
  }
}

interface Content {
  readonly meta: PythonValue;
  readonly confirmed: boolean;
  readonly systemMetaSet: boolean;
  readonly by: TwinRole;
}

let primary: Server;
let secondary: Server;

beforeEach(() => {
  primary = new Server('primary');
  secondary = new Server('secondary');
});

const other = (role: TwinRole): TwinRole => (role === 'primary' ? 'secondary' : 'primary');

/** What the twin of a server tells. */
function told(what: string, state: Partial<NameState> | undefined, timestamp: Timestamp, observed = true): NameRecord {
  const made = { uri: undefined, userMeta: null, systemMeta: undefined, systemMetaSet: false };
  return { name: name(what), timestamp, observed, state: state && { ...made, ...state } };
}

const byTwin = (time: number, role: TwinRole = 'primary'): Timestamp => ({ time, role: other(role) });

const object = (id: string, userMeta: PythonValue = null): Partial<NameState> => ({ uri: uri(id), userMeta });
const group: Partial<NameState> = {};

const lostHere = (what: string, id: string, successor: string): string =>
  `warn twin: our ${what} (${id}) is lost: the twin's change is newer: ${successor}`;
const lostThere = (what: string, id: string, reason: string): string =>
  `warn twin: the twin's ${what} (${id}) is lost: ${reason}`;

describe('of two changes of an object', () => {
  test.each([
    ['the later one wins: that of the twin', 5, 6, 'theirs'],
    ['the later one wins: ours', 6, 5, 'ours'],
    ['at the same time, that of the primary: ours', 5, 5, 'ours'],
  ])('%s', async (_promise, here, there, wins) => {
    await primary.has(':a', 'ours', here);
    await primary.replica.merge(told(':a', object('theirs'), byTwin(there)));
    expect(await primary.contents()).toEqual({ ':a': wins });
    expect(primary.logged).toEqual([
      wins === 'ours'
        ? lostThere(':a', text('theirs'), 'what is here is newer')
        : lostHere(':a', text('ours'), text('theirs')),
    ]);
  });

  test("at the same time, that of the primary: the twin's", async () => {
    await secondary.has(':a', 'ours', 5);
    await secondary.replica.merge(told(':a', object('theirs'), byTwin(5, 'secondary')));
    expect(await secondary.contents()).toEqual({ ':a': 'theirs' });
    expect(secondary.logged).toEqual([lostHere(':a', text('ours'), text('theirs'))]);
  });

  test.each(['primary', 'secondary'] as const)(
    'with the very same timestamp (of the %s), both servers have what the primary has',
    async (role) => {
      const timestamp: Timestamp = { time: 5, role };
      await primary.has(':a', 'first', 5, { by: role });
      await secondary.has(':a', 'second', 5, { by: role });
      await primary.replica.merge(told(':a', object('second'), timestamp));
      await secondary.replica.merge(told(':a', object('first'), timestamp));
      expect([await primary.contents(), await secondary.contents()]).toEqual([{ ':a': 'first' }, { ':a': 'first' }]);
    },
  );

  test('the newer metadata wins, and the name keeps its URI', async () => {
    await primary.has(':a', 'x', 5, { meta: 'ours' });
    await primary.replica.merge(told(':a', object('x', 'theirs'), byTwin(6)));
    expect(await primary.contents()).toEqual({ ':a': ['x', 'theirs'] });
    expect(primary.logged).toEqual([lostHere(':a', `${text('x')}, with metadata`, `${text('x')}, with metadata`)]);
    expect(primary.watched).toEqual(['setMeta :a']);
  });

  test('one that the twin had seen is replaced without a word', async () => {
    await primary.has(':a', 'ours', 5, { confirmed: true });
    await primary.replica.merge(told(':a', object('theirs'), byTwin(6)));
    expect([await primary.contents(), primary.logged]).toEqual([{ ':a': 'theirs' }, []]);
    expect(primary.watched).toEqual(['unregister :a', 'register :a']);
  });

  test('what was taken has the timestamp of its change, and is known to the twin', async () => {
    await primary.replica.merge(told(':a', object('theirs', 'm'), byTwin(6)));
    const version = { timestamp: byTwin(6), confirmed: true, systemMetaSet: false };
    expect(primary.versions.get(name(':a'))).toEqual(version);
    await primary.replica.merge(told(':a', object('theirs', 'n'), byTwin(7)));
    expect(primary.versions.get(name(':a'))).toEqual({ ...version, timestamp: byTwin(7) });
    await primary.replica.merge(told(':a', object('again'), byTwin(8)));
    expect(primary.versions.get(name(':a'))).toEqual({ ...version, timestamp: byTwin(8) });
    expect(primary.watched).toEqual(['register :a', 'setMeta :a', 'setMeta :a', 'unregister :a', 'register :a']);
  });

  test('a change made here later than all that was seen of the twin has the later timestamp', async () => {
    await primary.replica.merge(told(':a', object('x'), byTwin(NOW + 50), false));
    await primary.perform({ kind: 'unregister', name: name(':a') });
    expect(primary.told[0]?.timestamp.time).toBeGreaterThan(NOW + 50);
  });
});

describe('what is equal on both sides', () => {
  test('is told twice without a change; the later timestamp counts', async () => {
    await primary.has(':a', 'x', 5, { meta: ['m'] });
    await primary.replica.merge(told(':a', object('x', ['m']), byTwin(6)));
    expect(primary.watched).toEqual([]);
    expect(primary.versions.get(name(':a'))).toEqual({ timestamp: byTwin(6), confirmed: true, systemMetaSet: false });
    expect(primary.logged).toEqual([]);
  });

  test.each([
    ['an older change', byTwin(4), true],
    ['one that nobody has seen', byTwin(9), false],
  ])('is confirmed by %s, and keeps its timestamp', async (_what, timestamp, observed) => {
    await primary.has(':a', 'x', 5);
    await primary.replica.merge(told(':a', object('x'), timestamp, observed));
    expect(primary.versions.get(name(':a'))).toEqual({
      timestamp: { time: 5, role: 'primary' },
      confirmed: true,
      systemMetaSet: false,
    });
  });

  const systemMeta: SystemMeta = { type: OBJECT, timestamp: 77, owner: 'me' };

  test.each([
    ['set there', true, systemMeta],
    ['not set there', false, { type: OBJECT, timestamp: 5, owner: null }],
  ])('has the system metadata of the newer change where it was %s', async (_what, systemMetaSet, expected) => {
    for (const userMeta of [null, 'm']) {
      const server = new Server('primary');
      await server.has(':a', 'x', 5);
      await server.replica.merge(told(':a', { ...object('x', userMeta), systemMeta, systemMetaSet }, byTwin(6)));
      expect(await server.namespace.getSystemMeta(name(':a'))).toEqual(expected);
      expect(server.versions.get(name(':a'))).toEqual({ timestamp: byTwin(6), confirmed: true, systemMetaSet });
    }
  });

  test('a new name has the system metadata that the twin has, set or not', async () => {
    await primary.replica.merge(told(':a', { ...object('x'), systemMeta }, byTwin(6)));
    expect(await primary.namespace.getSystemMeta(name(':a'))).toEqual(systemMeta);
    expect(primary.watched).toEqual(['register :a']);
  });
});

describe('what was not touched since its server started', () => {
  test('is as old as its entry, but not younger than now', async () => {
    await primary.untouched(':a', 'ours', 5);
    await primary.untouched(':b', 'ours', NOW + 5);
    await primary.replica.merge(told(':a', object('theirs'), byTwin(6)));
    await primary.replica.merge(told(':b', object('theirs'), byTwin(NOW + 1)));
    expect(await primary.contents()).toEqual({ ':a': 'theirs', ':b': 'theirs' });
    expect(primary.logged).toEqual([
      lostHere(':a', text('ours'), text('theirs')),
      lostHere(':b', text('ours'), text('theirs')),
    ]);
  });

  test("loses without a word where it is the twin's, and older", async () => {
    await primary.has(':a', 'ours', 5);
    await primary.replica.merge(told(':a', object('theirs'), byTwin(4), false));
    expect([await primary.contents(), primary.logged]).toEqual([{ ':a': 'ours' }, []]);
  });

  test('is taken without a version, so that it stays as old as its entry', async () => {
    await primary.replica.merge(told(':a', object('theirs'), byTwin(4), false));
    expect(await primary.contents()).toEqual({ ':a': 'theirs' });
    expect(primary.versions.get(name(':a'))).toBeUndefined();
  });

  test.each([
    ['without metadata, loses against metadata: here', 9, object('x', 'theirs'), 4, true, null, ['x', 'theirs']],
    ['without metadata, loses against metadata: there', 4, object('x'), 9, false, 'ours', ['x', 'ours']],
    ['but of another URI, is as good as any', 9, object('y', 'theirs'), 4, true, null, 'x'],
    ['with metadata, is as good as any', 9, object('x', 'theirs'), 4, true, 'ours', ['x', 'ours']],
  ])('%s', async (_promise, here, state, there, observed, meta, expected) => {
    await primary.untouched(':a', 'x', here, { meta });
    await primary.replica.merge(told(':a', state, byTwin(there), observed));
    expect(await primary.contents()).toEqual({ ':a': expected });
  });

  test('but what was touched here and has no metadata wins where it is newer', async () => {
    await primary.has(':a', 'x', 9);
    await primary.replica.merge(told(':a', object('x', 'theirs'), byTwin(4)));
    expect(await primary.contents()).toEqual({ ':a': 'x' });
  });

  test('of two groups without metadata, nothing is to be done', async () => {
    await primary.untouched(':g', null, 5);
    await primary.replica.merge(told(':g', group, byTwin(6)));
    expect([await primary.contents(), primary.watched, primary.logged]).toEqual([{ ':g': 'group' }, [], []]);
  });
});

describe('a removal', () => {
  test.each([
    ['takes what is older', 5, 6, {}],
    ['leaves what is newer', 6, 5, { ':a': 'x' }],
    ['of the secondary leaves what the primary has of the same time', 5, 5, { ':a': 'x' }],
  ])('%s', async (_promise, here, there, expected) => {
    await primary.has(':a', 'x', here);
    await primary.replica.merge(told(':a', undefined, byTwin(there)));
    expect(await primary.contents()).toEqual(expected);
    expect(primary.logged).toEqual([
      here < there
        ? lostHere(':a', text('x'), 'removed')
        : `warn twin: the twin's removal of :a (${text('x')}) is lost: what is here is newer`,
    ]);
    expect(primary.versions.tombstoneOf(name(':a'))).toEqual({ timestamp: byTwin(there), confirmed: true });
    expect(primary.watched).toEqual(here < there ? ['unregister :a'] : []);
  });

  test('of what is not here is remembered: what is older does not come back', async () => {
    await primary.replica.merge(told(':a', undefined, byTwin(6)));
    await primary.replica.merge(told(':a', object('old'), byTwin(5)));
    expect(await primary.contents()).toEqual({});
    expect(primary.logged).toEqual([lostThere(':a', text('old'), 'it was removed here later')]);
    await primary.replica.merge(told(':a', object('untouched'), byTwin(5), false));
    expect([await primary.contents(), primary.logged.length]).toEqual([{}, 1]);
    await primary.replica.merge(told(':a', object('new'), byTwin(7)));
    expect([await primary.contents(), primary.logged.length]).toEqual([{ ':a': 'new' }, 1]);
  });

  test('of ours that the twin has not seen is named where a newer change undoes it', async () => {
    primary.versions.remove(name(':a'), { timestamp: { time: 5, role: 'primary' }, confirmed: false });
    await primary.replica.merge(told(':a', object('new'), byTwin(6)));
    expect(await primary.contents()).toEqual({ ':a': 'new' });
    expect(primary.logged).toEqual([
      `warn twin: our removal of :a (${text('new')}) is lost: the twin's change is newer`,
    ]);
  });

  test.each([
    ['the twin had seen what is here', true, undefined],
    ['what is here came after a removal of that time that we knew of', false, 5],
    ['what is here was not touched', undefined, undefined],
  ])('that loses is not named where %s', async (_what, confirmed, known) => {
    if (confirmed === undefined) await primary.untouched(':a', 'x', 6);
    else await primary.has(':a', 'x', 6, { confirmed });
    if (known !== undefined) primary.versions.remove(name(':a'), { timestamp: byTwin(known), confirmed: true });
    await primary.replica.merge(told(':a', undefined, byTwin(5)));
    expect([await primary.contents(), primary.logged]).toEqual([{ ':a': 'x' }, []]);
  });

  test('that loses is named where we knew only of an earlier one', async () => {
    await primary.has(':a', 'x', 6);
    primary.versions.remove(name(':a'), { timestamp: byTwin(4), confirmed: true });
    await primary.replica.merge(told(':a', undefined, byTwin(5)));
    expect(primary.logged).toHaveLength(1);
  });

  test('of the root, or of the own entry of a server, is nothing', async () => {
    await primary.untouched(':Pyro', null, 1);
    await primary.untouched(NAMESERVER_NAME, 'own', 1);
    await primary.replica.merge(told(':', undefined, byTwin(6)));
    await primary.replica.merge(told(NAMESERVER_NAME, undefined, byTwin(6)));
    await primary.replica.merge(told(NAMESERVER_NAME, object('theirs'), byTwin(6)));
    expect(await primary.contents()).toEqual({ ':Pyro': 'group', [NAMESERVER_NAME]: 'own' });
    expect(primary.versions.allTombstones()).toEqual([]);
  });
});

describe('a removal of a group', () => {
  beforeEach(async () => {
    await primary.has(':g', null, 1);
    await primary.has(':g.h', null, 2);
    await primary.has(':g.h.y', 'y', 3);
    await primary.has(':g.x', 'x', 4);
  });

  test('removes all that is in it, at once, where all is older', async () => {
    await primary.replica.merge(told(':g', undefined, byTwin(5)));
    expect([await primary.contents(), primary.watched]).toEqual([{}, ['deleteGroup :g']]);
    expect(primary.logged).toEqual([
      lostHere(':g.h.y', text('y'), 'removed, with :g'),
      lostHere(':g.x', text('x'), 'removed, with :g'),
    ]);
    expect(primary.versions.allTombstones()).toEqual([[':g', { timestamp: byTwin(5), confirmed: true }]]);
    expect([':g', ':g.h', ':g.h.y', ':g.x'].map((one) => primary.versions.get(name(one)))).toEqual(
      Array(4).fill(undefined),
    );
  });

  test('leaves it while something newer is in it, and removes what is older', async () => {
    await primary.has(':g.new', 'new', 6);
    await primary.replica.merge(told(':g', undefined, byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': 'group', ':g.new': 'new' });
    expect(primary.watched).toEqual(['unregister :g.h.y', 'unregister :g.x', 'deleteGroup :g.h']);
    expect(primary.logged).toEqual([
      lostHere(':g.h.y', text('y'), 'removed, with :g'),
      lostHere(':g.x', text('x'), 'removed, with :g'),
      "warn twin: the twin's removal of :g (a group) is lost: it or what is in it is newer",
    ]);
    expect(primary.versions.tombstoneOf(name(':g.h.y'))).toEqual({ timestamp: byTwin(5), confirmed: true });
  });

  test('leaves a group within it that something newer is in', async () => {
    await primary.has(':g.h.new', 'new', 6);
    await primary.replica.merge(told(':g', undefined, byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': 'group', ':g.h': 'group', ':g.h.new': 'new' });
  });

  test('takes the metadata of groups that stay only for what is in them, and names it', async () => {
    await primary.has(':g.h.new', 'new', 6);
    await primary.namespace.setMeta(name(':g'), 'm');
    await primary.namespace.setMeta(name(':g.h'), 'n');
    await primary.replica.merge(told(':g', undefined, byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': 'group', ':g.h': 'group', ':g.h.new': 'new' });
    expect(primary.watched.filter((change) => change.startsWith('setMeta'))).toEqual(['setMeta :g.h', 'setMeta :g']);
    const lost = (what: string): string => lostHere(what, 'a group, with metadata', 'removed, but for what is in it');
    expect(primary.logged).toEqual(expect.arrayContaining([lost(':g'), lost(':g.h')]));
  });

  test('leaves a group that is itself newer, and its metadata', async () => {
    await primary.namespace.setMeta(name(':g'), 'm');
    primary.versions.set(name(':g'), {
      timestamp: { time: 7, role: 'primary' },
      confirmed: false,
      systemMetaSet: false,
    });
    await primary.replica.merge(told(':g', undefined, byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': ['group', 'm'] });
  });

  test('names what it takes from a group that is itself newer', async () => {
    primary.versions.set(name(':g'), {
      timestamp: { time: 7, role: 'primary' },
      confirmed: false,
      systemMetaSet: false,
    });
    await primary.replica.merge(told(':g', undefined, byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': 'group' });
    expect(primary.logged).toHaveLength(3);
  });

  test('does not bring back what was in it, nor what is told of it later', async () => {
    await primary.replica.merge(told(':g', undefined, byTwin(5)));
    await primary.replica.merge(told(':g.old', object('old'), byTwin(4)));
    expect(await primary.contents()).toEqual({});
    await primary.replica.merge(told(':g.new', object('new'), byTwin(6)));
    expect(await primary.contents()).toEqual({ ':g': 'group', ':g.new': 'new' });
  });

  test('leaves the own entry of the server, and its group', async () => {
    await primary.untouched(':Pyro', null, 1);
    await primary.untouched(NAMESERVER_NAME, 'own', 1);
    await primary.replica.merge(told(':Pyro', undefined, byTwin(5)));
    expect(await primary.contents()).toMatchObject({ ':Pyro': 'group', [NAMESERVER_NAME]: 'own' });
    expect(primary.logged).toEqual([]);
  });
});

describe('an object and a group of one name', () => {
  test('the newer object takes the place of the group, where all in it is older', async () => {
    await primary.has(':g', null, 1);
    await primary.has(':g.x', 'x', 2);
    await primary.replica.merge(told(':g', object('object'), byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': 'object' });
    expect(primary.logged).toEqual([lostHere(':g.x', text('x'), 'removed, with :g')]);
  });

  test('the group stays where something in it is newer', async () => {
    await primary.has(':g', null, 1);
    await primary.has(':g.x', 'x', 6);
    await primary.replica.merge(told(':g', object('object'), byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': 'group', ':g.x': 'x' });
    expect(primary.logged).toEqual([lostThere(':g', text('object'), 'it is a group here, and what is in it is newer')]);
  });

  test('the newer group takes the place of the object', async () => {
    await primary.has(':g', 'object', 1);
    await primary.replica.merge(told(':g', group, byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': 'group' });
    expect(primary.logged).toEqual([lostHere(':g', text('object'), 'a group')]);
    expect(primary.watched).toEqual(['unregister :g', 'createGroup :g']);
  });

  test('a newer name in a group takes the place of an older object on its way', async () => {
    await primary.has(':g', 'object', 1);
    await primary.replica.merge(told(':g.h.x', object('x'), byTwin(5)));
    expect(await primary.contents()).toEqual({ ':g': 'group', ':g.h': 'group', ':g.h.x': 'x' });
    expect(primary.logged).toEqual([lostHere(':g', text('object'), 'a group')]);
    expect(primary.watched).toEqual(['unregister :g', 'createGroup :g', 'createGroup :g.h', 'register :g.h.x']);
    expect(primary.versions.allTombstones()).toEqual([
      [':g', { timestamp: { time: 1, role: 'primary' }, confirmed: true }],
    ]);
  });

  test.each([
    ['and is named where somebody has seen it', true, 5],
    ['and is named where both are of the same time', true, 6],
    ['without a word where nobody has seen it', false, 5],
  ])('a name in a group loses to a newer object on its way, %s', async (_what, observed, time) => {
    await primary.has(':g', 'object', 6);
    await primary.replica.merge(told(':g.h.x', object('x'), byTwin(time), observed));
    expect(await primary.contents()).toEqual({ ':g': 'object' });
    expect(primary.logged).toEqual(observed ? [lostThere(':g.h.x', text('x'), ':g is an object here, and newer')] : []);
  });
});

describe('a change of a client', () => {
  const cases: [string, Change, NameState | undefined][] = [
    [
      'register',
      { kind: 'register', name: name(':new'), uri: uri('new') },
      { uri: uri('new'), userMeta: null, systemMeta: undefined, systemMetaSet: false },
    ],
    [
      'createGroup',
      { kind: 'createGroup', name: name(':new') },
      { uri: undefined, userMeta: null, systemMeta: undefined, systemMetaSet: false },
    ],
    ['unregister', { kind: 'unregister', name: name(':g.x') }, undefined],
    ['deleteGroup', { kind: 'deleteGroup', name: name(':g') }, undefined],
    [
      'setMeta',
      { kind: 'setMeta', name: name(':g.x'), meta: 'm' },
      {
        uri: uri('x'),
        userMeta: 'm',
        systemMeta: { type: OBJECT, timestamp: 2, owner: null },
        systemMetaSet: false,
      },
    ],
    [
      'setSystemMeta',
      { kind: 'setSystemMeta', name: name(':g.x'), meta: { type: OBJECT, timestamp: 9, owner: 'me' } },
      { uri: uri('x'), userMeta: null, systemMeta: { type: OBJECT, timestamp: 9, owner: 'me' }, systemMetaSet: true },
    ],
  ];

  test.each(cases)('%s: is made, and told as what the name has become', async (_kind, change, state) => {
    await primary.untouched(':g', null, 1);
    await primary.has(':g.x', 'x', 2);
    await primary.perform(change);
    const timestamp: Timestamp = { time: NOW, role: 'primary' };
    expect(primary.told).toEqual([{ name: change.name, timestamp, observed: true, state }]);
    const known = primary.versions.get(change.name);
    const removal = primary.versions.tombstoneOf(change.name);
    expect([known, removal]).toEqual(
      state === undefined
        ? [undefined, { timestamp, confirmed: false }]
        : [{ timestamp, confirmed: false, systemMetaSet: state.systemMetaSet }, undefined],
    );
    // What a removed group held is forgotten with it.
    const inner = primary.versions.get(name(':g.x'));
    expect(inner === undefined).toBe(state === undefined);
  });

  test('what is set once is the same on both sides from then on; a new registration begins anew', async () => {
    const meta: SystemMeta = { type: OBJECT, timestamp: 9, owner: 'me' };
    await primary.perform({ kind: 'register', name: name(':a'), uri: uri('x') });
    await primary.perform({ kind: 'setSystemMeta', name: name(':a'), meta });
    await primary.perform({ kind: 'setMeta', name: name(':a'), meta: 'm' });
    expect(primary.told.at(-1)?.state).toEqual({ uri: uri('x'), userMeta: 'm', systemMeta: meta, systemMetaSet: true });
    await primary.perform({ kind: 'unregister', name: name(':a') });
    await primary.perform({ kind: 'register', name: name(':a'), uri: uri('x') });
    expect(primary.versions.get(name(':a'))?.systemMetaSet).toBe(false);
  });

  test('that the namespace refuses is told to nobody', async () => {
    await expect(primary.perform({ kind: 'unregister', name: name(':a') })).rejects.toThrow('name not found');
    expect([primary.told, primary.versions.allTombstones()]).toEqual([[], []]);
  });

  test('of the own entry is made, and told to nobody', async () => {
    await primary.untouched(':Pyro', null, 1);
    await primary.perform({ kind: 'register', name: name(NAMESERVER_NAME), uri: uri('own') });
    expect(await primary.contents()).toEqual({ ':Pyro': 'group', [NAMESERVER_NAME]: 'own' });
    expect([primary.told, primary.versions.get(name(NAMESERVER_NAME))]).toEqual([[], undefined]);
  });

  test('is told before a change that depends on it is made, or merged', async () => {
    const events: string[] = [];
    const register = primary.replica.perform({ kind: 'createGroup', name: name(':g') }, () => events.push('group'));
    const merging = primary.replica.merge(told(':g.x', object('x'), byTwin(NOW + 1))).then(() => events.push('merged'));
    const inner = primary.replica.perform({ kind: 'setMeta', name: name(':g.x'), meta: 'm' }, () =>
      events.push('meta'),
    );
    await Promise.all([register, merging, inner]);
    expect(events).toEqual(['group', 'merged', 'meta']);
  });
});

describe('all that there is', () => {
  const all = async (server: Server): Promise<NameRecord[][]> => {
    const batches: NameRecord[][] = [];
    for await (const batch of server.replica.records()) batches.push(batch);
    return batches;
  };

  test('is the root, all names with their stamps, parents first, and then the removals; the own entry is not', async () => {
    await primary.has(':g', null, 1, { meta: 'm' });
    await primary.has(':g.x', 'x', 2, { by: 'secondary', systemMetaSet: true });
    await primary.untouched(':Pyro', null, 3);
    await primary.untouched(NAMESERVER_NAME, 'own', 4);
    primary.versions.remove(name(':gone'), { timestamp: byTwin(5), confirmed: true });
    const [names = [], removals = []] = await all(primary);
    const described = names.map(({ name: one, timestamp, observed, state }) => [
      one.toString(),
      one.isRoot ? 0 : timestamp.time,
      timestamp.role,
      observed,
      state?.uri?.objectID,
      state?.userMeta,
      state?.systemMetaSet,
    ]);
    expect(described).toEqual([
      [':', 0, 'primary', false, undefined, null, false],
      [':g', 1, 'primary', true, undefined, 'm', false],
      [':Pyro', 3, 'primary', false, undefined, null, false],
      [':g.x', 2, 'secondary', true, 'x', null, true],
    ]);
    expect(removals).toEqual([told(':gone', undefined, byTwin(5))]);
  });

  test('comes in parts of 64', async () => {
    for (let number = 1; number <= 130; number += 1) {
      await primary.untouched(`:n${number}`, 'x', 1);
      primary.versions.remove(name(`:r${number}`), { timestamp: byTwin(5), confirmed: true });
    }
    const batches = await all(primary);
    expect(batches.map((batch) => batch.length)).toEqual([64, 64, 3, 64, 64, 2]);
    expect(new Set(batches.flat().map((record) => record.name)).size).toBe(261);
    const merged = new Server('secondary');
    await merged.replica.mergeAll(batches.flat());
    expect(await merged.contents()).toEqual(await primary.contents());
  });

  test('is read name by name after the changes under way', async () => {
    await primary.untouched(':a', 'old', 1);
    const changing = primary.perform({ kind: 'setMeta', name: name(':a'), meta: 'new' });
    const batches = await all(primary);
    await changing;
    expect(batches.flat().at(-1)).toMatchObject({
      timestamp: { time: NOW },
      observed: true,
      state: { userMeta: 'new' },
    });
  });

  test('leaves out, and names, a name that can not be read; any other failure ends it', async () => {
    await primary.untouched(':a', 'x', 1);
    await primary.untouched(':b', 'x', 1);
    const resolve = primary.namespace.resolve.bind(primary.namespace);
    let failure: Error = new NamingError('invalid URI');
    jest
      .spyOn(primary.namespace, 'resolve')
      .mockImplementation((one) => (one.equals(name(':a')) ? Promise.reject(failure) : resolve(one)));
    expect((await all(primary)).flat().map((record) => record.name.toString())).toEqual([':', ':b']);
    expect(primary.logged).toEqual(['error twin: :a is not the same on both sides: NamingError: invalid URI']);
    failure = new NamingError('the disk fails');
    await expect(all(primary)).rejects.toThrow('the disk fails');
    failure = new Error('invalid URI');
    await expect(all(primary)).rejects.toThrow('invalid URI');
  });
});

test("what this store can not hold is left out, and named; any other failure is the caller's", async () => {
  const register = jest.spyOn(primary.namespace, 'register');
  register.mockRejectedValueOnce(new NamingError('name too long'));
  await primary.replica.mergeAll([told(':a', object('x'), byTwin(1)), told(':b', object('x'), byTwin(1))]);
  expect(await primary.contents()).toEqual({ ':b': 'x' });
  expect(primary.logged).toEqual(['error twin: :a is not the same on both sides: NamingError: name too long']);
  register.mockRejectedValueOnce(new NamingError('no space'));
  await expect(primary.replica.mergeAll([told(':c', object('x'), byTwin(1))])).rejects.toThrow('no space');
});

test('a confirmation holds for what the twin has merged', async () => {
  await primary.has(':a', 'x', 5);
  primary.replica.confirm([told(':a', object('x'), { time: 5, role: 'primary' })]);
  expect(primary.versions.get(name(':a'))?.confirmed).toBe(true);
});

describe('what others do to the store meanwhile', () => {
  test.each<Change>([
    { kind: 'unregister', name: name(':g.x') },
    { kind: 'deleteGroup', name: name(':g') },
  ])('a removal is told as one, also where the name is there again: $kind', async (change) => {
    await primary.untouched(':g', null, 1);
    await primary.untouched(':g.x', 'x', 1);
    jest.spyOn(primary.namespace, 'resolve').mockResolvedValue(uri('again'));
    jest.spyOn(primary.namespace, 'getSystemMeta').mockResolvedValue({ type: OBJECT, timestamp: 1, owner: null });
    jest.spyOn(primary.namespace, 'getMeta').mockResolvedValue(null);
    await primary.perform(change);
    expect(primary.told.map(({ state }) => state)).toEqual([undefined]);
  });

  test('metadata of what is gone already is told as a removal', async () => {
    await primary.untouched(':a', 'x', 1);
    jest.spyOn(primary.namespace, 'resolve').mockRejectedValue(new NamingError('name not found'));
    await primary.perform({ kind: 'setMeta', name: name(':a'), meta: 'm' });
    expect(primary.told.map(({ state }) => state)).toEqual([undefined]);
  });

  test.each([
    ['the group itself', told(':g', group, byTwin(5))],
    ['a group that a name is in', told(':g.x', object('x'), byTwin(5))],
  ])('a group that somebody has just made is no failure: %s', async (_what, record) => {
    const { namespace } = primary;
    const createGroup = namespace.createGroup.bind(namespace);
    jest.spyOn(namespace, 'createGroup').mockImplementation(async (one) => {
      await createGroup(one);
      throw new NamingError('group already exists');
    });
    await primary.replica.merge(record);
    expect(await primary.contents()).toEqual({
      ':g': 'group',
      ...(record.name.equals(name(':g')) ? {} : { ':g.x': 'x' }),
    });
    expect(primary.versions.get(record.name)?.timestamp).toEqual(byTwin(5));
  });

  test.each([
    ['of the store', new NamingError('no space')],
    ['that only reads like it', new Error('group already exists')],
  ])("any other failure to make a group is the caller's: one %s", async (_what, error) => {
    jest.spyOn(primary.namespace, 'createGroup').mockRejectedValue(error);
    await expect(primary.replica.merge(told(':g', group, byTwin(5)))).rejects.toBe(error);
  });

  test('a failure that only reads like a missing name is one', async () => {
    jest.spyOn(primary.namespace, 'resolve').mockRejectedValue(new Error('name not found'));
    await expect(primary.replica.merge(told(':a', object('x'), byTwin(5)))).rejects.toThrow('name not found');
  });

  test('a group that is removed while all is read is left out; any other failure ends it', async () => {
    await primary.untouched(':g', null, 1);
    await primary.untouched(':a', 'x', 1);
    const { namespace } = primary;
    const list = namespace.list.bind(namespace);
    let failure: Error = new NamingError('name not found');
    jest.spyOn(namespace, 'list').mockImplementation((one) => (one.isRoot ? list(one) : Promise.reject(failure)));
    const read = async (): Promise<string[]> => {
      const names: string[] = [];
      for await (const batch of primary.replica.records()) names.push(...batch.map((record) => record.name.toString()));
      return names;
    };
    expect(await read()).toEqual([':', ':g', ':a']);
    failure = new Error('name not found');
    await expect(read()).rejects.toBe(failure);
  });
});

test('newer metadata of a group leaves what is in the group alone', async () => {
  await primary.has(':g', null, 1);
  await primary.has(':g.x', 'x', 2);
  await primary.replica.merge(told(':g', { userMeta: 'm' }, byTwin(5)));
  expect([await primary.contents(), primary.watched]).toEqual([{ ':g': ['group', 'm'], ':g.x': 'x' }, ['setMeta :g']]);
});

test('of the groups that a name is in, only those are made that are missing', async () => {
  await primary.has(':g', null, 1);
  const createGroup = jest.spyOn(primary.namespace, 'createGroup');
  await primary.replica.merge(told(':g.h.x', object('x'), byTwin(5)));
  expect(createGroup.mock.calls.map(([one]) => one.toString())).toEqual([':g.h']);
});

test('many records are merged each once', async () => {
  const records = Array.from({ length: 130 }, (_none, number) => told(`:n${number}`, object('x'), byTwin(5)));
  const merge = jest.spyOn(primary.replica, 'merge');
  await primary.replica.mergeAll(records);
  expect(merge.mock.calls.map(([record]) => record)).toEqual(records);
});

test('no part of all that there is holds our own entry, and none is empty', async () => {
  await primary.untouched(':g', null, 1);
  await primary.untouched(':Pyro', null, 1);
  await primary.untouched(NAMESERVER_NAME, 'own', 1);
  for (let number = 1; number <= 70; number += 1) await primary.untouched(`:g.n${number}`, 'x', 1);
  for (let number = 1; number <= 64; number += 1) {
    primary.versions.remove(name(`:r${number}`), { timestamp: byTwin(5), confirmed: true });
  }
  const lengths: number[] = [];
  for await (const batch of primary.replica.records()) {
    lengths.push(batch.filter((record: NameRecord | undefined) => record !== undefined).length);
    expect(batch).not.toContain(undefined);
  }
  expect(lengths).toEqual([63, 10, 64]);
});

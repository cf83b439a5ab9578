/** What is left of a database when the power goes off, at any moment of a change. See test/support/recorded-disk.ts. */
import { afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { RecordedDisk, writeImage } from '../../../test/support/recorded-disk.js';
import type { Image } from '../../../test/support/recorded-disk.js';
import { Name, PyroURI } from '../../names/index.js';
import { MemoryNamespace } from '../memory.js';
import { collect } from '../namespace.model.js';
import type { Namespace, NamespaceEntry } from '../namespace.js';
import { OBJECT } from '../namespace.js';
import { metaFileContent } from './metadata.js';

const disk = new RecordedDisk();
jest.unstable_mockModule('node:fs', () => disk.fs);
jest.unstable_mockModule('node:fs/promises', () => disk.promises);
const { silentLog } = await import('../../config/index.js');
const { NamingError } = await import('../../errors.js');
const { DirectoryNamespace } = await import('./directory-namespace.js');
const { OWN_DIRECTORY } = await import('./layout.js');
const { DatabaseLock, LOCK_FILES } = await import('./lock.js');
const { REPLACEMENT_STATES } = await import('./replace.js');

const named = (text: string) => Name.parse(text);
const uri = (id: string) => PyroURI.parse(`PYRO://127.0.0.1:7766/7f00000100${id}`);

type Change = (namespace: Namespace) => Promise<void>;

const register =
  (name: string, id = 'a1'): Change =>
  (namespace) =>
    namespace.register(named(name), uri(id));
const unregister =
  (name: string): Change =>
  (namespace) =>
    namespace.unregister(named(name));
const createGroup =
  (name: string): Change =>
  (namespace) =>
    namespace.createGroup(named(name));
const deleteGroup =
  (name: string): Change =>
  (namespace) =>
    namespace.deleteGroup(named(name));
const setMeta =
  (name: string, meta: string | null): Change =>
  (namespace) =>
    namespace.setMeta(named(name), meta);

/** Some time in 2001: an object's file tells it. */
const TIMESTAMP = 1_000_000_000;
const told = { type: OBJECT, timestamp: TIMESTAMP, owner: null } as const;
const owned = { type: OBJECT, timestamp: TIMESTAMP, owner: 'somebody' } as const;
const NEW_TREE: readonly NamespaceEntry[] = [
  { name: Name.root, uri: undefined, systemMeta: undefined, userMeta: 'of the new root' },
  { name: named(':G'), uri: undefined, systemMeta: undefined, userMeta: 'of the new group' },
  { name: named(':G.y'), uri: uri('b1'), systemMeta: told, userMeta: null },
  { name: named(':G.z'), uri: uri('b2'), systemMeta: owned, userMeta: 'of z' },
  { name: named(':H'), uri: undefined, systemMeta: undefined, userMeta: null },
  { name: named(':H.sub'), uri: undefined, systemMeta: undefined, userMeta: null },
  { name: named(':H.sub.x'), uri: uri('b3'), systemMeta: told, userMeta: null },
];
const replace =
  (entries: readonly NamespaceEntry[] = NEW_TREE): Change =>
  (namespace) =>
    namespace.replace(entriesOf(entries));

async function* entriesOf(entries: readonly NamespaceEntry[]): AsyncGenerator<NamespaceEntry> {
  await Promise.resolve();
  yield* entries;
}

/** A group of objects, with metadata and without. */
const FILLED = [
  createGroup(':G'),
  register(':G.x'),
  setMeta(':G.x', 'of x'),
  setMeta(':G', 'of G'),
  register(':o', 'a2'),
];

interface Scenario {
  /** What was in the database before. */
  readonly before?: readonly Change[];
  /** Files of metadata without a name, as paths in the database. */
  readonly orphans?: readonly string[];
  readonly changes: readonly Change[];
}

const SCENARIOS: readonly [string, Scenario][] = [
  ['register', { before: [createGroup(':G')], changes: [register(':G.x')] }],
  ['register in the root of a new database', { changes: [register(':x')] }],
  ['register beside metadata', { before: FILLED, changes: [register(':G.y'), register(':y')] }],
  ['register where metadata was left', { before: FILLED, orphans: ['G/y.ns_meta'], changes: [register(':G.y')] }],
  ['unregister', { before: [register(':x')], changes: [unregister(':x')] }],
  ['unregister with metadata', { before: FILLED, changes: [unregister(':G.x')] }],
  ['unregister and register', { before: FILLED, changes: [unregister(':G.x'), register(':G.x', 'a3')] }],
  ['createGroup', { changes: [createGroup(':G'), createGroup(':G.H'), register(':G.H.x')] }],
  ['createGroup where metadata was left', { orphans: ['G.ns_meta'], changes: [createGroup(':G')] }],
  ['deleteGroup', { before: [createGroup(':G'), register(':G.x')], changes: [deleteGroup(':G')] }],
  ['deleteGroup with metadata', { before: FILLED, changes: [deleteGroup(':G')] }],
  ['deleteGroup and createGroup', { before: FILLED, changes: [deleteGroup(':G'), createGroup(':G')] }],
  ['setMeta of an object', { before: [register(':x')], changes: [setMeta(':x', 'first'), setMeta(':x', 'second')] }],
  ['setMeta of a group', { before: FILLED, changes: [setMeta(':G', 'other')] }],
  ['setMeta of the root', { before: FILLED, changes: [setMeta(':', 'first'), setMeta(':', 'second')] }],
  ['setMeta of none', { before: FILLED, changes: [setMeta(':G.x', null), setMeta(':G', null)] }],
  ['replace', { before: FILLED, changes: [replace()] }],
  ['replace of an empty database', { changes: [replace()] }],
  ['replace by nothing', { before: FILLED, changes: [replace([])] }],
  ['replace twice', { before: FILLED, changes: [replace(NEW_TREE.slice(0, 3)), replace([])] }],
];

/** All of a namespace that is to outlast a power cut, in a form that can be compared. */
async function stateOf(namespace: Namespace): Promise<string> {
  const entries = (await collect(namespace.export())).map(({ name, uri, systemMeta, userMeta }) => {
    const timestamp = systemMeta?.timestamp === TIMESTAMP ? TIMESTAMP : 'now';
    return `${name.toString()} ${String(uri)} ${JSON.stringify([userMeta, timestamp, systemMeta?.owner])}`;
  });
  return entries.sort().join('\n');
}

/** All files in a directory, with what is in them. */
function filesIn(path: string): string {
  if (!existsSync(path)) return '';
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter(
    (file) => !file.startsWith(OWN_DIRECTORY),
  );
  return files
    .map((file) => `${file} ${statSync(`${path}/${file}`).isFile() ? readFileSync(`${path}/${file}`, 'latin1') : ''}`)
    .sort()
    .join('\n');
}

/** An image without the lock: who held it is dead. */
function withoutLock(image: Image): Image {
  return new Map(
    [...image].filter(
      ([path]) => ![...LOCK_FILES].some((file) => path.startsWith(`database/${OWN_DIRECTORY}/${file}`)),
    ),
  );
}

/** What tells an image from others: without what is removed at the start. */
function keyOf(image: Image): string {
  const own = `database/${OWN_DIRECTORY}/`;
  const kept = [...image].filter(
    ([path]) => !path.startsWith(own) || REPLACEMENT_STATES.has(path.slice(own.length).split('/', 1)[0] ?? ''),
  );
  return JSON.stringify(
    kept.map(([path, content]) => [path, content?.bytes.toString('latin1'), content?.seconds]).sort(),
  );
}

function writeOrphan(path: string): void {
  writeFileSync(path, metaFileContent({ type: OBJECT, timestamp: TIMESTAMP, owner: null }, 'of another'));
}

const directory = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-power-`));
afterAll(() => {
  rmSync(directory, { recursive: true });
});

const open = (root: string, sync = false) => DirectoryNamespace.open(root, { log: silentLog, sync, watch: 'native' });

const isIdle = (root: string) => readdirSync(`${root}/${OWN_DIRECTORY}`).every((file) => LOCK_FILES.has(file));

/** Makes a database as it was before the changes of a scenario. */
async function prepare(root: string, { before = [], orphans = [] }: Scenario): Promise<void> {
  const namespace = await open(root);
  for (const change of before) await change(namespace);
  await namespace.close();
  for (const orphan of orphans) writeOrphan(`${root}/${orphan}`);
}

describe('after a power cut', () => {
  /** Registers all names that are free, and gives those that came with metadata of others. */
  async function inheritors(namespace: Namespace): Promise<string[]> {
    const inherited: string[] = [];
    for (const [text, make] of [
      [':G', createGroup(':G')],
      [':G.x', register(':G.x', 'c1')],
      [':G.y', register(':G.y', 'c1')],
      [':x', register(':x', 'c1')],
    ] as const) {
      const isNew = await make(namespace).then(
        () => true,
        () => false,
      );
      if (isNew && (await namespace.getMeta(named(text))) !== null) inherited.push(text);
    }
    return inherited;
  }

  /** Runs changes on a recorded disk, and gives the states and backups that came one after the other. */
  async function recorded(top: string, scenario: Scenario) {
    const { before = [], changes } = scenario;
    const root = `${top}/database`;
    mkdirSync(top);
    disk.stop();
    await prepare(root, scenario);
    const model = new MemoryNamespace();
    for (const change of before) await change(model);
    const states = [await stateOf(model)];
    disk.record(top);
    const namespace = await open(root, true);
    const trees = [filesIn(root)];
    for (const [index, change] of changes.entries()) {
      disk.mark(`begun ${index}`);
      await change(namespace);
      disk.mark(`acknowledged ${index}`);
      // What is removed is removed in the background.
      while (!isIdle(root)) await new Promise(setImmediate);
      await change(model);
      states.push(await stateOf(model));
      trees.push(filesIn(root));
    }
    disk.stop();
    await namespace.close();
    return { states, trees };
  }

  it.each(SCENARIOS)('%s: what was acknowledged is there, and nothing is half', async (what, scenario) => {
    const top = `${directory}/${what.replaceAll(' ', '-')}`;
    const { states, trees } = await recorded(top, scenario);
    const isReplacement = what.startsWith('replace');
    const seen = new Map<string, { state: string; inherited: string[]; backup: string }>();
    const problems: string[] = [];
    for (const { marks, calls, images } of disk.powerCuts()) {
      const begun = marks.filter((mark) => mark.startsWith('begun')).length;
      const acknowledged = marks.length - begun;
      for (const image of images) {
        const key = keyOf(image);
        let found = seen.get(key);
        if (found === undefined) {
          const path = `${top}/image-${seen.size}`;
          writeImage(withoutLock(image), path);
          if (!existsSync(`${path}/database`)) mkdirSync(`${path}/database`);
          const namespace = await open(`${path}/database`);
          const state = await stateOf(namespace);
          const backup = filesIn(`${path}/database.replaced`);
          found = { state, inherited: isReplacement ? [] : await inheritors(namespace), backup };
          await namespace.close();
          seen.set(key, found);
        }
        const allowed = states.slice(acknowledged, begun + 1);
        const index = states.indexOf(found.state, acknowledged);
        const isReplaced = isReplacement && index > 0;
        const when = `after ${calls.at(-1) ?? 'nothing'} (${marks.at(-1) ?? 'open'})`;
        if (!allowed.includes(found.state)) problems.push(`${when}: ${found.state}`);
        if (found.inherited.length > 0) problems.push(`${when}: inherited by ${found.inherited.join()}`);
        if (isReplaced && found.backup !== trees[index - 1]) problems.push(`${when}: the backup is ${found.backup}`);
      }
    }
    expect([...new Set(problems)]).toEqual([]);
    expect(seen.size).toBeGreaterThan(1);
  });
});

describe('where the disk fails', () => {
  afterEach(() => {
    disk.fault = () => undefined;
    disk.stop();
  });

  // One kind of change, as each of its calls fails in turn: the others are in changes.test.ts.
  const FAILING = SCENARIOS.filter(([what]) => what === 'unregister with metadata');

  it.each(FAILING)('%s: is refused and undone, or done', async (what, scenario) => {
    const top = `${directory}/failing-${what.replaceAll(' ', '-')}`;
    mkdirSync(top);
    const template = `${top}/template`;
    await prepare(template, scenario);
    const outcomes = new Set<string>();
    let failed = 'none yet';
    for (let failing = 0; failed !== ''; failing += 1) {
      const root = `${top}/database-${failing}`;
      cpSync(template, root, { recursive: true, preserveTimestamps: true });
      disk.record(top);
      const namespace = await open(root, true);
      const before = await stateOf(namespace);
      failed = '';
      let calls = 0;
      disk.fault = (call, path) => {
        calls += 1;
        if (calls - 1 === failing) failed = `${call} ${path}`;
        return calls - 1 === failing ? 'EIO' : undefined;
      };
      const outcome = await Promise.all(scenario.changes.map((change) => change(namespace))).then(
        () => 'done',
        (error: unknown) => String(error),
      );
      disk.fault = () => undefined;
      outcomes.add(outcome);
      const state = await stateOf(namespace);
      await namespace.close();
      expect({ failed, isUndone: state === before }).toEqual({ failed, isUndone: outcome !== 'done' });
    }
    expect([...outcomes].map((outcome) => outcome.replace(/ \(.*/, '')).sort()).toEqual([
      'NamingError: input/output error in the database',
      'done',
    ]);
  });

  const isOwn = (path: string) => path.endsWith(`/${OWN_DIRECTORY}`);

  it.each<[string, (call: string, path: string) => boolean]>([
    ['the first sync', (call, path) => call === 'fsync' && isOwn(path)],
    ['the decision', (call, path) => call === 'rename to' && path.endsWith('/decided')],
    ['the sync of the decision', (call, path) => call === 'fsync' && isOwn(path) && existsSync(`${path}/decided`)],
    ['a move of the old tree', (call, path) => call === 'rename' && path.endsWith('/database/o')],
    ['the sync of the old tree', (call, path) => call === 'fsync' && path.endsWith('/leaving')],
    ['the arrival', (call, path) => call === 'rename to' && path.endsWith('/arriving')],
    ['the sync of the new tree', (call, path) => call === 'fsync' && path.endsWith('/arriving')],
  ])('a replacement is undone for good where it fails at %s', async (what, isFailing) => {
    const top = `${directory}/undone-${what.replaceAll(' ', '-')}`;
    const root = `${top}/database`;
    mkdirSync(top);
    await prepare(root, { before: FILLED, changes: [] });
    const before = filesIn(root);
    disk.record(top);
    const namespace = await open(root, true);
    let hasFailed = false;
    disk.fault = (call, path) => {
      if (hasFailed || !isFailing(call, path)) return undefined;
      hasFailed = true;
      return 'EIO';
    };
    await expect(replace()(namespace)).rejects.toMatchObject({ code: 'EIO' });
    expect(filesIn(root)).toBe(before);
    await namespace.close();
    // Nothing is left of the new tree.
    expect(existsSync(`${root}/${OWN_DIRECTORY}`)).toBe(false);
    await (await open(root)).close();
    expect(filesIn(root)).toBe(before);
    expect(existsSync(`${root}.replaced`)).toBe(false);
  });
});

describe('while another has the lock', () => {
  const IN_USE = 'the database is in use by another server';

  it.each([
    ['register', register(':y')],
    ['unregister', unregister(':o')],
    ['createGroup', createGroup(':H')],
    ['deleteGroup', deleteGroup(':G')],
    ['setMeta', setMeta(':o', 'other')],
    ['setSystemMeta', (namespace: Namespace) => namespace.setSystemMeta(named(':o'), owned)],
    ['replace', replace()],
  ])('%s is refused, and nothing is changed', async (what, change) => {
    const root = `${directory}/locked-${what}`;
    await prepare(root, { before: FILLED, changes: [] });
    const namespace = await open(root);
    const before = filesIn(root);
    const held = jest.spyOn(DatabaseLock.prototype, 'confirm').mockRejectedValue(new NamingError(IN_USE));
    const problem = jest.spyOn(DatabaseLock.prototype, 'problem', 'get').mockReturnValue(IN_USE);
    await expect(change(namespace)).rejects.toThrow(IN_USE);
    expect(namespace.status()).toMatchObject({ problem: IN_USE });
    problem.mockRestore();
    expect(String(await namespace.resolve(named(':o')))).toBe(String(uri('a2')));
    held.mockRestore();
    expect(filesIn(root)).toBe(before);
    await namespace.close();
    expect(filesIn(`${root}.replaced`)).toBe('');
  });

  it('replace is refused that took the lock for its own when it began', async () => {
    const root = `${directory}/locked-late`;
    await prepare(root, { before: FILLED, changes: [] });
    const namespace = await open(root);
    const before = filesIn(root);
    const held = jest.spyOn(DatabaseLock.prototype, 'confirm');
    async function* losing() {
      yield* entriesOf(NEW_TREE);
      held.mockRejectedValue(new NamingError(IN_USE));
    }
    await expect(namespace.replace(losing())).rejects.toThrow(IN_USE);
    held.mockRestore();
    expect(filesIn(root)).toBe(before);
    await namespace.close();
    // Nothing is left of the new tree.
    expect(existsSync(`${root}/${OWN_DIRECTORY}`)).toBe(false);
  });
});

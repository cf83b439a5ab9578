import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { silentLog } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { Name, PyroURI } from '../../names/index.js';
import { loads, PythonInstance } from '../../pickle/index.js';
import { collect } from '../namespace.model.js';
import { GROUP, OBJECT } from '../namespace.js';
import { expectRefusal, persistentNamespaceSuite } from '../namespace.suite.js';
import { DirectoryNamespace } from './directory-namespace.js';
import { OWN_DIRECTORY } from './layout.js';
import { DatabaseInUseError, LOCK_FILES } from './lock.js';
import { TreeReplacement } from './replace.js';

const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1b2c3');
const named = (text: string) => Name.parse(text);

/** Makes directories, each in the one before, and a file in the last: too deep for a path. */
function makeDeep(path: string, directories: readonly string[], file: string): void {
  const script = 'cd "$1"; shift; for d; do mkdir "$d"; cd -P "$d"; done; echo "$URI" > "$FILE"';
  const env = { ...process.env, URI: uri.toString(), FILE: file };
  execFileSync('bash', ['-ec', script, 'bash', path, ...directories], { env });
}

const openAt = (path: string) => DirectoryNamespace.open(path, { log: silentLog, sync: false });

persistentNamespaceSuite('DirectoryNamespace', async () => {
  const directory = mkdtempSync(`${tmpdir()}/pyro-ns-suite-`);
  let namespace = await openAt(`${directory}/database`);
  return {
    namespace,
    reopen: async () => {
      await namespace.close();
      namespace = await openAt(`${directory}/database`);
      return namespace;
    },
    dispose: async () => {
      await namespace.close();
      rmSync(directory, { recursive: true });
    },
  };
});

describe('DirectoryNamespace', () => {
  let directory: string;
  let root: string;
  let own: string;
  let namespace: DirectoryNamespace;

  beforeEach(async () => {
    directory = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-`));
    root = `${directory}/database`;
    own = `${root}/${OWN_DIRECTORY}`;
    namespace = await openAt(root);
    await namespace.createGroup(named(':G'));
  });
  afterEach(async () => {
    await namespace.close();
    rmSync(directory, { recursive: true });
  });

  /** All that is in the database but what the server works in. */
  const tree = (path = root): string[] =>
    readdirSync(path, { recursive: true, encoding: 'utf8' })
      .filter((file) => !file.startsWith(OWN_DIRECTORY))
      .sort();

  it('waits for the disk at each change, and never where speed is wanted over safety (PYRO_NS_SYNC=0)', async () => {
    const change = async (changed: DirectoryNamespace) => {
      const before = changed.status().directorySyncs;
      await changed.register(named(':G.x'), uri);
      await changed.setMeta(named(':G.x'), 'metadata');
      await changed.unregister(named(':G.x'));
      return changed.status().directorySyncs - before;
    };
    expect(namespace.status().isDurable).toBe(false);
    expect(await change(namespace)).toBe(0);
    await namespace.close();
    namespace = await DirectoryNamespace.open(root, { log: silentLog });
    expect(namespace.status().isDurable).toBe(true);
    expect(await change(namespace)).toBeGreaterThanOrEqual(3);
  });

  describe('opening', () => {
    it('makes the directory, but none above it, and says what is in the way', async () => {
      const opened = await openAt(`${directory}/new`);
      expect(await opened.list(Name.root)).toEqual([]);
      await opened.close();
      writeFileSync(`${directory}/file`, '');
      await expect(openAt(`${directory}/missing/new`)).rejects.toThrow(
        `the database ${directory}/missing/new can't be used: Error: ENOENT: no such file or directory, mkdir`,
      );
      await expect(openAt(`${directory}/file`)).rejects.toThrow(
        `the database ${directory}/file can't be used: Error: ENOTDIR`,
      );
    });

    it('is refused while another has the database', async () => {
      await expect(openAt(root)).rejects.toBeInstanceOf(DatabaseInUseError);
    });

    it('lets go of the database where it fails', async () => {
      await namespace.close();
      const broken = Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
      const finish = jest.spyOn(TreeReplacement.prototype, 'finish').mockRejectedValue(broken);
      const why = `the database ${root} can't be used: Error: EIO: i/o error`;
      await expect(openAt(root)).rejects.toThrow(new NamingError(why));
      finish.mockRestore();
      namespace = await openAt(root);
    });
  });

  describe('layout', () => {
    it('is that of Pyro 3', async () => {
      await namespace.register(named(':G.a/b'), uri);
      await namespace.createGroup(named(':G./'));
      await namespace.setMeta(named(':G.a/b'), 'metadata');
      await namespace.setMeta(named(':G'), 'metadata');
      await namespace.setMeta(Name.root, 'metadata');
      expect(tree()).toEqual(['.ns_meta', 'G', 'G.ns_meta', 'G/\\2f', 'G/a\\2fb', 'G/a\\2fb.ns_meta']);
      expect(readFileSync(`${root}/G/a\\2fb`, 'latin1')).toBe(`${uri.toString()}\n`);
      const meta = loads(readFileSync(`${root}/G/a\\2fb.ns_meta`));
      expect(meta).toMatchObject({ items: [expect.any(PythonInstance), 'metadata'] });
    });

    it('reads any escape back, and finds what is spelled so', async () => {
      mkdirSync(`${root}/\\47\\3a`);
      writeFileSync(`${root}/\\47\\3a/\\2fa\\2F`, uri.toString());
      const name = named(':G:./a/');
      expect(await namespace.list(Name.root)).toContainEqual({ part: 'G:', type: GROUP });
      expect(await namespace.list(named(':G:'))).toEqual([{ part: '/a/', type: OBJECT }]);
      expect((await namespace.resolve(name)).equals(uri)).toBe(true);
      expect((await collect(namespace.flatlist())).flat().map(String)).toEqual([[name, uri].join(',')]);
      await namespace.setMeta(name, 'metadata');
      expect(await namespace.getMeta(name)).toBe('metadata');
      await namespace.unregister(name);
      await namespace.deleteGroup(named(':G:'));
      expect(tree()).toEqual(['G']);
    });

    it('lets the usual one of two spellings count', async () => {
      writeFileSync(`${root}/G/abc`, uri.toString());
      writeFileSync(`${root}/G/\\61bc`, 'PYRO://127.0.0.1:1/other');
      expect(await namespace.list(named(':G'))).toEqual([{ part: 'abc', type: OBJECT }]);
      expect((await namespace.resolve(named(':G.abc'))).equals(uri)).toBe(true);
    });

    it('lets no link count as a spelling', async () => {
      writeFileSync(`${root}/G/\\61bc`, uri.toString());
      for (const spelling of ['a\\62c', 'ab\\63', '\\61\\62c', 'a\\62\\63']) symlinkSync('x', `${root}/G/${spelling}`);
      expect(await namespace.list(named(':G'))).toEqual([{ part: 'abc', type: OBJECT }]);
      expect((await namespace.resolve(named(':G.abc'))).equals(uri)).toBe(true);
      await namespace.unregister(named(':G.abc'));
      expect(await namespace.list(named(':G'))).toEqual([]);
    });

    it.each([
      ['as Pyro 3 writes it', 'PYRO://127.0.0.1:7766/7f00000100a1b2c3\n'],
      ['without a newline', 'PYRO://127.0.0.1:7766/7f00000100a1b2c3'],
      ['with CRLF', 'PYRO://127.0.0.1:7766/7f00000100a1b2c3\r\n'],
      ['with white space around', '\n \tPYRO://127.0.0.1:7766/7f00000100a1b2c3 \n\n'],
      ['with a byte order mark', '\uFEFFPYRO://127.0.0.1:7766/7f00000100a1b2c3\r\n'],
      ['with something behind it', 'PYRO://127.0.0.1:7766/7f00000100a1b2c3\n# a comment\n'],
      ['without a port', 'PYRO://127.0.0.1/7f00000100a1b2c3\n'],
    ])('reads a URI %s', async (_, content) => {
      writeFileSync(`${root}/G/x`, content);
      expect((await namespace.resolve(named(':G.x'))).toString()).toBe(uri.toString());
    });
  });

  describe('strange trees', () => {
    it.each([
      ['empty', ''],
      ['garbage', 'not a URI'],
      ['binary', Buffer.from([0, 255, 254, 10])],
      ['huge', 'PYRO://127.0.0.1:7766/x\n'.repeat(10_000)],
    ])('lists an object whose file is %s, and says that it has no URI', async (_, content) => {
      writeFileSync(`${root}/G/x`, content);
      expect(await namespace.list(named(':G'))).toEqual([{ part: 'x', type: OBJECT }]);
      await expectRefusal(namespace.resolve(named(':G.x')), 'invalid URI', ':G.x');
      await expectRefusal(namespace.register(named(':G.x'), uri), 'name already exists', ':G.x');
      expect((await collect(namespace.flatlist())).flat()).toEqual([]);
      expect(await collect(namespace.export())).toHaveLength(2);
      await namespace.unregister(named(':G.x'));
    });

    it.each([
      ['without metadata', null],
      ['with metadata', 'kept'],
    ])('leaves a name alone that is there already, %s, and nothing beside it', async (_, meta) => {
      writeFileSync(`${root}/G/x`, uri.toString());
      if (meta !== null) await namespace.setMeta(named(':G.x'), meta);
      const files = readdirSync(`${root}/G`);
      const other = PyroURI.parse('PYRO://127.0.0.1:7766/other');
      await expectRefusal(namespace.register(named(':G.x'), other), 'name already exists', ':G.x');
      expect(readdirSync(`${root}/G`)).toEqual(files);
      expect((await namespace.resolve(named(':G.x'))).toString()).toBe(uri.toString());
      expect(await namespace.getMeta(named(':G.x'))).toBe(meta);
      await namespace.close();
      // It is removed where nothing is left in it.
      expect(existsSync(`${root}/${OWN_DIRECTORY}`)).toBe(false);
      namespace = await openAt(root);
    });

    it('takes for no name what editors and archivers leave, and what is neither file nor directory', async () => {
      for (const file of [
        '.x.swp',
        'x.bak',
        'x~.orig',
        '.DS_Store',
        'with space',
        '.nfs0001',
        'ü',
        'back\\slash',
        '\\2e',
      ]) {
        writeFileSync(`${root}/G/${file}`, uri.toString());
      }
      execFileSync('mkfifo', [`${root}/G/fifo`]);
      writeFileSync(`${directory}/outside`, uri.toString());
      symlinkSync(`${directory}/outside`, `${root}/G/link`);
      symlinkSync('nothing', `${root}/G/dangling`);
      symlinkSync('self', `${root}/G/self`);
      expect(await namespace.list(named(':G'))).toEqual([]);
      expect((await collect(namespace.flatlist())).flat()).toEqual([]);
      for (const part of ['fifo', 'link', 'dangling', 'self']) {
        const name = named(`:G.${part}`);
        await expectRefusal(namespace.resolve(name), 'name not found', name.toString());
        await expectRefusal(namespace.unregister(name), 'name not found', name.toString());
        await expectRefusal(namespace.getMeta(name), 'name not found', name.toString());
        await expectRefusal(namespace.register(name, uri), 'name already exists', name.toString());
        await expectRefusal(namespace.createGroup(name), 'group already exists', name.toString());
      }
      expect(readFileSync(`${directory}/outside`, 'latin1')).toBe(uri.toString());
    });

    it('does not follow a link out of the database', async () => {
      mkdirSync(`${directory}/elsewhere`);
      writeFileSync(`${directory}/elsewhere/secret`, uri.toString());
      symlinkSync(`${directory}/elsewhere`, `${root}/link`);
      await expectRefusal(namespace.resolve(named(':link.secret')), 'name not found', ':link.secret');
      await expectRefusal(namespace.list(named(':link')), 'group not found', ':link');
      await expectRefusal(namespace.deleteGroup(named(':link')), 'group not found', ':link');
      await expectRefusal(namespace.unregister(named(':link.secret')), 'name not found', ':link.secret');
      await expectRefusal(namespace.setMeta(named(':link.secret'), 1), 'name not found', ':link.secret');
      await expectRefusal(namespace.register(named(':link.new'), uri), '(parent)group not found', ':link.new');
      await expectRefusal(namespace.createGroup(named(':link.new')), '(parent)group not found', ':link.new');
      expect(readdirSync(`${directory}/elsewhere`)).toEqual(['secret']);
    });

    it('erases nothing with a group that is no name', async () => {
      mkdirSync(`${root}/G/inner`, { recursive: true });
      writeFileSync(`${root}/G/inner/notes.txt`, 'do not erase');
      await expectRefusal(namespace.deleteGroup(named(':G')), 'group holds files that are no names', ':G');
      expect(readFileSync(`${root}/G/inner/notes.txt`, 'utf8')).toBe('do not erase');
      rmSync(`${root}/G/inner/notes.txt`);
      await namespace.deleteGroup(named(':G'));
      expect(existsSync(`${root}/G`)).toBe(false);
    });

    it('serves a database behind a link', async () => {
      symlinkSync(root, `${directory}/link`);
      await namespace.close();
      namespace = await openAt(`${directory}/link`);
      await namespace.register(named(':G.x'), uri);
      expect((await namespace.resolve(named(':G.x'))).equals(uri)).toBe(true);
    });

    it('leaves out what is so deep that its name would be too long', async () => {
      await namespace.register(named(':G.x'), uri);
      const [deep, below, file] = ['d'.repeat(255), 'e'.repeat(200), 'f'.repeat(100)];
      makeDeep(root, [...Array.from({ length: 15 }, () => deep), below], file);
      const group = named(`:${Array.from({ length: 15 }, () => deep).join('.')}`);
      expect((await collect(namespace.flatlist())).flat().map(String)).toEqual([`:G.x,${uri.toString()}`]);
      expect(await namespace.count()).toEqual({ groups: 17, objects: 1 });
      expect(await collect(namespace.export())).toHaveLength(19);
      expect(await namespace.list(group)).toEqual([{ part: below, type: GROUP }]);
      expect(await namespace.list(named(`${group.toString()}.${below}`))).toEqual([]);
      await namespace.deleteGroup(named(`:${deep}`));
      while (readdirSync(own).some((file) => !LOCK_FILES.has(file))) await new Promise(setImmediate);
    });

    it('refuses names that the file system can not hold', async () => {
      const [long, almost] = [named(`:G.${'x'.repeat(256)}`), named(`:G.${'x'.repeat(250)}`)];
      await expectRefusal(namespace.register(long, uri), 'name too long', long.toString());
      await expectRefusal(namespace.createGroup(long), 'name too long', long.toString());
      await expectRefusal(namespace.resolve(long), 'name not found', long.toString());
      await namespace.register(almost, uri);
      await expectRefusal(namespace.setMeta(almost, 'metadata'), 'name too long', almost.toString());
      expect((await namespace.resolve(almost)).equals(uri)).toBe(true);
      expect(await namespace.getMeta(almost)).toBeNull();
      await namespace.unregister(almost);
      expect(tree()).toEqual(['G']);
    });

    it.each([
      ['empty', ''],
      ['garbage', 'garbage'],
      ['another pickle', 'I42\n.'],
      ['a tuple of something else', '(I1\nI2\nI3\nt.'],
    ])('takes metadata that is %s for none', async (_, content) => {
      await namespace.register(named(':G.x'), uri);
      writeFileSync(`${root}/G/x.ns_meta`, content);
      expect(await namespace.getMeta(named(':G.x'))).toBeNull();
      expect((await namespace.getSystemMeta(named(':G.x'))).type).toBe(OBJECT);
      await namespace.setMeta(named(':G.x'), 'good');
      expect(await namespace.getMeta(named(':G.x'))).toBe('good');
    });
  });

  describe('metadata', () => {
    it.each([
      [
        '0',
        "(ccopy_reg\n_reconstructor\n(cPyro.naming\nNameSpaceSystemMeta\nc__builtin__\nobject\nNtR(dS'owner'\nNsS'timestamp'\nF1234.5\nsS'type'\nI1\nsbS'meta'\nt.",
      ],
      [
        '1',
        '(ccopy_reg\n_reconstructor\n(cPyro.naming\nNameSpaceSystemMeta\nc__builtin__\nobject\nNtR}(U\x05ownerNU\ttimestampG@\x93J\x00\x00\x00\x00\x00U\x04typeK\x01ubU\x04metat.',
      ],
      [
        '2',
        '\x80\x02cPyro.naming\nNameSpaceSystemMeta\n)\x81}(U\x05ownerNU\ttimestampG@\x93J\x00\x00\x00\x00\x00U\x04typeK\x01ubU\x04meta\x86.',
      ],
    ])('is read as Pyro 3 writes it in protocol %s', async (_, pickle) => {
      await namespace.register(named(':G.x'), uri);
      writeFileSync(`${root}/G/x.ns_meta`, pickle, 'latin1');
      expect(await namespace.getMeta(named(':G.x'))).toBe('meta');
      expect(await namespace.getSystemMeta(named(':G.x'))).toEqual({ type: OBJECT, timestamp: 1234.5, owner: null });
    });

    it('left behind by Pyro 3 or by hand is not inherited', async () => {
      await namespace.register(named(':G.x'), uri);
      await namespace.setMeta(named(':G.x'), 'old');
      await namespace.createGroup(named(':G.g'));
      await namespace.setMeta(named(':G.g'), 'old');
      rmSync(`${root}/G/x`);
      rmSync(`${root}/G/g`, { recursive: true });
      expect(await namespace.list(named(':G'))).toEqual([]);
      await expectRefusal(namespace.getMeta(named(':G.x')), 'name not found', ':G.x');
      await namespace.register(named(':G.x'), uri);
      await namespace.createGroup(named(':G.g'));
      expect(await namespace.getMeta(named(':G.x'))).toBeNull();
      expect(await namespace.getMeta(named(':G.g'))).toBeNull();
    });

    it('left behind by Pyro 3 before anything was asked is not inherited', async () => {
      writeFileSync(`${root}/G/x.ns_meta`, '\x80\x02NU\x03old\x86.', 'latin1');
      await namespace.register(named(':G.x'), uri);
      expect(await namespace.getMeta(named(':G.x'))).toBeNull();
      expect(readdirSync(`${root}/G`)).toEqual(['x']);
    });

    it('without a file of its own is told by the file of the object', async () => {
      await namespace.register(named(':G.x'), uri);
      utimesSync(`${root}/G/x`, 1e9, 1e9 + 0.25);
      expect(await namespace.getSystemMeta(named(':G.x'))).toEqual({
        type: OBJECT,
        timestamp: 1e9 + 0.25,
        owner: null,
      });
      expect((await namespace.getSystemMeta(named(':G'))).type).toBe(GROUP);
    });
  });

  describe('changes', () => {
    it('never overwrite what an ordinary tool made in the meantime', async () => {
      // The directory is made right before the name is linked: the check that came before it has passed.
      const names = Array.from({ length: 200 }, (_, index) => named(`:G.n${index}`));
      const theirs = 'PYRO://127.0.0.1:1/theirs';
      const writers = names.map((name) =>
        namespace.register(name, uri).then(
          () => uri.toString(),
          () => theirs,
        ),
      );
      const made = new Set<string>();
      for (let round = 0; round < 20; round += 1) {
        for (const name of names) {
          try {
            writeFileSync(`${root}/G/${name.part}`, theirs, { flag: 'wx' });
            made.add(name.toString());
          } catch {
            // The server was faster.
          }
        }
        await new Promise(setImmediate);
      }
      for (const [index, name] of names.entries()) {
        const expected = made.has(name.toString()) ? theirs : uri.toString();
        expect(await writers[index]).toBe(expected);
        expect((await namespace.resolve(name)).toString()).toBe(expected);
      }
    });

    it('leave nothing of theirs behind', async () => {
      await namespace.register(named(':G.x'), uri);
      await namespace.setMeta(named(':G.x'), 'metadata');
      await namespace.createGroup(named(':H'));
      await namespace.deleteGroup(named(':G'));
      await namespace.close();
      expect(readdirSync(root)).toEqual(['H']);
    });

    it('take in what an earlier server left half done', async () => {
      await namespace.close();
      mkdirSync(`${own}/1-2.ns_meta/sub`, { recursive: true });
      writeFileSync(`${own}/1-1.ns_meta`, 'PYRO://127');
      writeFileSync(`${own}/1-2.ns_meta/sub/x`, uri.toString());
      namespace = await openAt(root);
      expect(await namespace.list(Name.root)).toEqual([{ part: 'G', type: GROUP }]);
      await namespace.register(named(':G.x'), uri);
      while (readdirSync(own).some((file) => !LOCK_FILES.has(file))) await new Promise(setImmediate);
    });

    it('go on when the directory the server works in was removed', async () => {
      rmSync(`${root}/${OWN_DIRECTORY}`, { recursive: true });
      await namespace.register(named(':G.x'), uri);
      rmSync(`${root}/${OWN_DIRECTORY}`, { recursive: true });
      await namespace.unregister(named(':G.x'));
      expect(tree()).toEqual(['G']);
    });

    it('say so where the directory the server works in is none any more', async () => {
      rmSync(own, { recursive: true });
      writeFileSync(own, '');
      const text = `the database is damaged: ${OWN_DIRECTORY} is no directory`;
      await expect(namespace.register(named(':G.x'), uri)).rejects.toThrow(text);
      await expect(namespace.deleteGroup(named(':G'))).rejects.toThrow(text);
      await namespace.createGroup(named(':H'));
      rmSync(own);
      await namespace.register(named(':G.x'), uri);
    });

    it('fail without a word of paths when the database has gone, and go on when it is back', async () => {
      rmSync(root, { recursive: true });
      await expectRefusal(namespace.register(named(':x'), uri), 'the database is missing', ':x');
      await expectRefusal(namespace.createGroup(named(':x')), 'the database is missing', ':x');
      await expectRefusal(namespace.resolve(named(':x')), 'the database is missing', ':x');
      await expectRefusal(namespace.list(Name.root), 'the database is missing', ':');
      await expectRefusal(namespace.getMeta(Name.root), 'the database is missing', ':');
      await expectRefusal(namespace.count(), 'the database is missing', ':');
      await expectRefusal(collect(namespace.flatlist()), 'the database is missing', ':');
      await expectRefusal(collect(namespace.export()), 'the database is missing', ':');
      expect(existsSync(root)).toBe(false);
      mkdirSync(root);
      await namespace.register(named(':x'), uri);
      expect((await namespace.resolve(named(':x'))).equals(uri)).toBe(true);
    });
  });

  describe('a listing of everything', () => {
    it.each(['flatlist', 'export'] as const)(
      'by %s fails where the database is moved away meanwhile',
      async (method) => {
        for (const part of ['x', 'y']) await namespace.register(named(`:G.${part}`), uri);
        const listing = namespace[method]();
        await listing.next();
        renameSync(root, `${root}.away`);
        await expectRefusal(collect<unknown>(listing), 'the database is missing', ':');
        renameSync(`${root}.away`, root);
      },
    );

    it('leaves out a group that vanishes meanwhile', async () => {
      await namespace.register(named(':x'), uri);
      const listing = namespace.flatlist();
      await listing.next();
      rmSync(`${root}/G`, { recursive: true });
      expect(await collect(listing)).toEqual([]);
    });
  });

  it('tells what it did', async () => {
    await namespace.close();
    namespace = await DirectoryNamespace.open(root, { log: silentLog });
    await namespace.register(named(':counted'), uri);
    await expectRefusal(namespace.register(named(':counted'), uri), 'name already exists', ':counted');
    await namespace.resolve(named(':counted'));
    await namespace.resolve(named(':counted'));
    const status = namespace.status();
    expect(status).toMatchObject({ kind: 'directory', isDurable: true, changes: 2, directorySyncs: 1, fsErrors: 0 });
    expect(status).toMatchObject({ cachedNames: 1, cacheHits: 1, cacheMisses: 1 });
  });

  describe('replacement', () => {
    const replaced = async function* () {
      await Promise.resolve();
      yield { name: named(':new'), uri, systemMeta: undefined, userMeta: null };
    };

    it('keeps the old tree beside the database, and what is not of the database in it', async () => {
      mkdirSync(`${root}/.git`);
      await namespace.register(named(':G.old'), uri);
      await namespace.replace(replaced());
      expect(tree()).toEqual(['.git', 'new']);
      expect(readdirSync(`${root}.replaced`, { recursive: true }).sort()).toEqual(['G', 'G/old']);
      await namespace.replace(replaced());
      expect(readdirSync(`${root}.replaced`)).toEqual(['new']);
    });

    it.each([
      // when, what the crash left in the database, the tree then, the backup then
      ['before it was decided', ['G', 'own/1-1.ns_meta/new'], ['G'], []],
      ['after it was decided', ['G', 'own/decided/new'], ['new'], ['G']],
      ['while the old tree leaves', ['G', 'own/decided/new', 'own/leaving/H'], ['new'], ['G', 'H']],
      ['while the new tree arrives', ['new1', 'own/arriving/new2', 'own/leaving/G'], ['new1', 'new2'], ['G']],
      ['before the backup is in its place', ['new', 'own/leaving/G'], ['new'], ['G']],
    ])('goes on after a crash %s', async (_, left, expected, backup) => {
      await namespace.close();
      rmSync(root, { recursive: true });
      for (const path of left) mkdirSync(`${root}/${path.replace('own', OWN_DIRECTORY)}`, { recursive: true });
      namespace = await openAt(root);
      expect(tree()).toEqual(expected);
      expect(existsSync(`${root}.replaced`) ? readdirSync(`${root}.replaced`).sort() : []).toEqual(backup);
      await namespace.close();
      expect(readdirSync(root).sort()).toEqual(expected);
    });
  });
});

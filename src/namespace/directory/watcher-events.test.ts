import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, linkSync, mkdirSync, mkdtempSync, openSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { silentLog } from '../../config/index.js';
import { Name, PyroURI } from '../../names/index.js';
import { lacksProgram, lacksRoot } from '../../../test/support/lacks.js';
import { DirectoryNamespace } from './directory-namespace.js';
import { Reader } from './reader.js';

/** An edit is to be seen within 100 ms; the machine that runs the tests may be busy with others. */
const SOON_MS = 1000;

const before = PyroURI.parse('PYRO://127.0.0.1:7766/before');
const after = PyroURI.parse('PYRO://127.0.0.1:7766/after');
const named = (text: string) => Name.parse(text);

describe.each(['native', 'polling'] as const)('a database watched by the %s way', (watch) => {
  let directory: string;
  let root: string;
  let namespace: DirectoryNamespace;

  beforeEach(async () => {
    directory = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-watch-`));
    root = `${directory}/db`;
    namespace = await DirectoryNamespace.open(root, { log: silentLog, sync: false, watch });
    await namespace.createGroup(named(':G'));
    await namespace.createGroup(named(':G.inner'));
    for (const text of [':x', ':G.x', ':G.y', ':G.inner.x']) await namespace.register(named(text), before);
    writeFileSync(`${directory}/after`, `${after.toString()}\n`);
    await cached();
  });
  afterEach(async () => {
    await namespace.close();
    rmSync(directory, { recursive: true });
  });

  /** Makes the server remember all there is: so often that the events of its own changes are past. */
  async function cached(): Promise<void> {
    for (let times = 0; times < 3; times += 1) {
      for await (const batch of namespace.flatlist()) {
        await Promise.all(batch.map(([name]) => namespace.resolve(name)));
      }
      for (const group of [':', ':G', ':G.inner']) await namespace.list(named(group)).catch(() => []);
      await delay(5);
    }
  }

  const shell = (script: string) => execFileSync('sh', ['-ec', script], { cwd: directory });

  const uriOf = (text: string): Promise<string> =>
    namespace
      .resolve(named(text))
      .then(String, (error: unknown) => (error instanceof Error ? error.message : 'failed'));

  const partsOf = (text: string): Promise<string> =>
    namespace.list(named(text)).then(
      (entries) =>
        entries
          .map(({ part, type }) => `${part}${type}`)
          .sort()
          .join(' '),
      (error: unknown) => (error instanceof Error ? error.message : 'failed'),
    );

  /** Waits until the server says what is expected, and not longer than it may take. */
  async function expectSoon(ask: () => Promise<string>, expected: string, withinMs = SOON_MS): Promise<void> {
    const start = performance.now();
    let answer = await ask();
    while (answer !== expected && performance.now() - start < withinMs) {
      await delay(1);
      answer = await ask();
    }
    expect(answer).toBe(expected);
  }

  it.each([
    ['overwrites a file', 'cat after > db/G/x'],
    ['appends, once it is empty', ': > db/G/x; cat after >> db/G/x'],
    ['moves a file over it', 'cp after new; mv new db/G/x'],
    ['copies over it', 'cp -f after db/G/x'],
    ['removes it and makes it again', 'rm db/G/x; cp after db/G/x'],
    ['edits it in place', 'sed -i s/before/after/ db/G/x'],
    ['links another file to it', 'ln -f after db/G/x'],
    ['puts another group in the place of its group', 'mkdir new; cp after new/x; mv db/G old; mv new db/G'],
    ['removes its group and copies another', 'rm -r db/G; mkdir new; cp after new/x; cp -a new db/G'],
    ['unpacks an archive', 'mkdir G; cp after G/x; tar c G | tar x -C db'],
    ['restores the database by copying', 'cp -a db copy; cat after > copy/G/x; rm -r db/*; cp -a copy/. db'],
    ['removes the whole database and copies another', 'cp -a db copy; cat after > copy/G/x; rm -r db; cp -a copy db'],
    ['moves another database into its place', 'cp -a db copy; cat after > copy/G/x; mv db old; mv copy db'],
    ['writes into a group that was moved away and back', 'mv db/G G; cat after > G/x; mv G db/G'],
  ])('sees within a second when somebody %s', async (_, script) => {
    shell(script);
    await expectSoon(() => uriOf(':G.x'), after.toString());
  });

  it('sees edits in a database that was restored while a shell stood in it', async () => {
    const shellInIt = openSync(root, 'r');
    shell(`cp -a db backup; rm -r db`);
    await expectSoon(() => uriOf(':x'), 'the database is missing');
    shell(`cp -a backup db`);
    await expectSoon(() => uriOf(':x'), before.toString());
    await cached();
    shell(`cp after db/x`);
    await expectSoon(() => uriOf(':x'), after.toString(), 500);
    closeSync(shellInIt);
  });

  it('sees when a directory above the database is moved, and another put there', async () => {
    await namespace.close();
    shell('mkdir -p above/deep; mv db above/deep');
    namespace = await DirectoryNamespace.open(`${directory}/above/deep/db`, { log: silentLog, sync: false, watch });
    await cached();
    shell('cp -a above other; cat after > other/deep/db/G/x; mv above old; mv other above');
    // Nothing tells of it, so it is looked after: each second.
    await expectSoon(() => uriOf(':G.x'), after.toString(), 3000);
  });

  it.each([
    ['removes an object', 'rm db/G/x', ':G.x', 'name not found', ':G', 'inner0 y1'],
    ['removes a group', 'rm -r db/G', ':G.inner.x', 'name not found', ':G', 'group not found'],
    ['moves an object', 'mv db/G/x db/G/z', ':G.z', before.toString(), ':G', 'inner0 y1 z1'],
    ['moves a group', 'mv db/G db/H', ':H.inner.x', before.toString(), ':', 'H0 x1'],
    ['makes a group', 'mkdir -p db/G/a/b; cp after db/G/a/b/c', ':G.a.b.c', after.toString(), ':G', 'a0 inner0 x1 y1'],
    ['makes an object of a group', 'rm -r db/G; cp after db/G', ':G', after.toString(), ':', 'G1 x1'],
    ['makes a group of an object', 'rm db/x; mkdir db/x', ':x', 'attempt to resolve groupname', ':', 'G0 x0'],
    ['makes a link of a group', 'mv db/G G; ln -s "$PWD/G" db/G', ':G.x', 'name not found', ':', 'x1'],
    ['makes an unusual spelling', "mv db/G/y 'db/G/\\7a'", ':G.z', before.toString(), ':G', 'inner0 x1 z1'],
    ['truncates a file', ': > db/G/x', ':G.x', 'invalid URI', ':G', 'inner0 x1 y1'],
  ])('sees within a second when somebody %s', async (_, script, name, uri, group, parts) => {
    shell(script);
    await expectSoon(() => uriOf(name), uri);
    await expectSoon(() => partsOf(group), parts);
  });

  (lacksProgram('git', 'edits by git') ? it.skip : it)('sees a checkout by git', async () => {
    const git = 'git -c user.name=x -c user.email=x@example.com';
    shell(
      `cd db; git init -q; git add G x; ${git} commit -qm before; cp ../after G/x; rm G/y; ${git} commit -qam after`,
    );
    await cached();
    shell('cd db; git checkout -q HEAD~1');
    await expectSoon(() => uriOf(':G.x'), before.toString());
    await expectSoon(() => uriOf(':G.y'), before.toString());
    shell('cd db; git checkout -q -');
    await expectSoon(() => uriOf(':G.x'), after.toString());
    await expectSoon(() => uriOf(':G.y'), 'name not found');
    await expectSoon(() => partsOf(':'), 'G0 x1');
  });

  (lacksProgram('rsync', 'edits by rsync') ? it.skip : it)('sees a synchronisation by rsync', async () => {
    shell('cp -a db copy; cp after copy/G/x; rm copy/G/y; rsync -a --delete copy/ db/');
    await expectSoon(() => uriOf(':G.x'), after.toString());
    await expectSoon(() => uriOf(':G.y'), 'name not found');
  });

  it('sees a thousand edits at once', async () => {
    shell(`for i in $(seq 1000); do echo ${before.toString()} > db/G/n$i; done`);
    await cached();
    shell(
      `for i in $(seq 1 2 1000); do echo ${after.toString()} > db/G/n$i; done; cd db/G; seq -f n%g 2 2 1000 | xargs rm`,
    );
    await expectSoon(async () => String((await namespace.list(named(':G'))).length), '503');
    const expectedOf = (index: number) => (index % 2 === 1 ? after.toString() : 'name not found');
    const indices = Array.from({ length: 1000 }, (_, position) => position + 1);
    await Promise.all(indices.map((index) => expectSoon(() => uriOf(`:G.n${index}`), expectedOf(index))));
  });

  it('is right in the end, whatever happens while it is asked', async () => {
    const script = `for i in $(seq 60); do
      echo PYRO://127.0.0.1:1/$i > db/G/x; echo PYRO://127.0.0.1:1/$i > new; mv new db/G/y
      mv db/G/inner db/G/other; echo PYRO://127.0.0.1:1/$i > db/G/other/x; mv db/G/other db/G/inner; done`;
    const editing = spawn('sh', ['-ec', script], { cwd: directory });
    const ended = once(editing, 'exit');
    const names = [':G.x', ':G.y', ':G.inner.x'];
    while (editing.exitCode === null) {
      await Promise.all([...names.map(uriOf), partsOf(':G')]);
      await setImmediate();
    }
    await ended;
    for (const name of names) await expectSoon(() => uriOf(name), 'PYRO://127.0.0.1:1/60');
    await expectSoon(() => partsOf(':G'), 'inner0 x1 y1');
  });

  it('sees its own changes in the next answer', async () => {
    for (let times = 0; times < 50; times += 1) {
      const name = named(`:G.inner.n${times % 3}`);
      await namespace.register(name, after);
      expect(await uriOf(name.toString())).toBe(after.toString());
      expect(await partsOf(':G.inner')).toContain(`${name.part}1`);
      await namespace.unregister(name);
      expect(await uriOf(name.toString())).toBe('name not found');
      expect(await partsOf(':G.inner')).toBe('x1');
    }
    await cached();
    await namespace.deleteGroup(named(':G'));
    expect(await uriOf(':G.inner.x')).toBe('name not found');
    expect(await partsOf(':')).toBe('x1');
  });
});

it('a database watched by polling does not read a large group again for each new name', async () => {
  const directory = mkdtempSync(`${tmpdir()}/pyro-ns-watch-`);
  const namespace = await DirectoryNamespace.open(`${directory}/db`, { log: silentLog, sync: false, watch: 'polling' });
  const reading = jest.spyOn(Reader.prototype, 'entries').mockImplementation(async function* () {
    // As long as 100,000 names take, which is longer than the TTL there.
    await delay(80);
    yield [];
  });
  for (let count = 0; count < 200; count += 1) await namespace.register(named(`:x${count}`), before);
  expect(reading.mock.calls.length).toBeLessThan(5);
  reading.mockRestore();
  await namespace.close();
  rmSync(directory, { recursive: true });
});

describe('a database watched by the native way', () => {
  let directory: string;
  let root: string;
  let namespace: DirectoryNamespace;

  beforeEach(async () => {
    directory = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-watch-`));
    root = `${directory}/db`;
    mkdirSync(`${root}/G`, { recursive: true });
    writeFileSync(`${root}/G/x`, before.toString());
    namespace = await DirectoryNamespace.open(root, { log: silentLog, sync: false, watch: 'native' });
  });
  afterEach(async () => {
    await namespace.close();
    rmSync(directory, { recursive: true });
  });

  /** What a name leads to: what is new, unless that does not come soon. */
  async function soonResolved(text: string): Promise<string> {
    const start = performance.now();
    let uri = await namespace.resolve(named(text));
    while (!uri.equals(after) && performance.now() - start < SOON_MS) {
      await delay(1);
      uri = await namespace.resolve(named(text));
    }
    return uri.toString();
  }

  it('is not read again while nothing happens', async () => {
    expect(namespace.resolveNow(named(':G.x'))).toBeUndefined();
    const uri = await namespace.resolve(named(':G.x'));
    expect(namespace.resolveNow(named(':G.x'))).toStrictEqual(uri);
    expect(namespace.resolveNow(named(':G'))).toBeUndefined();
    expect(namespace.resolveNow(named(':G.y'))).toBeUndefined();
  });

  it('does not cache what may be changed under another name', async () => {
    linkSync(`${root}/G/x`, `${directory}/another-name`);
    await namespace.resolve(named(':G.x'));
    expect(namespace.resolveNow(named(':G.x'))).toBeUndefined();
    writeFileSync(`${directory}/another-name`, after.toString());
    expect((await namespace.resolve(named(':G.x'))).equals(after)).toBe(true);
  });

  it('reads again when events may have been lost', async () => {
    await namespace.resolve(named(':G.x'));
    // More than the kernel keeps, while nobody looks: the last ones are lost.
    execFileSync('sh', ['-ec', `cd ${root}/G; yes y z | head -n 15000 | xargs touch; echo ${after.toString()} > x`]);
    expect(await soonResolved(':G.x')).toBe(after.toString());
  });

  it('reads again when events may have been lost of a group that it no longer watches', async () => {
    mkdirSync(`${root}/H`);
    writeFileSync(`${root}/H/x`, before.toString());
    for (const text of [':G.x', ':H.x']) await namespace.resolve(named(text));
    // The first event ends the watch of the group that all but the last, which is lost, are of.
    execFileSync('sh', [
      '-ec',
      `touch ${root}/G; cd ${root}/G; yes y z | head -n 17000 | xargs touch; echo ${after.toString()} > ../H/x`,
    ]);
    expect(await soonResolved(':H.x')).toBe(after.toString());
  });

  (lacksRoot('edits of what is mounted in a database') ? it.skip : it)(
    'sees edits of what was mounted over a group after a minute, and each at once from then on',
    async () => {
      mkdirSync(`${root}/G/inner`);
      writeFileSync(`${root}/G/inner/x`, before.toString());
      await namespace.resolve(named(':G.inner.x'));
      execFileSync('mount', ['-t', 'tmpfs', 'none', `${root}/G`]);
      const clock = jest.spyOn(performance, 'now');
      try {
        mkdirSync(`${root}/G/inner`);
        const inPast = performance.now() + 60_000;
        clock.mockImplementation(() => inPast + process.uptime() * 1000);
        for (const round of [1, 2, 3]) {
          const edited = PyroURI.parse(`PYRO://127.0.0.1:7766/${round}`).toString();
          writeFileSync(`${root}/G/inner/x`, edited);
          const start = process.uptime();
          let uri = String(await namespace.resolve(named(':G.inner.x')));
          while (uri !== edited && process.uptime() - start < SOON_MS / 1000) {
            await delay(1);
            uri = String(await namespace.resolve(named(':G.inner.x')));
          }
          expect(uri).toBe(edited);
          // So that it is remembered, now that the group is watched anew.
          await namespace.resolve(named(':G.inner.x'));
        }
      } finally {
        clock.mockRestore();
        execFileSync('umount', [`${root}/G`]);
      }
    },
  );

  it('forgets the least used names, and reads them again', async () => {
    await namespace.close();
    for (let index = 0; index < 50; index += 1) writeFileSync(`${root}/G/n${index}`, before.toString());
    namespace = await DirectoryNamespace.open(root, { log: silentLog, sync: false, watch: 'native', cacheNames: 10 });
    const names = Array.from({ length: 50 }, (_, index) => named(`:G.n${index}`));
    for (const name of names) await namespace.resolve(name);
    expect(names.filter((name) => namespace.resolveNow(name) !== undefined)).toHaveLength(10);
    expect(await namespace.list(named(':G'))).toHaveLength(51);
    for (const name of names) expect((await namespace.resolve(name)).equals(before)).toBe(true);
  });
});

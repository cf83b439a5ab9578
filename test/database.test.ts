/** The database directory when things go wrong beneath it: what needs a process of its own, or the system's tools. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { DatabaseChild } from './support/database-child.js';
import { lacksProgram, lacksRoot } from './support/lacks.js';

const URI = 'PYRO://127.0.0.1:7766/7f00000100a1b2c3';

let directory: string;
let root: string;
const children: DatabaseChild[] = [];

beforeEach(() => {
  directory = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-database-`));
  root = `${directory}/db`;
});
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill()));
  rmSync(directory, { recursive: true });
});

function start(...args: ConstructorParameters<typeof DatabaseChild>): DatabaseChild {
  const child = new DatabaseChild(...args);
  children.push(child);
  return child;
}

describe('the lock', () => {
  it('keeps a second server out, and is taken over at once when the first is killed', async () => {
    const first = start(root);
    await first.opened();
    const refusal = await start(root).opened();
    expect(refusal).toMatch(`the database ${root} is in use by process ${first.pid} on ${hostname()}, since `);
    await first.kill();
    // Waiting for the lock to go stale would take longer than a test may.
    expect(await start(root).opened()).toBeUndefined();
  });

  const untested = 'that clocks and containers have no say in who has a database';
  const lacks = ['unshare', 'faketime'].map((program) => lacksProgram(program, untested));
  lacks.push(lacksRoot(untested));
  (lacks.includes(true) ? it.skip : it)('keeps out a server of another container, whose clock is ahead', async () => {
    const container = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const first = start(root, container);
    expect(await first.opened()).toBeUndefined();
    const second = start(root, [...container, 'faketime', '-f', '+60s']);
    expect(await second.opened()).toMatch(`the database ${root} is in use by process 1 on ${hostname()}, since `);
    expect(second.log).toContain(`waiting up to 30 s for a sign of life of the server that has ${root}: process 1 on `);
    expect(await first.ask('createGroup', ':New')).toBeNull();
    await first.close();
    // Known to have let go of it.
    expect(await start(root, container).opened()).toBeUndefined();
  });
});

describe('durability', () => {
  (lacksProgram('strace', 'that each change waits for the disk') ? it.skip.each : it.each)([
    ['register', ':G.new', URI, 'link', 'G/new', true],
    ['unregister', ':G.old', null, 'rename', 'G/old', false],
    ['createGroup', ':G.inner', null, 'mkdir', 'G/inner', false],
    ['deleteGroup', ':H', null, 'rename', 'H', false],
    ['setMeta', ':G.old', 'metadata', 'rename', 'G/old.ns_meta', true],
    ['setSystemMeta', ':G.old', { type: 1, timestamp: 1e9, owner: null }, 'rename', 'G/old.ns_meta', true],
  ])('of %s is there before the answer', async (method, name, argument, call, file, writes) => {
    for (const path of ['G', 'H']) mkdirSync(`${root}/${path}`, { recursive: true });
    writeFileSync(`${root}/G/old`, URI);
    const trace = `${directory}/trace`;
    const calls = 'trace=fsync,fdatasync,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,write';
    const child = start(root, ['strace', '-f', '-y', '-qq', '-s', '200', '-o', trace, '-e', calls]);
    await child.opened();
    const before = readFileSync(trace, 'latin1').length;
    expect(await child.ask(method, name, argument)).toBeNull();
    const lines = readFileSync(trace, 'latin1').slice(before).split('\n');
    const positionOf = (pattern: RegExp) => lines.findIndex((line) => pattern.test(line));
    const escaped = (path: string) => path.replaceAll(/[.\\]/g, '\\$&');

    const changed = positionOf(new RegExp(`${call}(at2?)?\\(.*"${escaped(`${root}/${file}`)}"`));
    const onDisk = positionOf(new RegExp(`fsync\\(\\d+<${escaped(`${root}/${file}`.replace(/\/[^/]*$/, ''))}>`));
    const answered = positionOf(/write\(1<.*"\[1,null\]/);
    expect(changed).toBeGreaterThanOrEqual(0);
    expect(onDisk).toBeGreaterThan(changed);
    expect(answered).toBeGreaterThan(onDisk);
    const fileOnDisk = positionOf(/fsync\(\d+<.*\.pyro-ns\.ns_meta\/[^/]*\.ns_meta>/);
    expect(fileOnDisk >= 0).toBe(writes);
    expect(fileOnDisk).toBeLessThan(changed);
    await child.close();
  });
});

describe('a fault', () => {
  const withLimit = (limit: number) => ['sh', '-c', `ulimit -n ${limit}; exec "$@"`, 'sh'];

  (lacksRoot('a small file system') ? describe.skip : describe)('of a small file system', () => {
    let child: DatabaseChild;

    beforeEach(async () => {
      mkdirSync(root);
      mount('-t', 'tmpfs', '-o', 'size=256k', 'none', root);
      child = start(root);
      await child.opened();
      await child.ask('createGroup', ':G');
      await child.ask('register', ':G.x', URI);
    });
    afterEach(async () => {
      await child.kill();
      spawnSync('umount', [root]);
    });

    function mount(...args: string[]): void {
      const { status, stderr } = spawnSync('mount', args);
      if (status !== 0) throw new Error(stderr.toString());
    }

    it('that is full refuses changes, and no more once there is room', async () => {
      expect(() => {
        writeFileSync(`${root}/filler`, Buffer.alloc(1024 * 1024));
      }).toThrow('ENOSPC');
      const text = 'no space left in the database';
      expect(await child.ask('register', ':G.y', URI)).toBe(text);
      expect(await child.ask('setMeta', ':G.x', 'metadata')).toBe(text);
      expect(await child.ask('resolve', ':G.x')).toBe(URI);
      expect(await child.ask('list', ':G')).toEqual([{ part: 'x', type: 1 }]);
      expect(child.log).toContain('Make room');
      expect(child.log).toContain(root);
      rmSync(`${root}/filler`);
      expect(await child.ask('register', ':G.y', URI)).toBeNull();
      expect(await child.ask('setMeta', ':G.x', 'metadata')).toBeNull();
      await child.close();
      expect(readdirSync(`${root}/G`).sort()).toEqual(['x', 'x.ns_meta', 'y']);
    });

    it('that is read-only refuses changes, and no more once it is not', async () => {
      mount('-o', 'remount,ro', root);
      const text = 'the database is read-only';
      expect(await child.ask('register', ':G.y', URI)).toBe(text);
      expect(await child.ask('unregister', ':G.x')).toBe(text);
      expect(await child.ask('createGroup', ':H')).toBe(text);
      expect(await child.ask('deleteGroup', ':G')).toBe(text);
      expect(await child.ask('setMeta', ':G.x', 'metadata')).toBe(text);
      expect(await child.ask('resolve', ':G.x')).toBe(URI);
      expect(child.log).toContain('for writing');
      mount('-o', 'remount,rw', root);
      expect(await child.ask('unregister', ':G.x')).toBeNull();
      expect(await child.ask('deleteGroup', ':G')).toBeNull();
    });

    it.each([
      ['another file system', ['-t', 'tmpfs', 'none']],
      ['a directory of the same', ['--bind', 'ELSEWHERE']],
    ])('that %s is mounted in is read there, and not changed', async (_, what) => {
      const mounted = `${root}/G/M`;
      for (const path of [mounted, `${root}/.elsewhere`]) mkdirSync(path);
      const args = what.map((arg) => arg.replace('ELSEWHERE', `${root}/.elsewhere`));
      mount(...args, mounted);
      try {
        mkdirSync(`${mounted}/inner`);
        writeFileSync(`${mounted}/y`, URI);
        expect(await child.ask('resolve', ':G.M.y')).toBe(URI);
        const text = 'the database spans file systems';
        expect(await child.ask('register', ':G.M.z', URI)).toBe(text);
        expect(await child.ask('unregister', ':G.M.y')).toBe(text);
        expect(await child.ask('createGroup', ':G.M.z')).toBe(text);
        expect(await child.ask('createGroup', ':G.M.inner.z')).toBe(text);
        for (const group of [':G.M.inner', ':G.M', ':G']) expect(await child.ask('deleteGroup', group)).toBe(text);
        expect(readdirSync(mounted).sort()).toEqual(['inner', 'y']);
        expect(readdirSync(`${root}/G`).sort()).toEqual(['M', 'x']);
        expect(child.log).toContain('unmount what is mounted in it');
      } finally {
        spawnSync('umount', [mounted]);
      }
      expect(await child.ask('deleteGroup', ':G')).toBeNull();
    });

    it('of which something was taken away with what is mounted in it keeps that', async () => {
      const mounted = `${root}/.pyro-ns.ns_meta/1-1.ns_meta/M`;
      await child.close();
      for (const path of [mounted, `${root}/.elsewhere`]) mkdirSync(path, { recursive: true });
      writeFileSync(`${root}/.elsewhere/kept`, '');
      mount('--bind', `${root}/.elsewhere`, mounted);
      try {
        child = start(root);
        await child.opened();
        await child.close();
        expect(child.log).toContain(`mounted on ${mounted}`);
        expect(readdirSync(`${root}/.elsewhere`)).toEqual(['kept']);
      } finally {
        spawnSync('umount', [mounted]);
      }
    });

    it('can not be unmounted while it is served', async () => {
      await child.close();
      mount('-t', 'tmpfs', 'none', root);
      try {
        child = start(root);
        await child.opened();
        expect(spawnSync('umount', [root]).status).not.toBe(0);
        expect(await child.ask('register', ':y', URI)).toBeNull();
        await child.close();
        expect(readFileSync(`${root}/y`, 'utf8')).toBe(`${URI}\n`);
      } finally {
        expect(spawnSync('umount', [root]).status).toBe(0);
      }
    });

    it('that something is mounted over is seen', async () => {
      mount('-t', 'tmpfs', 'none', root);
      const start = performance.now();
      while ((await child.ask('resolve', ':G.x')) === URI && performance.now() - start < 5000) continue;
      expect(await child.ask('resolve', ':G.x')).toBe('name not found');
      spawnSync('umount', [root]);
    });
  });

  (lacksRoot('faults of permissions') ? describe.skip : describe)('of permissions', () => {
    const [uid, gid] = [65534, 65534];
    const handOver = (...paths: string[]) => {
      for (const path of paths) chownSync(path, uid, gid);
    };

    beforeEach(() => {
      chmodSync(directory, 0o755);
      mkdirSync(`${root}/G`, { recursive: true });
      writeFileSync(`${root}/G/x`, URI);
      handOver(root);
    });

    it('refuses what is not permitted, and no more once it is', async () => {
      writeFileSync(`${root}/G/secret`, URI, { mode: 0o600 });
      const child = start(root, [], { uid, gid });
      expect(await child.opened()).toBeUndefined();
      const text = 'no permission in the database';
      expect(await child.ask('register', ':G.y', URI)).toBe(text);
      expect(await child.ask('unregister', ':G.x')).toBe(text);
      expect(await child.ask('resolve', ':G.secret')).toBe(text);
      expect(await child.ask('resolve', ':G.x')).toBe(URI);
      expect(child.log).toContain('Let the user that this server runs as');
      writeFileSync(`${root}/G/x.ns_meta`, 'secret', { mode: 0o600 });
      expect(await child.ask('getMeta', ':G.x')).toBeNull();
      expect(await child.ask('getSystemMeta', ':G.x')).toMatchObject({ type: 1 });
      expect(await child.ask('setMeta', ':G.x', 'metadata')).toBe(text);
      expect(child.log).toContain(`ignored ${root}/G/x.ns_meta`);
      handOver(`${root}/G`, `${root}/G/secret`);
      expect(await child.ask('register', ':G.y', URI)).toBeNull();
      expect(await child.ask('resolve', ':G.secret')).toBe(URI);
    });

    it('fails a listing of a database that may not be read', async () => {
      handOver(`${root}/G`);
      const child = start(root, [], { uid, gid });
      expect(await child.opened()).toBeUndefined();
      chmodSync(root, 0);
      expect(await child.ask('count')).toBe('no permission in the database');
      chmodSync(root, 0o755);
      chmodSync(`${root}/G`, 0);
      expect(await child.ask('count')).toEqual({ groups: 1, objects: 0 });
      expect(child.log).toContain('out of a listing');
    });
  });

  it('of too many open files is told, and over when there are fewer', async () => {
    const child = start(root, withLimit(60));
    await child.opened();
    await child.ask('createGroup', ':G');
    const names = Array.from({ length: 200 }, (_, index) => `:G.n${index}`);
    const answers = await Promise.all(names.map((name) => child.ask('register', name, URI)));
    const text = 'too many open files';
    expect(new Set(answers)).toEqual(new Set([null, text]));
    expect(child.log).toContain('ulimit -n');
    for (const [index, name] of names.entries()) {
      const isRegistered = answers[index] === null;
      expect(await child.ask('resolve', name)).toBe(isRegistered ? URI : 'name not found');
      expect(await child.ask('register', name, URI)).toBe(isRegistered ? 'name already exists' : null);
    }
    await child.close();
    expect(readdirSync(`${root}/G`)).toHaveLength(200);
  });

  (lacksProgram('strace', 'faults without hard links') ? it.skip : it)(
    'of the disk leaves no empty file where there are no hard links',
    async () => {
      mkdirSync(`${root}/G`, { recursive: true });
      // The first two renames are those of the lock. One thread for files, as strace counts by thread.
      const faults = ['link,linkat:error=EPERM', 'rename,renameat,renameat2:error=EIO:when=3+'];
      const inject = faults.flatMap((fault) => ['-e', `inject=${fault}`]);
      const trace = ['-e', 'trace=link,linkat,rename,renameat,renameat2'];
      const child = start(root, [
        'env',
        'UV_THREADPOOL_SIZE=1',
        'strace',
        '-f',
        '-qq',
        '-o',
        '/dev/null',
        ...trace,
        ...inject,
      ]);
      await child.opened();
      expect(await child.ask('register', ':G.y', URI)).toBe('input/output error in the database');
      expect(readdirSync(`${root}/G`)).toEqual([]);
    },
  );

  (lacksProgram('strace', 'faults of the disk') ? it.skip : it)(
    'of the disk undoes what could not be made durable',
    async () => {
      mkdirSync(`${root}/G`, { recursive: true });
      writeFileSync(`${root}/G/x`, URI);
      // Directories can't be brought to the disk for a while: fsync of the group fails.
      const fault = ['-e', 'trace=fsync', '-e', 'inject=fsync:error=EIO:when=1..8', '-P', `${root}/G`];
      const child = start(root, ['strace', '-f', '-qq', '-o', '/dev/null', ...fault]);
      await child.opened();
      const text = 'input/output error in the database';
      expect(await child.ask('register', ':G.y', URI)).toBe(text);
      expect(await child.ask('resolve', ':G.y')).toBe('name not found');
      expect(await child.ask('unregister', ':G.x')).toBe(text);
      expect(await child.ask('resolve', ':G.x')).toBe(URI);
      expect(await child.ask('createGroup', ':G.g')).toBe(text);
      expect(await child.ask('list', ':G')).toEqual([{ part: 'x', type: 1 }]);
      expect(await child.ask('setMeta', ':G.x', 'metadata')).toBe(text);
      expect(await child.ask('getMeta', ':G.x')).toBeNull();
      // The tracer counts for each thread.
      let answer = await child.ask('register', ':G.y', URI);
      for (let times = 0; times < 100 && answer === text; times += 1) answer = await child.ask('register', ':G.y', URI);
      expect(answer).toBeNull();
      expect(await child.ask('resolve', ':G.y')).toBe(URI);
      await child.close();
      expect(readdirSync(`${root}/G`).sort()).toEqual(['x', 'y']);
    },
  );

  it('of a database that vanishes is over when it is back', async () => {
    const child = start(root);
    await child.opened();
    await child.ask('createGroup', ':G');
    await child.ask('register', ':G.x', URI);
    renameSync(root, `${root}.away`);
    expect(await child.ask('register', ':G.y', URI)).toBe('the database is missing');
    expect(await child.ask('resolve', ':G.x')).toBe('the database is missing');
    expect(child.log).toContain('put it back');
    renameSync(`${root}.away`, root);
    expect(await child.ask('resolve', ':G.x')).toBe(URI);
    expect(await child.ask('register', ':G.y', URI)).toBeNull();
  });
});

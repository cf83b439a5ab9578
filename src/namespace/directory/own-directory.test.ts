import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { OWN_DIRECTORY } from './layout.js';

/** What is said of the server's own directory, other than is true. */
let disguise: Partial<fs.Stats> = {};
const lstat = async (path: string) => {
  const stats = await promises.lstat(path);
  return path.endsWith(OWN_DIRECTORY) ? Object.assign(stats, disguise) : stats;
};
jest.unstable_mockModule('node:fs/promises', () => ({ ...promises, lstat }));
const { silentLog } = await import('../../config/index.js');
const { NamingError } = await import('../../errors.js');
const { Name, PyroURI } = await import('../../names/index.js');
const { checkDatabase } = await import('./check.js');
const { DirectoryNamespace } = await import('./directory-namespace.js');
const { openOwnDirectory, UntrustedPathError } = await import('./own-directory.js');

const URI = 'PYRO://10.0.0.1:7766/0a000001123400a1b2c3d4e5f60718293a';

let top: string;
let root: string;
let own: string;
/** Files of somebody else, outside the database. */
let precious: string;

beforeEach(() => {
  top = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-own-`));
  root = `${top}/db`;
  own = `${root}/${OWN_DIRECTORY}`;
  precious = `${top}/precious`;
  fs.mkdirSync(`${root}/Pyro`, { recursive: true });
  fs.mkdirSync(`${precious}/inner`, { recursive: true });
  fs.writeFileSync(`${precious}/inner/letter`, 'precious');
  fs.writeFileSync(`${precious}/letter`, 'precious');
});
afterEach(() => {
  disguise = {};
  expect(fs.readdirSync(precious, { recursive: true }).sort()).toEqual(['inner', 'inner/letter', 'letter']);
  for (const file of ['letter', 'inner/letter'])
    expect(fs.readFileSync(`${precious}/${file}`, 'utf8')).toBe('precious');
  fs.rmSync(top, { recursive: true });
});

const makeFifo = (path: string): void => {
  execFileSync('mkfifo', [path]);
};

const check = (repair: boolean) => checkDatabase(root, { log: silentLog, repair, onFinding: () => undefined });

async function serveOnce(): Promise<void> {
  const namespace = await DirectoryNamespace.open(root, { log: silentLog, sync: false });
  await namespace.close();
}

describe("the server's own directory", () => {
  const untrusted: readonly [what: string, make: () => void, reason: string][] = [
    [
      'a link to a directory',
      () => {
        fs.symlinkSync(precious, own);
      },
      'a symbolic link',
    ],
    [
      'a link to nothing',
      () => {
        fs.symlinkSync(`${top}/missing`, own);
      },
      'a symbolic link',
    ],
    [
      'a file',
      () => {
        fs.writeFileSync(own, '');
      },
      'a file',
    ],
    [
      'a FIFO',
      () => {
        makeFifo(own);
      },
      'neither a file nor a directory',
    ],
    [
      "another user's",
      () => {
        fs.mkdirSync(own);
        disguise = { uid: 4242 };
      },
      'a directory of another user (with the id 4242)',
    ],
    [
      'on another file system',
      () => {
        fs.mkdirSync(own);
        disguise = { dev: 4242 };
      },
      'on another file system',
    ],
    [
      'of which the lock is a link',
      () => {
        linkIn('lock.ns_meta');
      },
      'a symbolic link',
    ],
    [
      'of which the lock is a link to nothing',
      () => {
        linkIn('lock.ns_meta', `${top}/missing`);
      },
      'a symbolic link',
    ],
    [
      'of which the lock is a FIFO',
      () => {
        fs.mkdirSync(own);
        makeFifo(`${own}/lock.ns_meta`);
      },
      'neither a file nor a directory',
    ],
  ];
  const linkIn = (file: string, target = precious): void => {
    fs.mkdirSync(own);
    fs.symlinkSync(target, `${own}/${file}`);
  };

  it.each(untrusted)('is not used where it is %s', async (_, make, reason) => {
    make();
    const refusal = await serveOnce().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(UntrustedPathError);
    expect(refusal).toBeInstanceOf(NamingError);
    expect(String(refusal)).toContain(own);
    expect(String(refusal)).toContain(`is not used, because it is ${reason}`);
    expect(String(refusal)).toContain('move it away or remove it, and try again');
    for (const repair of [false, true]) await expect(check(repair)).rejects.toBeInstanceOf(UntrustedPathError);
    expect(fs.readdirSync(root).sort()).toEqual([OWN_DIRECTORY, 'Pyro']);
  });

  it.each(['decided', 'leaving', 'arriving'])('is not used where %s in it is a link', async (state) => {
    linkIn(state);
    await expect(serveOnce()).rejects.toBeInstanceOf(UntrustedPathError);
    await check(false);
    await expect(check(true)).rejects.toBeInstanceOf(UntrustedPathError);
    expect(fs.readdirSync(root).sort()).toEqual([OWN_DIRECTORY, 'Pyro']);
    expect(fs.readdirSync(own)).toEqual([state]);
  });

  it('moves nothing where one of the states of a replacement is a link, and another a directory', async () => {
    linkIn('leaving');
    fs.mkdirSync(`${own}/decided/new`, { recursive: true });
    await expect(serveOnce()).rejects.toBeInstanceOf(UntrustedPathError);
    expect(fs.readdirSync(root).sort()).toEqual([OWN_DIRECTORY, 'Pyro']);
    expect(fs.existsSync(`${own}/decided/new`)).toBe(true);
  });

  it.each([
    ['our own', {}],
    ["root's", { uid: 0 }],
  ])('is used where it is %s', async (_, is) => {
    fs.mkdirSync(own);
    disguise = is;
    await expect(openOwnDirectory(root)).resolves.toBeUndefined();
  });

  it('is made where it is missing', async () => {
    await openOwnDirectory(root);
    expect(fs.lstatSync(own).isDirectory()).toBe(true);
  });

  it('loses only what is called as servers call their files; the rest is logged once', async () => {
    fs.mkdirSync(`${own}/mail`, { recursive: true });
    for (const file of ['mail/letter', 'letter', '1a2b3c4d-7.ns_meta', '1-1.ns_meta.bak']) {
      fs.writeFileSync(`${own}/${file}`, 'precious');
    }
    for (const [name, target] of [
      ['2-1.ns_meta', precious],
      ['2-2.ns_meta', `${precious}/letter`],
      ['link', precious],
    ] as const) {
      fs.symlinkSync(target, `${own}/${name}`);
    }
    fs.linkSync(`${precious}/letter`, `${own}/3-1.ns_meta`);
    makeFifo(`${own}/4-1.ns_meta`);
    const logged: unknown[][] = [];
    const log = { ...silentLog, error: (...words: unknown[]) => logged.push(words) };
    const namespace = await DirectoryNamespace.open(root, { log, sync: false });
    await namespace.close();
    expect(fs.readdirSync(own).sort()).toEqual(['1-1.ns_meta.bak', 'letter', 'link', 'mail']);
    expect(fs.readFileSync(`${own}/mail/letter`, 'utf8')).toBe('precious');
    expect(logged).toEqual([
      [
        'DirectoryNamespace',
        `left alone in ${own}, as no server made it:`,
        '1-1.ns_meta.bak, letter, link, mail',
        'Move it elsewhere.',
      ],
    ]);
  });
});

describe("what stands in a lock in the place of the holder's record", () => {
  const holder = () => `${own}/lock.ns_meta/holder-00000000-0000-4000-8000-000000000001-1`;

  beforeEach(() => {
    fs.mkdirSync(`${own}/lock.ns_meta`, { recursive: true });
  });

  it.each<[string, () => void]>([
    [
      'a link to a file',
      () => {
        fs.symlinkSync(`${precious}/letter`, holder());
      },
    ],
    [
      'a link to nothing',
      () => {
        fs.symlinkSync(`${precious}/new`, holder());
      },
    ],
    [
      'a hard link',
      () => {
        fs.linkSync(`${precious}/letter`, holder());
      },
    ],
    [
      'a FIFO',
      () => {
        makeFifo(holder());
      },
    ],
  ])('is neither read nor written through: %s', async (_, make) => {
    make();
    const waiting = new AbortController();
    const reason = new Error('seen to wait');
    const onWait = (): void => {
      waiting.abort(reason);
    };
    const opening = DirectoryNamespace.open(root, { log: silentLog, sync: false, signal: waiting.signal, onWait });
    await expect(opening).rejects.toBe(reason);
    expect(fs.readdirSync(`${own}/lock.ns_meta`)).toHaveLength(1);
  });
});

describe('a tree that an enemy made', () => {
  it('is repaired without touching anything outside', async () => {
    fs.mkdirSync(`${own}/arriving/inner`, { recursive: true });
    fs.symlinkSync(precious, `${own}/arriving/linked`);
    fs.symlinkSync(precious, `${own}/1-1.ns_meta`);
    fs.symlinkSync(precious, `${root}/.repaired-2024-01-01-00-00-00-000.ns_meta`);
    fs.symlinkSync(precious, `${root}/G`);
    fs.symlinkSync(`${precious}/letter`, `${root}/object`);
    fs.symlinkSync(precious, `${root}/Pyro/${OWN_DIRECTORY}`);
    fs.symlinkSync(`${precious}/letter`, `${root}/Pyro.ns_meta`);
    fs.linkSync(`${precious}/letter`, `${root}/Pyro/hard`);
    for (const file of ['fifo', 'Pyro/fifo', '.ns_meta']) makeFifo(`${root}/${file}`);
    fs.mkdirSync(`${root}/deep${'/d'.repeat(1500)}`, { recursive: true });
    await check(true);
    const names: string[] = [];
    const namespace = await DirectoryNamespace.open(root, { log: silentLog, sync: false });
    await namespace.register(Name.parse(':G'), PyroURI.parse(URI));
    for await (const batch of namespace.flatlist()) names.push(...batch.map(([name]) => name.toString()));
    await namespace.deleteGroup(Name.parse(':deep'));
    await namespace.close();
    expect(names).toEqual([':G']);
  });

  it('is not repaired through a link where things would be moved to', async () => {
    fs.symlinkSync(precious, `${root}/link`);
    const now = jest.spyOn(Date.prototype, 'toISOString').mockReturnValue('2024-01-01T00:00:00.000Z');
    fs.symlinkSync(precious, `${root}/.repaired-2024-01-01-00-00-00-000.ns_meta`);
    await expect(check(true)).rejects.toThrow('EEXIST');
    now.mockRestore();
    expect(fs.lstatSync(`${root}/link`).isSymbolicLink()).toBe(true);
  });
});

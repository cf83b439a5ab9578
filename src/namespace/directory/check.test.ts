import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { silentLog } from '../../config/index.js';
import { Name, PyroURI } from '../../names/index.js';
import { checkDatabase, type CheckReport, type Finding } from './check.js';
import { DirectoryNamespace } from './directory-namespace.js';
import { OWN_DIRECTORY } from './layout.js';
import { DatabaseInUseError } from './lock.js';

const URI = 'PYRO://10.0.0.1:7766/0a000001123400a1b2c3d4e5f60718293a';

let directory: string;
let root: string;

beforeEach(async () => {
  directory = realpathSync(mkdtempSync(`${tmpdir()}/pyro-ns-check-`));
  root = `${directory}/database`;
  const namespace = await DirectoryNamespace.open(root, { log: silentLog, sync: false });
  for (const group of [':Pyro', ':G', ':G.inner']) await namespace.createGroup(Name.parse(group));
  for (const name of [':Pyro.NameServer', ':sound', ':G.sound', ':G.inner.a/b']) {
    await namespace.register(Name.parse(name), PyroURI.parse(URI));
    await namespace.setMeta(Name.parse(name), ['about', name]);
  }
  await namespace.setMeta(Name.root, 'of the root');
  await namespace.close();
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

async function check(repair = false): Promise<{ findings: Finding[]; report: CheckReport }> {
  const findings: Finding[] = [];
  const report = await checkDatabase(root, { log: silentLog, repair, onFinding: (finding) => findings.push(finding) });
  return { findings, report };
}

const kinds = (findings: readonly Finding[]): string[] => findings.map(({ kind, path }) => `${kind}: ${path}`).sort();

/** What all files hold, wherever they are, and whatever their names. */
function contents(path = Buffer.from(directory)): string[] {
  return readdirSync(path, { withFileTypes: true, encoding: 'buffer' })
    .flatMap((entry) => {
      const member = Buffer.concat([path, Buffer.from('/'), entry.name]);
      if (entry.isDirectory()) return contents(member);
      return entry.isFile() ? [readFileSync(member).toString('latin1')] : [];
    })
    .sort();
}

async function served(): Promise<Record<string, string>> {
  const namespace = await DirectoryNamespace.open(root, { log: silentLog, sync: false });
  const names: Record<string, string> = {};
  for await (const batch of namespace.flatlist()) for (const [name, uri] of batch) names[name.toString()] = String(uri);
  await namespace.close();
  return names;
}

const write = (file: string, content = `${URI}\n`): void => {
  writeFileSync(`${root}/${file}`, content);
};

test('finds nothing in a database that is as it should be', async () => {
  mkdirSync(`${root}/.git`);
  write('.git/HEAD', 'ref: refs/heads/main');
  write('README.md', 'names of the plant');
  mkdirSync(`${root}/G/backup.d`);
  write('G/build.log', 'x'.repeat(10_000));
  write('G/notes.old.ns_meta', 'no pickle');
  write('G/from-windows', `\ufeff  ${URI}\r\n`);
  write('G/by-hand', 'PYRO://host/short');
  const { findings, report } = await check();
  expect(findings).toEqual([]);
  expect(report).toEqual({ root, groups: 3, objects: 6, movedTo: undefined });
});

test('finds nothing in a database that is empty', async () => {
  rmSync(root, { recursive: true });
  mkdirSync(root);
  expect(await check()).toEqual({ findings: [], report: { root, groups: 0, objects: 0, movedTo: undefined } });
});

describe('damage', () => {
  // The name of its metadata would be too long for the system.
  const LONGEST_FILE_NAME = 'n'.repeat(255);
  const damages: readonly [kind: string, path: string, make: () => void][] = [
    [
      'empty file',
      'G/empty',
      () => {
        write('G/empty', '');
      },
    ],
    [
      'empty file',
      'G/blank',
      () => {
        write('G/blank', ' \n');
      },
    ],
    [
      'torn file',
      'G/torn',
      () => {
        write('G/torn', 'PYRO://10.0.0.1:77');
      },
    ],
    [
      'torn file',
      'torn-id',
      () => {
        write('torn-id', URI.slice(0, -9));
      },
    ],
    [
      'torn file',
      'zeros',
      () => {
        write('zeros', '\0'.repeat(60));
      },
    ],
    [
      'bad URI',
      'G/inner/garbage',
      () => {
        write('G/inner/garbage', 'what is this?\n');
      },
    ],
    [
      'empty file',
      `G/${LONGEST_FILE_NAME}`,
      () => {
        write(`G/${LONGEST_FILE_NAME}`, '');
      },
    ],
    [
      'bad URI',
      'G/no-line',
      () => {
        write('G/no-line', 'what is this?');
      },
    ],
    [
      'bad URI',
      'no-id',
      () => {
        write('no-id', 'PYRO://10.0.0.1:7766/\n');
      },
    ],
    [
      'large file',
      'large',
      () => {
        write('large', 'x'.repeat(10_000));
      },
    ],
    [
      'bad name',
      'G/white space',
      () => {
        write('G/white space');
      },
    ],
    [
      'bad name',
      'G/with.dot',
      () => {
        write('G/with.dot');
      },
    ],
    [
      'bad name',
      '\xff\xfe',
      () => {
        writeFileSync(Buffer.concat([Buffer.from(`${root}/`), BYTES]), `${URI}\n`);
      },
    ],
    [
      'second spelling',
      'G/\\73ound',
      () => {
        write('G/\\73ound', `${URI}x\n`);
      },
    ],
    [
      'second spelling',
      'G/\\69nner',
      () => {
        mkdirSync(`${root}/G/\\69nner`);
        write('G/\\69nner/garbage', 'what is this?');
      },
    ],
    [
      'link',
      'G/link',
      () => {
        symlinkSync('sound', `${root}/G/link`);
      },
    ],
    [
      'link',
      'dangling',
      () => {
        symlinkSync('/nowhere/at/all', `${root}/dangling`);
      },
    ],
    ['no file', 'G/fifo', () => execFileSync('mkfifo', [`${root}/G/fifo`])],
    [
      'orphaned metadata',
      'G/gone.ns_meta',
      () => {
        write('G/gone.ns_meta', 'anything');
      },
    ],
    [
      'orphaned metadata',
      'G/.ns_meta',
      () => {
        write('G/.ns_meta', 'anything');
      },
    ],
    [
      'orphaned metadata',
      'gone.ns_meta',
      () => {
        write('gone.ns_meta', 'anything');
      },
    ],
    [
      'damaged metadata',
      'G/sound.ns_meta',
      () => {
        write('G/sound.ns_meta', 'no pickle');
      },
    ],
    [
      'damaged metadata',
      '.ns_meta',
      () => {
        write('.ns_meta', '');
      },
    ],
    [
      'damaged metadata',
      'G/inner.ns_meta',
      () => {
        mkdirSync(`${root}/G/inner.ns_meta`);
      },
    ],
    [
      'leftover',
      `${OWN_DIRECTORY}/1a-2.ns_meta`,
      () => {
        leave('1a-2.ns_meta');
      },
    ],
    [
      'leftover',
      `G/${OWN_DIRECTORY}`,
      () => {
        mkdirSync(`${root}/G/${OWN_DIRECTORY}`);
      },
    ],
  ];
  const SENTENCE: unknown = expect.stringMatching(/^[A-Z].{20,}\.$/);
  const BYTES = Buffer.from([0xff, 0xfe]);
  const leave = (file: string): void => {
    mkdirSync(`${root}/${OWN_DIRECTORY}`);
    write(`${OWN_DIRECTORY}/${file}`);
  };

  test.each(damages)('%s: %s is found, and moved aside', async (kind, path, make) => {
    const before = await served();
    make();
    const all = contents();
    const found = (await check()).findings;
    expect(kinds(found)).toEqual([`${kind}: ${path}`]);
    expect(found).toMatchObject([{ isDamage: true, explanation: SENTENCE, repair: undefined }]);
    expect(contents()).toEqual(all);
    const { findings, report } = await check(true);
    expect(kinds(findings)).toEqual([`${kind}: ${path}`]);
    expect(findings).toMatchObject([{ isDamage: true, explanation: SENTENCE }]);
    expect(findings[0]?.repair).toMatch(/^moved to \.repaired-\d{4}(-\d\d){5}-\d{3}\.ns_meta\/./);
    expect(report.movedTo).toMatch(/\/database\/\.repaired-[\d-]+\.ns_meta$/);
    expect((await check()).findings).toEqual([]);
    expect(contents()).toEqual(all);
    expect(await served()).toEqual(before);
  });

  test('of all kinds at once is found, and repaired at once', async () => {
    for (const [, , make] of damages) make();
    const expected = damages.map(([kind, path]) => `${kind}: ${path}`).sort();
    expect(kinds((await check()).findings)).toEqual(expected);
    expect(kinds((await check(true)).findings)).toEqual(expected);
    expect((await check()).findings).toEqual([]);
  });

  test('takes its metadata along', async () => {
    write('G/sound', '');
    expect(kinds((await check()).findings)).toEqual(['empty file: G/sound']);
    const { report } = await check(true);
    expect(readdirSync(`${report.movedTo ?? ''}/G`).sort()).toEqual(['sound', 'sound.ns_meta']);
    expect((await check()).findings).toEqual([]);
  });

  test('by what is too deep for a path is told, and left', async () => {
    const script = 'cd "$1"; for i in $(seq "$2"); do mkdir "$3"; cd -P "$3"; done; echo x > "$3"';
    const makeDeep = (count: number, part: string) =>
      execFileSync('bash', ['-ec', script, 'bash', root, String(count), part]);
    makeDeep(16, 'd'.repeat(255));
    makeDeep(80, 'e'.repeat(52));
    const { findings } = await check();
    expect(findings.length).toBeGreaterThanOrEqual(2);
    const repaired = (await check(true)).findings;
    expect(kinds(repaired)).toEqual(kinds(findings));
    expect(await served()).toMatchObject({ ':sound': URI });
    execFileSync('rm', ['-r', root]);
  });

  test('by a path that is too long for the system is told, of an object as of metadata, and left', async () => {
    // The directory itself can still be read: 4095 bytes is the longest path.
    const last = 'e'.repeat(4080 - Buffer.byteLength(root) - 15 * 256 - 1);
    const parts = [...Array.from({ length: 15 }, () => 'd'.repeat(255)), last];
    const [object, metadata] = ['f'.repeat(20), `${'m'.repeat(10)}.ns_meta`];
    mkdirSync(`${root}/${parts.join('/')}`, { recursive: true });
    write([...parts, 'm'.repeat(10)].join('/'));
    const script = 'cd "$1"; shift; for d; do cd -P "$d"; done; for f in $FILES; do echo x > "$f"; done';
    const env = { ...process.env, FILES: `${object} ${metadata}` };
    execFileSync('bash', ['-ec', script, 'bash', root, ...parts], { env });
    for (const repair of [false, true]) {
      const { findings, report } = await check(repair);
      expect(kinds(findings)).toEqual([object, metadata].map((file) => `unreadable: ${parts.join('/')}/${file}`));
      expect(report).toMatchObject({ objects: 5, movedTo: undefined });
    }
    execFileSync('rm', ['-r', root]);
  });

  test('by a bad name says what is wrong with it', async () => {
    // The directory can still be read: 4095 bytes is the longest path. A name has at most 4096 characters.
    const last = 'e'.repeat(4080 - Buffer.byteLength(root) - 15 * 256 - 1);
    const parts = [...Array.from({ length: 15 }, () => 'd'.repeat(255)), last];
    const longest = 'n'.repeat(4096 - parts.join('.').length - 2);
    mkdirSync(`${root}/${parts.join('/')}`, { recursive: true });
    const script = 'cd "$1"; shift; for d; do cd -P "$d"; done; echo x > "$FILE"; echo x > "${FILE}n"';
    execFileSync('bash', ['-ec', script, 'bash', root, ...parts], { env: { ...process.env, FILE: longest } });
    write('G/white space');
    const expected = {
      'white space':
        'A part of a name is made of ASCII characters without white space, backslash and dot: nobody is shown this.',
      [longest]: 'Its path is too long to look at what is in it: nobody is shown that.',
      [`${longest}n`]: 'It is too long for a name: nobody is shown this.',
    };
    const explained = (findings: readonly Finding[]) =>
      Object.fromEntries(findings.map(({ path, explanation }) => [basename(path), explanation]));
    expect(explained((await check()).findings)).toEqual(expected);
    const { findings, report } = await check(true);
    expect(explained(findings)).toEqual({
      ...expected,
      [`${longest}n`]: 'It is too long for a name: nobody is shown this. Its path is too long to move it.',
    });
    expect(findings.flatMap(({ repair }) => repair ?? [])).toHaveLength(1);
    expect(contents(Buffer.from(report.movedTo ?? ''))).toEqual([`${URI}\n`]);
    execFileSync('rm', ['-r', root]);
  });

  test('is not done by what differs in case only, which is told and left', async () => {
    write('G/SOUND');
    const { findings } = await check(true);
    expect(findings).toMatchObject([{ kind: 'case clash', isDamage: false, repair: undefined }]);
    const [one, other] = findings[0]?.path === 'G/sound' ? ['sound', 'SOUND'] : ['SOUND', 'sound'];
    expect(findings[0]?.path).toBe(`G/${one}`);
    expect(findings[0]?.explanation).toMatch(new RegExp(`^It differs from ${other} only in case: .+\\.$`));
    expect(await served()).toMatchObject({ ':G.SOUND': URI, ':G.sound': URI });
  });

  test('is not done by what somebody else has put where servers work, which is told and left', async () => {
    leave('letter');
    const { findings, report } = await check(true);
    expect(kinds(findings)).toEqual([`foreign file: ${OWN_DIRECTORY}/letter`]);
    expect(findings).toMatchObject([{ isDamage: false, repair: undefined }]);
    expect(report.movedTo).toBeUndefined();
  });

  test('by a replacement that was not finished is repaired by finishing it', async () => {
    mkdirSync(`${root}/${OWN_DIRECTORY}/arriving`, { recursive: true });
    write(`${OWN_DIRECTORY}/arriving/new`);
    expect((await check()).findings).toMatchObject([
      {
        kind: 'unfinished replacement',
        isDamage: true,
        path: OWN_DIRECTORY,
        explanation: SENTENCE,
        repair: undefined,
      },
    ]);
    expect((await check(true)).findings).toMatchObject([{ repair: 'finished the replacement' }]);
    expect((await check()).findings).toEqual([]);
    expect(await served()).toMatchObject({ ':new': URI, ':sound': URI });
  });
});

test('is refused while a server holds the database', async () => {
  const namespace = await DirectoryNamespace.open(root, { log: silentLog });
  await expect(check()).rejects.toThrow(DatabaseInUseError);
  await namespace.close();
});

test('is refused where there is no database', async () => {
  rmSync(root, { recursive: true });
  await expect(check(true)).rejects.toThrow(`the database ${root} can't be checked: Error: ENOENT`);
  mkdirSync(root);
  write('passwd', 'root:x:0:0');
  await expect(check(true)).rejects.toThrow(`${root} is no database of a name server`);
  expect(existsSync(`${root}/passwd`)).toBe(true);
});

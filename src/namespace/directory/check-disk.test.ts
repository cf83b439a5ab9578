/** What a check makes of errors of the disk, and what it leaves there. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { CheckReport, Finding } from './check.js';

/** Lets a call fail: the error's code, undefined to let it be. */
let fault: (call: string, path: string) => string | undefined;
const opened = new Map<number, string>();
let synced: string[];

function failing(call: string, path: unknown): Error | undefined {
  const code = fault(call, String(path));
  return code === undefined ? undefined : Object.assign(new Error(`${code}: ${call}`), { code });
}

const open = (path: string, flags: string | number, done: (error: Error | null, file?: number) => void): void => {
  const error = failing('open', path);
  if (error !== undefined) {
    setImmediate(done, error);
    return;
  }
  fs.open(path, flags, (error, file) => {
    opened.set(file, path);
    done(error, file);
  });
};

const fsync = (file: number, done: (error: null) => void): void => {
  synced.push(opened.get(file) ?? '');
  setImmediate(done, null);
};

/** A call of `node:fs/promises` whose first argument is a path. */
const faulty =
  <Args extends readonly unknown[], Result>(call: string, action: (...args: Args) => Promise<Result>) =>
  (...args: Args): Promise<Result> => {
    const error = failing(call, args[0]);
    return error === undefined ? action(...args) : Promise.reject(error);
  };

jest.unstable_mockModule('node:fs', () => ({ ...fs, open, fsync }));
jest.unstable_mockModule('node:fs/promises', () => ({
  ...promises,
  readdir: faulty('readdir', promises.readdir),
  rename: faulty('rename', promises.rename),
}));
const { silentLog } = await import('../../config/index.js');
const { checkDatabase } = await import('./check.js');
const { metaFileContent } = await import('./metadata.js');
const { OBJECT } = await import('../namespace.js');

const URI = 'PYRO://10.0.0.1:7766/0a000001123400a1b2c3d4e5f60718293a';
const META = metaFileContent({ type: OBJECT, timestamp: 1, owner: null }, 'about it');

let root: string;

beforeEach(() => {
  fault = () => undefined;
  synced = [];
  root = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-check-disk-`));
  for (const group of ['Pyro', 'G', 'G/inner']) fs.mkdirSync(`${root}/${group}`);
  for (const object of ['o', 'G/x', 'G/inner/y']) {
    fs.writeFileSync(`${root}/${object}`, `${URI}\n`);
    fs.writeFileSync(`${root}/${object}.ns_meta`, META);
  }
});

afterEach(() => {
  fs.rmSync(root, { recursive: true });
});

async function check(repair = false): Promise<{ findings: Finding[]; report: CheckReport }> {
  const findings: Finding[] = [];
  const report = await checkDatabase(root, { log: silentLog, repair, onFinding: (finding) => findings.push(finding) });
  return { findings, report };
}

describe('a check', () => {
  test.each([
    ['open', 'o', 'EACCES', { groups: 3, objects: 2 }],
    ['open', 'G/x', 'EIO', { groups: 3, objects: 2 }],
    ['open', 'G/x.ns_meta', 'EACCES', { groups: 3, objects: 3 }],
    ['readdir', 'G/inner', 'EACCES', { groups: 3, objects: 2 }],
  ])('tells what can not be read, and leaves it: %s %s %s', async (failing, path, code, counts) => {
    fault = (call, its) => (call === failing && its === `${root}/${path}` ? code : undefined);
    for (const repair of [false, true]) {
      const { findings, report } = await check(repair);
      const explanation = `It can't be read (${code}): let the server's user read it.`;
      expect(findings).toEqual([{ kind: 'unreadable', isDamage: true, path, explanation, repair: undefined }]);
      expect(report).toEqual({ root, ...counts, movedTo: undefined });
    }
  });

  test('looks at the metadata of what can not be read', async () => {
    fs.writeFileSync(`${root}/G/x.ns_meta`, 'no pickle');
    fault = (_call, path) => (path === `${root}/G/x` ? 'EACCES' : undefined);
    const { findings } = await check();
    expect(findings.map(({ kind, path }) => `${kind}: ${path}`)).toEqual([
      'unreadable: G/x',
      'damaged metadata: G/x.ns_meta',
    ]);
  });

  test('leaves what has a dot and can not be read', async () => {
    fs.writeFileSync(`${root}/G/notes.txt`, 'secret');
    fault = (_call, path) => (path.endsWith('.txt') ? 'EACCES' : undefined);
    expect((await check(true)).findings).toEqual([]);
  });

  test.each(['G/x', 'G/x.ns_meta'])('finds no damage in what goes away meanwhile: %s', async (path) => {
    fault = (call, its) => {
      if (call === 'open' && its === `${root}/${path}`) fs.rmSync(its);
      return undefined;
    };
    expect((await check(true)).findings).toEqual([]);
  });

  test.each([
    ['open', 'o', 'EMFILE'],
    ['open', 'o.ns_meta', 'EMFILE'],
    ['readdir', 'G', 'EMFILE'],
    ['rename', 'G/empty', 'EROFS'],
    ['rename', 'G/empty.ns_meta', 'EIO'],
  ])('ends where the system fails otherwise: %s %s %s', async (failing, path, code) => {
    fs.writeFileSync(`${root}/G/empty`, '');
    fault = (call, its) => (call === failing && its === `${root}/${path}` ? code : undefined);
    await expect(check(true)).rejects.toThrow(`the database ${root} can't be checked: Error: ${code}: ${failing}`);
  });

  test('has on the disk what it moved aside before it says so', async () => {
    for (const path of ['empty', 'G/inner/empty']) fs.writeFileSync(`${root}/${path}`, '');
    const { report } = await check(true);
    const aside = report.movedTo ?? '';
    expect([...synced].sort()).toEqual([root, aside, `${aside}/G`, `${aside}/G/inner`, `${root}/G/inner`].sort());
  });

  test('syncs nothing where it changes nothing', async () => {
    fs.writeFileSync(`${root}/empty`, '');
    await check();
    expect(synced).toEqual([]);
  });
});

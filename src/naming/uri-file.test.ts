import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { writeURIFile } from './uri-file.js';

const URI = 'PYRO://10.0.0.1:9090/c0a80101';

let directory: string;
let path: string;
let other: string;

beforeEach(() => {
  directory = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-uri-`));
  path = `${directory}/uri`;
  other = `${directory}/other`;
});
afterEach(() => {
  fs.rmSync(directory, { recursive: true });
});

it('holds the URI and a newline, and nothing else is left beside it', async () => {
  await writeURIFile(path, URI);
  expect(fs.readFileSync(path, 'latin1')).toBe(`${URI}\n`);
  expect(fs.readdirSync(directory)).toEqual(['uri']);
});

it('replaces the old one, with the same permissions', async () => {
  fs.writeFileSync(path, 'old');
  fs.chmodSync(path, 0o640);
  await writeURIFile(path, URI);
  expect(fs.readFileSync(path, 'latin1')).toBe(`${URI}\n`);
  expect(fs.statSync(path).mode & 0o777).toBe(0o640);
});

it('leaves another name of the old file as it was', async () => {
  fs.writeFileSync(other, 'precious');
  fs.linkSync(other, path);
  await writeURIFile(path, URI);
  expect(fs.readFileSync(other, 'latin1')).toBe('precious');
});

it('is behind a link that we have made', async () => {
  fs.writeFileSync(other, 'old');
  fs.symlinkSync('other', path);
  await writeURIFile(path, URI);
  expect(fs.readFileSync(other, 'latin1')).toBe(`${URI}\n`);
  expect(fs.lstatSync(path).isSymbolicLink()).toBe(true);
});

(process.geteuid?.() === 0 ? it : it.skip)('is not written through a link of another user', async () => {
  fs.writeFileSync(other, 'precious');
  fs.symlinkSync('other', path);
  fs.lchownSync(path, 4242, 4242);
  await expect(writeURIFile(path, URI)).rejects.toThrow(`${path} is a symbolic link of another user`);
  expect(fs.readFileSync(other, 'latin1')).toBe('precious');
  expect(fs.readdirSync(directory).sort()).toEqual(['other', 'uri']);
});

it('does not take the place of a FIFO', async () => {
  execFileSync('mkfifo', [path]);
  await expect(writeURIFile(path, URI)).rejects.toThrow(`${path} is no regular file`);
  expect(fs.lstatSync(path).isFIFO()).toBe(true);
});

it('leaves nothing where it can not be written', async () => {
  fs.mkdirSync(path);
  await expect(writeURIFile(path, URI)).rejects.toThrow(`${path} is no regular file`);
  await expect(writeURIFile(`${directory}/missing/uri`, URI)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(fs.readdirSync(directory)).toEqual(['uri']);
});

import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';

const writeSync = jest.fn((descriptor: number, bytes: Buffer, offset: number) =>
  fs.writeSync(descriptor, bytes, offset),
);
const closeSync = jest.fn(fs.closeSync);
jest.unstable_mockModule('node:fs', () => ({ ...fs, writeSync, closeSync }));
const { LogFile } = await import('./log-file.js');

let directory: string;
let complaints: string[];

beforeEach(() => {
  closeSync.mockClear();
  directory = fs.mkdtempSync(join(tmpdir(), 'pyro-log-file-'));
  complaints = [];
});

afterEach(() => {
  fs.rmSync(directory, { recursive: true });
});

const open = (path: string) =>
  new LogFile(
    () => path,
    (message) => complaints.push(message),
  );

it('takes later lines once it can, and complains once', () => {
  const path = join(directory, 'later', 'log');
  const file = open(path);
  file.write('lost\n');
  file.write('lost\n');
  fs.mkdirSync(join(directory, 'later'));
  file.write('kept\n');
  file.reopen();
  expect(fs.readFileSync(path, 'utf8')).toBe('kept\n');
  expect(complaints).toEqual([expect.stringMatching(/^PYRO: can't write the log file .*ENOENT.*\n$/)]);
});

it('begins a new line after one that the disk had no room for', () => {
  const path = join(directory, 'log');
  const file = open(path);
  writeSync
    .mockImplementationOnce((descriptor, bytes) => fs.writeSync(descriptor, bytes, 0, 4))
    .mockImplementationOnce(() => {
      throw new Error('ENOSPC');
    });
  file.write('first line\n');
  file.write('second line\n');
  file.reopen();
  expect(fs.readFileSync(path, 'utf8')).toBe('firs\nsecond line\n');
  expect(complaints).toHaveLength(1);
});

it('still begins a new line where writes failed altogether in between', () => {
  const path = join(directory, 'log');
  const file = open(path);
  const fail = (): never => {
    throw new Error('ENOSPC');
  };
  writeSync
    .mockImplementationOnce((descriptor, bytes) => fs.writeSync(descriptor, bytes, 0, 4))
    .mockImplementationOnce(fail)
    .mockImplementationOnce(fail);
  file.write('first line\n');
  file.write('second line\n');
  file.write('third line\n');
  file.write('fourth line\n');
  file.reopen();
  expect(fs.readFileSync(path, 'utf8')).toBe('firs\nthird line\nfourth line\n');
});

it('complains again once it was told to open the file again', () => {
  const file = open(join(directory, 'no', 'log'));
  for (const line of ['a\n', 'b\n']) file.write(line);
  file.reopen();
  for (const line of ['c\n', 'd\n']) file.write(line);
  expect(complaints).toHaveLength(2);
});

it('complains on stderr where nobody else is named', () => {
  const path = join(directory, 'no', 'log');
  writeSync.mockClear();
  writeSync.mockImplementationOnce(() => 0);
  new LogFile(() => path).write('lost\n');
  expect(writeSync.mock.calls).toEqual([[2, expect.stringContaining(`PYRO: can't write the log file ${path}: `)]]);
});

it('keeps one file open, and leaves none open', () => {
  const file = open(join(directory, 'log'));
  for (const line of ['a\n', 'b\n']) file.write(line);
  expect(closeSync).not.toHaveBeenCalled();
  file.reopen();
  expect(closeSync).toHaveBeenCalledTimes(1);
  file.reopen();
  expect(closeSync).toHaveBeenCalledTimes(1);
  file.write('c\n');
  file.reopen();
  expect(closeSync).toHaveBeenCalledTimes(2);
});

it('goes on where a write was cut short', () => {
  const path = join(directory, 'log');
  const file = open(path);
  writeSync.mockImplementationOnce((descriptor, bytes) => fs.writeSync(descriptor, bytes, 0, 4));
  file.write('first line\n');
  file.reopen();
  expect(fs.readFileSync(path, 'utf8')).toBe('first line\n');
});

it('does not wait for a reader of a FIFO', () => {
  const path = join(directory, 'fifo');
  execFileSync('mkfifo', [path]);
  open(path).write('lost\n');
  expect(complaints).toHaveLength(1);
});

it('is not written to a FIFO, though somebody reads it', () => {
  const path = join(directory, 'fifo');
  execFileSync('mkfifo', [path]);
  const reader = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  open(path).write('lost\n');
  expect(fs.readSync(reader, Buffer.alloc(10))).toBe(0);
  fs.closeSync(reader);
  expect(complaints).toEqual([expect.stringContaining('it is neither a file nor a character device')]);
});

it('may be a character device', () => {
  const file = open('/dev/null');
  file.write('line\n');
  file.reopen();
  expect(complaints).toEqual([]);
});

describe('a link', () => {
  const path = () => join(directory, 'log');
  const target = () => join(directory, 'target');

  it.each([true, false])('of ours is followed, to a file that is there: %s', (isThere) => {
    if (isThere) fs.writeFileSync(target(), 'before\n');
    fs.symlinkSync('target', path());
    const file = open(path());
    file.write('line\n');
    file.reopen();
    expect(fs.readFileSync(target(), 'utf8')).toBe(isThere ? 'before\nline\n' : 'line\n');
    expect(complaints).toEqual([]);
  });

  (process.geteuid?.() === 0 ? it : it.skip).each([true, false])(
    'of another user is refused, to a file that is there: %s',
    (isThere) => {
      if (isThere) fs.writeFileSync(target(), 'precious');
      fs.symlinkSync('target', path());
      fs.lchownSync(path(), 4242, 4242);
      open(path()).write('lost\n');
      expect(isThere ? fs.readFileSync(target(), 'utf8') : fs.existsSync(target())).toBe(isThere && 'precious');
      const reason = 'ConfigError: it is a symbolic link of another user';
      expect(complaints).toEqual([`PYRO: can't write the log file ${path()}: ${reason}\n`]);
    },
  );
});

it.each([
  ['/dev/stdout', 1],
  ['/dev/stderr', 2],
])('writes to the standard streams of the process itself: %s', (path, descriptor) => {
  writeSync.mockClear();
  writeSync.mockImplementationOnce((_descriptor, bytes) => bytes.length);
  const file = open(path);
  file.write('line\n');
  expect(writeSync.mock.calls).toEqual([[descriptor, Buffer.from('line\n'), 0]]);
  // And leaves them open.
  file.reopen();
  expect(closeSync).not.toHaveBeenCalled();
});

it('opens the file again after a failure, wherever the old one is by then', () => {
  const path = join(directory, 'log');
  const file = open(path);
  file.write('before\n');
  writeSync.mockImplementationOnce(() => {
    throw new Error('EIO');
  });
  file.write('lost\n');
  expect(closeSync).toHaveBeenCalledTimes(1);
  fs.renameSync(path, join(directory, 'old'));
  file.write('after\n');
  file.reopen();
  expect(fs.readFileSync(join(directory, 'old'), 'utf8')).toBe('before\n');
  expect(fs.readFileSync(path, 'utf8')).toBe('after\n');
});

it('begins the next file without an empty line, though the one before ended in the middle of a line', () => {
  const path = join(directory, 'log');
  const file = open(path);
  writeSync
    .mockImplementationOnce((descriptor, bytes) => fs.writeSync(descriptor, bytes, 0, 4))
    .mockImplementationOnce(() => {
      throw new Error('ENOSPC');
    });
  file.write('first line\n');
  fs.renameSync(path, join(directory, 'old'));
  file.reopen();
  file.write('second line\n');
  file.reopen();
  expect(fs.readFileSync(path, 'utf8')).toBe('second line\n');
});

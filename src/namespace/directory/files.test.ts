import { afterAll, afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';

/** Lets a call fail: the error's code, undefined to let it be. */
let fault: (call: string) => string | undefined = () => undefined;
/** How many bytes the system reads or writes at a time. */
let portion = Infinity;
/** What is done to each file, in order. */
let calls: string[] = [];
const opened = new Set<number>();

function errorOf(call: string): NodeJS.ErrnoException | undefined {
  calls.push(call);
  const code = fault(call);
  return code === undefined ? undefined : Object.assign(new Error(code), { code });
}

type Done = (error: NodeJS.ErrnoException | null, value?: number) => void;

/** Calls that can fail, or do a part of what is asked for; they keep count of the files that are open. */
const recorded = {
  open: (path: string, flags: string | number, done: Done) => {
    fs.open(path, flags, (error, file) => {
      if (error === null) opened.add(file);
      done(error, file);
    });
  },
  openSync: (path: string, flags: number) => {
    const file = fs.openSync(path, flags);
    opened.add(file);
    return file;
  },
  fstatSync: (file: number) => {
    const error = errorOf('fstat');
    if (error) throw error;
    return fs.fstatSync(file);
  },
  read: (file: number, target: Uint8Array, start: number, size: number, position: null, done: Done) => {
    const error = errorOf('read');
    if (error) done(error);
    else fs.read(file, target, start, Math.min(size, portion), position, done);
  },
  readSync: (file: number, target: Uint8Array) => {
    const error = errorOf('readSync');
    if (error) throw error;
    return fs.readSync(file, target);
  },
  write: (file: number, content: Uint8Array, done: Done) => {
    const error = errorOf('write');
    if (error) done(error);
    else fs.write(file, content.subarray(0, portion), done);
  },
  writeSync: (file: number, content: Uint8Array) => {
    const error = errorOf('writeSync');
    if (error) throw error;
    return fs.writeSync(file, content.subarray(0, portion));
  },
  fsync: (file: number, done: Done) => {
    const error = errorOf('fsync');
    if (error) done(error);
    else fs.fsync(file, done);
  },
  futimes: (file: number, accessed: number, modified: number, done: Done) => {
    const error = errorOf('futimes');
    if (error) done(error);
    else fs.futimes(file, accessed, modified, done);
  },
  unlink: (path: string, done: Done) => {
    const error = errorOf('unlink');
    if (error) done(error);
    else fs.unlink(path, done);
  },
  close: (file: number, done: Done) => {
    calls.push('close');
    opened.delete(file);
    fs.close(file, done);
  },
  closeSync: (file: number) => {
    calls.push('closeSync');
    opened.delete(file);
    fs.closeSync(file);
  },
};
jest.unstable_mockModule('node:fs', () => ({ ...fs, ...recorded }));
const files = await import('./files.js');
const { InlineIOPolicy, WRITE_BACKOFF } = await import('./inline-io-policy.js');

const top = fs.realpathSync(fs.mkdtempSync(`${tmpdir()}/pyro-ns-files-`));
const directory = `${top}/d`;

beforeEach(() => {
  fs.mkdirSync(directory);
  calls = [];
});
afterEach(() => {
  fault = () => undefined;
  portion = Infinity;
  fs.rmSync(directory, { recursive: true });
  // No file stays open, whatever went wrong.
  expect(opened).toEqual(new Set());
});
afterAll(() => {
  fs.rmSync(top, { recursive: true });
});

const NOTHING = [
  ['where no entry is', 'none'],
  ['below what is not there', 'none/below'],
  ['below a file', 'file/below'],
  ['at a name that is too long to exist', 'x'.repeat(300)],
] as const;

/** Makes a file, a directory, a link, a link to itself and a FIFO. */
function makeAll(): void {
  fs.writeFileSync(`${directory}/file`, 'content');
  fs.mkdirSync(`${directory}/directory`);
  fs.symlinkSync('file', `${directory}/link`);
  fs.symlinkSync('loop', `${directory}/loop`);
  execFileSync('mkfifo', [`${directory}/fifo`]);
}

describe('what an error says', () => {
  it.each([
    [Object.assign(new Error('x'), { code: 'EIO' }), 'EIO'],
    [{ code: 'EIO' }, 'EIO'],
    [Object.assign(new Error('x'), { code: 5 }), undefined],
    [new Error('EIO'), undefined],
    ['EIO', undefined],
    [null, undefined],
    [undefined, undefined],
  ])('of %j is the code %s', (error, code) => {
    expect(files.codeOf(error)).toBe(code);
  });

  it.each([
    ['ENOENT', true],
    ['ENOTDIR', true],
    ['ENAMETOOLONG', true],
    ['EACCES', false],
    ['', false],
    [undefined, false],
  ])('with the code %j is that there is nothing: %s', (code, isAbsent) => {
    expect(files.saysAbsent(Object.assign(new Error('x'), { code }))).toBe(isAbsent);
  });
});

describe.each([
  ['inspect', (path: string) => files.inspect(path)],
  [
    'inspectNow',
    (path: string) =>
      new Promise((resolve) => {
        resolve(files.inspectNow(path));
      }),
  ],
])('%s', (_, inspect) => {
  beforeEach(makeAll);

  it.each(['file', 'directory', 'link', 'loop', 'fifo'])('tells of a %s itself', async (what) => {
    expect(await inspect(`${directory}/${what}`)).toMatchObject({ ino: fs.lstatSync(`${directory}/${what}`).ino });
  });

  it.each(NOTHING)('finds nothing %s', async (_where, path) => {
    expect(await inspect(`${directory}/${path}`)).toBeUndefined();
  });

  it('fails where it can not be told', async () => {
    await expect(inspect(`${directory}/loop/below`)).rejects.toMatchObject({ code: 'ELOOP' });
  });
});

describe.each([
  ['readFileAt', (path: string, limit: number) => files.readFileAt(path, limit)],
  [
    'readFileNow',
    (path: string, limit: number) =>
      new Promise<ReturnType<typeof files.readFileNow>>((resolve) => {
        resolve(files.readFileNow(path, limit));
      }),
  ],
])('%s', (how, read) => {
  beforeEach(makeAll);

  it('reads a file', async () => {
    const { ino } = fs.statSync(`${directory}/file`);
    const reading = await read(`${directory}/file`, 100);
    expect(reading).toMatchObject({ kind: 'file', content: Buffer.from('content'), stats: { ino } });
  });

  it('reads an empty file', async () => {
    fs.writeFileSync(`${directory}/file`, '');
    expect(await read(`${directory}/file`, 0)).toMatchObject({ kind: 'file', content: Buffer.alloc(0) });
  });

  it('reads files up to the limit, and none that is larger', async () => {
    expect(await read(`${directory}/file`, 7)).toMatchObject({ kind: 'file' });
    expect(await read(`${directory}/file`, 6)).toEqual({ kind: 'too large' });
  });

  it('reads what is left of a file that is made shorter meanwhile', async () => {
    fault = (call) => {
      if (call.startsWith('read')) fs.truncateSync(`${directory}/file`, 3);
      return undefined;
    };
    expect(await read(`${directory}/file`, 100)).toMatchObject({ kind: 'file', content: Buffer.from('con') });
  });

  it('reads no more than was there at first of a file that grows meanwhile', async () => {
    fault = (call) => {
      if (call.startsWith('read')) fs.appendFileSync(`${directory}/file`, ' and more');
      return undefined;
    };
    expect(await read(`${directory}/file`, 100)).toMatchObject({ kind: 'file', content: Buffer.from('content') });
  });

  it.each([
    ['directory', 'directory'],
    ['link', 'other'],
    ['loop', 'other'],
    ['fifo', 'other'],
  ])('neither waits for a %s nor follows it, and says what it is', async (what, kind) => {
    expect(await read(`${directory}/${what}`, 100)).toEqual({ kind });
  });

  it('says what a socket is', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(`${directory}/socket`, resolve));
    expect(await read(`${directory}/socket`, 100)).toEqual({ kind: 'other' });
    await new Promise((resolve) => server.close(resolve));
  });

  it.each(NOTHING)('finds nothing %s', async (_where, path) => {
    expect(await read(`${directory}/${path}`, 100)).toBeUndefined();
  });

  it.each(['fstat', how === 'readFileAt' ? 'read' : 'readSync'])('fails where %s does', async (failing) => {
    fault = (call) => (call === failing ? 'EIO' : undefined);
    await expect(read(`${directory}/file`, 100)).rejects.toMatchObject({ code: 'EIO' });
  });
});

it('readFileAt puts together what comes in parts', async () => {
  fs.writeFileSync(`${directory}/file`, 'content');
  portion = 3;
  expect(await files.readFileAt(`${directory}/file`, 100)).toMatchObject({ content: Buffer.from('content') });
});

describe('writeNewFile', () => {
  const inline = new InlineIOPolicy(true, { slowMs: Infinity, backoffMs: 0 });
  const offload = new InlineIOPolicy(false, WRITE_BACKOFF);
  const path = `${directory}/new`;
  const small = Buffer.alloc(4096, 'abc');
  const large = Buffer.alloc(4097, 'abc');

  it.each([
    ['inline where that is allowed and the content is small', small, inline, 'writeSync'],
    ['in another thread where the content is large', large, inline, 'write'],
    ['in another thread where it may take long', small, offload, 'write'],
  ])('writes %s', async (_, content, inlineIO, call) => {
    await files.writeNewFile(path, content, { sync: false, inlineIO });
    expect(fs.readFileSync(path)).toEqual(content);
    expect(calls).toEqual([call, 'close']);
  });

  it.each([inline, offload])('writes all of it, in as many parts as the system takes', async (inlineIO) => {
    portion = 1000;
    await files.writeNewFile(path, small, { sync: false, inlineIO });
    expect(fs.readFileSync(path)).toEqual(small);
  });

  it('makes an empty file', async () => {
    await files.writeNewFile(path, new Uint8Array(), { sync: false, inlineIO: offload });
    expect(fs.readFileSync(path, 'latin1')).toBe('');
  });

  it('has all of it on the disk at the end, its time too', async () => {
    await files.writeNewFile(path, small, { sync: true, timestamp: 1_000_000_000.25, inlineIO: offload });
    expect(calls).toEqual(['write', 'futimes', 'fsync', 'closeSync']);
    expect(fs.statSync(path)).toMatchObject({ atimeMs: 1_000_000_000_250, mtimeMs: 1_000_000_000_250 });
  });

  it('may make it as old as time itself', async () => {
    await files.writeNewFile(path, small, { sync: false, timestamp: 0, inlineIO: offload });
    expect(fs.statSync(path).mtimeMs).toBe(0);
  });

  it('leaves alone what is there', async () => {
    fs.writeFileSync(path, 'theirs');
    await expect(files.writeNewFile(path, small, { sync: true, inlineIO: offload })).rejects.toMatchObject({
      code: 'EEXIST',
    });
    expect(fs.readFileSync(path, 'latin1')).toBe('theirs');
  });

  it.each(['write', 'futimes', 'fsync'])('leaves nothing where %s fails', async (failing) => {
    fault = (call) => (call === failing ? 'ENOSPC' : undefined);
    const written = files.writeNewFile(path, small, { sync: true, timestamp: 1, inlineIO: offload });
    await expect(written).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(fs.existsSync(path)).toBe(false);
  });

  it('leaves nothing where an inline write fails', async () => {
    fault = (call) => (call === 'writeSync' ? 'ENOSPC' : undefined);
    const written = files.writeNewFile(path, small, { sync: true, inlineIO: inline });
    await expect(written).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(fs.existsSync(path)).toBe(false);
  });

  it('fails as it did where it can not be removed either', async () => {
    fault = (call) => ({ write: 'ENOSPC', unlink: 'EROFS' })[call];
    await expect(files.writeNewFile(path, small, { sync: true, inlineIO: offload })).rejects.toMatchObject({
      code: 'ENOSPC',
    });
  });
});

describe('syncDirectory', () => {
  it('has a directory on the disk', async () => {
    await files.syncDirectory(directory);
    expect(calls).toEqual(['fsync', 'closeSync']);
  });

  it('fails where the disk does, or where there is no directory', async () => {
    fault = (call) => (call === 'fsync' ? 'EIO' : undefined);
    await expect(files.syncDirectory(directory)).rejects.toMatchObject({ code: 'EIO' });
    await expect(files.syncDirectory(`${directory}/none`)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

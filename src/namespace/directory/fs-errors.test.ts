import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { silentLog } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { Name } from '../../names/index.js';
import { FsErrors } from './fs-errors.js';

const DENIED = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
const NAME = Name.parse(':G.x');

let logged: unknown[][];
let fsErrors: FsErrors;
beforeEach(() => {
  logged = [];
  fsErrors = new FsErrors({ ...silentLog, error: (...words) => logged.push(words) }, '/srv/pyro');
});

describe('an error of the system', () => {
  const FULL = ['no space left in the database', 'Make room on the file system of the database.'] as const;
  const FORBIDDEN = [
    'no permission in the database',
    'Let the user that this server runs as read and write all of the database directory.',
  ] as const;
  const BROKEN = [
    'input/output error in the database',
    'The disk or the connection to it fails: look at the system log.',
  ] as const;
  const BUSY = [
    'too many open files',
    'Raise the limit of open files (ulimit -n), or have fewer connections.',
  ] as const;
  const DIVIDED = [
    'the database spans file systems',
    'Keep all of the database on one file system: unmount what is mounted in it.',
  ] as const;

  it.each<[string, readonly [text: string, advice: string]]>([
    ['ENOSPC', FULL],
    ['EDQUOT', FULL],
    ['EACCES', FORBIDDEN],
    ['EPERM', FORBIDDEN],
    ['EROFS', ['the database is read-only', 'Mount the file system of the database for writing.']],
    ['EIO', BROKEN],
    ['ESTALE', BROKEN],
    ['EMFILE', BUSY],
    ['ENFILE', BUSY],
    ['ENOENT', ['the database is missing', 'The database directory is gone: put it back.']],
    ['EXDEV', DIVIDED],
    ['EBUSY', DIVIDED],
    ['EOTHER', ['error in the database', 'Look at the error, and at the database directory.']],
  ])('%s is told to clients without a path, and to the log with what to do', (code, [text, advice]) => {
    const error = Object.assign(new Error(`${code}: failed, open '/srv/pyro/G/x'`), { code });
    expect(fsErrors.toNamingError(error, NAME)).toEqual(new NamingError(text, ':G.x'));
    expect(logged).toEqual([
      ['DirectoryNamespace', `${text}:`, String(error), `Name: :G.x. Database: /srv/pyro. ${advice}`],
    ]);
    expect(fsErrors.count).toBe(1);
  });

  it('of a name that is too long is a refusal, and no fault', () => {
    const error = Object.assign(new Error('ENAMETOOLONG'), { code: 'ENAMETOOLONG' });
    expect(fsErrors.toNamingError(error, NAME)).toEqual(new NamingError('name too long', ':G.x'));
    expect([logged, fsErrors.count]).toEqual([[], 0]);
  });

  it.each([
    ['a refusal', Object.assign(new NamingError('name not found', ':G.x'), { code: 'EIO' })],
    ['a mistake of our own', new TypeError('undefined is no function')],
    ['something else that was thrown', 'text'],
  ])('is not %s, which stays as it is', (_, error) => {
    expect(fsErrors.toNamingError(error, NAME)).toBe(error);
    expect([logged, fsErrors.count]).toEqual([[], 0]);
  });
});

describe('a fault that happens again', () => {
  const report = (what: string, error: unknown = DENIED) => {
    fsErrors.report(what, error, 'Let the server read it.');
  };
  const told = () => logged.map(([, what]) => what);

  let now = 1000;
  const pass = (milliseconds: number) => {
    now += milliseconds;
    // The cache asks for the time once in a while.
    jest.advanceTimersByTime(milliseconds);
  };

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['performance'] });
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });
  afterEach(() => {
    jest.restoreAllMocks();
    jest.useRealTimers();
  });

  it('is logged every ten seconds, each', () => {
    for (let round = 0; round < 2; round++) for (const what of ['first', 'second']) report(what);
    pass(9_900);
    report('first');
    expect(told()).toEqual(['first', 'second']);
    pass(200);
    report('first');
    expect(told()).toEqual(['first', 'second', 'first']);
  });

  it('with another error is another', () => {
    report('first');
    report('first', Object.assign(new Error('EIO'), { code: 'EIO' }));
    report('first', 'no error of the system');
    report('first', new Error('another'));
    expect(logged.map(([, , error]) => String(error))).toEqual([
      'Error: EACCES: permission denied',
      'Error: EIO',
      'no error of the system',
    ]);
  });

  it('is forgotten where too many are remembered', () => {
    report('first');
    for (let index = 0; index < 10_000; index++) report(`file ${index}`);
    report('file 9999');
    expect(logged).toHaveLength(10_001);
    report('first');
    expect(told().at(-1)).toBe('first');
  });
});

import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { loadConfig } from './config.js';
import { createLog, createUserLog, silentLog } from './log.js';
import { ITEM_NAMES, type Config, type ConfigItemName } from './items.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-log-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

const configure = (environment: Record<string, string>): Config =>
  loadConfig({ environment, currentDirectory: directory });

const written = (name = 'Pyro_log') => readFileSync(join(directory, name), 'utf8');

/** Logs with all levels, then gives what was written. */
const logged = (environment: Record<string, string>) => {
  const log = createLog(configure(environment));
  log.msg('Source', 'a', 'note');
  log.warn('Source', 'a warning');
  log.error('Source', 'an error');
  log.reopen();
  return existsSync(join(directory, 'Pyro_log')) ? written().trimEnd().split('\n') : [];
};

describe('the log', () => {
  it('has the lines of Pyro', () => {
    const line = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[\d+:MainThread\] \*\* (NOTE|WARN|ERR!) \*\* Source \*\* (.*)$/;
    expect(logged({ PYRO_TRACELEVEL: '3' }).map((text) => line.exec(text)?.slice(1))).toEqual([
      ['NOTE', 'a note'],
      ['WARN', 'a warning'],
      ['ERR!', 'an error'],
    ]);
  });

  it.each([
    ['0', 0],
    ['1', 1],
    ['2', 2],
    ['3', 3],
  ])('at level %s has so many of three severities', (level, count) => {
    expect(logged({ PYRO_TRACELEVEL: level })).toHaveLength(count);
  });

  it('looks at the level for each line, and calls nothing below it', () => {
    const config = configure({ PYRO_TRACELEVEL: '1' });
    const log = createLog(config);
    log.msg('Source', () => {
      throw new Error('called');
    });
    config.PYRO_TRACELEVEL = 3;
    log.msg('Source', 'one', () => 2, undefined);
    log.reopen();
    expect(written()).toMatch(/^[^\n]* \*\* Source \*\* one 2 undefined\n$/);
  });

  it('writes errors with their causes, and never throws', () => {
    const log = createLog(configure({ PYRO_TRACELEVEL: '3' }));
    log.error('Source', new Error('outer', { cause: new Error('inner') }));
    log.error('Source', Object.create(null), () => {
      throw new Error('called');
    });
    log.reopen();
    const [first, second] = written().split('\n');
    expect(first).toMatch(/Error: outer\\n +at .*Error: inner/);
    expect(second).toMatch(/\*\* \(unprintable\) \(unprintable\)$/);
  });

  it.each(['0', '1'])('is one line for one call, whatever a peer sends (PYRO_STDLOGGING %s)', (structured) => {
    const log = createLog(configure({ PYRO_TRACELEVEL: '3', PYRO_STDLOGGING: structured }));
    let lines = 0;
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (source, text) => {
        log.msg(source, text);
        lines += 1;
      }),
    );
    log.msg('Source', 'x'.repeat(100_000));
    log.reopen();
    const content = written();
    expect(content.split(/[\n\r\u2028\u2029]/)).toHaveLength(lines + 2);
    expect(content.length).toBeLessThan(lines * 1000 + 20_000);
  });

  it('is opened again after it was renamed', () => {
    const log = createLog(configure({ PYRO_TRACELEVEL: '3' }));
    log.msg('Source', 'before');
    renameSync(join(directory, 'Pyro_log'), join(directory, 'Pyro_log.1'));
    log.msg('Source', 'between');
    log.reopen();
    log.msg('Source', 'after');
    log.reopen();
    expect(written('Pyro_log.1')).toMatch(/before\n.*between\n$/);
    expect(written()).toMatch(/^[^\n]*after\n$/);
  });

  it('has JSON lines with PYRO_STDLOGGING', () => {
    const lines = logged({ PYRO_TRACELEVEL: '2', PYRO_STDLOGGING: '1' });
    expect(lines.map((line): unknown => JSON.parse(line))).toMatchObject([
      { level: 'warn', source: 'Source', msg: 'a warning', pid: process.pid },
      { level: 'error', source: 'Source', msg: 'an error' },
    ]);
  });

  it.each(['0', '1'])('begins with the configuration, but no passphrase (PYRO_STDLOGGING %s)', (structured) => {
    const environment = { PYRO_NS_IDENTIFICATION: 'sesame', PYRO_STDLOGGING: structured, PYRO_TRACELEVEL: '1' };
    const log = createLog(configure(environment));
    log.startSession('pyro-ns 1.0.0');
    log.reopen();
    expect(written()).toContain('NEW SESSION');
    expect(written()).toContain('pyro-ns 1.0.0');
    expect(written()).toMatch(/PYRO_NS_PORT( = |":")9090/);
    expect(written()).toMatch(/PYRO_NS_IDENTIFICATION( = |":")\(not shown\)/);
    expect(written()).not.toContain('sesame');
  });

  const SETTINGS = { PYRO_NS_IDENTIFICATION: 'sesame', PYRO_TRACELEVEL: '1', PYRO_CHECKSUM: '1' };
  const settingOf = (name: ConfigItemName): string => {
    const value = configure(SETTINGS)[name];
    if (name === 'PYRO_NS_IDENTIFICATION') return '(not shown)';
    return value === undefined ? '' : value === true ? '1' : value === false ? '0' : String(value);
  };

  it('begins a session as Pyro does', () => {
    jest.useFakeTimers({ now: new Date(2026, 0, 2, 3, 4, 5) });
    const log = createLog(configure(SETTINGS));
    log.startSession('pyro-ns 1.0.0');
    log.error('Source', 'text');
    log.reopen();
    jest.useRealTimers();
    expect(written()).toBe(
      [
        '',
        '------------------------------------------------------------ NEW SESSION',
        '2026-01-02 03:04:05   Pyro Initializing, version pyro-ns 1.0.0',
        'Configuration settings are as follows:',
        ...ITEM_NAMES.map((name) => `${name} = ${settingOf(name)}`),
        'Init done.',
        '----------------------------------------------------------------------',
        `2026-01-02 03:04:05 [${process.pid}:MainThread] ** ERR! ** Source ** text`,
        '',
      ].join('\n'),
    );
  });

  it('begins a session as one JSON line with PYRO_STDLOGGING', () => {
    const settings = { ...SETTINGS, PYRO_STDLOGGING: '1' };
    const log = createLog(configure(settings));
    log.startSession('pyro-ns 1.0.0');
    log.reopen();
    const expected = Object.fromEntries(ITEM_NAMES.map((name) => [name, settingOf(name)]));
    expect(JSON.parse(written())).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      pid: process.pid,
      hostname: hostname(),
      source: 'Pyro',
      program: 'pyro-ns 1.0.0',
      settings: { ...expected, PYRO_STDLOGGING: '1' },
      msg: 'NEW SESSION',
    });
  });

  it('of this process begins with what looks misspelt in its environment, once', async () => {
    const environment = { ...process.env };
    Object.assign(process.env, { PYRO_LOGFILE: join(directory, 'own'), PYRO_TRACELEVEL: '2', PYRO_NS_SNYC: '1' });
    try {
      jest.resetModules();
      const { defaultLog } = await import('./log.js');
      const log = defaultLog();
      expect(defaultLog()).toBe(log);
      log.reopen();
    } finally {
      process.env = environment;
    }
    const warning = 'environment: unknown configuration item PYRO_NS_SNYC, did you mean PYRO_NS_SYNC?';
    const lines = written('own').trimEnd().split('\n');
    expect(lines.map((line) => line.slice(line.indexOf('**')))).toEqual([`** WARN ** Configuration ** ${warning}`]);
  });

  it('is silent at level 0, the start of the session too', () => {
    createLog(configure({})).startSession('pyro-ns');
    silentLog.error('Source', 'text');
    expect(existsSync(join(directory, 'Pyro_log'))).toBe(false);
  });
});

it('has a log of its own for the user', () => {
  const log = createUserLog(configure({ PYRO_USER_TRACELEVEL: '1' }));
  log.error('Source', 'mine');
  log.reopen();
  expect(written('Pyro_userlog')).toMatch(/mine\n$/);
  expect(existsSync(join(directory, 'Pyro_log'))).toBe(false);
});

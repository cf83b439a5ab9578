import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { NamingError } from '../errors.js';
import { loadConfig } from './config.js';
import { createLog, silentLog, type Log } from './log.js';
import { PeerLog } from './peer-log.js';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MINUTE = 60_000;

let lines: string[];
let log: PeerLog;

/** A log that keeps what is written. */
const keeping = (): Log => {
  const write =
    (severity: string) =>
    (...parts: unknown[]) => {
      lines.push([severity, ...parts.map(String)].join(' '));
    };
  return { ...silentLog, msg: write('note'), warn: write('warning'), error: write('error') };
};

beforeEach(() => {
  jest.useFakeTimers();
  lines = [];
  log = new PeerLog(keeping());
});

afterEach(() => {
  jest.useRealTimers();
});

const warn = (count: number, peer = 'host', kind = 'refused'): void => {
  for (let number = 0; number < count; number += 1) log.warn(peer, 'Source', kind, 'name');
};

describe("what is written of a peer's doings", () => {
  test('is the line as it would be, of all severities', () => {
    log.msg('host', 'Source', 'done', 'a', 1);
    log.warn('host', 'Source', 'refused', { toString: () => 'thing' });
    log.error('host', 'Source', 'failed', new Error('text'));
    expect(lines).toEqual(['note Source done a 1', 'warning Source refused thing', 'error Source failed Error: text']);
  });

  test('has a hundred characters of each text', () => {
    log.warn('host', 'Source', 'refused', 'x'.repeat(100), 'y'.repeat(10_000), { toString: () => 'z\n'.repeat(100) });
    const [line] = lines;
    const cut = `${'y'.repeat(100)}... (10000 characters) ${'z\\n'.repeat(50)}... (200 characters)`;
    expect(line).toBe(`warning Source refused ${'x'.repeat(100)} ${cut}`);
  });

  test("has the texts of an error of Pyro's in one line, and of another one the stack", () => {
    const directory = mkdtempSync(join(tmpdir(), 'pyro-ns-peer-log-'));
    const environment = { PYRO_TRACELEVEL: '2', PYRO_LOGFILE: join(directory, 'log') };
    const file = createLog(loadConfig({ environment, currentDirectory: directory }));
    log = new PeerLog(file);
    log.warn('host', 'Source', 'refused', new NamingError('name not found', ':x'));
    log.warn('host', 'Source', 'refused', new NamingError(`no ${'x'.repeat(10_000)}`));
    log.error('host', 'Source', 'failed', new Error('mistake'));
    log.warn('host', 'Source', 'refused', Object.create(null));
    file.reopen();
    const written = readFileSync(environment.PYRO_LOGFILE, 'utf8').split('\n');
    rmSync(directory, { recursive: true });
    expect(written[0]).toMatch(/Source \*\* refused NamingError: name not found: :x$/);
    expect(written[1]).toMatch(/refused NamingError: no x{284}\.\.\. \(10016 characters\)$/);
    expect(written[2]).toMatch(/failed Error: mistake\\n +at /);
    expect(written[3]).toMatch(/refused \(unprintable\)$/);
  });

  test('is twenty lines a minute of a kind, then their number', () => {
    warn(1254);
    expect(lines).toHaveLength(20);
    jest.advanceTimersByTime(MINUTE);
    expect(lines.slice(20)).toEqual(['warning Source refused ... and 1,234 more like it from host']);
    warn(1);
    expect(lines).toHaveLength(22);
  });

  test('is told before the next line of a new minute', () => {
    warn(20);
    jest.advanceTimersByTime(MINUTE - 1);
    warn(2);
    jest.setSystemTime(0);
    jest.advanceTimersByTime(1);
    warn(1);
    expect(lines.slice(20)).toEqual([
      'warning Source refused ... and 2 more like it from host',
      'warning Source refused name',
    ]);
  });

  test('is counted for each peer and each kind by itself', () => {
    warn(30);
    warn(30, 'other');
    warn(30, 'host', 'lost');
    log.error('host', 'Source', 'refused');
    log.warn(undefined, 'Source', 'refused');
    expect(lines).toHaveLength(62);
  });

  test('are more notes, which are a record of changes', () => {
    for (let number = 0; number < 700; number += 1) log.msg('host', 'Source', 'registered', number);
    expect(lines).toHaveLength(600);
  });

  test('is told at the end', () => {
    warn(21);
    warn(5, 'other');
    log.flush();
    expect(lines.slice(25)).toEqual(['warning Source refused ... and 1 more like it from host']);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('is counted for a thousand peers; the oldest is told of and forgotten', () => {
    warn(21, 'first');
    for (let number = 0; number < 999; number += 1) warn(1, `host${number}`);
    expect(lines).toHaveLength(20 + 999);
    warn(1, 'another');
    expect(lines.slice(-2)).toEqual([
      'warning Source refused ... and 1 more like it from first',
      'warning Source refused name',
    ]);
  });
});

import { afterEach, expect, it, jest } from '@jest/globals';
import * as fs from 'node:fs';
import { loadConfig, silentLog } from '../config/index.js';

let failure: Error | undefined;
const openSync = (...args: Parameters<typeof fs.openSync>): number => {
  if (failure) throw failure;
  return fs.openSync(...args);
};
jest.unstable_mockModule('node:fs', () => ({ ...fs, openSync }));
const { maxOpenFiles, OpenFilesMonitor, openFilesWarning, saysTooManyFiles } = await import('./open-files.js');

afterEach(() => {
  failure = undefined;
  jest.useRealTimers();
});

const systemError = (code: string) => Object.assign(new Error(`${code}: an error`), { code });

it('knows how many files may be open', () => {
  const limits = fs.readFileSync('/proc/self/limits', 'latin1');
  expect(limits).toMatch(new RegExp(`^Max open files +${maxOpenFiles()} `, 'm'));
});

it('warns where fewer files may be open than the configured connections need', () => {
  const environment = { PYRO_MAXCONNECTIONS: '100', PYRO_MAX_HANDSHAKES: '50' };
  const config = loadConfig({ environment, currentDirectory: '/' });
  expect(openFilesWarning(config, 300)).toBeUndefined();
  expect(openFilesWarning(config, 299)).toBe(
    'at most 299 files may be open at once, and 300 are needed for PYRO_MAXCONNECTIONS=100. ' +
      'Raise the limit of open files (ulimit -n), or lower PYRO_MAXCONNECTIONS.',
  );
});

it('counts three of four connections more for those not let in yet, where nothing else is configured', () => {
  const config = loadConfig({ environment: { PYRO_MAXCONNECTIONS: '100' }, currentDirectory: '/' });
  expect(openFilesWarning(config, 325)).toBeUndefined();
  expect(openFilesWarning(config, 324)).toContain('325 are needed');
});

it('tells too many files from other errors', () => {
  expect(['EMFILE', 'ENFILE', 'ECONNABORTED'].map((code) => saysTooManyFiles(systemError(code)))).toEqual([
    true,
    true,
    false,
  ]);
  expect(saysTooManyFiles(new Error('EMFILE'))).toBe(false);
  expect(saysTooManyFiles(undefined)).toBe(false);
});

it('logs that no more connections can be accepted, as a line, and not each time', () => {
  jest.useFakeTimers();
  const lines: unknown[][] = [];
  const monitor = new OpenFilesMonitor({ ...silentLog, error: (...parts) => void lines.push(parts) });
  monitor.check();
  failure = systemError('EACCES');
  monitor.check();
  expect(lines).toEqual([]);
  failure = systemError('EMFILE');
  for (let count = 0; count < 3; count += 1) monitor.check();
  const advice = 'Raise the limit of open files (ulimit -n), or lower PYRO_MAXCONNECTIONS.';
  const line = ['TCPServer', 'no more connections can be accepted:', 'Error: EMFILE: an error', advice];
  expect(lines).toEqual([line]);
  jest.advanceTimersByTime(9_999);
  monitor.check();
  expect(lines).toHaveLength(1);
  jest.advanceTimersByTime(1);
  monitor.report(systemError('EMFILE'));
  expect(lines).toEqual([line, line]);
});

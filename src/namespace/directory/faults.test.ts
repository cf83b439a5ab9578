import { expect, test } from '@jest/globals';
import { silentLog } from '../../config/index.js';
import { Faults } from './faults.js';

const DENIED = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });

test('are logged once in a while, each, and not all of them are remembered', () => {
  const logged: unknown[] = [];
  const log = { ...silentLog, error: (_source: string, what: unknown) => logged.push(what) };
  const faults = new Faults(log, '/srv/pyro');
  const report = (path: string) => {
    faults.report(path, DENIED, 'Let the server read it.');
  };
  for (let round = 0; round < 2; round++) for (const path of ['first', 'second']) report(path);
  expect(logged).toEqual(['first', 'second']);
  for (let index = 0; index < 10_000; index++) report(`file ${index}`);
  report('file 9999');
  expect(logged).toHaveLength(10_002);
  // That it is logged again shows that it was forgotten.
  report('first');
  expect(logged.at(-1)).toBe('first');
});

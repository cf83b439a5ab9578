import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { describePlan, executePlan } from './plan.js';
import { ServiceError } from './request.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-plan-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

it('writes, runs and removes in order', () => {
  const file = join(directory, 'below', 'file');
  const status = executePlan([
    { write: file, content: 'text\n', mode: 0o640 },
    { run: ['cp', file, `${file}.copy`] },
    { remove: file },
    { remove: file },
  ]);
  expect(status).toBe(0);
  expect(existsSync(file)).toBe(false);
  expect(readFileSync(`${file}.copy`, 'utf8')).toBe('text\n');
});

it('gives a file the mode that was asked for, also where it was there before', () => {
  const file = join(directory, 'file');
  writeFileSync(file, 'before', { mode: 0o600 });
  executePlan([{ write: file, content: 'after', mode: 0o644 }]);
  expect(statSync(file).mode & 0o777).toBe(0o644);
});

it('ends with the status of the first command that fails, unless it may', () => {
  const file = join(directory, 'file');
  const status = executePlan([
    { run: ['sh', '-c', 'exit 2'], mayFail: true },
    { run: ['sh', '-c', 'exit 3'] },
    { write: file, content: '', mode: 0o644 },
  ]);
  expect(status).toBe(3);
  expect(existsSync(file)).toBe(false);
});

it('says what can not be written or run', () => {
  writeFileSync(join(directory, 'file'), '');
  const below = join(directory, 'file', 'below');
  expect(() => executePlan([{ write: below, content: '', mode: 0o644 }])).toThrow(ServiceError);
  expect(() => executePlan([{ run: [join(directory, 'none')] }])).toThrow(ServiceError);
});

it('is described exactly', () => {
  const plan = [
    { write: '/etc/file', content: 'one\ntwo', mode: 0o644 },
    { run: ['command', "it's", 'a b', '$HOME', '-x'], mayFail: true },
    { remove: '/etc/file' },
  ] as const;
  expect(describePlan(plan)).toBe(
    "# write /etc/file (mode 644):\none\ntwo\n# end of /etc/file\ncommand 'it'\\''s' 'a b' '$HOME' -x  # may fail\n# remove /etc/file\n",
  );
});

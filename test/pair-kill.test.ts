import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const CAMPAIGN = fileURLToPath(new URL('../scripts/campaigns/pair.mjs', import.meta.url));

test.each([
  ['in memory', '8', []],
  ['with a database', '4', ['--persistent']],
])(
  'a pair %s loses nothing that was acknowledged when either is killed, and clients of both notice nothing',
  async (_how, kills, options) => {
    // It ends with an error where anything is lost.
    const { stdout } = await promisify(execFile)(process.execPath, [
      CAMPAIGN,
      '--kills',
      kills,
      '--node',
      '3',
      ...options,
    ]);
    expect(stdout).toMatch(/, 0 problems;/);
  },
  90_000,
);

import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import process from 'node:process';
import { writeRedirectPage } from './redirect-page.js';

const ADDRESS = 'http://127.0.0.1:1/#ticket=secret';

let mask: number;
let atExit: () => void;

beforeEach(() => {
  // The most that a user can allow others.
  mask = process.umask(0);
  atExit = () => undefined;
  jest.spyOn(process, 'once').mockImplementation((_event, listener) => {
    atExit = () => {
      listener(0);
    };
    return process;
  });
});

afterEach(() => {
  atExit();
  jest.restoreAllMocks();
  process.umask(mask);
});

test('a page with the secret address can be read by nobody else, and is not where others can put one', async () => {
  const page = await writeRedirectPage(ADDRESS);
  expect([page, dirname(page)].map((path) => statSync(path).mode & 0o777)).toEqual([0o600, 0o700]);
  expect(readFileSync(page, 'utf8')).toContain(`content="0; url=${ADDRESS}"`);
  // What is on the command line of the browser.
  expect(page).not.toContain('secret');
});

test('it is gone when the process has ended', async () => {
  const page = await writeRedirectPage(ADDRESS);
  atExit();
  expect(existsSync(dirname(page))).toBe(false);
});

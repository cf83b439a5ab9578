// `npm run test:mutation -- ROOM [FILE ...]`: mutation testing of a room (a folder of src) by its own unit and property
// tests. It changes the code in one place at a time, and lists the changes that no test notices. See CONTRIBUTING.md.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Stryker } from '@stryker-mutator/core';
import jest from '../jest.config.js';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    concurrency: { type: 'string', default: '2' },
    force: { type: 'boolean', default: false },
    tests: { type: 'string', multiple: true, default: ['*.test.ts'] },
  },
});
const [room, ...files] = positionals;
const folder = `src/${room}`;
const missing = [folder, ...files.map((file) => `${folder}/${file}`)].find((path) => !existsSync(path));
if (room === undefined || missing !== undefined) {
  console.error(missing && room ? `there is no ${missing}` : 'no room was given');
  console.error('usage: npm run test:mutation -- ROOM [FILE ...] [--tests FILE ...] [--concurrency N] [--force]');
  console.error('for example: npm run test:mutation -- namespace/directory cache.ts --tests "cache*.test.ts"');
  process.exit(2);
}

const report = `reports/mutation/${room.replaceAll('/', '-')}`;
await new Stryker({
  // Tests and what only tests use are not mutated.
  mutate: [
    ...(files.length > 0 ? files.map((file) => `${folder}/${file}`) : [`${folder}/*.{ts,tsx}`]),
    `!${folder}/*.{test,suite,model}.ts`,
    `!${folder}/index.ts`,
  ],
  testRunner: 'jest',
  // Mutated code needs a larger stack: the tests of deep nesting overflow the usual one.
  testRunnerNodeArgs: ['--experimental-vm-modules', '--no-warnings', '--stack-size=3000'],
  jest: {
    projectType: 'custom',
    config: {
      ...jest,
      // All tests of the room, or those alone that are about the file: they are fast.
      testMatch: options.tests.map((tests) => `<rootDir>/${folder}/${tests}`),
      // The change of a mutant may well leave files behind: that is no fault of the run.
      globalSetup: null,
      globalTeardown: null,
    },
  },
  coverageAnalysis: 'perTest',
  disableTypeChecks: true,
  ignorePatterns: ['/dist', '/reports', '/storage', '/coverage'],
  tempDirName: 'reports/stryker-tmp',
  concurrency: Number(options.concurrency),
  // A mutant that runs for ever counts as noticed; on a busy machine a slow test run must not.
  timeoutMS: 10_000,
  incremental: true,
  // Tries all again: without it, new tests are not tried on what is computed once, when a module is loaded.
  force: options.force,
  incrementalFile: `${report}.json`,
  reporters: ['clear-text', 'html', 'progress-append-only'],
  htmlReporter: { fileName: `${report}.html` },
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  thresholds: { high: 95, low: 85, break: null },
  allowConsoleColors: false,
}).runMutationTest();

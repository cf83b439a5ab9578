/**
 * Two servers of a pair in one process, with steps chosen at random: changes at both, a network that is cut and delays,
 * restarts. The test of src/naming/twin/pair.property.test.ts does so with the same few runs each time; this does many, of
 * other steps each time. A failure prints the fewest steps that lead to it, and the seed and path that repeat it.
 *
 *     node scripts/campaigns/pair-model.mjs [RUNS]
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const [runs = '5000'] = process.argv.slice(2);
if (!/^[1-9]\d*$/.test(runs)) {
  console.error('usage: node scripts/campaigns/pair-model.mjs [RUNS]');
  process.exit(2);
}
const jest = ['node_modules/jest/bin/jest.js', '--ci', 'src/naming/twin/pair.property.test.ts'];
const { status } = spawnSync(process.execPath, ['--experimental-vm-modules', '--no-warnings', ...jest], {
  cwd: root,
  env: { ...process.env, PAIR_RUNS: runs },
  stdio: 'inherit',
});
process.exit(status ?? 1);

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from '@jest/globals';

const campaign = fileURLToPath(new URL('../scripts/campaigns/crash.mjs', import.meta.url));

it('loses nothing that was acknowledged when the server is killed', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [campaign, '--rounds', '4', '--writers', '8']);
  expect(stdout).toContain('none lost, none torn');
}, 60_000);

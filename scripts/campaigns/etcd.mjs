// `node scripts/campaigns/etcd.mjs [SECONDS]`, after `npm run build`: test/etcd-cluster.test.ts for as long as that (an
// hour), with what goes wrong in random order. Needs etcd (Debian: etcd-server, etcd-client).
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const [seconds = '3600'] = process.argv.slice(2);
if (!/^\d+$/.test(seconds)) {
  process.stderr.write('usage: node scripts/campaigns/etcd.mjs [SECONDS]\n');
  process.exit(2);
}
const { status } = spawnSync('npm', ['run', 'test:only', '--', 'test/etcd-cluster'], {
  cwd: fileURLToPath(new URL('../..', import.meta.url)),
  env: { ...process.env, ETCD_CAMPAIGN_SECONDS: seconds },
  stdio: 'inherit',
});
process.exit(status ?? 1);

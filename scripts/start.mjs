// `npm start [-- options of pyro-ns]`: installs, builds, and serves storage/Pyro_NS_database.
import './install.mjs';
import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

for (const step of [['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], ['scripts/build-console.mjs']]) {
  const { status } = spawnSync(process.execPath, step, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

const server = spawn(process.execPath, [`${root}dist/commands/pyro-ns.cjs`, '-d', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
  env: { PYRO_STORAGE: `${root}storage`, ...process.env },
});
// Ctrl-C reaches the server by itself; a SIGTERM sent to npm must be passed on. Either way the server ends first.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => server.kill('SIGTERM'));
server.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));

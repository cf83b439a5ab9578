// `npm run bench:rpc [-- --rounds N] [--only <part of a case's name>]`: calls between Node programs, between programs
// with the real Pyro 3.16 where PYRO3_HOME and PYTHON2 say where it is, and the floor. docs/benchmarks.md says more.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { pyro3, pythonEnvironment } from '../../test/support/name-server-process.mjs';
import { printResults } from './report.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const NODE = [process.execPath, here('rpc-peer.mjs')];
const PYTHON = pyro3 && [pyro3.python, '-u', here('rpc-peer.py')];
const LOAD = [process.execPath, here('load.mjs')];

const environment = { ...process.env, ...(pyro3 ? pythonEnvironment() : {}) };

/** Who calls whom. The load generator encodes its requests before and only counts replies: it shows what the server does. */
const COLUMNS = {
  'Node to Node': { server: [...NODE, 'serve'], client: [...NODE, 'call'] },
  ...(PYTHON && { 'Pyro 3 to Pyro 3': { server: [...PYTHON, 'serve'], client: [...PYTHON, 'call'] } }),
  'load to Node': { server: [...NODE, 'serve'], client: LOAD, isLoad: true },
  'load to floor': { server: [process.execPath, here('floor-server.mjs')], client: LOAD, isLoad: true },
};

const small = (connections, inFlight) => ({ connections, inFlight, bytes: 0, warmUpMs: 700, measureMs: 2000 });

const CASES = [
  { name: 'small arguments, 1 connection', job: small(1, 1) },
  {
    name: 'small arguments, 64 connections',
    job: small(64, 1),
    targets: [
      { of: 'Node to Node', over: 'Pyro 3 to Pyro 3', times: 4 },
      { of: 'load to Node', over: 'load to floor', times: 0.6 },
    ],
  },
  { name: 'small arguments, 8 connections x 16 in flight', job: small(8, 16), isPipelined: true },
  { name: 'an argument of 10 MB, 1 connection', job: { ...small(1, 1), bytes: 10_000_000 }, isLarge: true },
];

/** A Pyro 3 proxy has one call under way at a time, and the load generator has no large arguments. */
function measures({ isPipelined = false, isLarge = false }, column) {
  return !(isPipelined && column.startsWith('Pyro 3')) && !(isLarge && column.startsWith('load'));
}

/** Starts a server; its URI is in its first line. */
async function start([command, ...args]) {
  const child = spawn(command, args, { env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
  const [text] = await once(child.stdout.setEncoding('utf8'), 'data');
  return { child, uri: /PYRO:\/\/\S+/.exec(text)[0] };
}

/** Runs a client: calls per second. */
async function run({ client: [command, ...args], isLoad = false }, uri, job) {
  const { hostname: host, port, pathname } = new URL(uri.replace(/^PYRO:/, 'http:'));
  const objectID = pathname.slice(1);
  const told = isLoad
    ? { ...job, host, port: Number(port), objectID, method: 'sizeOf', args: ['ab'] }
    : { ...job, uri };
  const { stdout } = await promisify(execFile)(command, [...args, JSON.stringify(told)], { env: environment });
  const { calls, ms } = JSON.parse(stdout);
  return (calls / ms) * 1000;
}

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, only: { type: 'string', default: '' } },
});
const rounds = Number(options.rounds);
const chosen = CASES.filter(({ name }) => name.includes(options.only));
if (!Number.isInteger(rounds) || rounds < 1 || chosen.length === 0) {
  const names = CASES.map(({ name }) => name).join('\n');
  process.stderr.write(`--rounds is a whole number from 1, --only a part of:\n${names}\n`);
  process.exit(2);
}
if (!pyro3) process.stdout.write('Without the real Pyro 3.16: set PYRO3_HOME and PYTHON2 to compare with it.\n');

const columns = Object.keys(COLUMNS);
const figures = new Map(chosen.map(({ name }) => [name, new Map(columns.map((column) => [column, []]))]));
for (let round = 1; round <= rounds; round += 1) {
  process.stderr.write(`round ${round} of ${rounds}\n`);
  for (const measured of chosen) {
    for (const column of columns.filter((one) => measures(measured, one))) {
      const { child, uri } = await start(COLUMNS[column].server);
      try {
        figures
          .get(measured.name)
          .get(column)
          .push(await run(COLUMNS[column], uri, measured.job));
      } finally {
        child.kill();
        await once(child, 'exit');
      }
    }
  }
}
printResults(chosen, columns, figures, process.stdout);

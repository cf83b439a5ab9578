// `node scripts/campaigns/edits.mjs [--rounds N]`, after `npm run build`: changes the database of a running name server with
// ordinary tools, and tells how long after that a client was still told what had been before, and when it had been told all that is
// new: watched by the kernel, and by polling. Ends with status 1 where a name is told as it was for longer than it may be.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { NamingError, NameServerProxy, PyroURI, silentLog } from '../../dist/index.js';
import { NameServerProcess, ours } from '../../test/support/name-server-process.mjs';

const { values: options } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });

const SEEN_WITHIN_MS = 100;
const GIVE_UP_MS = 10_000;
const before = 'PYRO://127.0.0.1:7766/before';
const after = 'PYRO://127.0.0.1:7766/after';
const MANY = 1000;
const GONE = 'name not found';
const git = 'git -c user.name=x -c user.email=x@example.com';

/** What is done, after what preparation, and what the names are then. All of it begins with `:G.x` and `:G.inner.x` as before. */
const EDITS = [
  { edit: 'overwrite', run: 'cat after > db/G/x', names: { ':G.x': after } },
  { edit: 'edit in place (sed -i)', run: 'sed -i s/before/after/ db/G/x', names: { ':G.x': after } },
  { edit: 'mv over', prepare: 'cp after new', run: 'mv new db/G/x', names: { ':G.x': after } },
  { edit: 'cp', run: 'cp after db/G/new', names: { ':G.new': after } },
  { edit: 'rm', run: 'rm db/G/x', names: { ':G.x': GONE } },
  { edit: 'rm -r', run: 'rm -r db/G', names: { ':G.x': GONE, ':G.inner.x': GONE } },
  { edit: 'mkdir -p', run: 'mkdir -p db/G/a/b; cp after db/G/a/b/x', names: { ':G.a.b.x': after } },
  { edit: 'mv of a group', run: 'mv db/G db/H', names: { ':G.inner.x': GONE, ':H.inner.x': before } },
  {
    edit: 'tar x',
    prepare: 'mkdir G; cp after G/x; tar cf G.tar G',
    run: 'tar xf G.tar -C db',
    names: { ':G.x': after },
  },
  {
    edit: 'rsync',
    program: 'rsync',
    prepare: 'cp -a db copy; cp after copy/G/x; rm copy/G/inner/x',
    run: 'rsync -a --delete --exclude=.pyro-ns.ns_meta copy/G/ db/G/',
    names: { ':G.x': after, ':G.inner.x': GONE },
  },
  {
    edit: 'cp -a of a whole tree',
    prepare: 'cp -a db/G copy; cp after copy/x',
    run: 'rm -r db/G; cp -a copy db/G',
    names: { ':G.x': after, ':G.inner.x': before },
  },
  {
    edit: 'git checkout',
    program: 'git',
    prepare: `cd db; git init -q; git add G; ${git} commit -qm 1; cp ../after G/x; ${git} commit -qam 2; cp ../before G/x`,
    run: 'cd db; git checkout -qf HEAD',
    names: { ':G.x': after },
  },
  {
    edit: `${MANY} files at once`,
    prepare: `for i in $(seq ${MANY}); do cp before db/G/n$i; done`,
    run: `for i in $(seq ${MANY}); do echo ${after} > db/G/n$i; done`,
    names: Object.fromEntries(Array.from({ length: MANY }, (_, index) => [`:G.n${index + 1}`, after])),
  },
];

async function answer(proxy, name) {
  try {
    return String(await proxy.resolve(name));
  } catch (error) {
    if (error instanceof NamingError) return error.message;
    throw error;
  }
}

/**
 * Asks for all names at once, and for each until the answer is as it should be.
 * @returns when the last wrong answer and the last right one came, in milliseconds
 */
async function untilSeen(proxy, names) {
  const from = performance.now();
  const elapsed = () => performance.now() - from;
  let seen = 0;
  await Promise.all(
    Object.entries(names).map(async ([name, expected]) => {
      while ((await answer(proxy, name)) !== expected) {
        seen = elapsed();
        if (seen > GIVE_UP_MS) throw new Error(`${name} is not ${expected}`);
      }
    }),
  );
  return { seen, told: elapsed() };
}

/** Makes an edit on a fresh database that a client has just read all of. */
async function measure({ prepare, run, names }, watch) {
  const storage = await mkdtemp(join(tmpdir(), 'pyro-ns-edits-'));
  const shell = (script) =>
    execFileSync('sh', ['-ec', script], { cwd: storage, stdio: ['ignore', 'ignore', 'inherit'] });
  shell(
    `mkdir -p db/G/inner; echo ${before} > before; echo ${after} > after; cp before db/G/x; cp before db/G/inner/x`,
  );
  const server = await NameServerProcess.start(ours, {
    arguments: ['-d', join(storage, 'db')],
    storage,
    environment: { PYRO_NS_WATCH: watch },
  });
  const proxy = new NameServerProxy(PyroURI.parse(server.uri), { log: silentLog });
  try {
    if (prepare !== undefined) shell(prepare);
    for (const name of [':G.x', ':G.inner.x', ...Object.keys(names)]) await answer(proxy, name);
    for (const group of [':', ':G', ':G.inner']) await proxy.list(group);
    shell(run);
    return await untilSeen(proxy, names);
  } finally {
    await proxy._release();
    await server.stop();
    await rm(storage, { recursive: true });
  }
}

const figure = (times) =>
  `${Math.max(...times)
    .toFixed(1)
    .padStart(6)} ms`;

let longest = 0;
for (const edit of EDITS) {
  if (edit.program !== undefined && spawnSync(edit.program, ['--version']).error) continue;
  const figures = [];
  for (const watch of ['native', 'polling']) {
    const times = [];
    for (let round = 0; round < Number(options.rounds); round += 1) times.push(await measure(edit, watch));
    longest = Math.max(longest, ...times.map(({ seen }) => seen));
    figures.push(
      `${watch} ${figure(times.map(({ seen }) => seen))}, all told after ${figure(times.map(({ told }) => told))}`,
    );
  }
  process.stdout.write(`${edit.edit.padEnd(24)} not seen for at most: ${figures.join('; ')}\n`);
}
process.stdout.write(`the longest that an edit was not seen: ${longest.toFixed(1)} ms (to be ${SEEN_WITHIN_MS})\n`);
if (longest > SEEN_WITHIN_MS) process.exitCode = 1;

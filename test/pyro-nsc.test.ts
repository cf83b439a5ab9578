import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { InteractiveProgram, type Outcome } from './support/interactive-program.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';

const PROGRAM = fileURLToPath(new URL('../dist/commands/pyro-nsc.js', import.meta.url));

let server: NameServerProcess;

const command = (...args: string[]): string[] => [
  process.execPath,
  PROGRAM,
  '-h',
  '127.0.0.1',
  '-p',
  String(server.port),
  ...args,
];
const nsc = (...args: string[]): Promise<Outcome> => InteractiveProgram.run(command(...args));

/** The results that --json prints. */
async function results(...args: string[]): Promise<unknown> {
  return JSON.parse((await nsc('--json', ...args)).stdout);
}

beforeAll(async () => {
  server = await NameServerProcess.start(ours);
  for (const args of [
    ['creategroup', ':lab', ':lab.cold', ':empty'],
    ['register', ':lab.thermometer', 'PYRO://localhost/one'],
    ['register', ':lab.cold.fridge', 'PYRO://localhost:7800/two'],
    ['register', 'lamp', 'PYRO://localhost/three'],
  ]) {
    expect(await nsc(...args)).toMatchObject({ status: 0, stderr: '' });
  }
});

afterAll(async () => {
  await server.dispose();
});

test('does for each of several names what can be done, says on stderr what can not, and exits with 1', async () => {
  const { status, stdout, stderr } = await nsc('resolve', ':lab.thermometer', 'nothing', 'lamp', ':lab');
  expect(status).toBe(1);
  expect(stdout).toContain(':lab.thermometer  --> PYRO://127.0.0.1:7766/one\nlamp  --> PYRO://127.0.0.1:7766/three\n');
  expect(stderr).toBe(
    "## can't resolve nothing:  name not found  ##\n## can't resolve :lab:  attempt to resolve groupname  ##\n",
  );
});

test('with --json prints an object for each result, and nothing else on stdout', async () => {
  expect(await results('resolve', 'lamp', 'nothing')).toEqual([
    { name: ':Default.lamp', uri: 'PYRO://127.0.0.1:7766/three' },
    { name: 'nothing', error: 'name not found', code: 'NAME_NOT_FOUND' },
  ]);
  expect(await results('list', ':lab')).toEqual([
    {
      group: ':lab',
      members: [
        { name: 'cold', type: 'group' },
        { name: 'thermometer', type: 'object' },
      ],
    },
  ]);
  expect(await results('listall')).toContainEqual({ name: ':lab.cold.fridge', uri: 'PYRO://127.0.0.1:7800/two' });
  expect(await results('tree', ':lab')).toEqual([
    { name: ':lab.cold', type: 'group' },
    { name: ':lab.cold.fridge', type: 'object' },
    { name: ':lab.thermometer', type: 'object' },
  ]);
  expect(await results('ping')).toEqual([{ uri: server.uri }]);
  expect(await results('resync')).toEqual([]);
});

test('tree shows groups and what is below them', async () => {
  const { status, stdout, stderr } = await nsc('tree', ':lab', ':none', ':empty');
  expect(stdout).toContain(':lab\n├── [cold]\n│   └── fridge\n└── thermometer\n:empty\n');
  expect({ status, stderr }).toEqual({ status: 1, stderr: "## can't list :none:  group not found  ##\n" });
});

test('watch prints changes as they happen, until it is stopped or the name server is', async () => {
  const own = await NameServerProcess.start(ours);
  const where = ['-h', '127.0.0.1', '-p', String(own.port)];
  const watcher = InteractiveProgram.start([process.execPath, PROGRAM, ...where, '--json', 'watch']);
  const told = watcher.until('unregister');
  // What was changed before the watcher asked is not told: so until it says something.
  let change = 0;
  while (!watcher.stdout.includes('createGroup')) {
    await InteractiveProgram.run([process.execPath, PROGRAM, ...where, 'creategroup', `:g${(change += 1)}`]);
  }
  await InteractiveProgram.run([process.execPath, PROGRAM, ...where, 'register', ':g1.x', 'PYRO://localhost/x']);
  await InteractiveProgram.run([process.execPath, PROGRAM, ...where, 'remove', ':g1.x']);
  await told;
  const events = watcher.stdout.trim().split('\n').slice(-2);
  expect(events.map((line): unknown => JSON.parse(line))).toEqual([
    { operation: 'register', name: ':g1.x', uri: 'PYRO://127.0.0.1:7766/x' },
    { operation: 'unregister', name: ':g1.x' },
  ]);
  await own.dispose();
  expect(await watcher.ended).toMatchObject({ status: 1, stderr: expect.stringContaining('There is a problem:') });
});

test('shutdown stops the name server', async () => {
  const stopped = await NameServerProcess.start(ours);
  try {
    const where = ['-h', '127.0.0.1', '-p', String(stopped.port)];
    const outcome = await InteractiveProgram.run([process.execPath, PROGRAM, ...where, 'shutdown']);
    expect(outcome).toMatchObject({ status: 0, stderr: '', stdout: expect.stringContaining('Will shut down shortly') });
    expect(await stopped.exited).toEqual({ code: 0, signal: null });
  } finally {
    await stopped.dispose();
  }
});

test('shutdown is no success where the name server denies it', async () => {
  const keeper = await NameServerProcess.start(ours, { arguments: ['-k'] });
  const port = ['-h', '127.0.0.1', '-p', String(keeper.port)];
  const denied = await InteractiveProgram.run([process.execPath, PROGRAM, ...port, 'shutdown']);
  expect(denied).toMatchObject({ status: 1, stdout: expect.stringContaining(': Shutdown request denied\n') });
  const ping = await InteractiveProgram.run([process.execPath, PROGRAM, ...port, 'ping']);
  expect(ping).toMatchObject({ status: 0 });
  await keeper.dispose();
});

test('says on stderr what is wrong, and exits with 1', async () => {
  const gone = await InteractiveProgram.run([process.execPath, PROGRAM, '-h', '127.0.0.1', '-p', '1', 'ping']);
  expect(gone).toMatchObject({ status: 1, stderr: expect.stringMatching(/^There is a problem: connection failed/) });
  const nowhere = await InteractiveProgram.run([process.execPath, PROGRAM, '-h', 'no.such.invalid', 'ping']);
  expect(nowhere.stderr).toBe('There is a problem: could not find NameServer on host no.such.invalid\n');
  const taken = await nsc('register', 'lamp', 'PYRO://localhost/other');
  expect(taken).toMatchObject({ status: 1, stderr: 'There is a problem: name already exists: :Default.lamp\n' });
  expect(await nsc('register', 'x', 'no uri')).toMatchObject({
    status: 1,
    stderr: 'There is a problem: invalid URI: no uri\n',
  });
  const lost = await nsc('register', 'x', 'PYRO://no.such.host.invalid/x');
  expect(lost.stderr).toMatch(/: the name server can't find the host no\.such\.host\.invalid\n$/);
});

test('refuses a command line that makes no sense, in English, and exits with 2', async () => {
  const refusals: [args: string[], message: string][] = [
    [[], 'a command is needed'],
    [['nothing'], 'Unknown argument: nothing'],
    [['--nothing', 'ping'], 'Unknown argument: nothing'],
    [['ping', 'extra'], 'Unknown argument: extra'],
    [['resolve'], 'Not enough non-option arguments: got 0, need at least 1'],
    [['register', 'x'], 'Not enough non-option arguments: got 1, need at least 2'],
    [['-h'], 'Not enough arguments following: host'],
    [['-p', 'x', 'ping'], "a port is a number from 0 to 65535, not 'x'"],
    [['-i', '', 'ping'], "a passphrase can't be empty"],
    [['--interval', '0', 'watch'], "an interval is a number of seconds above 0, not '0'"],
    [['completion', 'fish'], "there are completions for bash and zsh, not for 'fish'"],
  ];
  const environment = { LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' };
  const outcomes = await Promise.all(
    refusals.map(([args]) => InteractiveProgram.run([process.execPath, PROGRAM, ...args], { environment })),
  );
  expect(outcomes).toEqual(
    refusals.map(([, message]) => ({ status: 2, stdout: '', stderr: `pyro-nsc: ${message}\nTry pyro-nsc --help\n` })),
  );
});

test('takes it when its reader has enough', () => {
  const script = `"$@" listall | head -n 1; exit \${PIPESTATUS[0]}`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script, 'bash', ...command()], { encoding: 'utf8' });
  expect({ stdout, stderr }).toEqual({ stdout: 'Locator: contacting Pyro Name Server...\n', stderr: '' });
});

describe('completion', () => {
  let directory: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'pyro-ns-completion-'));
    const program = join(directory, 'pyro-nsc');
    writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`);
    chmodSync(program, 0o755);
  });

  afterAll(() => {
    rmSync(directory, { recursive: true });
  });

  /** What bash, as it is, completes lines to. */
  async function completed(...lines: string[]): Promise<string[][]> {
    const script = `
      eval "$(pyro-nsc completion bash)"
      COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
      for line; do
        COMP_LINE="$line" COMP_POINT=\${#line}
        _pyro_nsc
        echo "\${COMPREPLY[*]}"
      done`;
    const { stdout, stderr } = await InteractiveProgram.run(['bash', '--norc', '-c', script, 'bash', ...lines], {
      environment: {
        PATH: `${directory}:${process.env['PATH']}`,
        PYRO_NS_HOSTNAME: '127.0.0.1',
        PYRO_NS_PORT: String(server.port),
      },
    });
    expect(stderr).toBe('');
    return stdout
      .split('\n')
      .slice(0, -1)
      .map((words) => words.split(' ').filter((word) => word !== ''));
  }

  test('knows commands, options, and the names of the running name server', async () => {
    const expected: Record<string, string[]> = {
      'pyro-nsc li': ['list', 'listall'],
      'pyro-nsc -h localhost se': ['setmeta'],
      'pyro-nsc --i': ['--identification', '--interval'],
      'pyro-nsc resolve ': ['lamp'],
      // Bash takes the colon for a word of its own.
      'pyro-nsc resolve lamp :': ['Pyro.', 'Default.', 'lab.', 'empty.'],
      'pyro-nsc resolve :lab.': ['lab.cold.', 'lab.thermometer'],
      'pyro-nsc resolve :lab.t': ['lab.thermometer'],
      'pyro-nsc -h 127.0.0.1 -p 1 resolve :': [],
      'pyro-nsc register x ': [],
    };
    expect(await completed(...Object.keys(expected))).toEqual(Object.values(expected));
  });

  test('does nothing that is written there', async () => {
    await completed('pyro-nsc shutdown ', 'pyro-nsc remove lamp ', 'pyro-nsc creategroup :new ');
    expect(await nsc('resolve', 'lamp')).toMatchObject({ status: 0 });
    expect(await results('list', ':')).not.toContainEqual(expect.objectContaining({ name: ':new' }));
  });
});

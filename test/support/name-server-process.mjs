// Name servers as processes, ours and the real Pyro 3.16's, for tests, benchmarks and the recorder. Plain JavaScript
// (with its types beside it), because the latter two run without a compiler.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const STARTED = 'Name Server started.';
const START_LIMIT_MS = 30_000;

/** Environment variables of whoever runs the tests must not configure the servers under test. */
const withoutPyroItems = (environment) =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('PYRO')));

export const ours = {
  label: 'pyro-ns',
  command: [process.execPath, fileURLToPath(new URL('../../dist/commands/pyro-ns.cjs', import.meta.url))],
  environment: {},
};

const { PYRO3_HOME, PYTHON2 } = process.env;

export const pyro3 = PYRO3_HOME && PYTHON2 ? { home: PYRO3_HOME, python: PYTHON2 } : undefined;

export function pythonEnvironment(...modulePaths) {
  if (!pyro3) throw new Error('set PYRO3_HOME to a checkout of Pyro 3.16 and PYTHON2 to a Python 2.7');
  return { PYTHONPATH: [pyro3.home, ...modulePaths].join(delimiter), PYTHONDONTWRITEBYTECODE: '1' };
}

export function real(...modulePaths) {
  const environment = pythonEnvironment(...modulePaths);
  return { label: 'Pyro 3.16', command: [pyro3.python, '-u', join(pyro3.home, 'bin', 'pyro-ns')], environment };
}

export class NameServerProcess {
  output = '';
  uri = '';
  #server;
  #options;
  #storageIsOurs;
  #child;
  #exit;

  constructor(server, options, storage, storageIsOurs) {
    this.#server = server;
    this.#options = options;
    this.storage = storage;
    this.#storageIsOurs = storageIsOurs;
  }

  static async start(
    server,
    { arguments: args = [], lookup = false, bare = false, storage, environment = {}, port = 0 } = {},
  ) {
    const directory = storage ?? (await mkdtemp(join(tmpdir(), 'pyro-ns-test-')));
    const started = new NameServerProcess(
      server,
      { args, lookup, bare, environment },
      directory,
      storage === undefined,
    );
    try {
      await started.#launch(port);
    } catch (error) {
      await started.dispose();
      throw error;
    }
    return started;
  }

  get label() {
    return this.#server.label;
  }

  get pid() {
    return this.#child.pid;
  }

  get address() {
    return new URL(this.uri.replace(/^PYRO:/, 'http:')).hostname;
  }

  get port() {
    return Number(/:(\d+)\//.exec(this.uri)?.[1]);
  }

  get objectID() {
    return this.uri.slice(this.uri.lastIndexOf('/') + 1);
  }

  get exited() {
    return this.#exit;
  }

  async #launch(port) {
    const [command, ...fixed] = this.#server.command;
    const { args: own, lookup, bare } = this.#options;
    const usual = bare ? [] : ['-n', '127.0.0.1', '-p', String(port), '-x', ...(lookup ? [] : ['-r'])];
    const args = [...fixed, ...usual, ...own];
    this.output = '';
    this.#child = spawn(command, args, {
      cwd: this.storage,
      env: {
        ...withoutPyroItems(process.env),
        ...this.#server.environment,
        PYRO_STORAGE: this.storage,
        ...this.#options.environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exit = once(this.#child, 'close').then(([code, signal]) => ({ code, signal }));
    await this.#untilStarted();
    this.uri = /^URI is: (\S+)$/m.exec(this.output)?.[1] ?? '';
  }

  async #untilStarted() {
    const { promise, resolve, reject } = withResolvers();
    const fail = (why) => reject(new Error(`${this.label} ${why}; its output:\n${this.output}`));
    const limit = setTimeout(() => fail(`did not say "${STARTED}" in ${START_LIMIT_MS} ms`), START_LIMIT_MS);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.output += text;
        if (this.output.includes(STARTED)) resolve();
      });
    }
    this.#exit.then(({ code, signal }) => fail(`ended (${signal ?? code}) instead of starting`), reject);
    try {
      await promise;
    } finally {
      clearTimeout(limit);
    }
  }

  async stop(signal = 'SIGTERM') {
    this.#child.kill(signal);
    return this.#exit;
  }

  async restart() {
    await this.#launch(this.port);
  }

  async dispose() {
    if (this.#child) await this.stop('SIGKILL').catch(() => undefined);
    if (this.#storageIsOurs) await rm(this.storage, { recursive: true, force: true });
  }
}

// Promise.withResolvers comes with Node 22.
function withResolvers() {
  let resolve, reject;
  const promise = new Promise((fulfil, refuse) => {
    resolve = fulfil;
    reject = refuse;
  });
  return { promise, resolve, reject };
}

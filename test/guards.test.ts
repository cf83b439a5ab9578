import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { InteractiveProgram, type Outcome } from './support/interactive-program.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';

const file = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
const NSC = file('dist/commands/pyro-nsc.js');

/** Where nothing comes from elsewhere; published so, a name server on loopback listens to broadcasts too. */
const BROADCASTING = { PYRO_PUBLISHHOST: '192.0.2.1', PYRO_NS_BC_PORT: '0', PYRO_NS_BC_ADDR: '127.0.0.1' };

let directory: string;
let server: NameServerProcess | undefined;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-guards-'));
});

afterEach(async () => {
  await server?.dispose();
  server = undefined;
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

describe('a module with security plugins', () => {
  const modules: Record<string, string> = {
    'module.mjs': `
      import { BCReqValidator, DefaultConnValidator } from 'pyro-ns';
      export const NSGuard = () => new DefaultConnValidator();
      export const BCGuard = async () => new BCReqValidator();`,
    'module.ts': `
      import { BCReqValidator, DefaultConnValidator } from 'pyro-ns';
      enum Why { None = 'none' }
      class Guard extends DefaultConnValidator { constructor(readonly why: Why = Why.None) { super(); } }
      export const NSGuard = (): Guard => new Guard();
      export const BCGuard = (): BCReqValidator => new BCReqValidator();`,
    'module.cjs': `
      const { BCReqValidator, DefaultConnValidator } = require('pyro-ns');
      module.exports = { NSGuard: () => new DefaultConnValidator(), BCGuard: () => new BCReqValidator() };`,
    'methods.cjs': `
      module.exports = { NSGuard() { return null; }, BCGuard() { return null; } };`,
    'none.mjs': 'export const NSGuard = () => null; export const BCGuard = () => undefined;',
    'node_modules/package/index.js': `
      exports.NSGuard = () => null;
      exports.BCGuard = () => null;`,
    'throws.mjs': "throw new Error('no database');",
    'waits.mjs': 'await new Promise(() => undefined); export const NSGuard = () => null;',
    'syntax.mjs': 'export function NSGuard( {',
    'imports.mjs': "import 'not-installed';",
    'half.mjs': 'export const NSGuard = () => null;',
    'number.mjs': 'export const NSGuard = 3; export const BCGuard = () => null;',
    'fails.mjs': "export const NSGuard = () => { throw new Error('no key'); }; export const BCGuard = () => null;",
    'rejects.mjs':
      "export const NSGuard = async () => { throw new Error('no key'); }; export const BCGuard = () => null;",
    'object.mjs': 'export const NSGuard = () => ({}); export const BCGuard = () => null;',
    'string.mjs': "export const NSGuard = () => null; export const BCGuard = () => 'BCGuard';",
    'operations.mjs': `
      import { DefaultConnValidator } from 'pyro-ns';
      export const NSGuard = () => Object.assign(new DefaultConnValidator(), { acceptOperation: true });
      export const BCGuard = () => null;`,
  };
  let outcomes: unknown;

  beforeAll(async () => {
    for (const [name, text] of Object.entries(modules)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), text);
    }
    mkdirSync(join(directory, 'node_modules', 'pyro-ns'));
    const main = JSON.stringify(file('dist/index.js'));
    writeFileSync(join(directory, 'node_modules/pyro-ns/package.json'), '{"type":"module","exports":"./index.js"}');
    writeFileSync(join(directory, 'node_modules/pyro-ns/index.js'), `export * from ${main};`);
    const program = `
      import { loadGuards } from ${main};
      const outcomes = {};
      for (const module of process.argv.slice(1)) {
        try {
          const { connection, broadcast } = await loadGuards(module, process.cwd());
          outcomes[module] = [connection?.constructor.name ?? null, broadcast?.constructor.name ?? null];
        } catch (error) {
          outcomes[module] = \`\${error.name}: \${error.message}\`;
        }
      }
      console.log(JSON.stringify(outcomes));`;
    const names = [
      ...Object.keys(modules),
      'package',
      'no-such-package-anywhere',
      './nowhere.mjs',
      join(directory, 'none.mjs'),
      '.',
    ];
    const command = [process.execPath, '--input-type=module', '-e', program, '--', ...names];
    const { stdout, stderr } = await InteractiveProgram.run(command, { cwd: directory });
    expect(stderr).toBe('');
    outcomes = JSON.parse(stdout);
  });

  test.each([
    ['module.mjs', ['DefaultConnValidator', 'BCReqValidator']],
    ['module.ts', ['Guard', 'BCReqValidator']],
    ['module.cjs', ['DefaultConnValidator', 'BCReqValidator']],
    ['methods.cjs', [null, null]],
    ['none.mjs', [null, null]],
    ['package', [null, null]],
  ])('%s is loaded', (module, guards) => {
    expect(outcomes).toMatchObject({ [module]: guards });
  });

  test.each([
    ['throws.mjs', 'no database'],
    ['waits.mjs', 'it waits for something that never comes'],
    ['syntax.mjs', 'Unexpected end of input'],
    ['imports.mjs', "Cannot find package 'not-installed'"],
    ['half.mjs', 'it must export a function BCGuard()'],
    ['number.mjs', 'it must export a function NSGuard()'],
    ['fails.mjs', 'no key'],
    ['rejects.mjs', 'no key'],
    ['object.mjs', 'NSGuard() must return a DefaultConnValidator, or null'],
    ['string.mjs', 'BCGuard() must return a BCReqValidator, or null'],
    ['operations.mjs', 'NSGuard() must return a DefaultConnValidator, or null'],
    ['no-such-package-anywhere', 'there is no such file, and no such package'],
    ['./nowhere.mjs', 'there is no such file, and no such package'],
  ])('%s is refused: %s', (module, reason) => {
    const outcome = `ConfigError: Error loading security module '${module}': ${reason}`;
    expect(outcomes).toMatchObject({ [module]: expect.stringContaining(outcome) });
  });

  test('that can not be loaded leaves no name server without its guards', async () => {
    const pyroNS = [...ours.command, '-n', '127.0.0.1', '-p', '0', '-r', '-s', 'half.mjs'];
    expect(await InteractiveProgram.run(pyroNS, { cwd: directory })).toEqual({
      status: 1,
      stdout: '',
      stderr: "pyro-ns: Error loading security module 'half.mjs': it must export a function BCGuard()\n",
    });
  });
});

describe('the plugins of the documentation', () => {
  let bcport = '';

  async function start(plugin: string, environment: Record<string, string> = {}): Promise<void> {
    server = await NameServerProcess.start(ours, {
      bare: true,
      arguments: ['-n', '127.0.0.1', '-p', '0', '-r', '-v', '-s', file(`docs/examples/${plugin}`)],
      environment: { ...BROADCASTING, ...environment },
    });
    [, bcport = ''] = /Broadcast server listening on: \('127\.0\.0\.1', (\d+)\)/.exec(server.output) ?? [];
  }

  const nsc = (...args: string[]): Promise<Outcome> =>
    InteractiveProgram.run([process.execPath, NSC, ...args], { environment: { PYRO_BC_RETRIES: '0' } });

  const direct = (identification: string, ...args: string[]): Promise<Outcome> =>
    nsc('-h', '127.0.0.1', '-p', String(server?.port), '-i', identification, ...args);

  test('plugins.mjs judges connections and broadcasts', async () => {
    await start('plugins.mjs');
    expect(server?.output).toContain('Using security plugins:\n  NS new conn validator = ConnectionValidator from ');
    expect(server?.output).toContain('  BC request validator  = RequestValidator from ');
    expect(await direct('p4ssphr4se', 'ping')).toMatchObject({ status: 0 });
    expect(await direct('wrong', 'ping')).toMatchObject({
      status: 1,
      stderr: 'Could not connect to the server: security reasons\nSupply correct authentication ID?\n',
    });
    expect(await nsc('-c', '127.0.0.1', '-p', bcport, 'shutdown')).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('Result from system command shutdown : denied!\n'),
    });
    for (const line of [
      '127.0.0.1 WANTS CONNECTION...\n127.0.0.1 SENDS IDENTIFICATION...\n',
      'Connection denied!\n',
      '127.0.0.1 WANTS US TO SHUT DOWN, Pfff!\n',
    ]) {
      expect(server?.output).toContain(line);
    }
  });

  test('permissions.mjs lets each user change his own group', async () => {
    const users = join(directory, 'users.txt');
    writeFileSync(users, 'boss :\nlabrat :lab\nguest :guests\n');
    await start('permissions.mjs', { NS_USERS: users });
    expect(await direct('boss', 'creategroup', ':lab')).toMatchObject({ status: 0 });
    expect(await direct('labrat', 'register', ':lab.thermometer', 'PYRO://localhost/one')).toMatchObject({ status: 0 });
    expect(await direct('guest', 'resolve', ':lab.thermometer')).toMatchObject({ status: 0 });
    const denied = [
      ['guest', 'remove', ':lab.thermometer'],
      ['guest', 'setmeta', ':lab.thermometer', 'mine'],
      ['labrat', 'deletegroup', ':lab'],
      ['labrat', 'remove', ':Pyro.NameServer'],
      ['guest', 'shutdown'],
    ] as const;
    for (const [user, ...command] of denied) {
      const { status, stderr } = await direct(user, ...command);
      expect([command, status, stderr]).toEqual([command, 1, expect.stringContaining('permission denied: ')]);
    }
    expect(await direct('stranger', 'ping')).toMatchObject({ status: 1 });
    expect(await nsc('-c', '127.0.0.1', '-p', bcport, 'shutdown')).toMatchObject({ status: 1 });
    expect(await direct('boss', 'shutdown')).toMatchObject({ status: 0 });
    expect(await server?.exited).toEqual({ code: 0, signal: null });
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InteractiveProgram, type Outcome } from '../support/interactive-program.js';
import { NameServerProcess, ours, pyro3, pythonEnvironment, real } from '../support/name-server-process.mjs';
import { lacksPyro3 } from '../support/pyro3.js';

// The programs of Pyro 3's own manual, as they come with it, against our name server.

let directory: string;
let nameServer: NameServerProcess;
let running: InteractiveProgram[];

/** Starts a program out of Pyro's `examples`, which finds the name server by its configuration. */
function start(example: string, at: NameServerProcess = nameServer): InteractiveProgram {
  const script = join(pyro3?.home ?? '', 'examples', example);
  const program = InteractiveProgram.start([pyro3?.python ?? '', '-u', basename(script)], {
    cwd: dirname(script),
    environment: {
      ...pythonEnvironment(),
      PYRO_STORAGE: directory,
      PYRO_NS_HOSTNAME: '127.0.0.1',
      PYRO_NS_PORT: String(at.port),
      PYRO_HOST: '127.0.0.1',
    },
  });
  running.push(program);
  return program;
}

/** Runs one that asks for input to its end. */
function run(example: string, answers: readonly string[] = [], at?: NameServerProcess): Promise<Outcome> {
  const program = start(example, at);
  program.say(...answers);
  return program.ended;
}

const nsc = (...args: string[]): Promise<Outcome> =>
  InteractiveProgram.run([pyro3?.python ?? '', '-u', join(pyro3?.home ?? '', 'bin', 'pyro-nsc'), ...args], {
    environment: pythonEnvironment(),
  });

const startNameServer = async (...options: string[]): Promise<void> => {
  nameServer = await NameServerProcess.start(ours, { arguments: options });
};

const skipped = lacksPyro3("the examples of Pyro 3's manual with our name server");
(skipped ? describe.skip : describe)("Pyro 3's example", () => {
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'pyro-ns-examples-'));
    running = [];
  });

  afterEach(async () => {
    await Promise.all(running.map((program) => program.stop()));
    await nameServer.dispose();
    rmSync(directory, { recursive: true });
  });

  test('naming shows what it shows with the real name server', async () => {
    await startNameServer();
    const theirs = await NameServerProcess.start(real());
    const answers = ['', '', '', '', ''];
    const [here, there] = await Promise.all([
      run('naming/nametest.py', answers),
      run('naming/nametest.py', answers, theirs),
    ]);
    await theirs.dispose();
    // Listings have no order.
    const lines = ({ stdout }: Outcome, { uri, port }: NameServerProcess): string[] =>
      stdout.replaceAll(uri, 'ITS-URI').replaceAll(`port ${port}`, 'PORT').split('\n').sort();
    expect(here).toMatchObject({ status: 0, stdout: expect.stringMatching(/done!\n$/) });
    expect(lines(here, nameServer)).toEqual(lines(there, theirs));
  });

  test('simple: an object by PYRONAME', async () => {
    await startNameServer();
    await start('simple/server.py').until('Server is ready.');
    const { stdout } = await run('simple/client.py');
    expect(stdout).toContain('999\n322\n122\n0.222222222222\n..........\nString1String2\n');
    expect(stdout).toContain("TypeError: unsupported operand type(s) for /: 'str' and 'int'");
  });

  test('quickstart', async () => {
    await startNameServer('-d');
    await start('quickstart/server.py').until('Waiting for requests.');
    const { stdout } = await run('quickstart/client.py');
    expect(stdout).toContain('Your string length is: 6\nThe square of your number is: 1764\n');
  });

  test('authenticate: lets in who has the passphrase, and nobody else', async () => {
    await startNameServer('-i', 's3cr3t');
    expect(nameServer.output).toContain('Requiring connection authentication.');
    await start('authenticate/server.py').until('Server started.');
    const right = await run('authenticate/client.py', ['s3cr3t', 's3cr3t']);
    expect(right.stdout).toContain('Result from method call:  An interesting result');
    const wrong = await run('authenticate/client.py', ['guess']);
    expect(wrong.stderr).toContain('ConnectionDeniedError: security reasons');
    expect(wrong.stdout).not.toContain('Naming Service found');
    const wrongThere = await run('authenticate/client.py', ['s3cr3t', 'guess']);
    expect(wrongThere.stderr).toContain('ConnectionDeniedError: security reasons');
  });

  test('denyhosts: a server that judges connections itself', async () => {
    await startNameServer();
    const server = start('denyhosts/server.py');
    await server.until('Server object "denyhosts" ready.');
    server.say('y', 'n');
    expect((await run('denyhosts/client.py')).stdout).toContain('Result5= 42');
    expect((await run('denyhosts/client.py')).stdout).toContain('ConnectionDeniedError occured: host blocked');
  });

  test('NS_sec_plugins: our form of its plugins judges the real pyro-nsc', async () => {
    nameServer = await NameServerProcess.start(ours, {
      bare: true,
      arguments: [
        '-n',
        '127.0.0.1',
        '-p',
        '0',
        '-r',
        '-v',
        '-s',
        fileURLToPath(new URL('../../docs/examples/plugins.mjs', import.meta.url)),
      ],
      // Published under another address, it listens to broadcasts on loopback.
      environment: { PYRO_PUBLISHHOST: '192.0.2.1', PYRO_NS_BC_PORT: '0', PYRO_NS_BC_ADDR: '127.0.0.1' },
    });
    const [, bcport = ''] = /Broadcast server listening on: \('127\.0\.0\.1', (\d+)\)/.exec(nameServer.output) ?? [];
    const where = ['-h', '127.0.0.1', '-p', String(nameServer.port)];
    expect((await nsc(...where, 'ping')).stdout).toContain(
      'Could not connect to the server: security reasons\nSupply correct authentication ID?\n',
    );
    expect((await nsc(...where, '-i', 'p4ssphr4se', 'ping')).stdout).toContain('NS is up and running!');
    const stop = await nsc('-c', '127.0.0.1', '-p', bcport, 'shutdown');
    expect(stop.stdout).toContain('Result from system command shutdown : denied!\n');
    for (const line of ['WANTS CONNECTION...', 'SENDS IDENTIFICATION...', 'WANTS US TO SHUT DOWN, Pfff!']) {
      expect(nameServer.output).toContain(`127.0.0.1 ${line}\n`);
    }
  });
});

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog, type Config, type Log } from '../config/index.js';
import { BCReqValidator } from './security-plugins.js';
import { NameServerLocator } from './locator.js';
import { NameServerStarter, type StartOptions } from './starter.js';

const QUIET: StartOptions = { hostname: '127.0.0.1', nsport: 0, dontlookupother: true };
const LOOPBACK = { bcaddr: '127.0.0.1', bcport: 0 };

let directory: string;
let config: Config;
let lines: string[];
const starters: NameServerStarter[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-starter-'));
  config = loadConfig({ environment: { PYRO_STORAGE: directory }, currentDirectory: directory });
  // Published under another address than loopback, it listens to broadcasts.
  config.PYRO_PUBLISHHOST = '192.0.2.1';
  lines = [];
});

afterEach(async () => {
  await Promise.all(starters.splice(0).map((starter) => starter.shutdown()));
  rmSync(directory, { recursive: true });
});

function newStarter(log: Log = silentLog, own: Config = config): NameServerStarter {
  const starter = new NameServerStarter({ config: own, log, print: (line) => lines.push(line) });
  starters.push(starter);
  return starter;
}

/** The port that it listens to broadcasts on. */
function broadcastPort(starter: NameServerStarter): number {
  const address = starter.getServerSockets()[1]?.address();
  if (typeof address !== 'object' || address === null) throw new TypeError('it does not listen to broadcasts');
  return address.port;
}

/** Sends a command by broadcast, to a port of this machine. */
const broadcast = (command: 'location' | 'shutdown', port: number): Promise<string> =>
  new NameServerLocator({ config: { ...config, PYRO_BC_TIMEOUT: 20 }, log: silentLog }).sendSysCommand(command, {
    bcaddr: '127.0.0.1',
    port,
  });

describe('the URI file', () => {
  test('holds the URI in a line, once the name server is started', async () => {
    config.PYRO_NS_URIFILE = join(directory, 'uri');
    const uri = await newStarter().start({ ...QUIET, nobroadcast: true });
    expect(readFileSync(config.PYRO_NS_URIFILE, 'utf8')).toBe(`${uri.toString()}\n`);
    expect(lines).toContain(`URI written to: ${config.PYRO_NS_URIFILE}`);
  });

  test('that can not be written is only warned of', async () => {
    config.PYRO_NS_URIFILE = join(directory, 'none', 'uri');
    const warn = jest.fn();
    await newStarter({ ...silentLog, warn }).start({ ...QUIET, nobroadcast: true });
    expect(lines).toContain(`WARNING: Couldn't write URI to: ${config.PYRO_NS_URIFILE}`);
    expect(lines.at(-1)).toBe('Name Server started.');
    expect(warn.mock.calls.map(([, ...parts]) => parts.slice(0, 2))).toContainEqual([
      "Couldn't write URI to",
      config.PYRO_NS_URIFILE,
    ]);
    expect(existsSync(config.PYRO_NS_URIFILE)).toBe(false);
  });
});

describe('where another name server answers on the segment', () => {
  const ALREADY = 'The Name Server appears to be already running on this segment.';
  const REFUSAL = 'Cannot start multiple Name Servers in the same network segment.';
  let segment: Config;

  beforeEach(async () => {
    const other = newStarter();
    await other.start({ ...QUIET, ...LOOPBACK });
    const port = broadcastPort(other);
    segment = {
      ...config,
      PYRO_NS_BC_ADDR: '127.0.0.1',
      PYRO_NS_BC_PORT: port,
      PYRO_BC_RETRIES: 9,
      PYRO_BC_TIMEOUT: 8,
    };
    lines.length = 0;
  });

  const look = { ...QUIET, nobroadcast: true, dontlookupother: false };

  test('it does not start', async () => {
    const starter = newStarter(silentLog, segment);
    await expect(starter.start(look)).rejects.toThrow(REFUSAL);
    expect(lines).toEqual([ALREADY, expect.stringMatching(/^\(host: 192\.0\.2\.1 {2}port: \d+ \)$/), REFUSAL]);
    expect(starter.getServerSockets()).toEqual([]);
  });

  test('it starts where that is allowed, with a warning, and keeps its own settings', async () => {
    const before = { ...segment };
    await newStarter(silentLog, segment).start({ ...look, allowmultiple: true });
    expect(lines.slice(0, 3)).toEqual([
      ALREADY,
      expect.any(String),
      'WARNING: starting another Name Server in the same segment!',
    ]);
    expect(segment).toEqual(before);
  });

  test('it is not asked where nobody is to look', async () => {
    await newStarter(silentLog, segment).start({ ...look, dontlookupother: true });
    expect(lines).not.toContain(ALREADY);
  });
});

describe('requests to shut down by broadcast', () => {
  test('are done, and answered', async () => {
    const starter = newStarter();
    await starter.start({ ...QUIET, ...LOOPBACK });
    expect(await broadcast('shutdown', broadcastPort(starter))).toBe('Will shut down shortly');
    await starter.stopped;
  });

  test('are denied with -k, and so are those by call', async () => {
    const starter = newStarter();
    const { port } = await starter.start({ ...QUIET, ...LOOPBACK, keep: true });
    expect(await broadcast('shutdown', broadcastPort(starter))).toBe('Shutdown request denied');
    const locator = new NameServerLocator({ config, log: silentLog });
    expect(await locator.sendSysCommand('shutdown', { host: '127.0.0.1', port })).toBe('Shutdown request denied');
    expect(starter.problem).toBeUndefined();
  });

  test('are judged by the security plugin', async () => {
    class Refusing extends BCReqValidator {
      override acceptShutdownCmd(): boolean {
        this.reply('not by you');
        return false;
      }
    }
    const starter = newStarter();
    const uri = await starter.start({ ...QUIET, ...LOOPBACK, guards: { broadcast: new Refusing() } });
    const port = broadcastPort(starter);
    expect(await broadcast('shutdown', port)).toBe('not by you');
    expect(await broadcast('location', port)).toBe(uri.toString());
    expect(starter.problem).toBeUndefined();
  });
});

describe('a pair', () => {
  test('is not made over etcd', async () => {
    const dbdir = 'etcd://127.0.0.1:1/names';
    await expect(newStarter().start({ ...QUIET, role: 'primary', persistent: true, dbdir })).rejects.toMatchObject({
      name: 'NamingError',
      args: ['servers over etcd share their names, and make no pair (-1, -2)', dbdir],
    });
  });
});

test.each([
  [0, []],
  [60, ['looks for dead objects every 60 s']],
])('looks for dead objects once it is started, with PYRO_NS_AUTOCLEAN %i', async (seconds, expected) => {
  config.PYRO_NS_AUTOCLEAN = seconds;
  const msg = jest.fn<Log['msg']>();
  await newStarter({ ...silentLog, msg }).start({ ...QUIET, nobroadcast: true });
  const told = msg.mock.calls.filter(([source]) => source === 'AutoClean').map(([, text]) => text);
  expect(told).toEqual(expected);
});

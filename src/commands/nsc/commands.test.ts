import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { loadConfig, silentLog } from '../../config/index.js';
import { NameServerLocator, NameServerStarter, type NameServerProxy } from '../../naming/index.js';
import { COMMANDS } from './commands.js';
import { Output } from './output.js';

const MEMBERS = 3000;
const WIDTH = 100;

let starter: NameServerStarter;
let nameServer: NameServerProxy;

/** A terminal of some width, which remembers what it was sent. */
class Terminal extends PassThrough {
  readonly isTTY = true;
  readonly columns = WIDTH;

  constructor(private readonly colours: boolean) {
    super();
  }

  hasColors(): boolean {
    return this.colours;
  }

  get text(): string {
    return String(this.read() ?? '');
  }
}

beforeAll(async () => {
  const config = loadConfig({ environment: {}, currentDirectory: '/nowhere' });
  starter = new NameServerStarter({ config, log: silentLog, print: () => undefined });
  const { port } = await starter.start({ hostname: '127.0.0.1', nsport: 0, dontlookupother: true });
  nameServer = await new NameServerLocator({ config, log: silentLog }).getNS({ host: '127.0.0.1', port });
  await nameServer.createGroup(':many');
  await nameServer.createGroup(':many.group');
  const names = Array.from({ length: MEMBERS - 1 }, (_none, index) => `:many.object${index}`);
  await Promise.all(names.map((name) => nameServer.register(name, 'PYRO://127.0.0.1/x')));
});

afterAll(async () => {
  await nameServer._release();
  await starter.shutdown();
});

test('the metadata of a name that has no system metadata, as of Pyro 3, is shown without', async () => {
  const asked = jest.spyOn(nameServer, '_getSystemMeta').mockResolvedValue(undefined);
  const terminal = new Terminal(false);
  const [text, json] = [new Output(terminal, new PassThrough(), false), new Output(terminal, new PassThrough(), true)];
  await COMMANDS.showmeta({ nameServer, output: text }, [':many']);
  expect(terminal.text).toBe('META INFO OF :many\nsystem meta info : None\n  user meta info : None\n');
  await COMMANDS.showmeta({ nameServer, output: json }, [':many']);
  json.end();
  expect(JSON.parse(terminal.text)).toEqual([{ name: ':many', type: null, timestamp: null, owner: null, meta: null }]);
  asked.mockRestore();
});

async function list(terminal: Terminal): Promise<string[]> {
  const output = new Output(terminal, new PassThrough(), false);
  await COMMANDS.list({ nameServer, output }, [':many']);
  return terminal.text.trimEnd().split('\n');
}

test('thousands of names are listed in columns, down and then across, no wider than the terminal', async () => {
  const [heading, ...lines] = await list(new Terminal(false));
  expect(heading).toBe(`:many  --> ${MEMBERS} members`);
  expect(lines[0]).toMatch(/^\[group\] +object\d+( +object\d+){6}$/);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(WIDTH);
  expect(lines.join(' ').split(/ +/)).toHaveLength(MEMBERS);
  expect(lines).toHaveLength(Math.ceil(MEMBERS / 8));
});

test('groups are coloured where the terminal can show it', async () => {
  const [, coloured] = await list(new Terminal(true));
  expect(coloured?.slice(0, 12)).toBe('\x1b[36m[group]');
  const [, plain] = await list(new Terminal(false));
  expect(plain?.slice(0, 12)).toBe('[group]     ');
});

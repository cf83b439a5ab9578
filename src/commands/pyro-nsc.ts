#!/usr/bin/env node
/** `pyro-nsc`: asks and controls a name server, with the commands of the manual's chapter. */
import { lookupService, Resolver } from 'node:dns/promises';
import process from 'node:process';
import type { Options } from 'yargs';
import { defaultConfig, printable, readIdentification, silentLog } from '../config/index.js';
import { ConnectionDeniedError, PyroError } from '../errors.js';
import type { PyroURI } from '../names/index.js';
import { isEtcdURL } from '../namespace/index.js';
import {
  NameServerLocator,
  watch,
  WILL_SHUT_DOWN,
  type WatchEvent,
  type Whereabouts,
  NameServerProxy,
  RemoteNamespace,
  type ExistingNames,
} from '../naming/index.js';
import { MAX_TIMEOUT_MS } from '../sync/index.js';
import { COMMANDS, type CommandName } from './nsc/commands.js';
import { COMPLETION_REQUEST, COMPLETION_SCRIPTS, matchingNames, SHELLS, takesNames } from './nsc/completion.js';
import { check, prune, showStatus, type PruneOptions } from './nsc/operations.js';
import { Output } from './nsc/output.js';
import { exportTo, importFrom, openDatabase } from './nsc/transfer.js';
import { withLongNames, type ShortOptions } from './short-options.js';
import { argumentParser, fail, isAnswered, passphrase, port, UsageError } from './cli.js';

const SHORT_OPTIONS: ShortOptions = new Map([
  ['h', 'host'],
  ['p', 'port'],
  ['c', 'bcaddr'],
  ['i', 'identification'],
]);

/** How long the name of the name server's host is looked for. It is shown, and nothing else. */
const HOST_NAME_TIMEOUT_MS = 500;

/** Somebody waits for a completion at his keyboard. */
const COMPLETION_CONFIG = { PYRO_BC_RETRIES: 0, PYRO_BC_TIMEOUT: 0.5, PYRO_HANDSHAKE_TIMEOUT: 1 };

/** The commands, as they are written, with what they do. */
const COMMAND_LINES: readonly [
  command: CommandName | 'watch' | 'status' | 'prune' | 'check' | 'export' | 'import' | 'shutdown' | 'completion',
  args: string,
  meaning: string,
][] = [
  ['ping', '', 'See whether the name server is there'],
  ['list', '[names..]', 'List groups; without a name, the default group'],
  ['listall', '', 'List all objects with their URIs'],
  ['tree', '[names..]', 'Show groups and all that is below them; without a name, everything'],
  ['resolve', '<names..>', 'Show the URIs of objects'],
  ['register', '<name> <uri>', 'Register an object'],
  ['remove', '<names..>', 'Unregister objects'],
  ['creategroup', '<names..>', 'Make groups'],
  ['deletegroup', '<names..>', 'Remove groups with all that is below them'],
  ['showmeta', '<names..>', 'Show the metadata of objects and groups'],
  ['setmeta', '<name> <metadata>', "Set an object's or a group's metadata to a text"],
  ['watch', '', 'Show changes as they happen, until interrupted'],
  ['status', '', 'Show how a pyro-ns does: store, names, connections, twin'],
  ['prune', '', 'Show the entries of dead objects, and remove them'],
  ['check', '[directory]', 'Find what is wrong in a database directory, with no server at work in it'],
  ['export', '[file]', 'Write all names to a file or stdout, one JSON line each'],
  ['import', '[file]', 'Add names from such a file or stdin'],
  ['resync', '', 'Let a paired name server exchange all names with the other one, or copy those of a Pyro 3 server'],
  ['shutdown', '', 'Stop the name server'],
  ['completion', '[shell]', 'Print a script for ~/.bashrc or ~/.zshrc that completes commands, options and names'],
];

/** As long as a timer of Node's can wait. */
const MAX_INTERVAL_SECONDS = Math.floor(MAX_TIMEOUT_MS / 1000);

/** Of an option that is given several times, the last one counts. */
const last = (value: string | readonly string[]): string | undefined =>
  typeof value === 'string' ? value : value.at(-1);

function portOf(given: string | readonly string[]): number | undefined {
  const number = port(last(given));
  // As in Pyro, 0 stands for the configured port.
  return number === 0 ? undefined : number;
}

function seconds(given: string | readonly string[]): number {
  const value = last(given) ?? '';
  const number = Number(value);
  if (value.trim() === '' || !(number > 0 && number <= MAX_INTERVAL_SECONDS)) {
    throw new UsageError(`an interval is a number of seconds above 0, not '${value}'`);
  }
  return number;
}

function existingNames(given: string | readonly string[]): ExistingNames {
  const value = last(given);
  if (value === 'fail' || value === 'skip' || value === 'replace') return value;
  throw new UsageError(`--existing is fail, skip or replace, not '${value ?? ''}'`);
}

const OPTIONS = {
  host: { alias: 'h', type: 'string', requiresArg: true, coerce: last, describe: 'Host of the name server' },
  port: {
    alias: 'p',
    type: 'string',
    requiresArg: true,
    coerce: portOf,
    describe: 'Its broadcast port, or with a host its own port',
  },
  bcaddr: { alias: 'c', type: 'string', requiresArg: true, coerce: last, describe: 'Address to broadcast to' },
  identification: {
    alias: 'i',
    type: 'string',
    requiresArg: true,
    coerce: (given: string | readonly string[]) => passphrase(last(given)),
    describe: 'Passphrase; on a shared machine rather PYRO_NS_IDENTIFICATION_FILE',
  },
  ssl: { type: 'boolean', describe: 'Ask the host over TLS' },
  json: { type: 'boolean', describe: 'Print JSON: an array with an object for each result' },
  interval: {
    type: 'string',
    requiresArg: true,
    default: '2',
    coerce: seconds,
    describe: 'For watch: seconds between two looks at a name server of Pyro 3',
  },
  repair: { type: 'boolean', describe: 'For check: move aside what is wrong' },
  database: {
    type: 'string',
    requiresArg: true,
    coerce: last,
    describe: 'For export and import: a database directory or etcd URL, instead of a name server',
  },
  existing: {
    type: 'string',
    requiresArg: true,
    default: 'fail',
    coerce: existingNames,
    describe: 'For import: what to do with names that are there and differ: fail, skip or replace',
  },
  yes: { type: 'boolean', describe: 'For prune: remove without asking' },
  unreachable: { type: 'boolean', describe: "For prune: take what can't be reached for dead" },
} as const satisfies Record<string, Options>;

function parser(args: readonly string[]) {
  const built = argumentParser('pyro-nsc', withLongNames(args, SHORT_OPTIONS))
    .usage('$0 [options] <command> [arguments]\n\nAsks and controls a Pyro Name Server.')
    .options(OPTIONS)
    .help('help')
    .strict()
    .parserConfiguration({ 'boolean-negation': false, 'parse-positional-numbers': false });
  for (const [command, positionals, meaning] of COMMAND_LINES) {
    built.command(`${command} ${positionals}`.trim(), meaning);
  }
  return built;
}

const whereabouts = ({ host, port, bcaddr, ssl }: Whereabouts): Whereabouts => ({ host, port, bcaddr, ssl });

interface Arguments {
  readonly command: string;
  /** What stands behind the command. */
  readonly args: readonly string[];
  readonly where: Whereabouts;
  readonly identification: string | undefined;
  readonly interval: number;
  readonly json: boolean;
  readonly repair: boolean;
  readonly database: string | undefined;
  readonly existing: ExistingNames;
  readonly pruning: PruneOptions;
}

async function readArguments(args: readonly string[]): Promise<Arguments | undefined> {
  const parsed = await parser(args).parseAsync();
  if (isAnswered(parsed)) return undefined;
  const [command] = parsed._;
  if (command === undefined) throw new UsageError('a command is needed');
  const positionals = [
    parsed['name'],
    parsed['names'],
    parsed['uri'],
    parsed['metadata'],
    parsed['shell'],
    parsed['directory'],
    parsed['file'],
  ];
  return {
    command: String(command),
    args: positionals
      .flat()
      .filter((value) => value !== undefined)
      .map(String),
    where: whereabouts(parsed),
    identification: parsed.identification ?? readIdentification(defaultConfig()),
    interval: parsed.interval,
    json: parsed.json === true,
    repair: parsed.repair === true,
    database: parsed.database,
    existing: parsed.existing,
    pruning: { yes: parsed.yes === true, unreachable: parsed.unreachable === true },
  };
}

/** The name of a host by its address, as far as it is quickly known. */
async function hostName({ address, port }: PyroURI): Promise<string> {
  try {
    // The system's own look-up can't be given up, so it is done only where there is a name to be found.
    await new Resolver({ timeout: HOST_NAME_TIMEOUT_MS, tries: 1 }).reverse(address);
    const { hostname } = await lookupService(address, port);
    return hostname;
  } catch {
    return '??';
  }
}

async function run(request: Arguments, output: Output): Promise<void> {
  const { command, args, where, identification, interval } = request;
  if (command === 'check') {
    await check(args[0], request.repair, output);
    return;
  }
  if (request.database !== undefined) {
    await transferOffline(request, request.database, output);
    return;
  }
  const locator = new NameServerLocator({ identification });
  const trace = (line: string): void => {
    output.line(line);
  };
  if (command === 'shutdown') {
    const answer = printable(await locator.sendSysCommand('shutdown', { ...where, trace }));
    output.result({ answer }, `Result from system command shutdown : ${answer}`);
    output.failed = answer !== WILL_SHUT_DOWN;
    return;
  }
  await using nameServer = await locator.getNS({ ...where, trace });
  const { address, port } = nameServer.URI;
  output.line(`NS is at ${address} (${output.json ? '' : await hostName(nameServer.URI)}) port ${port}`);
  if (command === 'watch') {
    for await (const event of watch(nameServer, { interval })) output.event(event, eventLine(event));
  }
  if (command === 'status') await showStatus(nameServer, output);
  if (command === 'export' || command === 'import') await transfer(request, nameServer.URI, output);
  if (command === 'prune') await prune(nameServer, output, request.pruning);
  if (isCommand(command)) await COMMANDS[command]({ nameServer, output }, args);
}

/** Exports from a name server, or imports into it, whose own entry stays as it is. */
async function transfer(request: Arguments, uri: PyroURI, output: Output): Promise<void> {
  const { command, args, identification, existing } = request;
  await using nameServer = new NameServerProxy(uri, { identification, exactValues: true });
  const namespace = new RemoteNamespace(nameServer);
  if (command === 'export') await exportTo(args[0], namespace, output);
  else await importFrom(args[0], namespace, output, { existing, keepsOwnEntry: true });
}

/** The same with a database that no server has open. In etcd each server has its own entry to itself. */
async function transferOffline(
  { command, args, existing }: Arguments,
  database: string,
  output: Output,
): Promise<void> {
  if (command !== 'export' && command !== 'import') throw new UsageError('--database is for export and import');
  const namespace = await openDatabase(database, command === 'export', output);
  try {
    if (command === 'export') await exportTo(args[0], namespace, output);
    else await importFrom(args[0], namespace, output, { existing, keepsOwnEntry: isEtcdURL(database) });
  } finally {
    await namespace.close();
  }
}

const isCommand = (text: string): text is CommandName => Object.hasOwn(COMMANDS, text);

function eventLine(event: WatchEvent): string {
  const time = new Date().toTimeString().slice(0, 8);
  if (event.operation === 'missed') return `${time} some changes were missed`;
  const uri = event.uri === undefined ? '' : `  -->  ${printable(event.uri)}`;
  return `${time} ${event.operation} ${printable(event.name)}${uri}`;
}

function report(error: PyroError, ssl: boolean): void {
  const denied = error instanceof ConnectionDeniedError;
  const text = printable(error.args.join(': '));
  process.stderr.write(`${denied ? 'Could not connect to the server:' : 'There is a problem:'} ${text}\n`);
  if (error.code === 'DENIED_SECURITY') {
    process.stderr.write(`Supply correct authentication ID${ssl ? ', or another certificate' : ''}?\n`);
  }
}

function completionScript([shell = 'bash']: readonly string[]): string {
  const known = SHELLS.find((name) => name === shell);
  if (known === undefined)
    throw new UsageError(`there are completions for ${SHELLS.join(' and ')}, not for '${shell}'`);
  return COMPLETION_SCRIPTS[known];
}

/** What the last word can become; nothing that the words before it say is done. */
async function completionsOf(words: readonly string[]): Promise<readonly string[]> {
  const current = words.at(-1) ?? '';
  const parsed = await argumentParser('pyro-nsc', withLongNames(words.slice(0, -1), SHORT_OPTIONS))
    .options(OPTIONS)
    .help(false)
    .version(false)
    .parseAsync();
  const [command] = parsed._.map(String);
  const startingSo = (candidates: readonly string[]) => candidates.filter((word) => word.startsWith(current));
  if (current.startsWith('-'))
    return startingSo([...Object.keys(OPTIONS), 'help', 'version'].map((name) => `--${name}`));
  if (command === undefined) return startingSo(COMMAND_LINES.map(([name]) => name));
  if (command === 'completion') return startingSo(SHELLS);
  if (!takesNames(command)) return [];
  const config = { ...defaultConfig(), ...COMPLETION_CONFIG };
  const identification = parsed.identification ?? readIdentification(config);
  const locator = new NameServerLocator({ config, log: silentLog, identification });
  await using nameServer = await locator.getNS(whereabouts(parsed));
  return await matchingNames(current, nameServer);
}

/** What the completion scripts call. Where nothing is known, nothing is said: there is no place for it. */
async function complete(words: readonly string[]): Promise<void> {
  try {
    process.stdout.write((await completionsOf(words)).map((word) => `${word}\n`).join(''));
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof PyroError)) throw error;
  }
}

async function main(): Promise<void> {
  const [first, ...words] = process.argv.slice(2);
  if (first === COMPLETION_REQUEST) {
    await complete(words);
    return;
  }
  const request = await readArguments(process.argv.slice(2));
  if (request === undefined) return;
  if (request.command === 'completion') {
    process.stdout.write(completionScript(request.args));
    return;
  }
  const output = new Output(
    request.command === 'export' ? process.stderr : process.stdout,
    process.stderr,
    request.json,
  );
  try {
    await run(request, output);
  } catch (error) {
    if (!(error instanceof PyroError)) throw error;
    report(error, request.where.ssl === true);
    output.failed = true;
  }
  if (request.command !== 'watch') output.end();
  if (output.failed) process.exitCode = 1;
}

// Whoever reads this has enough, such as `head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(1);
});

try {
  await main();
} catch (error) {
  fail('pyro-nsc', error);
}

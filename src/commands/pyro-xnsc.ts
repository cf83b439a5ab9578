#!/usr/bin/env node
/** `pyro-xnsc` and `pyro-wxnsc`: starts the console, and opens it in the browser. */
import { basename } from 'node:path';
import process from 'node:process';
import open from 'open';
import { defaultConfig, printable, readIdentification, type Config } from '../config/index.js';
import { Console } from '../console/index.js';
import { PyroError } from '../errors.js';
import { argumentParser, isAnswered, port, UsageError } from './cli.js';
import { writeRedirectPage } from './redirect-page.js';

function parser(args: readonly string[], name: string) {
  return argumentParser(name, args)
    .usage('$0 [options]\n\nStarts a console for name servers in the browser. It listens on this machine only.')
    .option('host', {
      alias: 'h',
      type: 'string',
      requiresArg: true,
      describe: 'Connect to the name server at this host',
    })
    .option('port', {
      alias: 'p',
      type: 'string',
      requiresArg: true,
      describe: 'Its port; without -h the broadcast port',
    })
    .option('bcaddr', {
      alias: 'c',
      type: 'string',
      requiresArg: true,
      describe: 'Find a name server by this broadcast address',
    })
    .option('identification', { alias: 'i', type: 'string', requiresArg: true, describe: 'The passphrase it wants' })
    .option('listen', {
      type: 'string',
      requiresArg: true,
      describe: 'Port of the console [default: any free one]',
    })
    .option('open', { type: 'boolean', default: true, describe: 'Open the browser; --no-open leaves that to you' })
    .demandCommand(0, 0, '', `${name} takes options only`)
    .strict()
    .parserConfiguration({ 'duplicate-arguments-array': false });
}

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

type Options = Awaited<ReturnType<ReturnType<typeof parser>['parseAsync']>>;

/** Connects to the name server that the options or the configuration name; where that fails, the page can still do it. */
async function connectFirst(console: Console, options: Options, config: Config): Promise<void> {
  const host = options.host ?? config.PYRO_NS_HOSTNAME;
  if (host === undefined && options.port === undefined && options.bcaddr === undefined) return;
  try {
    const identification = options.identification ?? readIdentification(config);
    const request = { host, port: port(options.port), broadcastAddress: options.bcaddr, identification };
    const server = await console.connect(request);
    print(`Connected to ${server.address}`);
  } catch (error) {
    if (!(error instanceof PyroError)) throw error;
    process.stderr.write(`Not connected: ${printable(error.args.join(': '))}\n`);
  }
}

async function openBrowser(console: Console): Promise<void> {
  try {
    const browser = await open(await writeRedirectPage(console.issueAddress()));
    browser.on('error', () => undefined);
  } catch {
    // There is none, on a server mostly, or no temporary directory: the address is printed.
  }
}

async function main(name: string): Promise<void> {
  const options = await parser(process.argv.slice(2), name).parseAsync();
  if (isAnswered(options)) return;
  // Before anything is started.
  port(options.port);
  const config = defaultConfig();
  const console = await Console.start({ config, port: port(options.listen) });
  // Once only: a second signal ends the process the usual way.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void console.close());
  print(`The console is at ${console.address}`);
  print('Whoever has this address can use it. Ctrl-C stops it.');
  await connectFirst(console, options, config);
  if (options.open) await openBrowser(console);
}

const name = basename(process.argv[1] ?? 'pyro-xnsc', '.js');
try {
  await main(name);
} catch (error) {
  const isUsage = error instanceof UsageError;
  const isExpected = isUsage || error instanceof PyroError || (error instanceof Error && 'code' in error);
  if (!isExpected) throw error;
  process.stderr.write(`${name}: ${error.message}${isUsage ? `\nTry ${name} --help` : ''}\n`);
  process.exitCode = isUsage ? 2 : 1;
}

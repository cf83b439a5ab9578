/** `pyro-ns`: starts the name server, with the options of the manual's chapter. `pyro-ns.cts` loads it. */
import type { AddressInfo } from 'node:net';
import process from 'node:process';
import { defaultConfig, defaultLog, misspeltVariables, readIdentification } from '../config/index.js';
import type { Log } from '../config/index.js';
import type { MetricsServer } from '../metrics/index.js';
import { loadGuards, NameServerStarter, type StarterOptions, type StartOptions } from '../naming/index.js';
import { withLongNames, type ShortOptions } from './short-options.js';
import { argumentParser, fail, isAnswered, passphrase, port, UsageError } from './cli.js';

/** The chapter's options that take a value. */
const SHORT_OPTIONS: ShortOptions = new Map([
  ['n', 'host'],
  ['p', 'port'],
  ['b', 'bcport'],
  ['c', 'bcaddr'],
  ['i', 'identification'],
  ['d', 'database'],
  ['s', 'security'],
  ['1', 'primary'],
  ['2', 'secondary'],
]);

/** Where metrics are served unless the command line says another port. */
const METRICS_PORT = 9190;

/** -1 and -2: this server's place in a pair, and where the other one is. */
function pairing({ primary, secondary }: Readonly<Record<'primary' | 'secondary', string | undefined>>) {
  if (primary !== undefined && secondary !== undefined) throw new UsageError('-1 and -2 exclude each other');
  const value = primary ?? secondary;
  if (value === undefined) return {};
  const [, host = '', digits] = /^([^:]*)(?::(.*))?$/s.exec(value) ?? [];
  if (value !== '' && host === '') throw new UsageError(`-1 and -2 take host:port, not '${value}'`);
  return {
    role: primary === undefined ? 'secondary' : 'primary',
    twin: host === '' ? undefined : { host, port: port(digits === '' ? undefined : digits) },
  } as const;
}

/** --metrics: where they are served. */
function metricsAddress(value: string | undefined): { host: string; port: number } | undefined {
  if (value === undefined) return undefined;
  const [, brackets, name, digits] =
    /^(?:(?:\[([^\]]+)\]|([^\s:[\]/]+)):)?(\d{1,5})$/.exec(value || `${METRICS_PORT}`) ?? [];
  const number = Number(digits);
  if (digits === undefined || number > 65535) {
    throw new UsageError(`--metrics takes host:port or a port, such as localhost:${METRICS_PORT}, not '${value}'`);
  }
  return { host: brackets ?? name ?? '127.0.0.1', port: number };
}

function parser(args: readonly string[]) {
  return argumentParser('pyro-ns', withLongNames(args, SHORT_OPTIONS))
    .usage('$0 [options]\n\nStarts the Pyro Name Server.')
    .option('host', { alias: 'n', type: 'string', requiresArg: true, describe: 'Host name or address to listen on' })
    .option('port', {
      alias: 'p',
      type: 'string',
      requiresArg: true,
      coerce: port,
      describe: 'Port of the name server (0: any free one)',
    })
    .option('database', {
      alias: 'd',
      type: 'string',
      describe: 'Keep names in a directory, so that they survive a restart [default: Pyro_NS_database]',
    })
    .option('keep', { alias: 'k', type: 'boolean', describe: 'Keep running: deny shutdown requests' })
    .option('no-lookup', { alias: 'r', type: 'boolean', describe: 'Do not look for another name server first' })
    .option('no-broadcast', { alias: 'x', type: 'boolean', describe: 'Do not start the broadcast listener' })
    .option('multiple', { alias: 'm', type: 'boolean', describe: 'Allow several name servers on the segment' })
    .option('bcport', { alias: 'b', type: 'string', requiresArg: true, coerce: port, describe: 'Broadcast port' })
    .option('bcaddr', { alias: 'c', type: 'string', requiresArg: true, describe: 'Broadcast address' })
    .option('identification', {
      alias: 'i',
      type: 'string',
      requiresArg: true,
      coerce: passphrase,
      describe: 'Passphrase for clients; on a shared machine rather PYRO_NS_IDENTIFICATION_FILE',
    })
    .option('security', { alias: 's', type: 'string', requiresArg: true, describe: 'Module with security plugins' })
    .option('primary', { type: 'string', describe: '-1 [host:port]: first of a pair, the other one is there' })
    .option('secondary', { type: 'string', describe: '-2 [host:port]: second of a pair, the other one is there' })
    .option('ssl', { type: 'boolean', describe: 'Speak TLS, with the certificates of PYROSSL_CERTDIR' })
    .option('metrics', {
      type: 'string',
      describe: `[host:port]: serve numbers for Prometheus by HTTP [default: 127.0.0.1:${METRICS_PORT}]`,
    })
    .option('verbose', { alias: 'v', type: 'boolean', describe: 'Say more' })
    .alias('h', 'help')
    .demandCommand(0, 0, '', 'pyro-ns takes options only')
    .strict()
    .parserConfiguration({ 'boolean-negation': false, 'duplicate-arguments-array': false });
}

/** What the command line asks for: what to start, and the passphrase if it is given there. */
interface Arguments extends StartOptions {
  readonly identification: StarterOptions['identification'];
  readonly metrics: { readonly host: string; readonly port: number } | undefined;
}

async function readArguments(args: readonly string[]): Promise<Arguments | undefined> {
  const options = await parser(args).parseAsync();
  if (isAnswered(options)) return undefined;
  return {
    hostname: options.host,
    nsport: options.port,
    // As in Pyro, 0 stands for the configured port.
    bcport: options.bcport === 0 ? undefined : options.bcport,
    bcaddr: options.bcaddr,
    ssl: options.ssl,
    nobroadcast: options['no-broadcast'],
    allowmultiple: options.multiple,
    dontlookupother: options['no-lookup'],
    persistent: options.database !== undefined,
    dbdir: options.database === '' ? undefined : options.database,
    guards: options.security === undefined ? undefined : await loadGuards(options.security, process.cwd()),
    keep: options.keep,
    verbose: options.verbose,
    identification: options.identification,
    metrics: metricsAddress(options.metrics),
    countCalls: options.metrics !== undefined,
    ...pairing(options),
  };
}

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

// Whoever read what is printed may be gone, such as a terminal: the name server goes on.
process.stdout.on('error', () => undefined);

/** How long a start may go on after a signal: it may be waiting for an answer that never comes. */
const START_TIMEOUT_MS = 1500;

/**
 * Stops in good order at the first signal. A start has a moment to come to an end, and is then cut off: the database is as after
 * a crash, which does no harm. A second signal ends the process as usual.
 * @returns aborted at the first signal
 */
function stopOnSignals(starter: NameServerStarter): AbortSignal {
  const stopping = new AbortController();
  const signals = ['SIGINT', 'SIGTERM'] as const;
  let isStarting = true;
  void starter.waitUntilStarted().then(() => {
    isStarting = false;
  });
  const stop = (received: NodeJS.Signals): void => {
    print('Shutting down on user break signal.');
    stopping.abort();
    void starter.shutdown();
    // By the signal and not by `process.exit`, which waits for the threads: one of them may be what hangs.
    if (isStarting) setTimeout(() => process.kill(process.pid, received), START_TIMEOUT_MS).unref();
    // Not `once`: the lock's own listener, which comes later, ends the process where it finds no other.
    setImmediate(() => {
      for (const signal of signals) process.off(signal, stop);
    });
  };
  for (const signal of signals) process.on(signal, stop);
  return stopping.signal;
}

/** How long the process may go on when all is done. */
const EXIT_TIMEOUT_MS = 500;

/** Ends the process where a thread doesn't: one that looks up a host name by the system can't be told to. */
function endSoon(): void {
  setTimeout(() => {
    process.removeAllListeners('SIGTERM');
    process.kill(process.pid, 'SIGTERM');
  }, EXIT_TIMEOUT_MS).unref();
}

/** Opens the log again at SIGHUP, for log rotation; on a terminal, too. The signal never ends the server. */
function reopenOnSignal(log: Log): void {
  process.on('SIGHUP', () => {
    log.reopen();
    log.msg('NameServer', 'log opened again');
  });
}

async function serveMetrics(
  starter: NameServerStarter,
  address: NonNullable<Arguments['metrics']>,
): Promise<MetricsServer> {
  // Not before it is wanted: most name servers do without.
  const { MetricsServer } = await import('../metrics/index.js');
  const hosts =
    defaultConfig()
      .PYRO_NS_METRICS_HOSTS?.split(',')
      .map((host) => host.trim()) ?? [];
  return MetricsServer.start({ starter, ...address, hosts });
}

const addressText = ({ address, family, port }: AddressInfo): string =>
  family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;

async function serve(options: Arguments): Promise<void> {
  const config = defaultConfig();
  const identification = options.identification ?? readIdentification(config);
  const log = defaultLog();
  reopenOnSignal(log);
  const starter = new NameServerStarter({ config, log, print, identification });
  print('*** Pyro Name Server ***');
  for (const warning of misspeltVariables()) print(`WARNING: ${warning}`);
  await using metrics = options.metrics && (await serveMetrics(starter, options.metrics));
  if (metrics) print(`Metrics on: http://${addressText(metrics.listening)}/metrics`);
  const stopping = stopOnSignals(starter);
  try {
    await starter.start(options);
  } catch (error) {
    if (!stopping.aborted) throw error;
  }
  await starter.stopped;
  print('Name Server gracefully stopped.');
}

async function main(): Promise<void> {
  const options = await readArguments(process.argv.slice(2));
  if (options === undefined) return;
  await serve(options);
  endSoon();
}

try {
  await main();
} catch (error) {
  fail('pyro-ns', error);
}

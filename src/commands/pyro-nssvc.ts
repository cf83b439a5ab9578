#!/usr/bin/env node
/** `pyro-nssvc`: installs and controls the name server as a service: of systemd, launchd, or Windows. */
import { homedir, platform } from 'node:os';
import { resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { hideBin } from 'yargs/helpers';
import { printable } from '../config/index.js';
import { launchdPlan } from './service/launchd.js';
import { describePlan, executePlan } from './service/plan.js';
import type { Plan } from './service/plan.js';
import { ACTIONS, ServiceError } from './service/request.js';
import type { Action, Machine, ServiceRequest } from './service/request.js';
import { systemdPlan } from './service/systemd.js';
import { windowsPlan } from './service/windows.js';
import { argumentParser, fail, isAnswered, UsageError } from './cli.js';

const PLANNERS: Partial<Record<NodeJS.Platform, (request: ServiceRequest, machine: Machine) => Plan>> = {
  linux: systemdPlan,
  darwin: launchdPlan,
  win32: windowsPlan,
};

const MEANINGS: Readonly<Record<Action, string>> = {
  install: 'Make it a service, which starts with the machine; without options of pyro-ns: -d',
  update: 'Replace the options of pyro-ns, and restart it',
  remove: 'Stop it, and make it no service any more; names and logs stay',
  start: 'Start it',
  stop: 'Stop it',
  restart: 'Stop and start it',
  status: 'Show what it does',
};

function parse(args: readonly string[]) {
  const parser = argumentParser('pyro-nssvc', args)
    .usage('$0 [options] <command> [-- options of pyro-ns]\n\nRuns the Pyro Name Server as a service.')
    .option('user', { type: 'boolean', describe: 'The service of this user, not of the machine' })
    .option('account', { type: 'string', requiresArg: true, describe: "Account that the machine's service runs under" })
    .option('identification-file', {
      type: 'string',
      requiresArg: true,
      describe: 'File whose first line is the passphrase that clients must have',
    })
    .option('dry-run', { type: 'boolean', describe: 'Only print what would be written and run' })
    .conflicts('account', 'user')
    .example('$0 install -- -d -n myhost', 'a persistent name server on the interface of myhost')
    .demandCommand(1, 1, 'one command is needed', 'one command is enough')
    .strict();
  for (const action of ACTIONS) parser.command(action, MEANINGS[action]);
  return parser.parseSync();
}

/**
 * What the command line asks for.
 * @param options those of `pyro-ns`; undefined if there was no `--`
 * @throws UsageError if it makes no sense
 */
function readRequest(args: ReturnType<typeof parse>, options: readonly string[] | undefined): ServiceRequest {
  const { user = false, account, identificationFile } = args;
  const action = ACTIONS.find((candidate) => candidate === args._[0]);
  if (action === undefined) throw new UsageError(`unknown command: ${String(args._[0])}`);
  const takesOptions = action === 'install' || action === 'update';
  if (!takesOptions && options !== undefined) throw new UsageError(`${action} takes no options of pyro-ns`);
  if (action === 'update' && options === undefined) {
    throw new UsageError('update replaces the options of pyro-ns: give all of them, after --');
  }
  if (account !== undefined && !/^[a-z_][\w.-]*$/i.test(account)) {
    throw new UsageError(`--account must be the name of an account, not '${printable(account)}'`);
  }
  if (identificationFile !== undefined && printable(identificationFile) !== identificationFile) {
    throw new UsageError('--identification-file must not hold control characters');
  }
  return {
    action,
    user,
    account,
    identificationFile: identificationFile === undefined ? undefined : resolve(identificationFile),
    options,
  };
}

function main(): number {
  const args = hideBin(process.argv);
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const parsed = parse(args.slice(0, end));
  if (isAnswered(parsed)) return 0;
  const request = readRequest(parsed, end < args.length ? args.slice(end + 1) : undefined);
  const planner = PLANNERS[platform()];
  if (planner === undefined) throw new ServiceError(`services are not supported on ${platform()}`);
  const plan = planner(request, {
    node: process.execPath,
    program: fileURLToPath(new URL('pyro-ns.cjs', import.meta.url)),
    home: homedir(),
    userID: process.getuid?.() ?? -1,
  });
  if (parsed.dryRun !== true) return executePlan(plan);
  process.stdout.write(describePlan(plan));
  return 0;
}

try {
  process.exitCode = main();
} catch (error) {
  if (error instanceof ServiceError) {
    process.stderr.write(`pyro-nssvc: ${error.message}\n`);
    process.exitCode = 1;
  } else {
    fail('pyro-nssvc', error);
  }
}

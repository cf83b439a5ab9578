/** What the commands have in common: how they read their arguments, and what becomes of errors. */
import process from 'node:process';
import yargs from 'yargs';
import { printable, VERSION } from '../config/index.js';
import { PyroError } from '../errors.js';

/** What is wrong with the command line. */
export class UsageError extends Error {}

/**
 * A parser of a command's arguments, which ends in a UsageError where they are wrong. It prints what --help and --version
 * ask for, and never ends the process: `isAnswered` says whether there is anything left to do.
 */
export function argumentParser(command: string, args: readonly string[]) {
  return yargs(args)
    .scriptName(command)
    .detectLocale(false)
    .version(VERSION)
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      throw new UsageError(message ?? error?.message);
    });
}

/** True where all that was asked for is printed. */
export function isAnswered(options: Readonly<Record<string, unknown>>): boolean {
  return options['help'] === true || options['version'] === true;
}

/** The value of an option that is a port, where it is given. @throws UsageError */
export function port(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!/^\d+$/.test(value) || number > 65535) {
    throw new UsageError(`a port is a number from 0 to 65535, not '${value}'`);
  }
  return number;
}

/** The value of an option that is a passphrase, where it is given. @throws UsageError */
export function passphrase(value: string | undefined): string | undefined {
  if (value === '') throw new UsageError("a passphrase can't be empty");
  return value;
}

/** Says on stderr why a command fails, and sets its exit status. @throws what is no word for its user */
export function fail(command: string, error: unknown): void {
  if (!(error instanceof UsageError || error instanceof PyroError)) throw error;
  const isUsage = error instanceof UsageError;
  const text = isUsage ? `${error.message}\nTry ${command} --help` : printable(error.args.join(': '));
  process.stderr.write(`${command}: ${text}\n`);
  process.exitCode = isUsage ? 2 : 1;
}

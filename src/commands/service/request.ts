import { printable } from '../../config/index.js';
import { UsageError } from '../cli.js';

/** What can be asked of the service: the words of Pyro 3's `nssvc`, and `status`. */
export const ACTIONS = ['install', 'update', 'remove', 'start', 'stop', 'restart', 'status'] as const;
export type Action = (typeof ACTIONS)[number];

/** What the command line asks for. */
export interface ServiceRequest {
  readonly action: Action;
  /** The service of the user who asks, not of the machine. */
  readonly user: boolean;
  /** The account that the machine's service runs under, where it is not the platform's usual one. */
  readonly account?: string | undefined;
  /** Absolute path of the file whose first line is the passphrase. */
  readonly identificationFile?: string | undefined;
  /** Options for `pyro-ns`; undefined if none were given. */
  readonly options?: readonly string[] | undefined;
}

/** What plans must know of the machine. */
export interface Machine {
  /** Absolute path of Node.js. */
  readonly node: string;
  /** Absolute path of the compiled `pyro-ns`. */
  readonly program: string;
  /** The home directory of the user who asks. */
  readonly home: string;
  /** That user's id; -1 on Windows, which has none. */
  readonly userID: number;
}

/** What was asked for can't be done on this machine; the message says why. */
export class ServiceError extends Error {}

// Options without a value, which may stand in one word before one that has a value: `-rxd directory`.
const IDENTIFICATION = /^(?:-[hkmrvx]*i|--identification)/;
const DATABASE = /^(?:-[hkmrvx]*d|--database)=?(.*)$/;

/**
 * The options that the server is started with: those given, else `-d`. As in Pyro 3, a service always denies shutdown
 * requests: whoever stops it stops the service.
 * @throws UsageError if a passphrase is among them, or a control character
 */
export function serverOptions({ options = ['-d'] }: ServiceRequest): readonly string[] {
  for (const option of options) {
    if (IDENTIFICATION.test(option)) {
      throw new UsageError(
        'the options of a service can be read by everyone: put the passphrase in a file, and use --identification-file',
      );
    }
    if (printable(option) !== option) throw new UsageError(`control character in option '${printable(option)}'`);
  }
  return options.includes('-k') ? options : [...options, '-k'];
}

/** The directory that the options name for the database, as it was written; undefined if they name none. */
export function databaseDirectory(options: readonly string[]): string | undefined {
  for (const [index, option] of options.entries()) {
    const [, attached] = DATABASE.exec(option) ?? [];
    if (attached === undefined) continue;
    if (attached !== '') return attached;
    const next = options[index + 1];
    return next?.startsWith('-') === true ? undefined : next;
  }
  return undefined;
}

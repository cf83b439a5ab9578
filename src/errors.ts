/**
 * Pyro's exception classes, as in Pyro's own module `Pyro.errors`: beneath all rooms, because every room raises some.
 *
 * Python raises them as classes with positional arguments (`NamingError('name not found', ':Test.a')`), and peers look
 * at those arguments: so each error here carries `args`, and its `message` is the first of them.
 */
import { codeOfText, type ErrorCode } from './refusals.js';

export type { ErrorCode } from './refusals.js';

/** Any error of Pyro, a name server or this package: those that have no better class, and what all of them have. */
export class PyroError extends Error {
  /** @internal The code of errors of this class whose text has none of its own. */
  protected static readonly classCode: ErrorCode = 'PYRO_ERROR';
  /**
   * Which refusal it is, for programs: texts are for people. It is read from the text, so that it is the same of an error
   * that a peer raised.
   */
  readonly code: ErrorCode;
  /** What Python sees as the exception's `args`: the text first, then what it is about. */
  readonly args: readonly string[];
  /** The lines of the remote traceback, where a remote object raised this. */
  declare remoteTraceback?: readonly string[] | undefined;

  constructor(message: string, ...details: string[]) {
    super(message);
    this.name = new.target.name;
    this.code = codeOfText(message) ?? new.target.classCode;
    this.args = [message, ...details];
  }
}

/** A text or a set of parts that is no URI. */
export class URIError extends PyroError {
  protected static override readonly classCode = 'URI_ERROR';
}

/** A name that is not valid, not found, taken, or not of the kind asked for: facts in the manual's naming chapter. */
export class NamingError extends PyroError {
  protected static override readonly classCode = 'NAMING_ERROR';
}

/** A daemon can't be started or used. */
export class DaemonError extends PyroError {
  protected static override readonly classCode = 'DAEMON_ERROR';
}

/** A class that a request needs is not known here. */
export class NoModuleError extends PyroError {
  protected static override readonly classCode = 'MODULE_MISSING';
}

/** A peer broke the wire protocol, or a connection can't be had. */
export class ProtocolError extends PyroError {
  protected static override readonly classCode: ErrorCode = 'PROTOCOL_ERROR';
}

/** The connection is gone. */
export class ConnectionClosedError extends ProtocolError {
  protected static override readonly classCode: ErrorCode = 'CONNECTION_CLOSED';
}

/** The peer did not answer in time. */
export class TimeoutError extends ConnectionClosedError {
  protected static override readonly classCode = 'TIMEOUT';
}

/** The server refused the connection: the message is the reason, as in Pyro's `constants.deniedReasons`. */
export class ConnectionDeniedError extends ProtocolError {
  protected static override readonly classCode = 'CONNECTION_DENIED';
}

/** A configuration item, line or value that is not valid. Pyro 3 raises KeyError and ValueError here. */
export class ConfigError extends PyroError {
  protected static override readonly classCode = 'CONFIG_INVALID';
}

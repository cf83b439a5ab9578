/**
 * Pyro's exception classes, as in Pyro's own module `Pyro.errors`: beneath all rooms, because every room raises some.
 *
 * Python raises them as classes with positional arguments (`NamingError('name not found', ':Test.a')`), and peers look
 * at those arguments: so each error here carries `args`, and its `message` is the first of them.
 */
export class PyroError extends Error {
  /** What Python sees as the exception's `args`: the text first, then what it is about. */
  readonly args: readonly string[];
  /** The lines of the remote traceback, where a remote object raised this. */
  declare remoteTraceback?: readonly string[] | undefined;

  constructor(message: string, ...details: string[]) {
    super(message);
    this.name = new.target.name;
    this.args = [message, ...details];
  }
}

/** A text or a set of parts that is no URI. */
export class URIError extends PyroError {}

/** A name that is not valid, not found, taken, or not of the kind asked for: facts in the manual's naming chapter. */
export class NamingError extends PyroError {}

/** A daemon can't be started or used. */
export class DaemonError extends PyroError {}

/** A class that a request needs is not known here. */
export class NoModuleError extends PyroError {}

/** A peer broke the wire protocol, or a connection can't be had. */
export class ProtocolError extends PyroError {}

/** The connection is gone. */
export class ConnectionClosedError extends ProtocolError {}

/** The peer did not answer in time. */
export class TimeoutError extends ConnectionClosedError {}

/** The server refused the connection: the message is the reason, as in Pyro's `constants.deniedReasons`. */
export class ConnectionDeniedError extends ProtocolError {}

/** A configuration item, line or value that is not valid. Pyro 3 raises KeyError and ValueError here. */
export class ConfigError extends PyroError {}

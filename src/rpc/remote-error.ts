import { inspect } from 'node:util';
import { codeOfText, type ErrorCode } from '../refusals.js';
import { readableText, type PythonValue } from '../pickle/index.js';

/**
 * A Python exception, by module and class. Proxies throw it for an exception that the remote object raised, except for
 * Pyro's own errors, which are thrown as the classes of `errors.ts`. Objects served here throw it so that Python
 * callers can catch that class.
 */
export class RemoteError extends Error {
  /** Which refusal it is, where it is one of Pyro's own; else `REMOTE_EXCEPTION`. */
  readonly code: ErrorCode;
  /** The lines of the remote traceback, where the peer sent one. */
  remoteTraceback: readonly string[] | undefined;

  /**
   * @param module the class's module in Python: `exceptions` for Python 2's built-in exceptions
   * @param args the exception's `args` in Python; the message is the first of them if that is text, else all of them
   * @param attributes the exception's other attributes
   */
  constructor(
    readonly module: string,
    readonly className: string,
    readonly args: readonly PythonValue[],
    readonly attributes: ReadonlyMap<string, PythonValue> = new Map(),
  ) {
    super(readableText(args[0]) ?? args.map(describeArgument).join(', '));
    this.name = className;
    this.code = (module === 'Pyro.errors' ? codeOfText(this.message) : undefined) ?? 'REMOTE_EXCEPTION';
  }
}

/** An argument of an exception as readable text. */
export function describeArgument(value: PythonValue): string {
  return readableText(value) ?? inspect(value, { depth: 2, breakLength: Infinity });
}

/** Python's AttributeError for a missing method or attribute. */
export function noSuchAttribute(className: string, attribute: string): RemoteError {
  return new RemoteError('exceptions', 'AttributeError', [`'${className}' object has no attribute '${attribute}'`]);
}

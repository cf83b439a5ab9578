import { inspect } from 'node:util';
import { codeOfText, type ErrorCode } from '../refusals.js';
import { readableText, type PythonValue } from '../pickle/index.js';

/**
 * An exception of Python's, or of a program's own, by its module and class: thrown by proxies for what the remote
 * object raised (Pyro's own errors arrive as the classes of `errors.ts`), and thrown by objects served here that want
 * Python callers to catch a certain class.
 */
export class RemoteError extends Error {
  /** Which refusal it is, where it is one of Pyro's own; else `REMOTE_EXCEPTION`. */
  readonly code: ErrorCode;
  /** The lines of the remote traceback, where the peer sent one. */
  remoteTraceback: readonly string[] | undefined;

  /**
   * @param module Python's module of the class: `exceptions` for Python 2's own
   * @param args what Python has as the exception's `args`; the first one, where it is text, is the message here, and else all
   * @param attributes what else the exception carries
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

/** An argument of an exception, for people: text as it is. */
export function describeArgument(value: PythonValue): string {
  return readableText(value) ?? inspect(value, { depth: 2, breakLength: Infinity });
}

/** What Python raises where an object has no method or attribute of that name. */
export function noSuchAttribute(className: string, attribute: string): RemoteError {
  return new RemoteError('exceptions', 'AttributeError', [`'${className}' object has no attribute '${attribute}'`]);
}

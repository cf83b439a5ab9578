import * as errors from '../errors.js';
import type { ExceptionDescription } from '../wire/index.js';
import { describeArgument, RemoteError } from './remote-error.js';

/** Pyro's exception classes, by the names that they have in `Pyro.errors`. */
const PYRO_ERRORS: ReadonlyMap<string, typeof errors.PyroError> = new Map([
  ['PyroError', errors.PyroError],
  ['URIError', errors.URIError],
  ['NamingError', errors.NamingError],
  ['DaemonError', errors.DaemonError],
  ['NoModuleError', errors.NoModuleError],
  ['ProtocolError', errors.ProtocolError],
  ['ConnectionClosedError', errors.ConnectionClosedError],
  ['TimeoutError', errors.TimeoutError],
  ['ConnectionDeniedError', errors.ConnectionDeniedError],
]);

/** The Python exception for each of JavaScript's own errors. */
const PYTHON_NAMES: ReadonlyMap<string, string> = new Map([
  ['TypeError', 'TypeError'],
  ['RangeError', 'ValueError'],
  ['SyntaxError', 'SyntaxError'],
  ['ReferenceError', 'NameError'],
]);

const withTraceback = (
  module: string,
  className: string,
  args: ExceptionDescription['args'],
  attributes: ExceptionDescription['attributes'] = new Map(),
): ExceptionDescription => ({
  module,
  className,
  args,
  attributes,
  // Python clients print the remote traceback line by line. It has only the error itself: our stack is not disclosed.
  traceback: [`${className}: ${args.map(describeArgument).join('; ')}\n`],
});

/**
 * Converts an error for the peer: the Python class to raise, its arguments, and a traceback of one line, without our
 * stack.
 */
export function describeException(error: unknown): ExceptionDescription {
  if (error instanceof RemoteError) {
    return withTraceback(error.module, error.className, error.args, error.attributes);
  }
  if (error instanceof errors.PyroError) {
    return withTraceback('Pyro.errors', PYRO_ERRORS.has(error.name) ? error.name : 'PyroError', error.args);
  }
  if (error instanceof Error) {
    return withTraceback('exceptions', PYTHON_NAMES.get(error.name) ?? 'Exception', [error.message]);
  }
  return withTraceback('exceptions', 'Exception', [String(error)]);
}

/** The inverse of `describeException`: the error that a proxy throws for an exception of the remote object. */
export function errorOf(exception: ExceptionDescription): Error {
  const { module, className, args, attributes, traceback } = exception;
  const pyroClass = module === 'Pyro.errors' ? PYRO_ERRORS.get(className) : undefined;
  if (pyroClass === undefined) {
    const error = new RemoteError(module, className, args, attributes);
    error.remoteTraceback = traceback;
    return error;
  }
  const [message = '', ...details] = args.map(describeArgument);
  const error = new pyroClass(message, ...details);
  error.remoteTraceback = traceback;
  return error;
}

import type { PythonValue } from '../pickle/index.js';
import type { CallRequest } from '../wire/index.js';
import { RemoteError } from './remote-error.js';

/**
 * The most characters in an error's text, which contains a method name and a keyword of any length that the peer sent.
 */
const MAX_TEXT_LENGTH = 4096;

const typeError = (text: string): RemoteError =>
  new RemoteError('exceptions', 'TypeError', [text.slice(0, MAX_TEXT_LENGTH)]);

/**
 * Binds a call's positional and keyword arguments to a method's parameters, as Python does.
 * @param parameters the names of the parameters in Pyro 3, in order; all are required
 * @returns the arguments in the order of the parameters
 * @throws RemoteError TypeError with Python's text, which counts `self` as an argument
 */
export function bindArguments(call: CallRequest, parameters: readonly string[]): readonly PythonValue[] {
  if (call.args.length === parameters.length && call.keywords.size === 0) return call.args;
  const given = call.args.length + call.keywords.size;
  if (call.args.length > parameters.length || (given < parameters.length && call.keywords.size === 0)) {
    const expected = parameters.length + 1;
    const noun = expected === 1 ? 'argument' : 'arguments';
    throw typeError(`${call.method}() takes exactly ${expected} ${noun} (${given + 1} given)`);
  }
  const bound = [...call.args];
  for (const [keyword, value] of call.keywords) {
    const position = parameters.indexOf(keyword);
    if (position < 0) throw typeError(`${call.method}() got an unexpected keyword argument '${keyword}'`);
    if (position < call.args.length || position in bound) {
      throw typeError(`${call.method}() got multiple values for keyword argument '${keyword}'`);
    }
    bound[position] = value;
  }
  if (given < parameters.length) {
    throw typeError(`${call.method}() takes exactly ${parameters.length + 1} arguments (${given + 1} given)`);
  }
  return bound;
}

import { expect, it } from '@jest/globals';
import * as errors from '../errors.js';
import { ERROR_CODES, REFUSALS } from '../refusals.js';
import { decodeReply, encodeException } from '../wire/index.js';
import { describeException, errorOf } from './exceptions.js';
import { RemoteError } from './remote-error.js';

/** What a proxy throws of what an object raised. */
function acrossTheWire(error: Error): Error {
  const reply = decodeReply(encodeException(describeException(error)));
  if (!('exception' in reply)) throw new Error('no exception came');
  return errorOf(reply.exception);
}

const PYRO_CLASSES = [
  errors.PyroError,
  errors.URIError,
  errors.NamingError,
  errors.DaemonError,
  errors.NoModuleError,
  errors.ProtocolError,
  errors.ConnectionClosedError,
  errors.TimeoutError,
  errors.ConnectionDeniedError,
];

const texts = ERROR_CODES.flatMap((code) => REFUSALS[code].text?.replaceAll('{}', '3') ?? []);

it.each(PYRO_CLASSES)('a %p has the same code, class and texts for a peer', (pyroClass) => {
  for (const text of [...texts, 'a text of its own']) {
    const error = new pyroClass(text, ':about.it');
    const received = acrossTheWire(error);
    expect(received).toBeInstanceOf(pyroClass);
    expect(received).toMatchObject({ code: error.code, args: error.args, message: text });
  }
});

it('an exception of Python has a code that says so, whatever its text', () => {
  const received = acrossTheWire(new RemoteError('exceptions', 'ValueError', ['name not found']));
  expect(received).toBeInstanceOf(RemoteError);
  expect(received).toMatchObject({ code: 'REMOTE_EXCEPTION', message: 'name not found' });
});

it("a RemoteError that stands for one of Pyro's has that one's code", () => {
  expect(new RemoteError('Pyro.errors', 'NamingError', ['name not found', ':a']).code).toBe('NAME_NOT_FOUND');
  expect(new RemoteError('Pyro.errors', 'NamingError', ['what?']).code).toBe('REMOTE_EXCEPTION');
});

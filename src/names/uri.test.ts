import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { URIError } from '../errors.js';
import { newGUID } from './guid.js';
import { DEFAULT_PORT, MAX_URI_LENGTH, PyroURI } from './uri.js';

describe('PyroURI', () => {
  test('what is printed is read back', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('PYRO', 'PYROSSL', 'PYROLOC', 'x'),
        fc.oneof(fc.ipV4(), fc.domain()),
        fc.integer({ min: 1, max: 65535 }),
        fc.stringMatching(/^[!-~\xa1-\xff]*$/),
        (protocol, address, port, objectID) => {
          const uri = new PyroURI(protocol, address, port, objectID);
          expect(PyroURI.parse(uri.toString())).toMatchObject({ protocol, address, port, objectID });
          expect(PyroURI.parse(uri.toString()).equals(uri)).toBe(true);
        },
      ),
    );
  });

  test('random text is a URI or a URIError', () => {
    const errorOf = (text: string): unknown => {
      try {
        PyroURI.parse(text);
      } catch (error) {
        return error;
      }
      return undefined;
    };
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[PYRO:/0-9a ]*$/)), (text) => {
        const error = errorOf(text);
        expect(error === undefined || error instanceof URIError).toBe(true);
      }),
    );
  });

  test('the port may be left out', () => {
    expect(PyroURI.parse('PYRO://127.0.0.1/abc').port).toBe(DEFAULT_PORT);
    expect(PyroURI.parse('PYRO://127.0.0.1:/abc').port).toBe(DEFAULT_PORT);
    expect(PyroURI.parse('PYRO://127.0.0.1:0/abc').port).toBe(DEFAULT_PORT);
  });

  test('takes no longer for the length of what is no URI', () => {
    const digits = `PYRO://${'1'.repeat(MAX_URI_LENGTH - 7)}`;
    const start = performance.now();
    for (let count = 0; count < 100; count++) expect(() => PyroURI.parse(digits)).toThrow(URIError);
    expect(performance.now() - start).toBeLessThan(1000);
  });

  test('what follows the id is not looked at, as with Pyro', () => {
    expect(PyroURI.parse('PYRO://127.0.0.1:1/x\n').objectID).toBe('x');
    expect(PyroURI.parse('PYRO://127.0.0.1:1/x y').objectID).toBe('x');
  });

  test.each([
    'PYRO://localhost/a/b',
    'PYRO://host/\u0101',
    '',
    'PYRO',
    'PYRO:/host/id',
    'PYRO://host',
    'PYRO://:1/id',
    'PYRO://host:65536/id',
    'PYRO://h:x/id',
    'PYRO://\x1b]0;owned\x07:9090/x',
    'PYRO://host\x9b2J:9090/x',
    'PYRO://host\x7f:9090/x',
    'P\x1bc://host:9090/x',
  ])('%j is refused', (text) => {
    expect(() => PyroURI.parse(text)).toThrow(URIError);
  });
});

describe('newGUID', () => {
  test('has the address, the process id and 22 random digits', () => {
    const guid = newGUID('10.0.255.1', 0x1234);
    expect(guid).toMatch(/^0a00ff011234[0-9a-f]{22}$/);
    expect(newGUID('10.0.255.1', 0x1234)).not.toBe(guid);
  });
});

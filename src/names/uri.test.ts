import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { URIError } from '../errors.js';
import { INTERNAL_DAEMON_GUID, NAMESERVER_NAME, newGUID } from './guid.js';
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
    ['PYRO://localhost/a/b', 'malformed hostname'],
    ['PYRO://host/\u0101', 'invalid URI format'],
    ['', 'invalid URI format'],
    ['PYRO', 'invalid URI format'],
    ['PYRO:/host/id', 'invalid URI format'],
    ['PYRO://host', 'invalid URI format'],
    ['PYRO://:1/id', 'invalid URI format'],
    ['PYRO://host:65536/id', 'invalid port in URI'],
    ['PYRO://h:x/id', 'invalid URI format'],
    ['PYRO://\x1b]0;owned\x07:9090/x', 'malformed hostname'],
    ['PYRO://host\x9b2J:9090/x', 'malformed hostname'],
    ['PYRO://host\x7f:9090/x', 'malformed hostname'],
    ['P\x1bc://host:9090/x', 'invalid URI format'],
  ])('%j is refused: %s', (text, message) => {
    expect(() => PyroURI.parse(text)).toThrow(new URIError(message));
  });
});

describe('a PyroURI made of parts', () => {
  const make = (port: number) => new PyroURI('PYRO', 'host', port, 'id');

  test.each([0, 1, 65535])('has the port %d', (port) => {
    expect(make(port).port).toBe(port);
  });

  test.each([-1, 65536, 1.5, NaN, Infinity])('refuses the port %d', (port) => {
    expect(() => make(port)).toThrow(new URIError('invalid port in URI'));
  });

  test('equals the one with the same parts, and no other', () => {
    const uri = new PyroURI('PYRO', 'host', 7766, 'id');
    expect(uri.equals(new PyroURI('PYRO', 'host', 7766, 'id'))).toBe(true);
    const others = [
      new PyroURI('PYROSSL', 'host', 7766, 'id'),
      new PyroURI('PYRO', 'other', 7766, 'id'),
      new PyroURI('PYRO', 'host', 7767, 'id'),
      new PyroURI('PYRO', 'host', 7766, 'Id'),
    ];
    expect(others.map((other) => uri.equals(other))).toEqual([false, false, false, false]);
  });

  test('is its text in JSON', () => {
    expect(JSON.stringify({ uri: make(7766) })).toBe('{"uri":"PYRO://host:7766/id"}');
  });

  test('keeps all but the address when it moves', () => {
    expect(new PyroURI('PYROSSL', 'host', 1, 'id').withAddress('10.0.0.7').toString()).toBe('PYROSSL://10.0.0.7:1/id');
  });

  test('keeps the encoded form that it is given, and begins without one', () => {
    const [uri, form] = [make(7766), {}];
    expect(uri.lastingForm).toBeUndefined();
    uri.keepForm(form);
    expect(uri.lastingForm).toBe(form);
  });
});

describe('the length of a URI', () => {
  const longest = `PYRO://h:1/${'x'.repeat(MAX_URI_LENGTH - 11)}`;

  test('may be MAX_URI_LENGTH', () => {
    expect(PyroURI.parse(longest).toString()).toBe(longest);
  });

  test('may not be more', () => {
    expect(() => PyroURI.parse(`${longest}x`)).toThrow(new URIError('invalid URI format'));
  });
});

describe('the ids that Pyro 3 knows by heart', () => {
  test("are the daemon's own object and the name server's name", () => {
    expect(INTERNAL_DAEMON_GUID).toBe('c0000000011000001000000010000001');
    expect(NAMESERVER_NAME).toBe(':Pyro.NameServer');
  });
});

describe('newGUID', () => {
  test('fills each field with zeros, and is as long for what is no address', () => {
    expect(newGUID('1.2.3.4', 0x12)).toMatch(/^010203040012[0-9a-f]{22}$/);
    expect(newGUID('1', 0x12345)).toMatch(/^000000012345[0-9a-f]{22}$/);
    expect(newGUID('1.2.3.4.5', 1)).toMatch(/^010203040001[0-9a-f]{22}$/);
    expect(newGUID('257.0.0.1', 1)).toMatch(/^010000010001[0-9a-f]{22}$/);
  });

  test('has the address, the process id and 22 random digits', () => {
    const guid = newGUID('10.0.255.1', 0x1234);
    expect(guid).toMatch(/^0a00ff011234[0-9a-f]{22}$/);
    expect(newGUID('10.0.255.1', 0x1234)).not.toBe(guid);
  });
});

import { setImmediate as othersRan } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { URIError } from '../errors.js';
import { INTERNAL_DAEMON_GUID, isUsableObjectID, NAMESERVER_NAME, newGUID } from './guid.js';
import { DEFAULT_PORT, isPYRONAME, MAX_URI_LENGTH, PyroURI, readPYRONAME, requireNewURI } from './uri.js';

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

  // Tried in quadratic time, they would take longer than a test may.
  test('refuses long texts in time linear in their length', async () => {
    const digits = `PYRO://${'1'.repeat(MAX_URI_LENGTH - 7)}`;
    for (let count = 0; count < 10_000; count++) {
      expect(() => PyroURI.parse(digits)).toThrow(URIError);
      if (count % 100 === 0) await othersRan();
    }
  });

  test.each([
    ['PYRONAME://atlantis/MyObject', 'PYRONAME://atlantis:9090/MyObject'],
    ['PYRONAME://atlantis:1/:Group.x', 'PYRONAME://atlantis:1/:Group.x'],
    ['PYRONAME://atlantis:0/x', 'PYRONAME://atlantis:9090/x'],
    ['PYRONAME://MyObject', 'PYRONAME://*:9090/MyObject'],
    ['PYRONAME://:Group.x', 'PYRONAME://*:9090/:Group.x'],
    ['PYRONAMESSL://MyObject', 'PYRONAMESSL://*:9090/MyObject'],
    ['PYRONAME://*:9090/MyObject\n', 'PYRONAME://*:9090/MyObject'],
  ])('%j is read as %j', (text, whole) => {
    expect(PyroURI.parse(text).toString()).toBe(whole);
    expect(PyroURI.parse(whole).toString()).toBe(whole);
  });

  test.each([
    'PYRONAME://',
    'PYRONAME:',
    'PYRONAMESSL:///x',
    'PYRONAME://host:65536/x',
    `PYRONAME://${'x'.repeat(4090)}`,
  ])('%j leads to no name', (text) => {
    expect(() => PyroURI.parse(text)).toThrow(URIError);
  });

  test('a URI by name says where the name server is, if it says so', () => {
    expect(readPYRONAME('PYRONAMESSL://host:1/x')).toEqual({ host: 'host', port: 1, ssl: true, name: 'x' });
    expect(readPYRONAME('PYRONAME://host/x')).toEqual({ host: 'host', port: undefined, ssl: false, name: 'x' });
    const anywhere = { host: undefined, port: undefined, ssl: false, name: 'x' };
    expect(readPYRONAME('PYRONAME://x')).toEqual(anywhere);
    expect(readPYRONAME(PyroURI.parse('PYRONAME://x').toString())).toEqual(anywhere);
    expect(() => readPYRONAME('PYRO://host/x')).toThrow(new URIError('invalid URI format'));
  });

  test.each(['xPYRONAME://host/x', 'PYRO://host/PYRONAME:x', 'PYRONAMES://x'])('%j is no URI by name', (text) => {
    expect(isPYRONAME(text)).toBe(false);
    expect(() => readPYRONAME(text)).toThrow(new URIError('invalid URI format'));
  });

  test('a URI by name is read up to the longest, and without what stands around it', () => {
    const longest = `PYRONAME://${'x'.repeat(MAX_URI_LENGTH - 11)}`;
    expect(readPYRONAME(longest).name).toHaveLength(MAX_URI_LENGTH - 11);
    expect(() => readPYRONAME(`${longest}x`)).toThrow(URIError);
    expect(() => readPYRONAME('PYRONAME://x y')).toThrow(URIError);
  });

  test('a new URI has no control character in its id, and an older one may have', () => {
    expect(() => {
      requireNewURI(PyroURI.parse('PYRO://127.0.0.1:1/a\x9b31m'));
    }).toThrow(new URIError('invalid URI format'));
    expect(() => {
      requireNewURI(PyroURI.parse('PYRO://127.0.0.1:1/\x1bc'));
    }).toThrow(URIError);
    expect(() => {
      requireNewURI(PyroURI.parse('PYRO://127.0.0.1:1/\xe9~'));
    }).not.toThrow();
  });

  test('what follows the id is not looked at, as with Pyro', () => {
    expect(PyroURI.parse('PYRO://127.0.0.1:1/x\n').objectID).toBe('x');
    expect(PyroURI.parse('PYRO://127.0.0.1:1/x y').objectID).toBe('x');
  });

  test('two URIs are equal if and only if all four parts are', () => {
    const uri = new PyroURI('PYRO', 'host', 7766, 'id');
    expect(uri.equals(new PyroURI('PYRO', 'host', 7766, 'id'))).toBe(true);
    expect(uri.equals(PyroURI.parse('PYRO://host/id'))).toBe(true);
    for (const other of [
      new PyroURI('PYROSSL', 'host', 7766, 'id'),
      new PyroURI('PYRO', 'host2', 7766, 'id'),
      new PyroURI('PYRO', 'host', 7767, 'id'),
      new PyroURI('PYRO', 'host', 7766, 'ID'),
      new PyroURI('PYRO', 'host', 7766, ''),
    ]) {
      expect(uri.equals(other)).toBe(false);
      expect(other.equals(uri)).toBe(false);
    }
  });

  test('at another address, all else stays', () => {
    const uri = new PyroURI('PYROSSL', 'host', 1, 'id');
    expect(uri.withAddress('10.0.0.1').toString()).toBe('PYROSSL://10.0.0.1:1/id');
    expect(uri.toString()).toBe('PYROSSL://host:1/id');
    expect(() => uri.withAddress('a b')).toThrow(new URIError('malformed hostname'));
  });

  test('in JSON a URI is its text', () => {
    expect(JSON.stringify([new PyroURI('PYRO', 'host', 1, 'id')])).toBe('["PYRO://host:1/id"]');
  });

  test('keeps the form that it is given, and its copies have none', () => {
    const uri = new PyroURI('PYRO', 'host', 1, 'id');
    expect(uri.encodedReply).toBeUndefined();
    const form = {};
    uri.setEncodedReply(form);
    expect(uri.encodedReply).toBe(form);
    expect(uri.withAddress('other').encodedReply).toBeUndefined();
  });

  test.each([0, 1, 7766, 65_535])('port %d is one', (port) => {
    expect(new PyroURI('PYRO', 'host', port, 'id').port).toBe(port);
  });

  test.each([-1, -7766, 65_536, 1.5, NaN, Infinity])('port %d is none', (port) => {
    expect(() => new PyroURI('PYRO', 'host', port, 'id')).toThrow(new URIError('invalid port in URI'));
  });

  test.each([
    ['', 'host', 'id', 'invalid URI format'],
    ['P:', 'host', 'id', 'invalid URI format'],
    ['PYRO', '', 'id', 'malformed hostname'],
    ['PYRO', 'a/b', 'id', 'malformed hostname'],
    ['PYRO', 'host', 'i d', 'invalid URI format'],
    ['PYRO', 'host', 'id\n', 'invalid URI format'],
    ['PYRO', 'host', '\u0100', 'invalid URI format'],
  ])('of %j, %j, %j no URI can be made: %s', (protocol, address, objectID, message) => {
    expect(() => new PyroURI(protocol, address, 1, objectID)).toThrow(new URIError(message));
  });

  test('the longest text is read, and none that is longer', () => {
    const longest = `PYRO://host:1/${'x'.repeat(MAX_URI_LENGTH - 14)}`;
    expect(PyroURI.parse(longest).toString()).toBe(longest);
    expect(() => PyroURI.parse(`${longest}x`)).toThrow(new URIError('invalid URI format'));
    expect(() => PyroURI.parse(`${longest}\n`)).toThrow(new URIError('invalid URI format'));
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

describe('object ids', () => {
  test('has the address, the process id and 22 random digits', () => {
    const guid = newGUID('10.0.255.1', 0x1234);
    expect(guid).toMatch(/^0a00ff011234[0-9a-f]{22}$/);
    expect(newGUID('10.0.255.1', 0x1234)).not.toBe(guid);
  });

  test.each([
    ['127.0.0.1', 1, /^7f0000010001[0-9a-f]{22}$/],
    ['255.255.255.255', 0xffff, /^ffffffffffff[0-9a-f]{22}$/],
    ['1.2.3.4', 0x12345, /^010203042345[0-9a-f]{22}$/],
    ['localhost', 0, /^000000000000[0-9a-f]{22}$/],
    ['1.2.3.4.5', 0, /^010203040000[0-9a-f]{22}$/],
  ])('has 34 hex digits with the address %s and the process id %d', (address, processID, pattern) => {
    expect(newGUID(address, processID)).toMatch(pattern);
  });

  test.each(['', 'x'.repeat(101), 'a\x1b[31m', 'a\x9b31m', 'a\x7f', 'a\0', INTERNAL_DAEMON_GUID])(
    '%j is none that an object may take over',
    (id) => {
      expect(isUsableObjectID(id)).toBe(false);
    },
  );

  test.each([newGUID('10.0.255.1', 1), 'x', 'x'.repeat(100), 'my.object-1'])('%j may be taken over', (id) => {
    expect(isUsableObjectID(id)).toBe(true);
  });

  test('Pyro 3 knows the daemon and the name server by these', () => {
    expect(INTERNAL_DAEMON_GUID).toBe('c0000000011000001000000010000001');
    expect(NAMESERVER_NAME).toBe(':Pyro.NameServer');
  });
});

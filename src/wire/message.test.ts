import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ProtocolError } from '../errors.js';
import { dumps, PythonUnicode, tuple, type PythonWritable } from '../pickle/index.js';
import {
  decodeReply,
  decodeRequest,
  encodeException,
  encodeReply,
  encodeRequest,
  isOneway,
  type ExceptionDescription,
  type PickleProtocol,
} from './message.js';

const PROTOCOLS: readonly PickleProtocol[] = [0, 1, 2];
const protocol = fc.constantFrom(...PROTOCOLS);
const simpleValue = fc.oneof(fc.integer(), fc.string(), fc.boolean(), fc.constant(null), fc.bigInt());
const keywords = fc.dictionary(fc.string(), simpleValue).map((record) => new Map(Object.entries(record)));

// What Python 2.7's cPickle makes of ('abc', 'echo', 3, ((1, 'two'), {'three': 3})), of the same with unicode, of
// ('abc', 'echo', 0, (1, 'two')), and of ('abc', '_synccall', 5, (('register', ':a', 'b'),)), in protocols 0, 1, 2.
const RECORDED: readonly (readonly [string, string, string, string])[] = [
  [
    '285327616263270a70310a53276563686f270a70320a49330a282849310a532774776f270a70330a7470340a286470350a53277468726565270a70360a49330a7374742e',
    '28566162630a70310a566563686f0a70320a49330a282849310a5674776f0a70330a7470340a286470350a5674687265650a70360a49330a7374742e',
    '285327616263270a70310a53276563686f270a70320a49300a2849310a532774776f270a70330a7470340a742e',
    '285327616263270a70310a53275f73796e6363616c6c270a70320a49350a282853277265676973746572270a70330a53273a61270a70340a532762270a7470350a7470360a742e',
  ],
  [
    '285503616263710155046563686f71024b0328284b01550374776f71037471047d71055505746872656571064b037374742e',
    '285803000000616263710158040000006563686f71024b0328284b01580300000074776f71037471047d71055805000000746872656571064b037374742e',
    '285503616263710155046563686f71024b00284b01550374776f7103747104742e',
    '285503616263710155095f73796e6363616c6c71024b05282855087265676973746572710355023a617104550162747105747106742e',
  ],
  [
    '8002285503616263710155046563686f71024b034b01550374776f71038671047d71055505746872656571064b037386742e',
    '8002285803000000616263710158040000006563686f71024b034b01580300000074776f71038671047d71055805000000746872656571064b037386742e',
    '8002285503616263710155046563686f71024b004b01550374776f7103867104742e',
    '8002285503616263710155095f73796e6363616c6c71024b0555087265676973746572710355023a617104550162877105857106742e',
  ],
];

/** What it throws, other than a ProtocolError. */
function problemOf(read: () => unknown): unknown {
  try {
    read();
    return undefined;
  } catch (error) {
    return error instanceof ProtocolError ? undefined : error;
  }
}

describe('requests', () => {
  const echo = { objectID: 'abc', method: 'echo' };

  test.each(RECORDED)('of Python are read', (dynamic, unicode, plain, varargs) => {
    const read = (hex: string): unknown => decodeRequest(Buffer.from(hex, 'hex'));
    expect(read(dynamic)).toEqual({ ...echo, flags: 3, args: [1, 'two'], keywords: new Map([['three', 3]]) });
    const unicodeArgs = [1, new PythonUnicode('two')];
    expect(read(unicode)).toEqual({ ...echo, flags: 3, args: unicodeArgs, keywords: new Map([['three', 3]]) });
    expect(read(plain)).toEqual({ ...echo, flags: 0, args: [1, 'two'], keywords: new Map() });
    const synccall = {
      objectID: 'abc',
      method: '_synccall',
      flags: 5,
      args: ['register', ':a', 'b'],
      keywords: new Map(),
    };
    expect(read(varargs)).toEqual(synccall);
    expect(isOneway(synccall)).toBe(true);
    expect(isOneway({ flags: 3 })).toBe(false);
  });

  test('have varargs and keywords behind other arguments too', () => {
    const request = tuple('abc', 'echo', 3, tuple(0, tuple(1, 2), new Map([['a', 3]])));
    expect(decodeRequest(dumps(request))).toMatchObject({ args: [0, 1, 2], keywords: new Map([['a', 3]]) });
  });

  test('are read back as written', () => {
    fc.assert(
      fc.property(
        fc.record({ objectID: fc.string(), method: fc.string(), args: fc.array(simpleValue), keywords }),
        fc.constantFrom(0, 1, 2, 3, 4, 5, 7),
        protocol,
        (parts, flags, pickleProtocol) => {
          const request = { ...parts, flags, keywords: flags & 2 ? parts.keywords : new Map() };
          expect(decodeRequest(encodeRequest(request, pickleProtocol))).toEqual(request);
        },
      ),
    );
  });

  test.each<[string, PythonWritable]>([
    ['no tuple', ['abc', 'echo', 0, tuple()]],
    ['three items', tuple('abc', 'echo', 0)],
    ['five items', tuple('abc', 'echo', 0, tuple(), 1)],
    ['an object id that is no text', tuple(1, 'echo', 0, tuple())],
    ['a method that is no text', tuple('abc', null, 0, tuple())],
    ['flags that are no int', tuple('abc', 'echo', '0', tuple())],
    ['arguments that are no tuple', tuple('abc', 'echo', 0, [])],
    ['no varargs', tuple('abc', 'echo', 1, tuple())],
    ['varargs that are no tuple', tuple('abc', 'echo', 1, tuple([]))],
    ['no keywords', tuple('abc', 'echo', 2, tuple())],
    ['keywords that are no dict', tuple('abc', 'echo', 2, tuple([]))],
    ['a keyword that is no text', tuple('abc', 'echo', 2, tuple(new Map([[1, 1]])))],
  ])('with %s are refused', (_what, value) => {
    expect(() => decodeRequest(dumps(value))).toThrow(new ProtocolError('invalid request data format'));
  });

  test('that are no pickles, or break a limit, are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(problemOf(() => decodeRequest(bytes))).toBeUndefined();
        expect(problemOf(() => decodeReply(bytes))).toBeUndefined();
      }),
    );
    const long = dumps(tuple('abc', 'echo', 0, tuple('x'.repeat(1000))));
    expect(() => decodeRequest(long, { stringBytes: 100 })).toThrow(ProtocolError);
  });
});

describe('replies', () => {
  test('are read back as written', () => {
    fc.assert(
      fc.property(fc.array(simpleValue), protocol, (value, pickleProtocol) => {
        expect(decodeReply(encodeReply(value, pickleProtocol))).toEqual({ value });
      }),
    );
  });

  const failure: ExceptionDescription = {
    module: 'Pyro.errors',
    className: 'NamingError',
    args: ['name not found', ':a'],
    attributes: new Map(),
    traceback: ['line 1\n', 'line 2\n'],
  };
  const bare: ExceptionDescription = {
    module: 'exceptions',
    className: 'KeyError',
    args: ['no'],
    attributes: new Map([['extra', 7]]),
    traceback: undefined,
  };

  // pickle.dumps(PyroExceptionCapsule(...)) of Python 2.7 and Pyro 3.16.
  const recorded: readonly (readonly [PickleProtocol, string, string])[] = [
    [
      0,
      "(iPyro.errors\nPyroExceptionCapsule\n(dp1\nS'excObj'\np2\ncPyro.errors\nNamingError\np3\n(S'name not found'\np4\nS':a'\np5\ntp6\nRp7\nsS'args'\np8\n(lp9\nS'line 1\\n'\np10\naS'line 2\\n'\np11\nasb.",
      "(iPyro.errors\nPyroExceptionCapsule\n(dp1\nS'excObj'\np2\ncexceptions\nKeyError\np3\n(S'no'\np4\ntp5\nRp6\n(dp7\nS'extra'\np8\nI7\nsbsS'args'\np9\nNsb.",
    ],
    [
      1,
      '(cPyro.errors\nPyroExceptionCapsule\nq\x01o}q\x02(U\x06excObjq\x03cPyro.errors\nNamingError\nq\x04(U\x0ename not foundq\x05U\x02:aq\x06tq\x07Rq\x08U\x04argsq\t]q\n(U\x07line 1\nq\x0bU\x07line 2\nq\x0ceub.',
      '(cPyro.errors\nPyroExceptionCapsule\nq\x01o}q\x02(U\x06excObjq\x03cexceptions\nKeyError\nq\x04(U\x02noq\x05tq\x06Rq\x07}q\x08U\x05extraq\tK\x07sbU\x04argsq\nNub.',
    ],
    [
      2,
      '\x80\x02(cPyro.errors\nPyroExceptionCapsule\nq\x01o}q\x02(U\x06excObjq\x03cPyro.errors\nNamingError\nq\x04U\x0ename not foundq\x05U\x02:aq\x06\x86q\x07Rq\x08U\x04argsq\t]q\n(U\x07line 1\nq\x0bU\x07line 2\nq\x0ceub.',
      '\x80\x02(cPyro.errors\nPyroExceptionCapsule\nq\x01o}q\x02(U\x06excObjq\x03cexceptions\nKeyError\nq\x04U\x02noq\x05\x85q\x06Rq\x07}q\x08U\x05extraq\tK\x07sbU\x04argsq\nNub.',
    ],
  ];

  test.each(recorded)('with exceptions are those of Python, in protocol %d', (pickleProtocol, python, pythonBare) => {
    expect(decodeReply(Buffer.from(python, 'latin1'))).toEqual({ exception: failure });
    expect(decodeReply(Buffer.from(pythonBare, 'latin1'))).toEqual({ exception: bare });
    // Python memoizes texts that come once; apart from that ours are the same.
    const opcodes = (pickle: string): string => pickle.replace(pickleProtocol === 0 ? /p\d+\n/g : /q[^ -~]/gs, '');
    expect(opcodes(encodeException(failure, pickleProtocol).toString('latin1'))).toBe(opcodes(python));
    expect(opcodes(encodeException(bare, pickleProtocol).toString('latin1'))).toBe(opcodes(pythonBare));
  });

  test('with anything else in a capsule are exceptions still', () => {
    const capsule = (state: string): Buffer => Buffer.from(`(iPyro.errors\nPyroExceptionCapsule\n(d${state}b.`);
    expect(decodeReply(capsule(''))).toEqual({
      exception: { module: 'exceptions', className: 'Exception', args: [], traceback: undefined },
    });
    expect(decodeReply(capsule("S'excObj'\nS'text'\nsS'args'\nS'a callback failed'\ns"))).toEqual({
      exception: { module: 'exceptions', className: 'Exception', args: ['text'], traceback: ['a callback failed'] },
    });
  });

  test('with attributes that Python could not have are exceptions without them', () => {
    const raised = (state: string): unknown =>
      decodeReply(
        Buffer.from(
          `(iPyro.errors\nPyroExceptionCapsule\n(dS'excObj'\ncexceptions\nKeyError\n(S'no'\ntR${state}bsS'args'\n(lS'line'\naI7\nasb.`,
        ),
      );
    const known = { module: 'exceptions', className: 'KeyError', args: ['no'], traceback: ['line'] };
    expect(raised("(dI1\nS'one'\nsS'two'\nI2\ns")).toEqual({
      exception: { ...known, attributes: new Map([['two', 2]]) },
    });
    expect(raised('I7\n')).toEqual({ exception: { ...known, attributes: new Map() } });
  });

  test('without texts in their traceback have none', () => {
    const capsule = "(iPyro.errors\nPyroExceptionCapsule\n(dS'excObj'\nI1\nsS'args'\n(lI7\nasb.";
    expect(decodeReply(Buffer.from(capsule))).toEqual({
      exception: { module: 'exceptions', className: 'Exception', args: [1], traceback: undefined },
    });
  });

  test('that are instances of other classes are values', () => {
    for (const name of ['Pyro.errors\nOther', 'other\nPyroExceptionCapsule']) {
      const reply = decodeReply(Buffer.from(`(i${name}\n(dS'excObj'\nI1\nsb.`));
      expect(Object.keys(reply)).toEqual(['value']);
    }
  });

  test('are in protocol 2 where nothing else is said, as requests are', () => {
    const request = { objectID: 'abc', method: 'echo', flags: 0, args: [], keywords: new Map() };
    expect(encodeRequest(request)).toEqual(encodeRequest(request, 2));
    expect(encodeReply([1])).toEqual(encodeReply([1], 2));
    expect(encodeException(failure)).toEqual(encodeException(failure, 2));
    expect(encodeReply([1], 1)).not.toEqual(encodeReply([1], 2));
  });

  test('that are no pickles say what is wrong with them', () => {
    const problem = (read: () => unknown): unknown => {
      try {
        return read();
      } catch (error) {
        return error instanceof ProtocolError ? [error.args.length, error.args[0]] : error;
      }
    };
    expect(problem(() => decodeReply(Buffer.from('?')))).toEqual([2, 'incorrect answer received']);
    expect(problem(() => decodeRequest(Buffer.from('?')))).toEqual([2, 'invalid request data format']);
    const long = dumps('x'.repeat(1000));
    expect(problem(() => decodeReply(long, { stringBytes: 100 }))).toEqual([2, 'incorrect answer received']);
  });

  test('without attributes, or a traceback, say so to Python', () => {
    const { module, className, args } = failure;
    const less: ExceptionDescription = { module, className, args };
    expect(encodeException(less)).toEqual(encodeException({ ...failure, traceback: undefined }));
    expect(decodeReply(encodeException(less))).toEqual({
      exception: { ...failure, attributes: new Map(), traceback: undefined },
    });
    expect(decodeReply(encodeException({ ...failure, traceback: [] }))).toMatchObject({
      exception: { traceback: undefined },
    });
  });
});

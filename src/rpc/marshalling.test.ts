import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createServer } from 'node:net';
import { collidingLongs } from '../../test/support/colliding-numbers.js';
import { URIError } from '../errors.js';
import { PyroURI } from '../names/index.js';
import {
  dumps,
  loads,
  PickleError,
  PythonClass,
  PythonFloat,
  PythonInstance,
  PythonTuple,
  tuple,
} from '../pickle/index.js';
import {
  allToPython,
  asPython,
  fromPython,
  proxyFromPython,
  proxyToPython,
  toPython,
  uriFromPython,
  uriToPython,
  type ProxyDescription,
  type Marshallable,
} from './marshalling.js';

const uri = new PyroURI('PYRO', '127.0.0.1', 4711, 'abc');

// pickle.dumps of Pyro.core.getProxyForURI('PYRO://127.0.0.1:4711/abc') of Pyro 3.16, with an identification, a timeout
// and a one-way method, and of getAttrProxyForURI('PYROLOC://127.0.0.1:4711/abc') in protocols 0 and 1.
const DYNAMIC =
  '\x80\x02cPyro.core\nDynamicProxy\nq\x01)\x81q\x02}q\x03(U\x07adapterq\x04cPyro.protocol\nPYROAdapter\nq\x05)\x81q\x06}q\x07(U\x05identq\x08U\x10^\xbe"\x94\xec\xd0\xe0\xf0\x8e\xabv\x90\xd2\xa6\xeeiq\tU\ronewayMethodsq\n]q\x0bU\x01aaU\x07timeoutq\x0cK\x03U\x10newConnValidatorq\rcPyro.protocol\nDefaultConnValidator\nq\x0e)\x81q\x0f}q\x10U\nallowedIDsq\x11]q\x12U\x03allq\x13asbubU\x03URIq\x14cPyro.core\nPyroURI\nq\x15)\x81q\x16}q\x17(U\x08protocolq\x18U\x04PYROU\x04portq\x19Mg\x12U\x08objectIDq\x1aU\x03abcq\x1bU\x07addressq\x1cU\t127.0.0.1ubh\x1ah\x1bub.';
const WITH_ATTRS_1 =
  'ccopy_reg\n_reconstructor\nq\x01(cPyro.core\nDynamicProxyWithAttrs\nq\x02c__builtin__\nobject\nq\x03NtRq\x04}q\x05(U\x07adapterq\x06h\x01(cPyro.protocol\nPYROAdapter\nq\x07h\x03NtRq\x08}q\t(U\x05identq\nU\x00U\ronewayMethodsq\x0b]q\x0cU\x07timeoutq\rNU\x10newConnValidatorq\x0eh\x01(cPyro.protocol\nDefaultConnValidator\nq\x0fh\x03NtRq\x10}q\x11U\nallowedIDsq\x12]q\x13U\x03allq\x14asbubU\x0b_attr_cacheq\x15}U\x03URIq\x16h\x01(cPyro.core\nPyroURI\nq\x17h\x03NtRq\x18}q\x19(U\x08protocolq\x1aU\x07PYROLOCU\x04portq\x1bMg\x12U\x08objectIDq\x1cU\x03abcq\x1dU\x07addressq\x1eU\t127.0.0.1ubh\x1ch\x1dub.';
const WITH_ATTRS_0 =
  "ccopy_reg\n_reconstructor\np1\n(cPyro.core\nDynamicProxyWithAttrs\np2\nc__builtin__\nobject\np3\nNtRp4\n(dp5\nS'adapter'\np6\ng1\n(cPyro.protocol\nPYROAdapter\np7\ng3\nNtRp8\n(dp9\nS'ident'\np10\nS''\nsS'onewayMethods'\np11\n(lp12\nsS'timeout'\np13\nNsS'newConnValidator'\np14\ng1\n(cPyro.protocol\nDefaultConnValidator\np15\ng3\nNtRp16\n(dp17\nS'allowedIDs'\np18\n(lp19\nS'all'\np20\nasbsbsS'_attr_cache'\np21\n(dp22\nsS'URI'\np23\ng1\n(cPyro.core\nPyroURI\np24\ng3\nNtRp25\n(dp26\nS'protocol'\np27\nS'PYROLOC'\np28\nsS'port'\np29\nI4711\nsS'objectID'\np30\nS'abc'\np31\nsS'address'\np32\nS'127.0.0.1'\np33\nsbsg30\ng31\nsb.";

const described: ProxyDescription = {
  kind: 'DynamicProxy',
  uri,
  identification: Buffer.from('5ebe2294ecd0e0f08eab7690d2a6ee69', 'hex'),
  timeout: 3,
  onewayMethods: ['a'],
};
const withAttrs: ProxyDescription = {
  kind: 'DynamicProxyWithAttrs',
  uri: new PyroURI('PYROLOC', '127.0.0.1', 4711, 'abc'),
  identification: Buffer.alloc(0),
  timeout: null,
  onewayMethods: [],
};

/** The description with text for what is compared by its text. */
const comparable = (description: ProxyDescription | undefined): unknown =>
  description && {
    ...description,
    uri: String(description.uri),
    identification: Buffer.from(description.identification).toString('hex'),
  };

class Known implements Marshallable {
  [asPython](): PythonInstance {
    return proxyToPython(withAttrs);
  }
}

describe('URIs', () => {
  test.each([0, 1, 2] as const)('travel as instances of Pyro.core.PyroURI in protocol %d', (protocol) => {
    const read = loads(dumps(uriToPython(uri), { protocol }));
    expect(uriFromPython(read)?.toString()).toBe(uri.toString());
  });

  test('are told from what is none, and from bad ones', () => {
    expect(uriFromPython('PYRO://127.0.0.1:4711/abc')).toBeUndefined();
    expect(uriFromPython(undefined)).toBeUndefined();
    const bad = new PythonInstance('newobj', new PythonClass('Pyro.core', 'PyroURI'), tuple(), new Map());
    expect(() => uriFromPython(bad)).toThrow(URIError);
  });
});

describe('proxies', () => {
  test.each([
    ['DynamicProxy', DYNAMIC, described],
    ['DynamicProxyWithAttrs in protocol 1', WITH_ATTRS_1, withAttrs],
    ['DynamicProxyWithAttrs in protocol 0', WITH_ATTRS_0, withAttrs],
  ])('of Python are read: %s', (_what, pickle, description) => {
    expect(comparable(proxyFromPython(loads(Buffer.from(pickle, 'latin1'))))).toEqual(comparable(description));
  });

  const kinds: ProxyDescription[] = [described, withAttrs, { ...described, kind: 'NameServerProxy' }];
  test.each(kinds)('are read as written: $kind', (description) => {
    const read = loads(dumps(proxyToPython(description)));
    expect(comparable(proxyFromPython(read))).toEqual(comparable(description));
  });

  test.each([-1, NaN, Infinity])('have no timeout where it is %p', (timeout) => {
    const read = loads(dumps(proxyToPython({ ...described, timeout })));
    expect(proxyFromPython(read)?.timeout).toBeNull();
  });

  test('that are none are none', () => {
    const instance = (name: string, state: Map<string, PythonInstance>): PythonInstance =>
      new PythonInstance('newobj', new PythonClass('Pyro.core', name), tuple(), new Map(state));
    expect(proxyFromPython(instance('DynamicProxy', new Map()))).toBeUndefined();
    expect(proxyFromPython(instance('DynamicProxy', new Map([['URI', uriToPython(uri)]])))).toBeUndefined();
    expect(proxyFromPython(instance('constructor', new Map([['URI', uriToPython(uri)]])))).toBeUndefined();
    expect(proxyFromPython('a proxy')).toBeUndefined();
  });
});

describe('values', () => {
  const known = new Known();
  const back = (value: unknown): unknown => fromPython(loads(dumps(toPython(value))), ({ kind }) => kind);

  test('are translated wherever they stand', () => {
    const value = { list: [uri, known], tuple: tuple(uri), map: new Map([['key', known]]), set: new Set([known]) };
    const translated = back(value);
    expect(translated).toEqual(
      new Map<string, unknown>([
        ['list', [expect.any(PyroURI), 'DynamicProxyWithAttrs']],
        ['tuple', new PythonTuple([expect.any(PyroURI)])],
        ['map', new Map([['key', 'DynamicProxyWithAttrs']])],
        ['set', new Set(['DynamicProxyWithAttrs'])],
      ]),
    );
    expect(back(uri)).toEqual(expect.objectContaining({ objectID: 'abc' }));
  });

  test('without any of them stay what they are', () => {
    const scalar = fc.oneof(fc.integer(), fc.string(), fc.boolean(), fc.constant(null), fc.bigInt());
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        scalar,
        fc.array(tie('value')),
        fc.array(tie('value')).map((items) => new PythonTuple(items)),
        fc.array(fc.tuple(scalar, tie('value'))).map((entries) => new Map(entries)),
        fc.array(scalar).map((members) => new Set(members)),
        fc.integer().map((integer) => new PythonFloat(integer)),
      ),
    }));
    fc.assert(
      fc.property(value, (original) => {
        expect(toPython(original)).toEqual(original);
        expect(back(original)).toEqual(original);
      }),
    );
  });

  test('are copied, once each', () => {
    const inner = [1];
    const cyclic: unknown[] = [inner, inner, tuple(inner), { inner }];
    cyclic.push(cyclic);
    const copy = toPython(cyclic);
    inner.push(2);
    if (!Array.isArray(copy)) throw new Error('not a list');
    expect(copy[0]).toEqual([1]);
    expect(copy[1]).toBe(copy[0]);
    expect(copy[4]).toBe(copy);
    const [first, second] = allToPython([inner, { inner }]);
    expect(second instanceof Map && second.get('inner')).toBe(first);
  });

  test('keep few numbers as keys of a plain Map or Set: their hashes may be equal', () => {
    const numbers = collidingLongs(1000);
    const copies = [
      fromPython(loads(dumps([new Set(numbers), new Map(numbers.map((key) => [key, 1]))])), () => undefined),
      toPython([new Set(numbers), new Map(numbers.map((key) => [key, 1]))]),
    ];
    for (const copy of copies) {
      if (!Array.isArray(copy) || !(copy[0] instanceof Set) || !(copy[1] instanceof Map)) throw new Error('no copies');
      const raw = [...Set.prototype.values.call(copy[0]), ...Map.prototype.keys.call(copy[1])];
      expect(raw.filter((key) => typeof key === 'bigint').length).toBeLessThanOrEqual(128);
      expect([...copy[0]]).toEqual(numbers);
      expect([...copy[1].keys()]).toEqual(numbers);
    }
  });

  test.each([
    ['a function', () => 1],
    ['a symbol', Symbol('x')],
    ['an object of class Server', createServer()],
  ])('that Python does not have are refused: %s', (what, value) => {
    expect(() => toPython([value])).toThrow(new PickleError(`can't pickle ${what}`));
  });

  test('nested too deep are refused, either way', () => {
    let deep: unknown = 1;
    for (let depth = 0; depth < 100_000; depth++) deep = [deep];
    expect(() => toPython(deep)).toThrow(PickleError);
    const pickle = Buffer.from('('.repeat(100_000) + 't'.repeat(100_000) + '.');
    expect(() => fromPython(loads(pickle), () => undefined)).toThrow(PickleError);
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Name, PyroURI } from '../../names/index.js';
import { OBJECT, type SystemMeta } from '../../namespace/index.js';
import { dumps, loads, PythonFloat, tuple, type PythonValue } from '../../pickle/index.js';
import {
  isNewer,
  isPlausible,
  isTwinRole,
  recordFromPython,
  recordToPython,
  sizeOf,
  type NameRecord,
  type NameState,
  type Timestamp,
} from './records.js';

const NAME = Name.parse(':g.a');
const URI = PyroURI.parse('PYRO://10.1.2.3:7766/a');
const STATE: NameState = { uri: URI, userMeta: null, systemMeta: undefined, systemMetaSet: false };

const record = (state: NameState | undefined, observed = true): NameRecord => ({
  name: NAME,
  timestamp: { time: 12.5, role: 'primary' },
  observed,
  state,
});

describe('of two changes of a name', () => {
  const timestamp: fc.Arbitrary<Timestamp> = fc.record({
    time: fc.nat(3),
    role: fc.constantFrom('primary' as const, 'secondary' as const),
  });

  test.each<[string, Timestamp, Timestamp, boolean]>([
    ['the later one wins', { time: 2, role: 'secondary' }, { time: 1, role: 'primary' }, true],
    ['the earlier one loses', { time: 1, role: 'primary' }, { time: 2, role: 'secondary' }, false],
    ['at the same time, that of the primary wins', { time: 1, role: 'primary' }, { time: 1, role: 'secondary' }, true],
    [
      'at the same time, that of the secondary loses',
      { time: 1, role: 'secondary' },
      { time: 1, role: 'primary' },
      false,
    ],
    ['of the primary, none wins over itself', { time: 1, role: 'primary' }, { time: 1, role: 'primary' }, false],
    ['of the secondary, none wins over itself', { time: 1, role: 'secondary' }, { time: 1, role: 'secondary' }, false],
  ])('%s', (_promise, one, other, wins) => {
    expect(isNewer(one, other)).toBe(wins);
  });

  test('exactly one wins, unless both are the same', () => {
    fc.assert(
      fc.property(timestamp, timestamp, (one, other) => {
        const isSame = one.time === other.time && one.role === other.role;
        expect([isNewer(one, other), isNewer(other, one)].filter(Boolean)).toHaveLength(isSame ? 0 : 1);
      }),
    );
  });
});

test.each([
  [0, true],
  [1300, true],
  [1300.1, false],
  [1e300, false],
  [Infinity, false],
  [-Infinity, false],
  [NaN, false],
  [-0.1, false],
])('where it is 1000, a change may be of the time %d: %s', (time, isIt) => {
  expect(isPlausible({ time, role: 'primary' }, 1000)).toBe(isIt);
});

describe('a record travels', () => {
  const systemMeta: SystemMeta = { type: OBJECT, timestamp: 7.25, owner: 'me' };
  const states: [string, NameState | undefined][] = [
    ['of a removal', undefined],
    ['of an object', STATE],
    ['of a group', { ...STATE, uri: undefined }],
    ['with metadata', { ...STATE, userMeta: ['a', 1] }],
    ['with system metadata', { ...STATE, systemMeta, systemMetaSet: true }],
    ['with system metadata that nobody has set', { ...STATE, systemMeta }],
  ];

  test.each(states)('%s, and arrives as it was', (_what, state) => {
    for (const observed of [true, false]) {
      const sent = record(state, observed);
      expect(recordFromPython(loads(dumps(recordToPython(sent))))).toEqual(sent);
    }
  });

  test('as a tuple of the documented shape', () => {
    expect(recordToPython(record(STATE))).toEqual(
      tuple(':g.a', 12.5, 'primary', true, tuple('PYRO://10.1.2.3:7766/a', null, null, false)),
    );
    expect(recordToPython(record(undefined))).toEqual(tuple(':g.a', 12.5, 'primary', true, null));
  });

  test('with a whole number as its time', () => {
    const { timestamp } = recordFromPython(tuple(':a', new PythonFloat(3), 'secondary', true, null));
    expect(timestamp).toEqual({ time: 3, role: 'secondary' });
  });

  const text = URI.toString();
  test.each<[string, PythonValue]>([
    ['no tuple', [':a', 1, 'primary', true, null]],
    ['none', null],
    ['a name that is no text', tuple(1, 1, 'primary', true, null)],
    ['a time that is no number', tuple(':a', '1', 'primary', true, null)],
    ['a role that there is not', tuple(':a', 1, 'third', true, null)],
    ['no word on who saw it', tuple(':a', 1, 'primary', 1, null)],
    ['a state that is no tuple', tuple(':a', 1, 'primary', true, [text, null, null, false])],
    ['a URI that is no text', tuple(':a', 1, 'primary', true, tuple(1, null, null, false))],
    ['a mark that is no truth value', tuple(':a', 1, 'primary', true, tuple(text, null, null, 0))],
    ['too little in its state', tuple(':a', 1, 'primary', true, tuple(text))],
  ])('but not with %s', (_what, value) => {
    expect(() => recordFromPython(value)).toThrow('invalid record of a change');
  });

  test.each<[string, PythonValue, string]>([
    ['name', tuple('', 1, 'primary', true, null), 'invalid name'],
    ['URI', tuple(':a', 1, 'primary', true, tuple('x', null, null, false)), 'invalid URI'],
  ])('but not with an invalid %s', (_what, value, message) => {
    expect(() => recordFromPython(value)).toThrow(message);
  });

  test('a removal may leave its state out', () => {
    expect(recordFromPython(tuple(':g.a', 12.5, 'primary', true))).toEqual(record(undefined));
  });
});

describe('the size of a record', () => {
  const bytes = (value: PythonValue): number => dumps(value).length;

  test.each<[string, NameState | undefined, number]>([
    ['of a removal: its name and the envelope', undefined, 204],
    ['of a group: the same', { ...STATE, uri: undefined }, 204],
    ['of an object: its URI too', STATE, 204 + URI.toString().length],
    ['of metadata: as it is pickled', { ...STATE, userMeta: 'm'.repeat(9) }, 226 + bytes('m'.repeat(9))],
    [
      "of system metadata: the owner's",
      { ...STATE, systemMeta: { type: OBJECT, timestamp: 1, owner: 'me' } },
      226 + bytes('me'),
    ],
  ])('%s', (_what, state, size) => {
    const measured = record(state);
    expect([sizeOf(measured), sizeOf(measured)]).toEqual([size, size]);
  });
});

test('there are two roles', () => {
  expect(['primary', 'secondary', 'Primary', '', null].map(isTwinRole)).toEqual([true, true, false, false, false]);
});

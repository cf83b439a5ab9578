import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { dumps, loads, PythonClass, PythonInstance, tuple, type PythonValue } from '../pickle/index.js';
import { describePython, pythonFromJSON } from './python-value.js';

describe('describePython', () => {
  it.each<[PythonValue, string, string]>([
    [null, 'None', 'None'],
    [true, 'bool', 'True'],
    [5, 'int', '5'],
    [0.5, 'float', '0.5'],
    [-Infinity, 'float', '-inf'],
    [12345678901234567890n, 'long', '12345678901234567890'],
    ['text', 'str', 'text'],
    ['Süd', 'unicode', 'Süd'],
    [new Uint8Array([0x41, 0xff]), 'str', 'A\\xff'],
    [new PythonClass('a', 'B'), 'class', 'a.B'],
  ])('%p is a %s', (value, type, text) => {
    expect(describePython(value)).toEqual({ kind: 'scalar', type, text });
  });

  it('says which class an instance is of, and its attributes by name', () => {
    const robot = new PythonInstance('newobj', new PythonClass('factory', 'Robot'), tuple(), new Map([['axes', 6]]));
    expect(describePython(robot)).toEqual({
      kind: 'container',
      type: 'factory.Robot',
      id: 1,
      size: 1,
      items: [{ key: 'axes', value: { kind: 'scalar', type: 'int', text: '6' } }],
    });
  });

  it('ends on a cycle', () => {
    const list: PythonValue[] = [];
    list.push(list);
    expect(describePython(list)).toMatchObject({ items: [{ value: { kind: 'again', type: 'list', id: 1 } }] });
  });

  it('does not explode on shared parts, nor on size, depth or long texts', () => {
    let bomb: PythonValue[] = [];
    for (let level = 0; level < 35; level++) bomb = [bomb, bomb];
    let deep: PythonValue[] = [];
    for (let level = 0; level < 400; level++) deep = [deep];
    const long = new Array<PythonValue>(200_000).fill('x'.repeat(1000));
    for (const value of [bomb, deep, long, 'x'.repeat(1_000_000)]) {
      expect(JSON.stringify(describePython(value)).length).toBeLessThan(6_000_000);
    }
    expect(describePython('x'.repeat(1_000_000))).toMatchObject({ cut: 1_000_000 });
  });
});

describe('pythonFromJSON', () => {
  it('makes Python values of any JSON, which survive being pickled', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const value = pythonFromJSON(text);
        expect(describePython(loads(dumps(value)))).toEqual(describePython(value));
      }),
    );
  });

  it.each(['', '{', 'undefined', '['.repeat(200) + ']'.repeat(200)])('refuses %s', (text) => {
    expect(() => pythonFromJSON(text)).toThrow(/JSON/);
  });
});

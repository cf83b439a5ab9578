import { describe, expect, test } from '@jest/globals';
import type { PythonValue } from '../pickle/index.js';
import { bindArguments } from './bind-arguments.js';
import { RemoteError } from './remote-error.js';

const call = (args: readonly PythonValue[], keywords: Readonly<Record<string, PythonValue>>) => ({
  objectID: 'id',
  method: 'paint',
  flags: 0,
  args: [...args],
  keywords: new Map(Object.entries(keywords)),
});

/** What Python says of a call of `def paint(self, where, colour)`, or of a method with other parameters. */
describe('a call', () => {
  test.each<[readonly PythonValue[], Readonly<Record<string, PythonValue>>, readonly PythonValue[]]>([
    [['wall', 'red'], {}, ['wall', 'red']],
    [['wall'], { colour: 'red' }, ['wall', 'red']],
    [[], { where: 'wall', colour: 'red' }, ['wall', 'red']],
    [[], { colour: 'red', where: 'wall' }, ['wall', 'red']],
    [[null], { colour: null }, [null, null]],
  ])('with %j and %j gives %j', (args, keywords, bound) => {
    expect(bindArguments(call(args, keywords), ['where', 'colour'])).toEqual(bound);
  });

  test.each<[readonly PythonValue[], Readonly<Record<string, PythonValue>>, readonly string[], string]>([
    [[], {}, ['where', 'colour'], 'paint() takes exactly 3 arguments (1 given)'],
    [['wall'], {}, ['where', 'colour'], 'paint() takes exactly 3 arguments (2 given)'],
    [['wall', 'red', 1], {}, ['where', 'colour'], 'paint() takes exactly 3 arguments (4 given)'],
    [['wall', 'red', 1], { shade: 1 }, ['where', 'colour'], 'paint() takes exactly 3 arguments (5 given)'],
    [[], { where: 'wall' }, ['where', 'colour'], 'paint() takes exactly 3 arguments (2 given)'],
    [['wall'], { shade: 1 }, ['where', 'colour'], "paint() got an unexpected keyword argument 'shade'"],
    [['wall', 'red'], { shade: 1 }, ['where', 'colour'], "paint() got an unexpected keyword argument 'shade'"],
    [['wall'], { where: 'roof' }, ['where', 'colour'], "paint() got multiple values for keyword argument 'where'"],
    [['a', 'b'], { colour: 'c' }, ['where', 'colour'], "paint() got multiple values for keyword argument 'colour'"],
    [['wall'], {}, [], 'paint() takes exactly 1 argument (2 given)'],
    [[], {}, ['where'], 'paint() takes exactly 2 arguments (1 given)'],
    [[], { shade: 1 }, [], "paint() got an unexpected keyword argument 'shade'"],
  ])('with %j and %j for %j is refused as Python does it: %s', (args, keywords, parameters, message) => {
    const refused = (): unknown => bindArguments(call(args, keywords), parameters);
    expect(refused).toThrow(new RemoteError('exceptions', 'TypeError', [message]));
    expect(refused).toThrow(expect.objectContaining({ module: 'exceptions', className: 'TypeError', args: [message] }));
  });
});

import { expect, test } from '@jest/globals';
import { ObjBase } from './objects.js';
import { isServant } from './servant.js';

const whole = { GUID: () => 'id', setGUID: () => undefined, invoke: () => null };

test.each<[object, boolean]>([
  [whole, true],
  [new ObjBase(), true],
  [{}, false],
  [{ ...whole, GUID: 'id' }, false],
  [{ ...whole, setGUID: true }, false],
  [{ ...whole, invoke: {} }, false],
  [{ GUID: whole.GUID, setGUID: whole.setGUID }, false],
  [{ GUID: whole.GUID, invoke: whole.invoke }, false],
  [{ setGUID: whole.setGUID, invoke: whole.invoke }, false],
])('an object is a servant by its three methods: %o', (object, expected) => {
  expect(isServant(object)).toBe(expected);
});

import { textOf, type PythonValue } from '../pickle/index.js';
import type { PairDescription } from './api.js';

/** Reads what a name server answers to `_status`; undefined where it is none of a pair. */
export function pairFromPython(status: PythonValue): PairDescription | undefined {
  const role = roleOf(member(status, 'role'));
  const twin = member(status, 'twin') ?? null;
  if (role === undefined || twin === null) return undefined;
  const unconfirmed = member(twin, 'unconfirmed');
  return {
    role,
    state: stateOf(member(twin, 'state')),
    twin: addressOf(member(twin, 'uri')),
    unconfirmed: typeof unconfirmed === 'number' ? unconfirmed : 0,
    problem: textOf(member(twin, 'problem')),
  };
}

const member = (dict: PythonValue, key: string): PythonValue | undefined =>
  dict instanceof Map ? dict.get(key) : undefined;

function roleOf(value: PythonValue | undefined): PairDescription['role'] | undefined {
  const role = textOf(value);
  return role === 'primary' || role === 'secondary' ? role : undefined;
}

function stateOf(value: PythonValue | undefined): PairDescription['state'] {
  const state = textOf(value);
  return state === 'connected' || state === 'merging' ? state : 'lost';
}

function addressOf(value: PythonValue | undefined): string | undefined {
  const [, address] = /^\w+:\/\/([^/]+)\//.exec(textOf(value) ?? '') ?? [];
  return address;
}

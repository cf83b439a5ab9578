import type { Operation, Source } from './operations.js';
import { failed, namingError, textOf, withoutUnicode } from './outcomes.js';
import type { Outcome } from './outcomes.js';

/** An operation that had another outcome at the real name server than at ours. */
export interface Difference {
  readonly operation: Operation;
  readonly persistent: boolean;
  readonly real: Outcome;
  readonly ours: Outcome;
  /** The same, as far as they must be equal: `comparable`. */
  readonly realText: string;
  readonly oursText: string;
}

/** A difference that is wanted. */
export interface Rule {
  /** What Pyro 3 does, and what is done here. */
  readonly name: string;
  readonly explains: (difference: Difference) => boolean;
}

const PYTHONS_OWN = new Set(
  ['TypeError', 'IndexError', 'AttributeError', 'KeyError'].map((name) => `exceptions.${name}`),
);

/** The first argument of a call, or the one with the keyword. */
function nameSource({ args, keywords }: Operation): Source | undefined {
  return args[0] ?? keywords?.['name'] ?? keywords?.['groupname'];
}

/** A text as the generator made it: with the characters of a str as they are. */
function textOfSource(source: Source | undefined): string | undefined {
  if (source?.t === 'str' && typeof source.v === 'string') return source.v;
  if (source?.t === 'unicode' && Array.isArray(source.v)) return String.fromCodePoint(...source.v.map(Number));
  return undefined;
}

/** The name that a call is about, if it is a text. */
export function nameText(operation: Operation): string | undefined {
  return textOfSource(nameSource(operation));
}

/** That name, absolute. Pyro's proxy takes what counts as false, such as None, for the default group. */
export function absoluteName(operation: Operation): string | undefined {
  const text = nameText(operation) ?? (operation.style === 'proxy' ? '' : undefined);
  return text === undefined || text.startsWith(':') ? text : `:Default${text === '' ? '' : '.'}${text}`;
}

const OWN_ENTRY = ':Pyro.NameServer';

/**
 * True for what Pyro 3 lets clients do to the name server's own entry and groups, and this one doesn't: after it, the two have
 * different names.
 */
export function changesServerItself(operation: Operation): boolean {
  const name = absoluteName(operation);
  if (operation.method === 'deleteGroup') return [':Pyro', ':Default'].includes(name ?? '');
  return ['unregister', 'setMeta', '_setSystemMeta'].includes(operation.method) && name === OWN_ENTRY;
}

/** The NamingError of a method where the way to the name leads through an object, or through nothing. */
const NOT_THERE: ReadonlyMap<string, string> = new Map([
  ['unregister', 'name not found'],
  ['resolve', 'name not found'],
  ['list', 'group not found'],
  ['deleteGroup', 'group not found'],
  ['getMeta', 'name not found'],
  ['setMeta', 'name not found'],
  ['_getSystemMeta', 'name not found'],
  ['_setSystemMeta', 'name not found'],
  ['register', 'parent is no group'],
  ['createGroup', 'parent is no group'],
]);

/** The methods that make a file. */
const CHANGES = new Set(['register', 'createGroup', 'setMeta', '_setSystemMeta']);

const ROOT_TEXTS: ReadonlyMap<string, string> = new Map([
  ['register', 'invalid name'],
  ['unregister', 'is a group, not an object'],
  ['createGroup', 'group already exists'],
]);

const INVALID = new Set(['invalid name', 'invalid character(s) in name']);

const errorOf = (outcome: Outcome): string => (failed(outcome) ? outcome.error : '');
const firstArgument = (outcome: Outcome): string => (failed(outcome) ? (textOf(outcome.args[0]) ?? '') : '');

/** The differences that facts, section 10, want, and where Pyro 3's two kinds of server disagree, what section 6 says. */
export const RULES: readonly Rule[] = [
  {
    name: 'no text, or an empty one, as a name: Python errors; here invalid name',
    explains: ({ operation, real, ours }) =>
      (nameText(operation) ?? '') === '' && PYTHONS_OWN.has(errorOf(real)) && namingError(ours) === 'invalid name',
  },
  {
    name: 'an instance of a class derived from str is a name; here none, as nobody here knows such a class',
    explains: ({ operation, ours }) => {
      const source = nameSource(operation);
      return (
        source?.t === 'make' && JSON.stringify(source.v).includes('StrChild') && namingError(ours) === 'invalid name'
      );
    },
  },
  {
    name: 'anything that counts as false lists the root group; here None and an empty name do',
    explains: ({ operation, real, ours }) =>
      operation.method === 'list' &&
      nameText(operation) === undefined &&
      !failed(real) &&
      namingError(ours) === 'invalid name',
  },
  {
    name: 'the way to a name leads through an object: Python errors, or errno and path; here as if it were not there',
    explains: ({ operation: { method }, real, ours }) =>
      ["'NameValue' object has no attribute", '[Errno 20]'].some((text) => firstArgument(real).startsWith(text)) &&
      namingError(ours) === NOT_THERE.get(method),
  },
  {
    name: 'memory: a name in a group that is missing: another text than the persistent server has; here the same',
    explains: ({ operation: { method }, persistent, real, ours }) =>
      !persistent &&
      (method === 'unregister' || method === 'deleteGroup') &&
      namingError(real) === '(parent)group not found' &&
      namingError(ours) === NOT_THERE.get(method),
  },
  {
    name: 'a name, or its metadata, that the file system can’t hold: errno and path, or IOError; here name too long',
    explains: ({ operation: { method }, real, ours }) =>
      (firstArgument(real).startsWith('[Errno 36]') || errorOf(real) === 'exceptions.IOError') &&
      namingError(ours) === (CHANGES.has(method) ? 'name too long' : NOT_THERE.get(method)),
  },
  {
    name: 'None as the metadata of a name too long to have any: IOError; here there is nothing to take away',
    explains: ({ operation: { method, args, keywords }, persistent, real, ours }) =>
      persistent &&
      method === 'setMeta' &&
      (args[1] ?? keywords?.['meta'])?.t === 'none' &&
      errorOf(real) === 'exceptions.IOError' &&
      !failed(ours),
  },
  {
    name: 'a database: made-up system metadata of a group says that it is an object; here that it is a group',
    explains: ({ operation: { method }, persistent, realText, oursText }) =>
      persistent &&
      method === '_getSystemMeta' &&
      realText.replace('["str","\'type\'"],["int","1"]', '["str","\'type\'"],["int","0"]') === oursText,
  },
  {
    name: 'the root as the name of an object or a new group: each kind of server has a text of its own; here one',
    explains: ({ operation, real, ours }) =>
      absoluteName(operation) === ':' &&
      ROOT_TEXTS.get(operation.method) === namingError(ours) &&
      ['invalid name', 'name already exists', 'invalid groupname', 'group already exists'].includes(
        namingError(real) ?? '',
      ),
  },
  {
    name: 'a colon in a part of a new name: accepted; here refused',
    explains: ({ operation, ours }) =>
      ['register', 'createGroup'].includes(operation.method) &&
      (absoluteName(operation)?.includes(':', 1) ?? false) &&
      namingError(ours) === 'invalid character(s) in name',
  },
  {
    name: 'a URI with a port that no host has: accepted; here an invalid URI, as none could ever connect to it',
    explains: ({ operation: { method, args, keywords }, ours }) =>
      method === 'register' &&
      textOfSource(args[1] ?? keywords?.['URI']) === 'PYRO://127.0.0.1:70000/x' &&
      namingError(ours) === 'invalid URI',
  },
  {
    name: 'a relative name is not validated after its expansion; here it is',
    explains: ({ operation, ours }) =>
      operation.style !== 'proxy' &&
      !(nameText(operation)?.startsWith(':') ?? true) &&
      INVALID.has(namingError(ours) ?? ''),
  },
  {
    name: 'an empty first part, as in `:.a`, is overlooked; here invalid, as other empty parts are',
    explains: ({ operation, ours }) =>
      (nameText(operation)?.startsWith(':.') ?? false) && namingError(ours) === 'invalid name',
  },
  {
    name: 'any method of the server object can be called; here only those of the name server',
    explains: ({ operation: { method }, ours }) =>
      errorOf(ours) === 'exceptions.AttributeError' &&
      /^'(?:Persistent)?NameServer' object has no attribute/.test(firstArgument(ours)) &&
      !NOT_THERE.has(method),
  },
  {
    name: 'attribute proxies are told of every method of the server object; here of those that can be called',
    explains: ({ operation: { method }, realText, oursText }) =>
      method === '_r_ha' && realText === '["int","1"]' && oursText === '["int","2"]',
  },
  {
    name: 'names and URIs given as unicode come back as unicode; here as str, whoever registered them',
    explains: ({ operation: { method }, realText, oursText }) =>
      ['resolve', 'list', 'flatlist'].includes(method) && withoutUnicode(realText) === oursText,
  },
];

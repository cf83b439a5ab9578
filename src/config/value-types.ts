import { join, resolve } from 'node:path';
import { ConfigError } from '../errors.js';
import { Name } from '../names/index.js';

/** What `$CURDIR` and `$STORAGE` stand for. */
export interface PathContext {
  /** Absolute. */
  readonly currentDirectory: string;
  /** The value of PYRO_STORAGE, absolute. */
  readonly storage: string;
}

/** A kind of value that a configuration item can have. */
export interface ValueType<T> {
  /** Its name in the documentation. */
  readonly type: string;
  /**
   * Reads a value.
   * @param text as in the file or the environment; empty only where the item's default is empty
   * @throws ConfigError that begins with `must`, to be put after the item's name
   */
  readonly parse: (text: string, places: PathContext) => T;
}

// The longest time that a Node timer can wait is 2^31-1 milliseconds.
const MAX_SECONDS = 2_147_483;

const INTEGER = /^[+-]?\d{1,15}$/;
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** A number in a range that both ends belong to; `noun` says what it is where it is wrong. */
function numberKind(type: string, noun: string, pattern: RegExp, lowest: number, highest: number): ValueType<number> {
  return {
    type,
    parse(text) {
      const value = Number(text);
      if (pattern.test(text) && value >= lowest && value <= highest) return value;
      throw new ConfigError(`must be ${noun}${rangeText(lowest, highest)}`);
    },
  };
}

function rangeText(lowest: number, highest: number): string {
  if (lowest === -Infinity) return highest === Infinity ? '' : ` up to ${highest}`;
  return highest === Infinity ? ` of at least ${lowest}` : ` from ${lowest} to ${highest}`;
}

/** A whole number from `lowest` to `highest`; the pattern keeps it exact. */
export const integer = (lowest = -Infinity, highest = Infinity): ValueType<number> =>
  numberKind('integer', 'a whole number', INTEGER, lowest, highest);

/** A number of bytes that one buffer can hold. */
export const bytes = numberKind('bytes', 'a number of bytes', INTEGER, 1024, 2 ** 31 - 1);

/** A time in seconds, fractions too. */
export const seconds = (lowest: number): ValueType<number> =>
  numberKind('seconds', 'a number of seconds', DECIMAL, lowest, MAX_SECONDS);

/** A TCP or UDP port. */
export const port = numberKind('port', 'a port number', INTEGER, 0, 65535);

/** How much is logged. */
export const traceLevel = numberKind('level', 'a level', INTEGER, 0, 3);

/** A protocol of pickles that can be written. */
export const pickleFormat: ValueType<0 | 1 | 2> = {
  type: '0, 1 or 2',
  parse(text) {
    const format = ([0, 1, 2] as const).find((candidate) => String(candidate) === text);
    if (format === undefined) throw new ConfigError('must be 0, 1 or 2');
    return format;
  },
};

/** On or off. */
export const flag: ValueType<boolean> = {
  type: '0 or 1',
  parse(text) {
    if (text !== '0' && text !== '1') throw new ConfigError('must be 0 or 1');
    return text === '1';
  },
};

/** Any text. */
export const text: ValueType<string> = { type: 'text', parse: (value) => value };

/** Any text, or nothing. */
export const optionalText: ValueType<string | undefined> = { type: 'text', parse: (value) => value || undefined };

/** The absolute name of a group. */
export const groupName: ValueType<string> = {
  type: 'name',
  parse(value) {
    try {
      return Name.parse(value).toString();
    } catch {
      throw new ConfigError('must be an absolute name such as :Default');
    }
  },
};

/** One of a few words. */
export function oneOf<const T extends string>(...words: readonly T[]): ValueType<T> {
  return {
    type: words.map((word) => `\`${word}\``).join(' or '),
    parse(value) {
      const word = words.find((candidate) => candidate === value);
      if (word === undefined) throw new ConfigError(`must be ${words.join(' or ')}`);
      return word;
    },
  };
}

/** Pyro's `treatSpecial`, for a leading `$CURDIR/` as well. */
function expand(value: string, places: PathContext): string {
  if (value === '$CURDIR' || value.startsWith('$CURDIR/')) return join(places.currentDirectory, value.slice(8));
  return value.startsWith('$STORAGE/') ? join(places.storage, value.slice(9)) : value;
}

const absolute = (value: string, places: PathContext): string =>
  resolve(places.currentDirectory, expand(value, places));

/** A file or directory; relative to the current directory, as in Pyro. */
export const path: ValueType<string> = { type: 'path', parse: absolute };

/** A file or directory, or nothing. */
export const optionalPath: ValueType<string | undefined> = {
  type: 'path',
  parse: (value, places) => (value === '' ? undefined : absolute(value, places)),
};

/** The directory that `$STORAGE` stands for. */
export const storagePath: ValueType<string> = {
  type: 'path',
  parse(value, places) {
    if (value.startsWith('$STORAGE')) throw new ConfigError('must be a directory that does not refer to itself');
    return absolute(value, places);
  },
};

/** A file in PYROSSL_CERTDIR, or a path of its own. */
export const certificateFile: ValueType<string> = { type: 'file', parse: expand };

/** A file in PYROSSL_CERTDIR, a path of its own, or nothing. */
export const optionalCertificateFile: ValueType<string | undefined> = {
  type: 'file',
  parse: (value, places) => (value === '' ? undefined : expand(value, places)),
};

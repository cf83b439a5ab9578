import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import leven, { closestMatch } from 'leven';
import { ConfigError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { CONFIG_ITEMS, isItemName, ITEM_NAMES } from './items.js';
import type { Config, ConfigItemName } from './items.js';
import { isOwnedByUsOrRoot, isWritableByOthers } from './ownership.js';
import { printable } from './printable.js';
import { warnOnStderr } from './stderr.js';
import { decodeText, readSecretFile, reasonOf } from './text-file.js';
import type { PathContext } from './value-types.js';

const DEFAULT_FILE = 'Pyro.conf';

// Pyro.configuration.ConfigReader: only the first word of the value counts. What is white space is Python's for bytes.
const LINE = /^(\w+)[ \t\r\f\v]*=[ \t\r\f\v]*([^ \t\r\f\v]*)(.*)$/;
const TRAILING_SPACE = /[ \t\r\f\v]+$/;

/** How much of a wrong value is shown. */
const SHOWN_LENGTH = 80;

// An item of Pyro 4 and 5, and one letter away from Pyro 3's PYRO_NS_BC_PORT: of all of theirs the only one that is so near.
const NO_MISSPELLING = 'PYRO_NS_BCPORT';

/** Where the configuration comes from. */
export interface ConfigSource {
  /** The file; without it, the one that PYRO_CONFIG_FILE names, else `Pyro.conf` in the current directory if it exists. */
  readonly file?: string;
  /** Variables of the items' names come before the file; others are not looked at. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Absolute: what relative paths are relative to. */
  readonly currentDirectory: string;
  /** Takes warnings, such as of a file that is not read; without it, they go to stderr. */
  readonly warn?: ((warning: string) => void) | undefined;
}

/** The configuration file. */
interface ConfigFile {
  /** As it was named. */
  readonly name: string;
  readonly text: string;
}

/** A value as it was written, and where, for error messages. */
interface Setting {
  readonly text: string;
  /** Such as `Pyro.conf line 3: `. */
  readonly where: string;
}

type Settings = Map<ConfigItemName, Setting>;

/**
 * Reads the configuration: the defaults, then the file, then the environment. An empty value stands for what came before it.
 * @throws ConfigError that says which file and line, what was wrong and what would be right
 */
export function loadConfig(source: ConfigSource): Config {
  const settings: Settings = new Map();
  const file = findFile(source);
  if (file !== undefined) readLines(file, settings);
  for (const name of ITEM_NAMES) {
    const text = source.environment[name] ?? '';
    if (text !== '') settings.set(name, { text, where: 'environment: ' });
  }
  // Found and read by now, wherever it was named.
  if (file !== undefined) settings.set('PYRO_CONFIG_FILE', { text: file.name, where: '' });
  return valuesOf(settings, source.currentDirectory);
}

/**
 * The variables that are no items, but one letter away from one: a letter too few, too many, wrong, or two in wrong order.
 * Others are passed over: Pyro 4 and 5, and whoever installs Pyro, have variables of their own (`PYRO_HOME`).
 * @returns a text for each, without its value
 */
export function misspeltVariables(environment: ConfigSource['environment'] = process.env): string[] {
  return Object.keys(environment).flatMap((name) => {
    if (!name.startsWith('PYRO') || isItemName(name) || name === NO_MISSPELLING) return [];
    const meant = ITEM_NAMES.find((item) => isOneLetterAway(name, item));
    return meant === undefined
      ? []
      : [`environment: unknown configuration item ${printable(name)}, did you mean ${meant}?`];
  });
}

function isOneLetterAway(name: string, item: ConfigItemName): boolean {
  const letters = (word: string): string => Array.from(word).sort().join('');
  const distance = leven(name, item, { maxDistance: 3 });
  return distance === 1 || (distance === 2 && letters(name) === letters(item));
}

/** The file that was named, or the default one if it exists. @throws ConfigError where the one that was named can't be read */
function findFile(source: ConfigSource): ConfigFile | undefined {
  const name = source.file ?? source.environment['PYRO_CONFIG_FILE'] ?? '';
  if (name === '') return readDefaultFile(source);
  try {
    return { name, text: decodeText(readFileSync(resolve(source.currentDirectory, name))) };
  } catch (error) {
    throw cannotBeRead(name, error);
  }
}

/**
 * Reads the file in the current directory, unless others may have written it: who starts a program in a directory of somebody
 * else doesn't mean to obey him.
 */
function readDefaultFile({ currentDirectory, warn = warnOnStderr }: ConfigSource): ConfigFile | undefined {
  const path = join(currentDirectory, DEFAULT_FILE);
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
  try {
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(descriptor);
      if (!stats.isFile()) return undefined;
      const areOurs = [stats, lstatSync(path)].every(isOwnedByUsOrRoot);
      if (areOurs && !isWritableByOthers(stats))
        return { name: DEFAULT_FILE, text: decodeText(readFileSync(descriptor)) };
      const reason = areOurs ? 'others than its owner can write to it' : 'it belongs to another user';
      warn(
        `${printable(path)} is not read, because ${reason}; to use it all the same, set PYRO_CONFIG_FILE=${printable(path)}`,
      );
      return undefined;
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw cannotBeRead(DEFAULT_FILE, error);
  }
}

const cannotBeRead = (name: string, error: unknown): ConfigError =>
  new ConfigError(refusalText('FILE_UNREADABLE', `the configuration file ${printable(name)}`, reasonOf(error)));

function readLines({ name, text }: ConfigFile, settings: Settings): void {
  text.split('\n').forEach((line, index) => {
    readLine(line.replace(TRAILING_SPACE, ''), `${printable(name)} line ${index + 1}: `, settings);
  });
}

function readLine(line: string, where: string, settings: Settings): void {
  if (line === '' || line.startsWith('#')) return;
  const [, name, text = '', rest = ''] = LINE.exec(line) ?? [];
  if (name === undefined) throw new ConfigError(`${where}must be NAME = value, or a comment that begins with #`);
  if (!isItemName(name)) {
    const similar = closestMatch(name.slice(0, SHOWN_LENGTH).toUpperCase(), ITEM_NAMES, { maxDistance: 4 });
    const hint = similar === undefined ? '' : `, did you mean ${similar}?`;
    throw new ConfigError(refusalText('CONFIG_ITEM_UNKNOWN', where, `${printable(name, SHOWN_LENGTH)}${hint}`));
  }
  if (name === 'PYRO_CONFIG_FILE') throw new ConfigError(`${where}${name} can only be set in the environment`);
  if (CONFIG_ITEMS[name].secret && rest !== '') {
    throw new ConfigError(`${where}${name} must be one word; put a longer passphrase in a file of its own`);
  }
  if (text !== '') settings.set(name, { text, where });
}

function valuesOf(settings: Settings, currentDirectory: string): Config {
  const valueOf = (name: ConfigItemName, places: PathContext) =>
    parse(name, settings.get(name) ?? { text: CONFIG_ITEMS[name].defaultText, where: '' }, places);
  const storage = String(valueOf('PYRO_STORAGE', { currentDirectory, storage: currentDirectory }));
  const values: Record<string, unknown> = {};
  for (const name of ITEM_NAMES) values[name] = valueOf(name, { currentDirectory, storage });
  requireComplete(values);
  return values;
}

function parse(name: ConfigItemName, { text, where }: Setting, places: PathContext): unknown {
  const { kind, secret } = CONFIG_ITEMS[name];
  try {
    if (printable(text) !== text) throw new ConfigError('must not hold control characters');
    return kind.parse(text, places);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const shown = secret ? '' : `, not '${printable(text, SHOWN_LENGTH)}'`;
    throw new ConfigError(`${where}${name} ${error.message}${shown}`);
  }
}

function requireComplete(values: Record<string, unknown>): asserts values is Config {
  for (const name of ITEM_NAMES) if (!(name in values)) throw new ConfigError(`${name} is missing`);
}

let processConfig: Config | undefined;

/**
 * The configuration of this process, from its environment and current directory: read at the first call, and the same
 * object ever after.
 * @throws ConfigError as `loadConfig`
 */
export function defaultConfig(): Config {
  processConfig ??= loadConfig({ environment: process.env, currentDirectory: process.cwd() });
  return processConfig;
}

/**
 * The passphrase for the name server: PYRO_NS_IDENTIFICATION, else the first line of PYRO_NS_IDENTIFICATION_FILE.
 * @param warn is told where every user of the machine may read that file; without it, stderr is
 * @returns undefined if neither is set
 * @throws ConfigError if the file can't be read, or its first line is empty
 */
export function readIdentification(config: Config, warn = warnOnStderr): string | undefined {
  const { PYRO_NS_IDENTIFICATION: passphrase, PYRO_NS_IDENTIFICATION_FILE: file } = config;
  if (passphrase !== undefined || file === undefined) return passphrase;
  return readSecretFile('PYRO_NS_IDENTIFICATION_FILE', file, { what: 'a passphrase', warn });
}

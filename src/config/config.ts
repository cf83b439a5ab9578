import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import leven, { closestMatch } from 'leven';
import { ConfigError } from '../errors.js';
import { CONFIG_ITEMS, isItemName, ITEM_NAMES } from './items.js';
import type { Config, ConfigItemName } from './items.js';
import type { PathContext } from './value-types.js';
import { printable } from './printable.js';

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
  if (file !== undefined) readFile(file, source.currentDirectory, settings);
  for (const name of ITEM_NAMES) {
    const text = source.environment[name] ?? '';
    if (text !== '') settings.set(name, { text, where: 'environment: ' });
  }
  // Found and read by now, wherever it was named.
  if (file !== undefined) settings.set('PYRO_CONFIG_FILE', { text: file, where: '' });
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

/** The file to read, as it was named; undefined if there is none. */
function findFile({ file, environment, currentDirectory }: ConfigSource): string | undefined {
  const named = file ?? environment['PYRO_CONFIG_FILE'] ?? '';
  if (named !== '') return named;
  const found = statSync(join(currentDirectory, DEFAULT_FILE), { throwIfNoEntry: false })?.isFile() === true;
  return found ? DEFAULT_FILE : undefined;
}

function readFile(file: string, currentDirectory: string, settings: Settings): void {
  let content: string;
  try {
    content = readFileSync(resolve(currentDirectory, file), 'utf8');
  } catch (error) {
    throw new ConfigError(`the configuration file ${printable(file)} can't be read: ${reasonOf(error)}`);
  }
  content.split('\n').forEach((line, index) => {
    readLine(line.replace(TRAILING_SPACE, ''), `${printable(file)} line ${index + 1}: `, settings);
  });
}

/** The code of an error of the file system, such as ENOENT. */
function reasonOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error);
}

function readLine(line: string, where: string, settings: Settings): void {
  if (line === '' || line.startsWith('#')) return;
  const [, name, text = '', rest = ''] = LINE.exec(line) ?? [];
  if (name === undefined) throw new ConfigError(`${where}must be NAME = value, or a comment that begins with #`);
  if (!isItemName(name)) {
    const similar = closestMatch(name.slice(0, SHOWN_LENGTH).toUpperCase(), ITEM_NAMES, { maxDistance: 4 });
    const hint = similar === undefined ? '' : `, did you mean ${similar}?`;
    throw new ConfigError(`${where}unknown configuration item ${printable(name, SHOWN_LENGTH)}${hint}`);
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
 * @returns undefined if neither is set
 * @throws ConfigError if the file can't be read, or its first line is empty
 */
export function readIdentification(config: Config): string | undefined {
  if (config.PYRO_NS_IDENTIFICATION !== undefined) return config.PYRO_NS_IDENTIFICATION;
  const file = config.PYRO_NS_IDENTIFICATION_FILE;
  if (file === undefined) return undefined;
  let firstLine: string | undefined;
  try {
    firstLine = readFileSync(file, 'utf8').split(/\r?\n/, 1)[0];
  } catch (error) {
    throw new ConfigError(`PYRO_NS_IDENTIFICATION_FILE ${printable(file)} can't be read: ${reasonOf(error)}`);
  }
  if (!firstLine)
    throw new ConfigError(`PYRO_NS_IDENTIFICATION_FILE ${printable(file)} must have a passphrase on its first line`);
  return firstLine;
}

import { inspect, types } from 'node:util';
import { threadId } from 'node:worker_threads';
import { pino, stdTimeFunctions } from 'pino';
import { defaultConfig, misspeltVariables } from './config.js';
import { CONFIG_ITEMS, ITEM_NAMES } from './items.js';
import type { Config, ConfigItemName } from './items.js';
import { LogFile } from './log-file.js';
import { printable } from './printable.js';

/** How many characters of a part of a line are written: parts come from peers too. */
const MAX_PART_LENGTH = 10_000;

const THREAD = threadId === 0 ? 'MainThread' : `Thread-${threadId}`;

/** The trace level from which lines are written, Pyro's word for them, and pino's. */
const NOTE = { level: 3, word: 'NOTE', structured: 'info' } as const;
const WARNING = { level: 2, word: 'WARN', structured: 'warn' } as const;
const ERROR = { level: 1, word: 'ERR!', structured: 'error' } as const;

type Severity = typeof NOTE | typeof WARNING | typeof ERROR;

/**
 * A log as Pyro's `Log`. No method throws, and a line is written before its method returns. The parts of a line are put
 * together with spaces between them, and control characters in them are escaped. A function among them is called only
 * if the line is written; an Error is written with its stack and causes.
 */
export interface Log {
  /** A note: written at trace level 3. */
  msg(source: string, ...parts: unknown[]): void;
  /** A warning: written from trace level 2. */
  warn(source: string, ...parts: unknown[]): void;
  /** An error: written from trace level 1. */
  error(source: string, ...parts: unknown[]): void;
  /**
   * From trace level 1, writes what Pyro writes when a program starts: that a session begins, and the configuration, but
   * for what is secret.
   * @param program such as `pyro-ns 1.0.0`
   */
  startSession(program: string): void;
  /** Lets go of the file, which the next line opens again: after it was renamed (logrotate), and at the end. */
  reopen(): void;
}

/** Writes lines to a file in one of the two formats. */
interface LineWriter {
  line(severity: Severity, source: string, text: string): void;
  session(program: string, settings: Readonly<Record<string, string>>): void;
}

/** Pyro's own format. */
function pyroWriter(file: LogFile): LineWriter {
  return {
    line({ word }, source, text) {
      file.write(`${localTime(new Date())} [${process.pid}:${THREAD}] ** ${word} ** ${source} ** ${text}\n`);
    },
    session(program, settings) {
      const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
      file.write(
        `\n${'-'.repeat(60)} NEW SESSION\n${localTime(new Date())}   Pyro Initializing, version ${program}\n` +
          `Configuration settings are as follows:\n${lines.join('')}Init done.\n${'-'.repeat(70)}\n`,
      );
    },
  };
}

/** A JSON object a line (PYRO_STDLOGGING). */
function structuredWriter(file: LogFile): LineWriter {
  const logger = pino(
    { timestamp: stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    {
      write: (line) => {
        file.write(line);
      },
    },
  );
  return {
    line({ structured }, source, text) {
      logger[structured]({ source }, text);
    },
    session(program, settings) {
      logger.info({ source: 'Pyro', program, settings }, 'NEW SESSION');
    },
  };
}

class ConfiguredLog implements Log {
  private readonly file: LogFile;
  private readonly writer: LineWriter;

  constructor(
    private readonly config: Config,
    private readonly levelItem: 'PYRO_TRACELEVEL' | 'PYRO_USER_TRACELEVEL',
    fileItem: 'PYRO_LOGFILE' | 'PYRO_USER_LOGFILE',
  ) {
    this.file = new LogFile(() => config[fileItem]);
    this.writer = config.PYRO_STDLOGGING ? structuredWriter(this.file) : pyroWriter(this.file);
  }

  msg(source: string, ...parts: unknown[]): void {
    if (this.config[this.levelItem] >= NOTE.level) this.write(NOTE, source, parts);
  }

  warn(source: string, ...parts: unknown[]): void {
    if (this.config[this.levelItem] >= WARNING.level) this.write(WARNING, source, parts);
  }

  error(source: string, ...parts: unknown[]): void {
    if (this.config[this.levelItem] >= ERROR.level) this.write(ERROR, source, parts);
  }

  startSession(program: string): void {
    if (this.config[this.levelItem] < ERROR.level) return;
    const settings: Record<string, string> = {};
    for (const name of ITEM_NAMES) settings[name] = settingText(name, this.config);
    this.writer.session(printable(program), settings);
  }

  reopen(): void {
    this.file.reopen();
  }

  private write(severity: Severity, source: string, parts: readonly unknown[]): void {
    this.writer.line(severity, partText(source), parts.map(partText).join(' '));
  }
}

const isFunction = (part: unknown): part is () => unknown => typeof part === 'function';

/** What a part looks like in a line; anything may be given, so anything may go wrong. */
function partText(part: unknown): string {
  try {
    const value = isFunction(part) ? part() : part;
    return printable(types.isNativeError(value) ? inspect(value) : String(value), MAX_PART_LENGTH);
  } catch {
    return '(unprintable)';
  }
}

/** A value as it would be written in the file. */
function settingText(name: ConfigItemName, config: Config): string {
  const value = config[name];
  if (value === undefined) return '';
  if (CONFIG_ITEMS[name].secret) return '(not shown)';
  return printable(String(typeof value === 'boolean' ? Number(value) : value));
}

/** As Python's `%Y-%m-%d %H:%M:%S` of the local time. */
function localTime(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/**
 * The log of Pyro itself: PYRO_LOGFILE, by PYRO_TRACELEVEL (looked at for each line), in the format that PYRO_STDLOGGING
 * says. A file that can't be written is told once on stderr, and stops nothing.
 */
export function createLog(config: Config): Log {
  return new ConfiguredLog(config, 'PYRO_TRACELEVEL', 'PYRO_LOGFILE');
}

/** The log of the program that uses the library: like `createLog`, with PYRO_USER_LOGFILE and PYRO_USER_TRACELEVEL. */
export function createUserLog(config: Config): Log {
  return new ConfiguredLog(config, 'PYRO_USER_TRACELEVEL', 'PYRO_USER_LOGFILE');
}

const nothing = (): void => undefined;

/** Writes nothing, ever. */
export const silentLog: Log = { msg: nothing, warn: nothing, error: nothing, startSession: nothing, reopen: nothing };

let processLog: Log | undefined;

/**
 * The log of this process, as `defaultConfig` says. It begins with what looks misspelt in the environment.
 * @throws ConfigError as `defaultConfig`
 */
export function defaultLog(): Log {
  if (processLog === undefined) {
    processLog = createLog(defaultConfig());
    for (const warning of misspeltVariables()) processLog.warn('Configuration', warning);
  }
  return processLog;
}

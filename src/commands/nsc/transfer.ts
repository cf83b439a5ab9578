import { createReadStream, createWriteStream } from 'node:fs';
import { lstat, rename, stat, unlink } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SingleBar } from 'cli-progress';
import { defaultConfig, defaultLog } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { NAMESERVER_NAME } from '../../names/index.js';
import { databaseOf, isEtcdURL, openNamespace, type Namespace } from '../../namespace/index.js';
import {
  importEntries,
  LineReader,
  writeEntryLine,
  type ExistingNames,
  type ExportSource,
  type ImportTarget,
  type Line,
} from '../../naming/index.js';
import type { Output } from './output.js';

/** What stands for stdin or stdout. */
const STREAM = '-';

/** Opens a database offline: a directory, whose lock it takes, or a namespace in etcd. */
export async function openDatabase(database: string, mustExist: boolean, output: Output): Promise<Namespace> {
  const config = defaultConfig();
  const log = defaultLog();
  const place = databaseOf(database, config);
  if (mustExist && !isEtcdURL(place)) {
    const stats = await stat(place).catch(() => undefined);
    if (stats?.isDirectory() !== true) throw new NamingError(`there is no database directory ${place}`);
  }
  const onWait = (text: string): void => {
    output.notice(text);
  };
  return openNamespace(place, { config, log, onWait });
}

/** Writes all entries, a line each: to stdout, or to a file, which is there when all are in it. */
export async function exportTo(file: string | undefined, source: ExportSource, output: Output): Promise<void> {
  const progress = new Progress('exported {value}', 0);
  let count = 0;
  const lines = async function* (): AsyncGenerator<string> {
    for await (const entry of source.export()) {
      count += 1;
      progress.update(count);
      yield `${writeEntryLine(entry)}\n`;
    }
  };
  try {
    if (file === undefined || file === STREAM) await pipeline(Readable.from(lines()), process.stdout, { end: false });
    else await writeWhole(file, lines());
  } finally {
    progress.stop();
  }
  output.result({ exported: count }, `exported ${count} entries`);
}

async function writeWhole(file: string, lines: AsyncIterable<string>): Promise<void> {
  const partial = `${file}.partial`;
  try {
    await removeLeftover(partial);
    // Exclusively: what is there already is not written to, and no link is followed. Others may have put it there.
    await pipeline(Readable.from(lines), createWriteStream(partial, { flags: 'wx', flush: true }));
    await rename(partial, file);
  } catch (error) {
    throw withoutSystemError(error, file);
  }
}

/** Removes what an export that failed has left. @throws NamingError where it is no file of an export */
async function removeLeftover(partial: string): Promise<void> {
  const stats = await lstat(partial).catch((error: unknown) => {
    if (isOfSystem(error) && error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (stats === undefined) return;
  if (!stats.isFile()) throw new NamingError(`${partial} is in the way: it is no regular file`);
  await unlink(partial);
}

/** Reads entries, and adds them. What was not imported is told with the number of its line. */
export async function importFrom(
  file: string | undefined,
  target: ImportTarget,
  output: Output,
  options: { readonly existing: ExistingNames; readonly keepsOwnEntry: boolean },
): Promise<void> {
  const isStream = file === undefined || file === STREAM;
  const size = isStream ? 0 : ((await stat(file).catch(() => undefined))?.size ?? 0);
  // Read from at once: where nobody listens yet, a file that can't be opened ends the program.
  const input = isStream ? process.stdin : createReadStream(file);
  const progress = new Progress(isStream ? 'read {value} bytes' : '{bar} {percentage}%, {eta} s left', size);
  const onBytes = (bytes: number): void => {
    progress.update(bytes);
  };
  try {
    const report = await importEntries(target, linesOf(input, onBytes), {
      existing: options.existing,
      except: options.keepsOwnEntry ? NAMESERVER_NAME : undefined,
      onFailure: (line, reason) => {
        output.failure(`line ${line}: ${reason}`, { line, error: reason });
      },
    });
    progress.stop();
    const { imported, unchanged, skipped, failed } = report;
    output.result(
      { ...report },
      `imported ${imported}, unchanged ${unchanged}, skipped ${skipped}, not imported because of errors ${failed}`,
    );
  } catch (error) {
    throw withoutSystemError(error, file ?? 'stdin');
  } finally {
    progress.stop();
  }
}

/** The lines of a text, as it comes. @throws what reading it throws */
async function* linesOf(input: AsyncIterable<Buffer | string>, onBytes: (count: number) => void): AsyncGenerator<Line> {
  const decoder = new TextDecoder();
  const reader = new LineReader();
  let bytes = 0;
  for await (const piece of input) {
    bytes += piece.length;
    onBytes(bytes);
    yield* reader.push(typeof piece === 'string' ? piece : decoder.decode(piece, { stream: true }));
  }
  yield* reader.end();
}

/** What the system says of a file, in our words; all else as it is. */
function withoutSystemError(error: unknown, file: string): unknown {
  return isOfSystem(error) ? new NamingError(`${file} can't be used: ${String(error.code)}`) : error;
}

const isOfSystem = (error: unknown): error is { readonly code: unknown } =>
  typeof error === 'object' && error !== null && 'syscall' in error && 'code' in error;

/** A progress bar on stderr, where that is a terminal. */
class Progress {
  private readonly bar: SingleBar | undefined;

  constructor(format: string, total: number) {
    if (!process.stderr.isTTY) return;
    this.bar = new SingleBar({ stream: process.stderr, format, clearOnComplete: true, hideCursor: true });
    this.bar.start(total, 0);
  }

  update(value: number): void {
    this.bar?.update(value);
  }

  stop(): void {
    this.bar?.stop();
  }
}

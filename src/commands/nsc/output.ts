import type { Writable } from 'node:stream';
import { styleText } from 'node:util';
import { printable, printableJSON } from '../../config/index.js';

/** Where a tool prints: a terminal, a pipe, or a test's own stream. */
export interface OutputStream extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
  hasColors?(): boolean;
}

type Style = Parameters<typeof styleText>[0];

/** What a command says: Pyro's own lines, or with `--json` an array with an object for each result. */
export class Output {
  /** True once something went wrong: then the exit status is not 0. */
  failed = false;
  private readonly results: object[] = [];

  constructor(
    private readonly stdout: OutputStream,
    private readonly stderr: Writable,
    readonly json: boolean,
  ) {}

  /** How wide the terminal is; undefined where there is none. */
  get columns(): number | undefined {
    return this.stdout.isTTY === true && !this.json ? this.stdout.columns : undefined;
  }

  /** A line for people, which says nothing that a script would want. */
  line(text: string): void {
    if (!this.json) this.stdout.write(`${text}\n`);
  }

  /** A result: as an object, and as text. */
  result(data: object, text: string): void {
    this.results.push(data);
    this.line(text);
  }

  /** A result for scripts, of which people were told in other words. */
  data(data: object): void {
    this.results.push(data);
  }

  /** A result of a command that goes on: an object a line, or text. */
  event(data: object, text: string): void {
    this.stdout.write(`${this.json ? printableJSON(data) : text}\n`);
  }

  /** Something that people should know meanwhile: on stderr. */
  notice(text: string): void {
    this.stderr.write(`${printable(text)}\n`);
  }

  /** Something that did not work: on stderr, and as a result of the name it is about. */
  failure(text: string, data?: object): void {
    this.failed = true;
    if (data !== undefined) this.results.push(data);
    this.stderr.write(`${printable(text)}\n`);
  }

  /** Says that there is nothing more to come. */
  end(): void {
    if (this.json) this.stdout.write(`${printableJSON(this.results, 2)}\n`);
  }

  /** Coloured on a terminal that can show it, and wants it. */
  styled(style: Style, text: string): string {
    if (this.stdout.isTTY !== true || this.stdout.hasColors?.() !== true) return text;
    return styleText(style, text, { validateStream: false });
  }
}

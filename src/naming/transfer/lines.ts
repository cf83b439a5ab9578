/** The most characters in a line of an import: enough for metadata of 16 MB, the most that a request can bring. */
export const MAX_LINE_LENGTH = 32 * 1024 * 1024;

/** Returned in place of a line that is too long. */
export const TOO_LONG = Symbol('a line that is too long');

/** A line without its line end, or TOO_LONG. */
export type Line = string | typeof TOO_LONG;

/** Splits a stream of text into lines, in linear time. */
export class LineReader {
  /** The pieces of the incomplete line; none if it is too long already. */
  private pieces: string[] = [];
  private length = 0;

  constructor(private readonly maxLength = MAX_LINE_LENGTH) {}

  /** Adds a piece of the text. @returns the lines that it completes */
  *push(piece: string): Generator<Line> {
    let start = 0;
    for (let end = piece.indexOf('\n'); end >= 0; end = piece.indexOf('\n', start)) {
      this.add(piece.slice(start, end));
      start = end + 1;
      yield this.take();
    }
    this.add(piece.slice(start));
  }

  /** Ends the text. @returns the last line, if it has no line end */
  *end(): Generator<Line> {
    if (this.length > 0) yield this.take();
  }

  private add(part: string): void {
    this.length += part.length;
    if (this.length > this.maxLength) this.pieces = [];
    else this.pieces.push(part);
  }

  private take(): Line {
    const line = this.length > this.maxLength ? TOO_LONG : this.pieces.join('');
    this.pieces = [];
    this.length = 0;
    return line;
  }
}

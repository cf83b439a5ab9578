/** How many characters a line of an import may have: metadata of 16 MB, which is the largest that a request can bring. */
export const MAX_LINE_LENGTH = 32 * 1024 * 1024;

/** Stands for a line that is longer than it may be. */
export const TOO_LONG = Symbol('a line that is too long');

/** A line without its end, or what stands for one. */
export type Line = string | typeof TOO_LONG;

/** Puts the pieces of a text together to lines, in a time that grows with the text only. */
export class LineReader {
  /** The pieces of the line that has begun; none are kept where it is too long. */
  private pieces: string[] = [];
  private length = 0;

  constructor(private readonly maxLength = MAX_LINE_LENGTH) {}

  /** Takes the next piece of the text. @returns the lines that it ends */
  *push(piece: string): Generator<Line> {
    let start = 0;
    for (let end = piece.indexOf('\n'); end >= 0; end = piece.indexOf('\n', start)) {
      this.add(piece.slice(start, end));
      start = end + 1;
      yield this.take();
    }
    this.add(piece.slice(start));
  }

  /** The last line, where the text ends without a line break. */
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

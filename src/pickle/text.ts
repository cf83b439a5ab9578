import { PythonUnicode, type PythonValue } from './values.js';

/**
 * The text of a str or a unicode. Undefined for other values, and for a str with bytes beyond ASCII, as its encoding is
 * unknown.
 */
export function textOf(value: PythonValue | undefined): string | undefined {
  if (typeof value === 'string') return value;
  return value instanceof PythonUnicode ? value.value : undefined;
}

/** As `textOf`, but a str with bytes beyond ASCII is read as Latin-1, so that any str is text, as it is to Pyro. */
export function characters(value: PythonValue | undefined): string | undefined {
  return value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : textOf(value);
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** As `textOf`, for display: a str with bytes beyond ASCII is read as UTF-8 if it is valid UTF-8, else as Latin-1. */
export function readableText(value: PythonValue | undefined): string | undefined {
  if (!(value instanceof Uint8Array)) return textOf(value);
  try {
    return UTF8.decode(value);
  } catch {
    return characters(value);
  }
}

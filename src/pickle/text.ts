import { PythonUnicode, type PythonValue } from './values.js';

/** The text of a str or a unicode. Undefined for other values, and for a str of more than ASCII: its bytes may mean anything. */
export function textOf(value: PythonValue | undefined): string | undefined {
  if (typeof value === 'string') return value;
  return value instanceof PythonUnicode ? value.value : undefined;
}

/** As `textOf`, for what Pyro takes for text whatever is in it: of a str of more than ASCII, each byte is a character. */
export function characters(value: PythonValue | undefined): string | undefined {
  return value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : textOf(value);
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** As `textOf`, for people: the bytes of a str are taken for UTF-8 where they can be that, else for Latin-1. */
export function readableText(value: PythonValue | undefined): string | undefined {
  if (!(value instanceof Uint8Array)) return textOf(value);
  try {
    return UTF8.decode(value);
  } catch {
    return characters(value);
  }
}

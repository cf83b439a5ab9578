// C0 and C1 controls, DEL, and the separators that some viewers break lines at.
// eslint-disable-next-line no-control-regex -- control characters are what this is about
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Makes text of a peer, a file or an argument fit for one line of a log or a terminal: a control character becomes its
 * escape (`\n`, `\x1b`, `\u2028`), so that the text can't forge a line or command a terminal.
 * @param limit how many characters to keep; what is cut off is said
 */
export function printable(text: string, limit = Infinity): string {
  const kept = text.length > limit ? `${text.slice(0, limit)}... (${text.length} characters)` : text;
  return kept.replace(UNPRINTABLE, (character) => {
    const hex = character.charCodeAt(0).toString(16);
    return SHORT_ESCAPES[character] ?? (hex.length > 2 ? `\\u${hex}` : `\\x${hex.padStart(2, '0')}`);
  });
}

// JSON.stringify escapes C0 only.
const RAW_IN_JSON = /[\u007f-\u009f\u2028\u2029]/g;

/** A value as JSON for a terminal, a pipe or a file: with no control character in it but those of the layout. */
export function printableJSON(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(
    RAW_IN_JSON,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

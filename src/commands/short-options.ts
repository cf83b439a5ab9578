/** Options by their letters that take a value. */
export type ShortOptions = ReadonlyMap<string, string>;

/**
 * Writes options by their long names: `-nhost`, which yargs takes for four options, and `-1`, which it takes for a
 * number. What stands behind `--` is left as it is.
 */
export function withLongNames(args: readonly string[], letters: ShortOptions): string[] {
  const end = args.indexOf('--');
  return args.map((argument, index) => {
    if (end >= 0 && index > end) return argument;
    const [, letter = '', value = ''] = /^-([a-z12])(.*)$/s.exec(argument) ?? [];
    const name = letters.get(letter);
    if (name === undefined) return argument;
    return value === '' ? `--${name}` : `--${name}=${value.replace(/^=/, '')}`;
  });
}

/** What is in a directory, as one value that can be compared. */
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';

/** All paths in a directory, in order, each with what is in the file; null for what is no file. Empty where there is no directory. */
export function fileTree(directory: string): Record<string, string | null> {
  if (!existsSync(directory)) return {};
  const paths = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  return Object.fromEntries(
    paths.map((path) => {
      const isFile = lstatSync(`${directory}/${path}`).isFile();
      return [path, isFile ? readFileSync(`${directory}/${path}`, 'latin1') : null];
    }),
  );
}

import { readFileSync } from 'node:fs';

/** The version of this package, such as `1.0.0`. */
export const VERSION: string = readVersion();

function readVersion(): string {
  const description: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  if (typeof description !== 'object' || description === null || !('version' in description)) return 'unknown';
  return String(description.version);
}

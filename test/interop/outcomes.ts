import type { NameServerProcess } from '../support/name-server-process.mjs';

/** A value as `values.py` describes it: `["int", "5"]`, `["tuple", [...]]`, ... */
export type Description = string | number | null | readonly Description[];

/** What came of an operation: a value, or an exception. */
export type Outcome =
  | { readonly value: Description }
  | { readonly error: string; readonly args: readonly Description[]; readonly trace: Description };

export const failed = (outcome: Outcome): outcome is Extract<Outcome, { error: string }> => 'error' in outcome;

function isDescription(value: unknown): value is Description {
  return (
    value === null ||
    typeof value === 'string' ||
    typeof value === 'number' ||
    (Array.isArray(value) && value.every(isDescription))
  );
}

function isOutcome(value: unknown): value is Outcome {
  if (typeof value !== 'object' || value === null) return false;
  if ('value' in value) return isDescription(value.value);
  return (
    'error' in value &&
    typeof value.error === 'string' &&
    'args' in value &&
    isDescription(value.args) &&
    Array.isArray(value.args) &&
    'trace' in value &&
    isDescription(value.trace)
  );
}

/** Reads an answer of `driver.py`: an outcome per server. */
export function readOutcomes(answer: unknown): Outcome[] {
  if (Array.isArray(answer) && answer.every(isOutcome)) return answer;
  throw new Error(`no answer of driver.py: ${JSON.stringify(answer)}`);
}

/** The text of a described str or unicode. */
export function textOf(description: Description | undefined): string | undefined {
  if (description === null || typeof description !== 'object') return undefined;
  const [type, repr] = description;
  if ((type !== 'str' && type !== 'unicode') || typeof repr !== 'string') return undefined;
  return repr.replace(/^u?['"]|['"]$/g, '');
}

/** The first argument of a NamingError; undefined of anything else. */
export function namingError(outcome: Outcome): string | undefined {
  return failed(outcome) && outcome.error === 'Pyro.errors.NamingError' ? textOf(outcome.args[0]) : undefined;
}

const CLOCK_TOLERANCE_SECONDS = 600;

/** What stands for the name server that answered, and for the time, so that answers of two servers can be equal. */
function withoutIdentity(text: string, server: NameServerProcess): string {
  const now = Date.now() / 1000;
  const timeless = text.replace(
    /(\["str","'timestamp'"\],\["float",")([\d.]+)"/g,
    (whole, start: string, time: string) =>
      Math.abs(Number(time) - now) < CLOCK_TOLERANCE_SECONDS ? `${start}now"` : whole,
  );
  if (!timeless.includes(server.objectID)) return timeless;
  return timeless.replaceAll(server.objectID, 'own id').replaceAll(`["int","${server.port}"]`, '["int","own port"]');
}

const LISTINGS = new Set(['list', 'flatlist']);

function sortedListing(value: Description): Description {
  if (value === null || typeof value !== 'object') return value;
  const [type, items] = value;
  if (type !== 'list' || items === undefined || items === null || typeof items !== 'object') return value;
  return ['list', [...items].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))];
}

/** A comparable value, with str for all unicode in it. */
export function withoutUnicode(text: string): string {
  const value: unknown = JSON.parse(text.replaceAll(/\["unicode","u/g, '["str","'));
  return isDescription(value) ? JSON.stringify(sortedListing(value)) : text;
}

/**
 * What of an outcome must be the same of both servers: a value with the types of all in it, or an exception's class and
 * first argument. Listings are sets.
 */
export function comparable(method: string, outcome: Outcome, server: NameServerProcess): string {
  if (failed(outcome)) return withoutIdentity(JSON.stringify([outcome.error, outcome.args[0]]), server);
  return withoutIdentity(JSON.stringify(LISTINGS.has(method) ? sortedListing(outcome.value) : outcome.value), server);
}

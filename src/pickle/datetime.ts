import { PickleError } from './pickle-error.js';
import { PythonClass, PythonInstance, tuple } from './values.js';
import type { PythonValue } from './values.js';

const DATETIME = new PythonClass('datetime', 'datetime');

/** The bytes of a pickled datetime: year (2 bytes), month, day, hour, minute, second, microsecond (3 bytes). */
const STATE_LENGTH = 10;

/**
 * A `Date` as a `datetime.datetime` without a time zone, in UTC.
 * @throws PickleError outside of Python's range, the years 1 to 9999
 */
export function fromDate(date: Date): PythonInstance {
  const year = date.getUTCFullYear();
  if (!(year >= 1 && year <= 9999))
    throw new PickleError(`can't pickle the Date ${String(date)}: Python has the years 1 to 9999`);
  const microsecond = date.getUTCMilliseconds() * 1000;
  const state = Buffer.alloc(STATE_LENGTH);
  state.writeUInt16BE(year, 0);
  state.set(
    [date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()],
    2,
  );
  state.writeUIntBE(microsecond, 7, 3);
  return new PythonInstance('reduce', DATETIME, tuple(state));
}

/**
 * A `datetime.datetime` without a time zone, read as UTC, as a `Date`; microseconds are truncated to milliseconds.
 * @returns undefined for any other value, and for a datetime with a time zone
 */
export function toDate(value: PythonValue): Date | undefined {
  if (!(value instanceof PythonInstance && value.isOf('datetime', 'datetime') && value.args.length === 1))
    return undefined;
  const [argument] = value.args.items;
  const state = typeof argument === 'string' ? Buffer.from(argument, 'latin1') : argument;
  if (!(state instanceof Uint8Array && state.length === STATE_LENGTH)) return undefined;
  const [century = 0, year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, ...microsecond] = state;
  const date = new Date(0);
  date.setUTCFullYear(century * 256 + year, month - 1, day);
  date.setUTCHours(hour, minute, second, Math.floor(Buffer.from(microsecond).readUIntBE(0, 3) / 1000));
  return date;
}

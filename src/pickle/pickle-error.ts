import type { ErrorCode } from '../refusals.js';

/** Thrown where bytes are no valid pickle or exceed a limit, or where a value can't be pickled. */
export class PickleError extends Error {
  /** For programs, as the codes of all errors of this package. */
  readonly code = 'PICKLE_ERROR' satisfies ErrorCode;

  /** @param message what was found, and what was expected */
  constructor(message: string) {
    super(message);
    this.name = 'PickleError';
  }
}

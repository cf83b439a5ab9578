import type { ErrorCode } from '../refusals.js';

/** A pickle that can't be read, or a value that can't be written as one. */
export class PickleError extends Error {
  /** For programs, as the codes of all errors of this package. */
  readonly code = 'PICKLE_ERROR' satisfies ErrorCode;

  /** @param message what was found, and what was expected */
  constructor(message: string) {
    super(message);
    this.name = 'PickleError';
  }
}

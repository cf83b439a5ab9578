/** A pickle that can't be read, or a value that can't be written as one. */
export class PickleError extends Error {
  /** @param message what was found, and what was expected */
  constructor(message: string) {
    super(message);
    this.name = 'PickleError';
  }
}

/** The longest delay of a timer, in milliseconds. Node runs the callback of a longer one at once. */
export const MAX_TIMEOUT_MS = 0x7fffffff;

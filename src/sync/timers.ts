/** The longest that Node's timers wait; they end a longer time at once. */
export const MAX_TIMEOUT_MS = 0x7fffffff;

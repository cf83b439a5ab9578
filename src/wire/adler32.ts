const MODULUS = 65521;
/** How many bytes can be summed up before the sums leave 32 bits: zlib's NMAX. */
const LONGEST_RUN = 5552;

/** The adler32 checksum of these pieces, one after another, as the signed 32-bit integer that Pyro's header holds. */
export function adler32(pieces: readonly Uint8Array[]): number {
  let low = 1;
  let high = 0;
  for (const piece of pieces) {
    for (let start = 0; start < piece.length; start += LONGEST_RUN) {
      const end = Math.min(start + LONGEST_RUN, piece.length);
      for (let index = start; index < end; index++) {
        low += piece[index] ?? 0;
        high += low;
      }
      low %= MODULUS;
      high %= MODULUS;
    }
  }
  return (high << 16) | low;
}

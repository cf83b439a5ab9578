const MODULUS = 65521;
/** How many bytes can be added up before a sum overflows 32 bits: zlib's constant of that name. */
const NMAX = 5552;

/** The adler32 checksum of the concatenated pieces, as the signed 32-bit integer that stands in Pyro's frame header. */
export function adler32(pieces: readonly Uint8Array[]): number {
  let low = 1;
  let high = 0;
  for (const piece of pieces) {
    for (let start = 0; start < piece.length; start += NMAX) {
      const end = Math.min(start + NMAX, piece.length);
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

/**
 * Numbers whose hashes are equal in V8, as a hostile peer would choose them as keys of a dict: in a plain Map, 30,000 take
 * seconds.
 */

const BITS_32 = 32n;
const BITS_64 = 64n;

/** How many bits of the hashes of integers are equal: as many as choose among the buckets of a large map. */
const EQUAL_BITS = 16;

/** Longs of which V8 hashes the lowest 64 bits. */
export function collidingLongs(count: number): bigint[] {
  return Array.from({ length: count }, (_, index) => (BigInt(index + 1) << 64n) + 5n);
}

/** Ints of 32 bits: V8's hash of them can be inverted. */
export function collidingIntegers(count: number): number[] {
  return Array.from({ length: count }, (_, index) =>
    Number(BigInt.asIntN(32, invert32(BigInt(index << EQUAL_BITS) + 5n))),
  );
}

/** Fractions: the same of the hash of 64 bits, the lowest 30 of which count. */
export function collidingFractions(count: number): number[] {
  const fractions: number[] = [];
  for (let index = 1n; fractions.length < count; index++) {
    const value = new Float64Array(BigUint64Array.of(invert64((index << 30n) + 5n)).buffer)[0] ?? 0;
    if (Number.isFinite(value) && !Number.isInteger(value)) fractions.push(value);
  }
  return fractions;
}

/** The number that V8's ComputeUnseededHash gives this hash. */
function invert32(hash: bigint): bigint {
  let value = invertShift(hash, 16n, BITS_32);
  value = divide(value, 2057n, BITS_32);
  value = invertShift(value, 4n, BITS_32);
  value = divide(value, 5n, BITS_32);
  value = invertShift(value, 12n, BITS_32);
  return divide(value + 1n, (1n << 15n) - 1n, BITS_32);
}

/** The number that V8's ComputeLongHash gives this hash. */
function invert64(hash: bigint): bigint {
  let value = invertShift(hash, 22n, BITS_64);
  value = divide(value, 65n, BITS_64);
  value = invertShift(value, 11n, BITS_64);
  value = divide(value, 21n, BITS_64);
  value = invertShift(value, 31n, BITS_64);
  return divide(value + 1n, (1n << 18n) - 1n, BITS_64);
}

/** What `value ^ (value >> shift)` makes this of. */
function invertShift(result: bigint, shift: bigint, bits: bigint): bigint {
  let value = result;
  for (let known = shift; known < bits; known += shift) value = result ^ (value >> shift);
  return value;
}

/** What makes this where it is multiplied by an odd factor, modulo 2 ** bits. */
function divide(product: bigint, factor: bigint, bits: bigint): bigint {
  // Newton's iteration doubles the number of right bits each time; an odd number is its own inverse modulo 8.
  let inverse = factor;
  for (let right = 3n; right < bits; right *= 2n)
    inverse = BigInt.asUintN(Number(bits), inverse * (2n - factor * inverse));
  return BigInt.asUintN(Number(bits), product * inverse);
}

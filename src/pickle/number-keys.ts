/**
 * Maps and sets that are safe against hash flooding (HashDoS) by numeric keys.
 *
 * V8 hashes numbers without a secret seed: a peer that chooses the numbers can choose thousands with equal hashes, and
 * a map of 30,000 such keys takes seconds. Strings are hashed with a seed, and objects have random hashes, so they are
 * safe. That is why a map or set of more than a few members stores a `NumberKey` object in place of each number, and
 * finds that object by the number as text. The map or set remains the same object, and behaves as any other Map or Set.
 */

/** Up to this many members nothing is done: with so few, even equal hashes cost little. */
const MAX_RAW_MEMBERS = 64;

/** Radix for the text of a bigint: a power of two, because conversion takes linear time then; high, for short texts. */
const LONG_RADIX = 32;

/** What is stored in place of a number: an object, and so with a random hash. */
class NumberKey {
  constructor(readonly value: number | bigint) {}

  [Symbol.for('nodejs.util.inspect.custom')](): number | bigint {
    return this.value;
  }
}

/** The `NumberKey` of each number in a container. */
class NumberKeys {
  private readonly keys = new Map<string, NumberKey>();

  find(value: number | bigint): NumberKey | undefined {
    return this.keys.get(textOf(value));
  }

  add(value: number | bigint): NumberKey {
    // As Map and Set do: -0 becomes 0.
    const key = new NumberKey(value === 0 ? 0 : value);
    this.keys.set(textOf(value), key);
    return key;
  }

  delete(value: number | bigint): void {
    this.keys.delete(textOf(value));
  }

  clear(): void {
    this.keys.clear();
  }
}

const numberKeysOf = new WeakMap<object, NumberKeys>();

/** `map.set(key, value)`, for a map whose keys a peer may have chosen. */
export function setEntry<Key, Value>(map: Map<Key, Value>, key: Key, value: Value): void {
  if (isNumber(key) && map.size >= MAX_RAW_MEMBERS && !numberKeysOf.has(map)) {
    const entries = [...map];
    protect(map, NumberSafeMap.prototype);
    for (const [known, itsValue] of entries) map.set(known, itsValue);
  }
  map.set(key, value);
}

/** `set.add(member)`, for a set whose members a peer may have chosen. */
export function addMember<Member>(set: Set<Member>, member: Member): void {
  if (isNumber(member) && set.size >= MAX_RAW_MEMBERS && !numberKeysOf.has(set)) {
    const members = [...set];
    protect(set, NumberSafeSet.prototype);
    for (const known of members) set.add(known);
  }
  set.add(member);
}

/**
 * Empties a container, and makes it store NumberKeys for numbers. In place, because others may refer to it already. What it
 * had is put in again: raw numbers with equal hashes would be compared with each number that is looked for.
 */
function protect(container: { clear(): void }, prototype: object): void {
  container.clear();
  numberKeysOf.set(container, new NumberKeys());
  Object.setPrototypeOf(container, prototype);
}

/** What a container stores for a key that it has: its NumberKey, or the key itself. */
function storedKey(container: object, key: unknown): unknown {
  return (isNumber(key) ? numberKeysOf.get(container)?.find(key) : undefined) ?? key;
}

/** What a container is to store for a key that may be new. */
function keyToStore(container: object, key: unknown): unknown {
  if (!isNumber(key)) return key;
  const numbers = numberKeysOf.get(container);
  return numbers?.find(key) ?? numbers?.add(key);
}

function dropNumberKey(container: object, key: unknown): void {
  if (isNumber(key)) numberKeysOf.get(container)?.delete(key);
}

function keyOf(stored: unknown): unknown {
  return stored instanceof NumberKey ? stored.value : stored;
}

function isNumber(key: unknown): key is number | bigint {
  return typeof key === 'number' || typeof key === 'bigint';
}

/** The number as text. Equal for numbers that are the same key to a Map, such as 0 and -0. */
function textOf(value: number | bigint): string {
  return typeof value === 'number' ? `n${value}` : `b${value.toString(LONG_RADIX)}`;
}

/** The prototype of a Map that `protect` has made safe. Never constructed. */
class NumberSafeMap extends Map<unknown, unknown> {
  override get(key: unknown): unknown {
    return super.get(storedKey(this, key));
  }

  override has(key: unknown): boolean {
    return super.has(storedKey(this, key));
  }

  override set(key: unknown, value: unknown): this {
    return super.set(keyToStore(this, key), value);
  }

  override delete(key: unknown): boolean {
    const stored = storedKey(this, key);
    dropNumberKey(this, key);
    return super.delete(stored);
  }

  override clear(): void {
    numberKeysOf.get(this)?.clear();
    super.clear();
  }

  override *entries(): Generator<[unknown, unknown], undefined> {
    for (const [stored, value] of super.entries()) yield [keyOf(stored), value];
  }

  override *keys(): Generator<unknown, undefined> {
    for (const stored of super.keys()) yield keyOf(stored);
  }

  override [Symbol.iterator](): Generator<[unknown, unknown], undefined> {
    return this.entries();
  }

  override forEach(callback: (value: unknown, key: unknown, map: Map<unknown, unknown>) => void, self?: unknown): void {
    for (const [key, value] of this) callback.call(self, value, key, this);
  }

  // Newer versions of Node have these methods.
  getOrInsert(key: unknown, value: unknown): unknown {
    return this.getOrInsertComputed(key, () => value);
  }

  getOrInsertComputed(key: unknown, compute: (key: unknown) => unknown): unknown {
    if (!this.has(key)) this.set(key, compute(key));
    return this.get(key);
  }
}

/** The parameter of the methods that combine sets. */
interface SetLike {
  has(member: unknown): boolean;
  keys(): Iterable<unknown>;
}

/** The prototype of a Set that `protect` has made safe. Never constructed. */
class NumberSafeSet extends Set<unknown> {
  override has(member: unknown): boolean {
    return super.has(storedKey(this, member));
  }

  override add(member: unknown): this {
    return super.add(keyToStore(this, member));
  }

  override delete(member: unknown): boolean {
    const stored = storedKey(this, member);
    dropNumberKey(this, member);
    return super.delete(stored);
  }

  override clear(): void {
    numberKeysOf.get(this)?.clear();
    super.clear();
  }

  override *values(): Generator<unknown, undefined> {
    for (const stored of super.values()) yield keyOf(stored);
  }

  override keys(): Generator<unknown, undefined> {
    return this.values();
  }

  override [Symbol.iterator](): Generator<unknown, undefined> {
    return this.values();
  }

  override *entries(): Generator<[unknown, unknown], undefined> {
    for (const member of this) yield [member, member];
  }

  override forEach(callback: (value: unknown, key: unknown, set: Set<unknown>) => void, self?: unknown): void {
    for (const member of this) callback.call(self, member, member, this);
  }

  // Newer versions of Node have these methods.
  union(other: SetLike): Set<unknown> {
    return setOf([...this, ...other.keys()]);
  }

  intersection(other: SetLike): Set<unknown> {
    return setOf([...this].filter((member) => other.has(member)));
  }

  difference(other: SetLike): Set<unknown> {
    return setOf([...this].filter((member) => !other.has(member)));
  }

  symmetricDifference(other: SetLike): Set<unknown> {
    return setOf([...this.difference(other), ...[...other.keys()].filter((member) => !this.has(member))]);
  }

  isSubsetOf(other: SetLike): boolean {
    return [...this].every((member) => other.has(member));
  }

  isSupersetOf(other: SetLike): boolean {
    return [...other.keys()].every((member) => this.has(member));
  }

  isDisjointFrom(other: SetLike): boolean {
    return ![...this].some((member) => other.has(member));
  }
}

// So that printing and comparing show a Map and a Set.
Object.defineProperty(NumberSafeMap.prototype, 'constructor', { value: Map });
Object.defineProperty(NumberSafeSet.prototype, 'constructor', { value: Set });

function setOf(members: readonly unknown[]): Set<unknown> {
  const set = new Set<unknown>();
  for (const member of members) addMember(set, member);
  return set;
}

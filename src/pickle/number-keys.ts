/**
 * Maps and sets whose numbers were chosen by a peer.
 *
 * V8 hashes a number by a function that has no secret in it: whoever chooses numbers can choose thousands whose hashes
 * are equal, and a map of 30,000 such keys takes seconds. Strings and objects are safe: the hashes of strings have a seed,
 * those of objects are random. So a map or set of more than a few members holds numbers by objects that stand for them, and finds
 * these by text. It stays the same object, and a Map or Set to all who use it.
 */

/** So many members are held as in any map or set: they are soon looked through, whatever their hashes are. */
const MAX_RAW_MEMBERS = 64;

/** A power of two, so that the digits of a long take linear time; high, so that they are few. */
const LONG_RADIX = 32;

/** Stands for a number among the members of a container: each has a random hash. */
class NumberKey {
  constructor(readonly value: number | bigint) {}

  [Symbol.for('nodejs.util.inspect.custom')](): number | bigint {
    return this.value;
  }
}

/** The numbers of a container that are held by a NumberKey. */
class NumberKeys {
  private readonly keys = new Map<string, NumberKey>();

  find(value: number | bigint): NumberKey | undefined {
    return this.keys.get(textOf(value));
  }

  add(value: number | bigint): NumberKey {
    // Maps and sets hold 0 where -0 was given.
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

const numbersOf = new WeakMap<object, NumberKeys>();

/** Sets an entry of a map that may have keys of a peer's. */
export function setEntry<Key, Value>(map: Map<Key, Value>, key: Key, value: Value): void {
  if (isNumber(key) && map.size >= MAX_RAW_MEMBERS) protect(map, NumberSafeMap.prototype);
  map.set(key, value);
}

/** Adds a member to a set that may have members of a peer's. */
export function addMember<Member>(set: Set<Member>, member: Member): void {
  if (isNumber(member) && set.size >= MAX_RAW_MEMBERS) protect(set, NumberSafeSet.prototype);
  set.add(member);
}

/** Has a container hold its further numbers by NumberKeys. It is not replaced: others may refer to it already. */
function protect(container: object, prototype: object): void {
  if (numbersOf.has(container)) return;
  numbersOf.set(container, new NumberKeys());
  Object.setPrototypeOf(container, prototype);
}

/** What a key is held by in a container: itself, or its NumberKey. */
function heldKey(container: object, key: unknown): unknown {
  return (isNumber(key) ? numbersOf.get(container)?.find(key) : undefined) ?? key;
}

/** The same of a key that is to be added where nothing holds it. */
function keyToHold(container: object, key: unknown, isHeldAsItIs: boolean): unknown {
  if (!isNumber(key) || isHeldAsItIs) return key;
  const numbers = numbersOf.get(container);
  return numbers?.find(key) ?? numbers?.add(key);
}

function forget(container: object, key: unknown): void {
  if (isNumber(key)) numbersOf.get(container)?.delete(key);
}

function keyOf(held: unknown): unknown {
  return held instanceof NumberKey ? held.value : held;
}

function isNumber(key: unknown): key is number | bigint {
  return typeof key === 'number' || typeof key === 'bigint';
}

/** Equal for what is one key to a Map: 0 and -0 are. */
function textOf(value: number | bigint): string {
  return typeof value === 'number' ? `n${value}` : `b${value.toString(LONG_RADIX)}`;
}

/** A Map that `setEntry` has made safe. Never constructed. */
class NumberSafeMap extends Map<unknown, unknown> {
  override get(key: unknown): unknown {
    return super.get(heldKey(this, key));
  }

  override has(key: unknown): boolean {
    return super.has(heldKey(this, key));
  }

  override set(key: unknown, value: unknown): this {
    return super.set(keyToHold(this, key, super.has(key)), value);
  }

  override delete(key: unknown): boolean {
    const held = heldKey(this, key);
    forget(this, key);
    return super.delete(held);
  }

  override clear(): void {
    numbersOf.get(this)?.clear();
    super.clear();
  }

  override *entries(): Generator<[unknown, unknown], undefined> {
    for (const [held, value] of super.entries()) yield [keyOf(held), value];
  }

  override *keys(): Generator<unknown, undefined> {
    for (const held of super.keys()) yield keyOf(held);
  }

  override [Symbol.iterator](): Generator<[unknown, unknown], undefined> {
    return this.entries();
  }

  override forEach(callback: (value: unknown, key: unknown, map: Map<unknown, unknown>) => void, self?: unknown): void {
    for (const [key, value] of this) callback.call(self, value, key, this);
  }

  // Newer versions of Node have these.
  getOrInsert(key: unknown, value: unknown): unknown {
    return this.getOrInsertComputed(key, () => value);
  }

  getOrInsertComputed(key: unknown, compute: (key: unknown) => unknown): unknown {
    if (!this.has(key)) this.set(key, compute(key));
    return this.get(key);
  }
}

/** What the methods that combine sets take. */
interface SetLike {
  has(member: unknown): boolean;
  keys(): Iterable<unknown>;
}

/** A Set that `addMember` has made safe. Never constructed. */
class NumberSafeSet extends Set<unknown> {
  override has(member: unknown): boolean {
    return super.has(heldKey(this, member));
  }

  override add(member: unknown): this {
    return super.add(keyToHold(this, member, super.has(member)));
  }

  override delete(member: unknown): boolean {
    const held = heldKey(this, member);
    forget(this, member);
    return super.delete(held);
  }

  override clear(): void {
    numbersOf.get(this)?.clear();
    super.clear();
  }

  override *values(): Generator<unknown, undefined> {
    for (const held of super.values()) yield keyOf(held);
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

  // Newer versions of Node have these.
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

// Whoever prints or compares them sees a Map and a Set.
Object.defineProperty(NumberSafeMap.prototype, 'constructor', { value: Map });
Object.defineProperty(NumberSafeSet.prototype, 'constructor', { value: Set });

function setOf(members: readonly unknown[]): Set<unknown> {
  const set = new Set<unknown>();
  for (const member of members) addMember(set, member);
  return set;
}

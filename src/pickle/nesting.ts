import { PythonInstance, PythonPersistentID, PythonTuple } from './values.js';
import type { PythonValue } from './values.js';

type Container =
  PythonTuple | PythonValue[] | Map<PythonValue, PythonValue> | Set<PythonValue> | PythonInstance | PythonPersistentID;

/** A container on the path of the depth-first search. */
interface Step {
  readonly container: Container;
  readonly parts: readonly PythonValue[];
  next: number;
  /** The height of this container's subtree, itself included, as far as it was visited: 1 without inner containers. */
  height: number;
}

/** Up to this many parts, looking for containers among them again is faster than memoizing that there are none. */
const MAX_UNMEMOIZED_PARTS = 8;

/**
 * True if containers are nested deeper than the limit, on any path; a cycle counts once around. An iterative
 * depth-first search that visits each container once and memoizes its height, so that deep or shared values cost linear
 * time and no JavaScript stack.
 */
export function isNestedDeeper(value: PythonValue, limit: number): boolean {
  const heights = new Map<Container, number>();
  const path: Step[] = [];
  const enter = (container: Container): boolean => {
    // Until its height is known: a container that contains itself adds nothing.
    heights.set(container, 0);
    return path.push({ container, parts: partsOf(container), next: 0, height: 1 }) <= limit;
  };
  if (isContainer(value) && !enter(value)) return true;
  for (let step = path.at(-1); step !== undefined; step = path.at(-1)) {
    const part = step.parts[step.next++];
    if (part === undefined) {
      path.pop();
      heights.set(step.container, step.height);
      raise(path.at(-1), step.height);
    } else if (isContainer(part)) {
      const height = isFlat(part) ? 1 : heights.get(part);
      if (height === undefined ? !enter(part) : path.length + height > limit) return true;
      if (height !== undefined) raise(step, height);
    }
  }
  return false;
}

/** Updates the height of a container by that of one of its parts. */
function raise(step: Step | undefined, heightOfPart: number): void {
  if (step !== undefined) step.height = Math.max(step.height, heightOfPart + 1);
}

function isContainer(value: PythonValue): value is Container {
  return (
    typeof value === 'object' &&
    (value instanceof PythonTuple ||
      Array.isArray(value) ||
      value instanceof Map ||
      value instanceof PythonInstance ||
      value instanceof Set ||
      value instanceof PythonPersistentID)
  );
}

function isFlat(container: Container): boolean {
  const items = container instanceof PythonTuple ? container.items : container;
  return Array.isArray(items) && items.length <= MAX_UNMEMOIZED_PARTS && !items.some(isContainer);
}

function partsOf(container: Container): readonly PythonValue[] {
  if (container instanceof PythonTuple) return container.items;
  if (Array.isArray(container)) return container;
  if (container instanceof Map) return [...container.keys(), ...container.values()];
  if (container instanceof Set) return [...container];
  if (container instanceof PythonPersistentID) return [container.id];
  const { callable, args, state, listItems = [], dictItems = [] } = container;
  return [callable, args, state ?? null, ...listItems, ...[...dictItems].flat()];
}

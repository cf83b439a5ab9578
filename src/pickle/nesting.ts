import { PythonInstance, PythonPersistentID, PythonTuple } from './values.js';
import type { PythonValue } from './values.js';

type Container =
  PythonTuple | PythonValue[] | Map<PythonValue, PythonValue> | Set<PythonValue> | PythonInstance | PythonPersistentID;

/** A container whose parts are being looked at. */
interface Step {
  readonly container: Container;
  readonly parts: readonly PythonValue[];
  next: number;
  /** How many containers are nested in each other here, itself included, as far as is known. */
  height: number;
}

/** Up to this many parts, it is faster to look at them again than to remember that none is a container. */
const FEW = 8;

/**
 * True if containers are nested in each other deeper than the limit, by any path; a cycle counts once around. Looks at
 * each container once, and does not recurse.
 */
export function isNestedDeeper(value: PythonValue, limit: number): boolean {
  const heights = new Map<Container, number>();
  const path: Step[] = [];
  const enter = (container: Container): boolean => {
    // Reached again from within itself, it adds nothing.
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
  return Array.isArray(items) && items.length <= FEW && !items.some(isContainer);
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

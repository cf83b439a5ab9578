import { PythonClass, PythonFloat, PythonInstance, tuple, type PythonValue } from '../pickle/index.js';
import { GROUP, OBJECT, type SystemMeta } from './namespace.js';

const SYSTEM_META = new PythonClass('Pyro.naming', 'NameSpaceSystemMeta');

/** System metadata as Pyro 3 pickles it: an instance of `Pyro.naming.NameSpaceSystemMeta`. */
export function systemMetaToPython(meta: SystemMeta): PythonInstance {
  const state = new Map<PythonValue, PythonValue>([
    ['timestamp', Number.isInteger(meta.timestamp) ? new PythonFloat(meta.timestamp) : meta.timestamp],
    ['owner', meta.owner],
    ['type', meta.type],
  ]);
  return new PythonInstance('newobj', SYSTEM_META, tuple(), state);
}

/** Reads an instance of `Pyro.naming.NameSpaceSystemMeta`; undefined where the value is none. */
export function systemMetaFromPython(value: PythonValue): SystemMeta | undefined {
  if (!(value instanceof PythonInstance) || !value.isOf(SYSTEM_META.module, SYSTEM_META.name)) return undefined;
  const type = value.attribute('type');
  const time = value.attribute('timestamp');
  const timestamp = time instanceof PythonFloat ? time.value : time;
  if ((type !== GROUP && type !== OBJECT) || typeof timestamp !== 'number') return undefined;
  return { type, timestamp, owner: value.attribute('owner') ?? null };
}

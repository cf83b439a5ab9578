import { PyroURI } from '../names/index.js';
import { PythonClass, PythonInstance, PythonUnicode, tuple, type PythonValue } from '../pickle/index.js';

const PYRO_URI = new PythonClass('Pyro.core', 'PyroURI');

/** A URI as Pyro 3 pickles it: an instance of `Pyro.core.PyroURI`. */
export function uriToPython(uri: PyroURI): PythonInstance {
  const state = new Map<PythonValue, PythonValue>([
    ['protocol', uri.protocol],
    ['address', uri.address],
    ['port', uri.port],
    ['objectID', uri.objectID],
  ]);
  return new PythonInstance('newobj', PYRO_URI, tuple(), state);
}

/**
 * Reads an instance of `Pyro.core.PyroURI`.
 * @returns undefined where the value is none
 * @throws URIError where its parts can't stand in a URI
 */
export function uriFromPython(value: PythonValue): PyroURI | undefined {
  if (!(value instanceof PythonInstance) || !value.isOf('Pyro.core', 'PyroURI')) return undefined;
  const text = (name: string): string => {
    const part = value.attribute(name);
    return typeof part === 'string' ? part : part instanceof PythonUnicode ? part.value : '';
  };
  const port = value.attribute('port');
  return new PyroURI(text('protocol'), text('address'), typeof port === 'number' ? port : -1, text('objectID'));
}

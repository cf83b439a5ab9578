import { inspect } from 'node:util';
import { NamingError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { INTERNAL_DAEMON_GUID } from '../names/index.js';
import { type PythonValue, PythonUnicode, type PythonWritable } from '../pickle/index.js';
import type { CallRequest } from '../wire/index.js';
import { bindArguments } from './bind-arguments.js';
import { noSuchAttribute } from './remote-error.js';
import type { Answer, Servant } from './servant.js';

/** What the internal object needs of its daemon. */
export interface RegisteredObjects {
  /** The names of the daemon's objects by their ids; undefined for an object without a name. */
  getRegistered(): ReadonlyMap<string, string | undefined>;
  /** Resolves when no object is being connected any more; undefined if none is. */
  readonly objectsSettled: Promise<void> | undefined;
}

/**
 * The internal object that every daemon has under a well-known id: it answers `ResolvePYROLOC` and `getRegistered`.
 * Nothing else of a daemon can be called remotely.
 */
export class DaemonServant implements Servant {
  constructor(private readonly daemon: RegisteredObjects) {}

  GUID(): string {
    return INTERNAL_DAEMON_GUID;
  }

  setGUID(): void {
    throw new NamingError(refusalText('OBJECT_ID_FIXED'));
  }

  invoke(call: CallRequest): Answer | Promise<Answer> {
    if (call.method === 'getRegistered') {
      bindArguments(call, []);
      return this.registered();
    }
    if (call.method === 'ResolvePYROLOC') {
      const [name = null] = bindArguments(call, ['name']);
      return this.resolve(name);
    }
    throw noSuchAttribute('DaemonServant', call.method);
  }

  private registered(): PythonWritable {
    return new Map([...this.daemon.getRegistered()].map(([guid, name]) => [guid, name ?? null]));
  }

  private resolve(name: PythonValue): string | Promise<string> {
    const wanted = name instanceof PythonUnicode ? name.value : name;
    const settled = this.find(wanted) === undefined ? this.daemon.objectsSettled : undefined;
    return settled ? settled.then(() => this.require(wanted)) : this.require(wanted);
  }

  private find(name: PythonValue): string | undefined {
    for (const [guid, registered] of this.daemon.getRegistered()) if (registered === name) return guid;
    return undefined;
  }

  private require(wanted: PythonValue): string {
    const guid = this.find(wanted);
    if (guid !== undefined) return guid;
    throw new NamingError(
      refusalText('OBJECT_NAME_UNKNOWN'),
      typeof wanted === 'string' ? wanted : inspect(wanted, { depth: 0 }),
    );
  }
}

import type { PythonWritable } from '../pickle/index.js';
import type { CallRequest, Pickled, ServerConnection } from '../wire/index.js';

/** What a call answers. */
export type Answer = PythonWritable | Pickled;

/** What a daemon serves: an object as peers see it. `ObjBase` makes one of any JavaScript object. */
export interface Servant {
  /** The object's id in URIs. */
  GUID(): string;

  /** Takes over another id: that of an earlier registration (`connectPersistent`). */
  setGUID(guid: string): void;

  /**
   * Answers a call. An answer that needs no waiting should be returned as it is, not in a promise: then replies to
   * pipelined requests go out together.
   * @throws whatever the caller is to get: a PyroError, a RemoteError, or any Error
   */
  invoke(call: CallRequest, caller: ServerConnection): Answer | Promise<Answer>;
}

/** True if an object is a Servant, and needs no ObjBase around it. */
export function isServant(object: object): object is Servant {
  return (
    'GUID' in object &&
    typeof object.GUID === 'function' &&
    'setGUID' in object &&
    typeof object.setGUID === 'function' &&
    'invoke' in object &&
    typeof object.invoke === 'function'
  );
}

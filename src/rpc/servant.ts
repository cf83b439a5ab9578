import type { PythonWritable } from '../pickle/index.js';
import type { CallRequest, Pickled, ServerConnection } from '../wire/index.js';

/** The result of a call: a value to be pickled, or one that is pickled already. */
export type Answer = PythonWritable | Pickled;

/** An object that a daemon serves (a skeleton, in RPC terms). `ObjBase` makes one of any JavaScript object. */
export interface Servant {
  /** The object's id in URIs. */
  GUID(): string;

  /** Sets the id: to that of an earlier registration (`connectPersistent`). */
  setGUID(guid: string): void;

  /**
   * Executes a call. A result that is available synchronously should be returned without a promise: then the replies to
   * pipelined requests leave in one write.
   * @throws the error that the caller is to get: a PyroError, a RemoteError, or any Error
   */
  invoke(call: CallRequest, caller: ServerConnection): Answer | Promise<Answer>;
}

/** True if an object implements Servant, and needs no ObjBase as adapter. */
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

import { ProtocolError } from '../errors.js';
import { refusalText } from '../refusals.js';
import {
  dumps,
  loads,
  PickleError,
  PythonClass,
  PythonInstance,
  PythonTuple,
  readableText,
  textOf,
  tuple,
  type PickleReadOptions,
  type PythonValue,
  type PythonWritable,
} from '../pickle/index.js';

/** The pickle protocols that Pyro 3 speaks (PYRO_PICKLE_FORMAT). */
export type PickleProtocol = 0 | 1 | 2;

/** Flags of a request (Pyro's RIF_...): how its arguments are packed, and whether it has a reply. */
export const RequestFlag = { Varargs: 1, Keywords: 2, Oneway: 4 } as const;

/** A decoded request: the call of a method of an object. */
export interface CallRequest<Value = PythonValue> {
  readonly objectID: string;
  readonly method: string;
  readonly flags: number;
  /** Positional arguments, including those that came in a varargs tuple. */
  readonly args: readonly Value[];
  readonly keywords: ReadonlyMap<string, Value>;
}

/** A Python exception as data: one that was raised by the peer, or that the peer is to raise. */
export interface ExceptionDescription {
  /** The class's module: `Pyro.errors`, or `exceptions` for Python 2's own. */
  readonly module: string;
  readonly className: string;
  readonly args: readonly PythonValue[];
  /** The exception's other attributes (its `__dict__`). */
  readonly attributes?: ReadonlyMap<string, PythonValue> | undefined;
  /** The lines of the remote traceback, where there is one. */
  readonly traceback?: readonly string[] | undefined;
}

/** A decoded reply: the result of a call, or the exception that it raised. */
export type CallReply = { readonly value: PythonValue } | { readonly exception: ExceptionDescription };

const CAPSULE = new PythonClass('Pyro.errors', 'PyroExceptionCapsule');
const NO_KEYWORDS: ReadonlyMap<string, PythonValue> = new Map();

/** True if a request has no reply, not even one that says that it failed. */
export function isOneway(request: Pick<CallRequest, 'flags'>): boolean {
  return (request.flags & RequestFlag.Oneway) !== 0;
}

/**
 * Decodes the body of a request: a pickled tuple (object id, method, flags, arguments).
 * @throws ProtocolError `invalid request data format` where it is no such pickle
 */
export function decodeRequest(body: Uint8Array, limits?: PickleReadOptions): CallRequest {
  const request = unpickle(body, limits, 'invalid request data format');
  if (!(request instanceof PythonTuple) || request.length !== 4) throw invalidRequest();
  // By index, as an iterator would take longer than the rest of this function. Jython and IronPython send unicode where
  // CPython sends str.
  const id = textOf(request.items[0]);
  const name = textOf(request.items[1]);
  const flags = request.items[2];
  const packed = request.items[3];
  if (id === undefined || name === undefined || typeof flags !== 'number') throw invalidRequest();
  if (!(packed instanceof PythonTuple)) throw invalidRequest();
  if ((flags & (RequestFlag.Varargs | RequestFlag.Keywords)) === 0) {
    return { objectID: id, method: name, flags, args: packed.items, keywords: NO_KEYWORDS };
  }
  let args: readonly PythonValue[] = packed.items;
  let keywords = NO_KEYWORDS;
  if (flags & RequestFlag.Keywords) {
    keywords = keywordsOf(args.at(-1));
    args = args.slice(0, -1);
  }
  if (flags & RequestFlag.Varargs) {
    const varargs = args.at(-1);
    if (!(varargs instanceof PythonTuple)) throw invalidRequest();
    args = args.length === 1 ? varargs.items : [...args.slice(0, -1), ...varargs.items];
  }
  return { objectID: id, method: name, flags, args, keywords };
}

/**
 * Encodes the body of a request. As in Pyro's proxies, keyword arguments and varargs are only packed if the flags say
 * so.
 * @throws PickleError where an argument can't be pickled
 */
export function encodeRequest(request: CallRequest<PythonWritable>, protocol: PickleProtocol = 2): Buffer {
  const { objectID, method, flags, keywords } = request;
  const args: PythonWritable[] = flags & RequestFlag.Varargs ? [new PythonTuple(request.args)] : [...request.args];
  if (flags & RequestFlag.Keywords) args.push(keywords);
  return dumps(tuple(objectID, method, flags, new PythonTuple(args)), { protocol });
}

/** Encodes the body of a reply. @throws PickleError where the value can't be pickled */
export function encodeReply(value: PythonWritable, protocol: PickleProtocol = 2): Buffer {
  return dumps(value, { protocol });
}

/** Encodes the body of a reply that Pyro's client raises as this exception: a pickled `PyroExceptionCapsule`. */
export function encodeException(exception: ExceptionDescription, protocol: PickleProtocol = 2): Buffer {
  const { module, className, args, attributes, traceback } = exception;
  const state = attributes === undefined || attributes.size === 0 ? undefined : new Map(attributes);
  const raised = new PythonInstance('reduce', new PythonClass(module, className), new PythonTuple(args), state);
  const capsule = new Map<PythonValue, PythonValue>([
    ['excObj', raised],
    ['args', traceback ? [...traceback] : null],
  ]);
  return dumps(new PythonInstance('obj', CAPSULE, tuple(), capsule), { protocol });
}

/**
 * Decodes the body of a reply.
 * @throws ProtocolError `incorrect answer received` where it is no pickle
 */
export function decodeReply(body: Uint8Array, options?: PickleReadOptions): CallReply {
  const value = unpickle(body, options, 'incorrect answer received');
  if (!(value instanceof PythonInstance) || !value.isOf(CAPSULE.module, CAPSULE.name)) return { value };
  return { exception: describe(value.attribute('excObj'), linesOf(value.attribute('args'))) };
}

function describe(raised: PythonValue | undefined, traceback: readonly string[] | undefined): ExceptionDescription {
  if (raised instanceof PythonInstance && raised.callable instanceof PythonClass) {
    const { module, name } = raised.callable;
    const attributes = new Map<string, PythonValue>();
    for (const [key, value] of raised.state instanceof Map ? raised.state : []) {
      const attribute = textOf(key);
      if (attribute !== undefined) attributes.set(attribute, value);
    }
    return { module, className: name, args: raised.args.items, attributes, traceback };
  }
  // Anything but an instance could not be raised in Python either: it becomes the argument of a plain Exception.
  return { module: 'exceptions', className: 'Exception', args: raised === undefined ? [] : [raised], traceback };
}

/** The traceback in a capsule's `args`: a list of lines, or one text where it comes from a callback object. */
function linesOf(traceback: PythonValue | undefined): readonly string[] | undefined {
  const lines = Array.isArray(traceback) ? traceback : [traceback];
  const texts = lines.map(readableText).filter((line) => line !== undefined);
  return texts.length > 0 ? texts : undefined;
}

function unpickle(body: Uint8Array, options: PickleReadOptions | undefined, problem: string): PythonValue {
  try {
    return loads(body, options);
  } catch (error) {
    if (error instanceof PickleError) throw new ProtocolError(problem, error.message);
    throw error;
  }
}

function keywordsOf(value: PythonValue | undefined): ReadonlyMap<string, PythonValue> {
  if (!(value instanceof Map)) throw invalidRequest();
  if (value.size === 0) return NO_KEYWORDS;
  const keywords = new Map<string, PythonValue>();
  for (const [key, argument] of value) {
    const name = textOf(key);
    if (name === undefined) throw invalidRequest();
    keywords.set(name, argument);
  }
  return keywords;
}

const invalidRequest = (): ProtocolError => new ProtocolError(refusalText('REQUEST_INVALID'));

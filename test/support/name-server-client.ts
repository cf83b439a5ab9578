import { dumps, loads, PythonInstance, PythonUnicode, tuple } from '../../src/pickle/index.js';
import type { PythonValue } from '../../src/pickle/index.js';
import { RawConnection, rawFrame } from './raw-connection.js';
import type { Caller, RawFrame } from './raw-connection.js';

export { ConnectionEnded } from './raw-connection.js';

/** What Python would raise: the exception's class, and its first argument as text. */
export class RemoteException extends Error {
  constructor(
    readonly className: string,
    readonly text: string,
    /** Everything that the peer got to know. */
    readonly whole: string,
  ) {
    super(`${className}: ${text}`);
  }
}

/** The frame of a call as the name server's own proxy makes it. */
export function callFrame(objectID: string, method: string, ...args: PythonValue[]): Buffer {
  return rawFrame(dumps(tuple(objectID, method, 0, tuple(...args))));
}

/** @throws RemoteException where the reply is one */
export function readReply({ body }: RawFrame): PythonValue {
  const reply = loads(body);
  if (!(reply instanceof PythonInstance && reply.isOf('Pyro.errors', 'PyroExceptionCapsule'))) return reply;
  const exception = reply.attribute('excObj');
  if (!(exception instanceof PythonInstance)) throw new Error('a capsule without an exception');
  const [first] = exception.args.items;
  const text = first instanceof PythonUnicode ? first.value : typeof first === 'string' ? first : '';
  throw new RemoteException(nameOf(exception.callable), text, Buffer.from(body).toString('latin1'));
}

const nameOf = (value: PythonValue): string =>
  typeof value === 'object' && value !== null && 'name' in value ? value.name : '';

/** A plain client of a name server; its calls may be made without waiting for each other. */
export class NameServerClient {
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly connection: RawConnection,
    private readonly objectID: string,
  ) {}

  static async connect(
    { port, objectID }: { port: number; objectID: string },
    caller?: Caller,
  ): Promise<NameServerClient> {
    return new NameServerClient(await RawConnection.openGranted(port, caller), objectID);
  }

  /** @throws RemoteException, ConnectionEnded */
  async call(method: string, ...args: PythonValue[]): Promise<PythonValue> {
    this.connection.write(callFrame(this.objectID, method, ...args));
    const reply = this.last.then(() => this.connection.readFrame());
    this.last = reply.catch(() => undefined);
    return readReply(await reply);
  }

  /** The URI registered under a name; undefined where there is none. */
  async resolve(name: string): Promise<string | undefined> {
    try {
      return uriText(await this.call('resolve', name));
    } catch (error) {
      if (error instanceof RemoteException && error.text === 'name not found') return undefined;
      throw error;
    }
  }

  /** All names with their URIs. */
  async flatlist(): Promise<Map<string, string>> {
    const entries = await this.call('flatlist');
    if (!Array.isArray(entries)) throw new Error('flatlist answers a list');
    return new Map(entries.map((entry) => pair(entry)));
  }

  close(): void {
    this.connection.close();
  }
}

function pair(entry: PythonValue): [string, string] {
  const [name, uri] = typeof entry === 'object' && entry !== null && 'items' in entry ? entry.items : [];
  if (typeof name !== 'string' || uri === undefined) throw new Error('flatlist answers pairs');
  return [name, uriText(uri)];
}

function uriText(uri: PythonValue): string {
  if (!(uri instanceof PythonInstance)) throw new Error('a PyroURI is expected');
  const [protocol, address, port, objectID] = ['protocol', 'address', 'port', 'objectID'].map((part) =>
    JSON.stringify(uri.attribute(part)),
  );
  return `${protocol}://${address}:${port}/${objectID}`.replaceAll('"', '');
}

/** Another name server, as a twin sees it: a test answers for it, over real connections of this machine. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { INTERNAL_DAEMON_GUID, PyroURI } from '../../names/index.js';
import type { PythonValue, PythonWritable } from '../../pickle/index.js';
import { RemoteError } from '../../rpc/index.js';
import {
  createAuthToken,
  decodeRequest,
  DeniedReason,
  encodeException,
  encodeReply,
  isOneway,
  mungeIdentification,
  newChallenge,
  ServerConnection,
  tokensEqual,
  type ConnectionAuthenticator,
} from '../../wire/index.js';

export type FakeAnswer = (
  args: readonly PythonValue[],
) => PythonWritable | undefined | Promise<PythonWritable | undefined>;

export interface FakeCall {
  readonly objectID: string;
  readonly method: string;
  readonly flags: number;
  readonly args: readonly PythonValue[];
}

const OBJECT_ID = 'the-name-server';

export class FakeNameServer {
  /** All calls but for the question which object is the name server. */
  readonly calls: FakeCall[] = [];
  /** All requests as they came. */
  readonly bodies: Buffer[] = [];
  readonly connections: ServerConnection[] = [];
  /** What each method answers; undefined is no answer at all. A method that is not here raises what Python does. */
  readonly answers: Record<string, FakeAnswer>;
  private readonly waiting: (() => void)[] = [];

  private constructor(
    private readonly server: Server,
    answers: Readonly<Record<string, FakeAnswer>>,
    private readonly passphrase: string | undefined,
  ) {
    this.answers = { ResolvePYROLOC: () => OBJECT_ID, ...answers };
    server.on('connection', (socket) => {
      const connection = new ServerConnection(socket);
      this.connections.push(connection);
      void connection.open(this.authenticator()).then((isOpen) => {
        if (isOpen) connection.serve((body) => this.answer(body));
      });
    });
  }

  static async start(answers: Readonly<Record<string, FakeAnswer>> = {}, passphrase?: string): Promise<FakeNameServer> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FakeNameServer(server, answers, passphrase);
  }

  get port(): number {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    return address.port;
  }

  get uri(): PyroURI {
    return new PyroURI('PYRO', '127.0.0.1', this.port, OBJECT_ID);
  }

  /** The methods that were called, in their order. */
  get methods(): string[] {
    return this.calls.map(({ method }) => method);
  }

  /** Resolves when so many calls have arrived. */
  async called(count: number): Promise<void> {
    while (this.calls.length < count) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Closes all connections, as a server does that dies. */
  dropConnections(): void {
    for (const connection of this.connections) connection.destroy();
  }

  async stop(): Promise<void> {
    this.dropConnections();
    if (!this.server.listening) return;
    this.server.close();
    await once(this.server, 'close');
  }

  private authenticator(): ConnectionAuthenticator {
    const secret = this.passphrase === undefined ? Buffer.alloc(0) : mungeIdentification(this.passphrase);
    return {
      acceptHost: () => undefined,
      createAuthChallenge: newChallenge,
      acceptIdentification: (_connection, token, challenge) =>
        tokensEqual(token, createAuthToken(secret, challenge)) ? undefined : DeniedReason.Security,
    };
  }

  private async answer(body: Buffer): Promise<Buffer | undefined> {
    this.bodies.push(body);
    const request = decodeRequest(body);
    const { objectID, method, flags, args } = request;
    const isLocation = method === 'ResolvePYROLOC' && objectID === INTERNAL_DAEMON_GUID;
    if (!isLocation) {
      this.calls.push({ objectID, method, flags, args });
      for (const resolve of this.waiting.splice(0)) resolve();
    }
    try {
      const answer = this.answers[method];
      if (answer === undefined) throw new RemoteError('exceptions', 'AttributeError', [method]);
      const value = await answer(args);
      if (isOneway(request)) return undefined;
      // No answer: for as long as the connection lasts.
      return value === undefined ? await new Promise(() => undefined) : encodeReply(value);
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
      const { module, className, args: details } = error;
      return isOneway(request) ? undefined : encodeException({ module, className, args: details });
    }
  }
}

/** Lets the connections go on until it is so. It never is? Then it ends before the test does, so that nothing is left running. */
export async function eventually(isSo: () => boolean): Promise<void> {
  const end = Date.now() + 4000;
  while (!isSo()) {
    if (Date.now() > end) throw new Error('it has not come to that');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

import type { Config } from '../../config/index.js';
import { NAMESERVER_NAME, PyroURI, type ObjectProtocol } from '../../names/index.js';
import { ObjectConnection, pickleLimits, RemoteError } from '../../rpc/index.js';
import { mungeIdentification } from '../../wire/index.js';

/** The timeout of a call of the twin. */
const CALL_TIMEOUT_MS = 15_000;

/** The timeout of opening a connection: shorter, because the clients of a starting server wait for it. */
const OPEN_TIMEOUT_MS = 3000;

/** The address of the other name server. */
export interface PeerAddress {
  readonly host: string;
  readonly port: number;
}

export interface PeerOptions {
  readonly config: Config;
  /** PYROSSL if both servers use TLS. */
  readonly protocol: ObjectProtocol;
  /** The passphrase that both servers have. */
  readonly identification?: string | undefined;
}

/** What this room uses of a connection to the name server object of another name server. It does not reconnect. */
export type PeerLink = Pick<ObjectConnection, 'uri' | 'closed' | 'isOpen' | 'unsent' | 'call' | 'send' | 'destroy'>;

/**
 * Connects to a name server, and asks its daemon for the id of its object. Exceptions of that object are thrown as RemoteError, Pyro's
 * own too: so they are told from errors of this side and of the connection.
 * @throws ConnectionDeniedError where it doesn't let us in; ProtocolError, RemoteError where there is none
 */
export async function openPeer(
  { host, port }: PeerAddress,
  { config, protocol, identification }: PeerOptions,
): Promise<PeerLink> {
  const uri = new PyroURI(protocol === 'PYROSSL' ? 'PYROLOCSSL' : 'PYROLOC', host, port, NAMESERVER_NAME);
  const peer = await ObjectConnection.open(uri, {
    config,
    readOptions: pickleLimits(config),
    identification: identification === undefined ? Buffer.alloc(0) : mungeIdentification(identification),
    handshakeTimeoutMs: OPEN_TIMEOUT_MS,
    callTimeoutMs: CALL_TIMEOUT_MS,
    errorOf: ({ module, className, args }) => new RemoteError(module, className, args),
  });
  await peer.findObject();
  return peer;
}

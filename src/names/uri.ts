import { URIError } from '../errors.js';
import { refusalText } from '../refusals.js';

/** The port of a URI without one (PYRO_PORT's default). */
export const DEFAULT_PORT = 7766;

/** The name server's port in a PYRONAME URI without one (PYRO_NS_PORT's default). */
export const DEFAULT_NAME_SERVER_PORT = 9090;

/** The host of a PYRONAME URI without one: whichever name server is found. */
const ANY_HOST = '*';

/**
 * The protocols of URIs that locate an object. `PyroURI` accepts others too, because the name server stores any URI.
 */
export type ObjectProtocol = 'PYRO' | 'PYROSSL';

// Accepts what Pyro's own pattern accepts; text after white space behind the id, such as a line end, is ignored. Not
// Pyro's pattern itself: its `:?(\d+)?` backtracks over the digits between host and port, which takes quadratic time.
const URI = /^([^\s:/]+):\/\/([^\s:]+)(?::(\d*))?\/(\S*)/;

// Pyro accepts control characters in host name and protocol. They are refused here: printed, they are terminal escapes.
const PROTOCOL_OR_HOST = /^[^\s:/\p{Cc}]+$/u;

// In Python an id is a str, that is, bytes; here each byte is a character (Latin-1).
const OBJECT_ID = /^[^\s\u0100-\uffff]*$/;

const PYRONAME = /^PYRONAME(SSL)?:\/\/(?:([^\s:/]+)(?::(\d{1,5}))?\/)?([^\s/]\S*)\s*$/;

/** The most characters in the text of a URI. */
export const MAX_URI_LENGTH = 4096;

/**
 * The parts of a URI `PYRONAME://[host[:port]/]name`: the object's name, and the name server's address if it has one.
 */
export interface NamedObject {
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly ssl: boolean;
  readonly name: string;
}

/** True for PYRONAME and PYRONAMESSL URIs, which have to be resolved by a name server. */
export const isPYRONAME = (uri: string): boolean => /^PYRONAME(?:SSL)?:/.test(uri);

/** Parses a URI `PYRONAME://[host[:port]/]name`. @throws URIError `invalid URI format` */
export function readPYRONAME(uri: string): NamedObject {
  const match = uri.length <= MAX_URI_LENGTH ? PYRONAME.exec(uri) : null;
  const [, ssl, host, port, name] = match ?? [];
  if (name === undefined) throw new URIError(refusalText('URI_MALFORMED'));
  const isAnywhere = host === undefined || host === ANY_HOST;
  const where = isAnywhere
    ? { host: undefined, port: undefined }
    : { host, port: port === undefined || Number(port) === 0 ? undefined : Number(port) };
  return { ...where, ssl: ssl !== undefined, name };
}

/** `protocol://address:port/objectID`: the location of an object, and its id there. Immutable. */
export class PyroURI {
  #text: string | undefined;
  #encodedReply: object | undefined;

  /**
   * @param address an IPv4 address, or a host name where PYRO_DNS_URI is on
   * @param objectID the object's GUID; with a meta protocol (PYROLOC) the object's name at that daemon
   * @throws URIError where a part is not valid in a URI
   */
  constructor(
    readonly protocol: string,
    readonly address: string,
    readonly port: number,
    readonly objectID: string,
  ) {
    if (!PROTOCOL_OR_HOST.test(protocol)) throw new URIError(refusalText('URI_MALFORMED'));
    if (!PROTOCOL_OR_HOST.test(address)) throw new URIError(refusalText('URI_HOST_MALFORMED'));
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new URIError(refusalText('URI_PORT_INVALID'));
    if (!OBJECT_ID.test(objectID)) throw new URIError(refusalText('URI_MALFORMED'));
  }

  /**
   * Parses `protocol://address[:port]/objectID`. A host name is not resolved to an address, which would be I/O. In
   * `PYRONAME://name` the address is optional, and `*` if it is missing.
   * @throws URIError `invalid URI format`
   */
  static parse(text: string): PyroURI {
    if (isPYRONAME(text)) {
      const { host = ANY_HOST, port = DEFAULT_NAME_SERVER_PORT, ssl, name } = readPYRONAME(text);
      return new PyroURI(ssl ? 'PYRONAMESSL' : 'PYRONAME', host, port, name);
    }
    const match = text.length <= MAX_URI_LENGTH ? URI.exec(text) : null;
    // Without a match the protocol is empty, which the constructor refuses.
    const [, protocol = '', address = '', port = '', objectID = ''] = match ?? [];
    // As in Pyro, port 0 means none.
    return new PyroURI(protocol, address, Number(port) || DEFAULT_PORT, objectID);
  }

  /** The same URI at another address. */
  withAddress(address: string): PyroURI {
    return new PyroURI(this.protocol, address, this.port, this.objectID);
  }

  /**
   * A cached encoding of this URI, opaque to this class. It is cached here, because with many URIs a lookup in a
   * separate cache takes longer than encoding anew.
   * @internal
   */
  get encodedReply(): object | undefined {
    return this.#encodedReply;
  }

  /** @internal */
  setEncodedReply(encoded: object): void {
    this.#encodedReply = encoded;
  }

  equals(other: PyroURI): boolean {
    return this.toString() === other.toString();
  }

  toString(): string {
    this.#text ??= `${this.protocol}://${this.address}:${this.port}/${this.objectID}`;
    return this.#text;
  }

  toJSON(): string {
    return this.toString();
  }
}

/**
 * Refuses a control character in the object id of a new URI: printed, it is a terminal escape. Pyro 3 accepts it.
 * @throws URIError `invalid URI format`
 */
export function requireNewURI({ objectID }: PyroURI): void {
  if (/\p{Cc}/u.test(objectID)) throw new URIError(refusalText('URI_MALFORMED'));
}

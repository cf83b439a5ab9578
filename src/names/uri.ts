import { URIError } from '../errors.js';
import { refusalText } from '../refusals.js';

/** The port of a URI that names none (PYRO_PORT's default). */
export const DEFAULT_PORT = 7766;

/** The port of the name server in a PYRONAME URI that names none (PYRO_NS_PORT's default). */
export const DEFAULT_NAME_SERVER_PORT = 9090;

/** The host of a PYRONAME URI that names none: whichever name server is found. */
const ANY_HOST = '*';

/** The protocols of URIs that lead to an object. The name server stores what it is given, so others are read too. */
export type ObjectProtocol = 'PYRO' | 'PYROSSL';

// It accepts what Pyro's own pattern accepts: what follows the id behind white space (the end of a line, say) is not looked
// at. Pyro's `:?(\d+)?` tries each way to share digits between host and port, which takes time by the square of their number.
const URI = /^([^\s:/]+):\/\/([^\s:]+)(?::(\d*))?\/(\S*)/;

// Pyro takes control characters for part of a host name or protocol. They are none, and could command a terminal that prints it.
const PROTOCOL_OR_HOST = /^[^\s:/\p{Cc}]+$/u;

// To Python an id is a str: bytes, each of which is a character here.
const OBJECT_ID = /^[^\s\u0100-\uffff]*$/;

const PYRONAME = /^PYRONAME(SSL)?:\/\/(?:([^\s:/]+)(?::(\d{1,5}))?\/)?([^\s/]\S*)\s*$/;

/** How long the text of a URI may be. */
export const MAX_URI_LENGTH = 4096;

/** What a URI `PYRONAME://[host[:port]/]name` says: the object's name, and where the name server is, if it says that. */
export interface NamedObject {
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly ssl: boolean;
  readonly name: string;
}

/** True for PYRONAME and PYRONAMESSL URIs, which lead to no object before a name server is asked. */
export const isPYRONAME = (uri: string): boolean => /^PYRONAME(?:SSL)?:/.test(uri);

/** Takes a URI `PYRONAME://[host[:port]/]name` apart. @throws URIError where it is none */
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

/** `protocol://address:port/objectID`: where an object lives, and which one it is there. Immutable. */
export class PyroURI {
  #text: string | undefined;
  #lastingForm: object | undefined;

  /**
   * @param address an IPv4 address, or a host name where PYRO_DNS_URI is on
   * @param objectID the object's GUID; with a meta protocol (PYROLOC) the object's name at that daemon
   * @throws URIError where a part can't stand in a URI
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
   * Reads `protocol://address[:port]/objectID`. The address stays as it is written: resolving host names is I/O, and
   * the caller's affair. `PYRONAME://name` needs no address; then it is `*`.
   * @throws URIError `invalid URI format`
   */
  static parse(text: string): PyroURI {
    if (isPYRONAME(text)) {
      const { host = ANY_HOST, port = DEFAULT_NAME_SERVER_PORT, ssl, name } = readPYRONAME(text);
      return new PyroURI(ssl ? 'PYRONAMESSL' : 'PYRONAME', host, port, name);
    }
    const match = text.length <= MAX_URI_LENGTH ? URI.exec(text) : null;
    // Without a match the protocol is empty, and refused.
    const [, protocol = '', address = '', port = '', objectID = ''] = match ?? [];
    // Pyro takes port 0 for none.
    return new PyroURI(protocol, address, Number(port) || DEFAULT_PORT, objectID);
  }

  /** The same URI at another address. */
  withAddress(address: string): PyroURI {
    return new PyroURI(this.protocol, address, this.port, this.objectID);
  }

  /**
   * What someone made of this URI, to be used again and again, such as its encoded form. It is kept here, because where there
   * are many URIs, to look it up elsewhere takes longer than to make it anew.
   * @internal
   */
  get encodedReply(): object | undefined {
    return this.#lastingForm;
  }

  /** @internal */
  setEncodedReply(form: object): void {
    this.#lastingForm = form;
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
 * Refuses what Pyro 3 accepts in new URIs: a control character in the object id, which could command a terminal.
 * @throws URIError `invalid URI format`
 */
export function requireNewURI({ objectID }: PyroURI): void {
  if (/\p{Cc}/u.test(objectID)) throw new URIError(refusalText('URI_MALFORMED'));
}

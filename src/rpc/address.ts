import { lookup } from 'node:dns/promises';
import { isIPv4 } from 'node:net';
import { URIError } from '../errors.js';
import { refusalText } from '../refusals.js';

/**
 * The IPv4 addresses that mean something else on each machine or cable: loopback (RFC 1122) and link-local (RFC 3927).
 */
const LOOPBACK = /^127\./;
const LINK_LOCAL = /^169\.254\./;

/**
 * True if an address means the same machine here as it does where a name server's clients are: it is a global one, or the
 * name server itself can be reached only in the same scope.
 * @param address a dotted IPv4 address
 * @param nameServer that of the name server
 */
export function isSameEverywhere(address: string, nameServer: string): boolean {
  return [LOOPBACK, LINK_LOCAL].every((scope) => !scope.test(address) || scope.test(nameServer));
}

/**
 * The IPv4 address of a host, by its name or dotted.
 * @throws URIError `unknown host`
 */
export async function resolveAddress(host: string): Promise<string> {
  if (isIPv4(host)) return host;
  try {
    const { address } = await lookup(host, { family: 4 });
    return address;
  } catch {
    throw new URIError(refusalText('HOST_UNKNOWN'), host);
  }
}

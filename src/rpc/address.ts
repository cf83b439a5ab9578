import type { Config } from '../config/index.js';
import { NamingError, URIError } from '../errors.js';
import { HostLookupError, hostResolver } from '../wire/index.js';
import { refusalText } from '../refusals.js';

/**
 * IPv4 addresses that are not global: loopback (RFC 1122) is per machine, link-local (RFC 3927) per network segment.
 */
const LOOPBACK = /^127\./;
const LINK_LOCAL = /^169\.254\./;

/**
 * True if an address refers to the same machine here as at a name server's clients: it is global, or the name server's
 * own address has the same scope, so that all its clients are within that scope.
 * @param address a dotted IPv4 address
 * @param nameServer the name server's address
 */
export function isSameEverywhere(address: string, nameServer: string): boolean {
  return [LOOPBACK, LINK_LOCAL].every((scope) => !scope.test(address) || scope.test(nameServer));
}

/** How a host name is looked up. */
export interface AddressOptions {
  /** PYRO_DNS_TIMEOUT and PYRO_MAX_LOOKUPS. */
  readonly config: Config;
  /** Ends it, with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** The address of the client for which it is done; without it, it is this program's own affair, and not limited. */
  readonly client?: { readonly remoteAddress: string | undefined } | undefined;
}

/**
 * The IPv4 address of a host, by its name or dotted.
 * @throws URIError `unknown host`; NamingError where clients have too many host names looked up; the signal's reason
 */
export async function resolveAddress(host: string, { config, signal, client }: AddressOptions): Promise<string> {
  const { PYRO_DNS_TIMEOUT, PYRO_MAX_LOOKUPS } = config;
  try {
    const [address = ''] = await hostResolver.addressesOf(host, {
      timeoutMs: PYRO_DNS_TIMEOUT * 1000,
      signal,
      client: client && { address: client.remoteAddress, maxLookups: PYRO_MAX_LOOKUPS },
    });
    return address;
  } catch (error) {
    if (!(error instanceof HostLookupError)) throw error;
    if (error.code === 'TOO_MANY') throw new NamingError(refusalText('TOO_MANY_HOSTS', PYRO_MAX_LOOKUPS), host);
    if (error.code === 'TOO_MANY_OF_CLIENT') {
      throw new NamingError(refusalText('TOO_MANY_HOSTS_OF_CLIENT', PYRO_MAX_LOOKUPS), host);
    }
    throw new URIError(refusalText('HOST_UNKNOWN'), host, ...(error.code === 'TIMEOUT' ? ['DNS does not answer'] : []));
  }
}

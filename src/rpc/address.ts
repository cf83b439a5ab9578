import { lookup } from 'node:dns/promises';
import { isIPv4 } from 'node:net';
import { URIError } from '../errors.js';

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
    throw new URIError('unknown host', host);
  }
}

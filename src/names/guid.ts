import { randomBytes } from 'node:crypto';

/** The object id of every daemon's internal object (`ResolvePYROLOC`, `getRegistered`). From Pyro.constants. */
export const INTERNAL_DAEMON_GUID = 'c0000000011000001000000010000001';

/** The name of the name server in its own namespace. From Pyro.constants. */
export const NAMESERVER_NAME = ':Pyro.NameServer';

/**
 * The most characters in an object id that a daemon takes over from a registration. New ids have 34 characters (Pyro 3:
 * 32 or 34).
 */
const MAX_OBJECT_ID_LENGTH = 100;

const CONTROL_CHARACTER = /\p{Cc}/u;

/**
 * True if an object may be served under this id: neither empty nor too long, no control characters, and not the id of
 * the daemon's internal object.
 */
export function isUsableObjectID(id: string): boolean {
  const hasUsualLength = id.length > 0 && id.length <= MAX_OBJECT_ID_LENGTH;
  return hasUsualLength && !CONTROL_CHARACTER.test(id) && id !== INTERNAL_DAEMON_GUID;
}

/**
 * Makes a new object id of 34 hex digits, in Pyro 3's format: IPv4 address (8), process id (4), then 22 from a
 * cryptographic random source (Pyro 3 uses the time and 24 random bits, which can be guessed).
 * @param address this machine's IPv4 address, dotted
 */
export function newGUID(address: string, processID: number): string {
  const host = address
    .split('.')
    .map((byte) => (Number(byte) & 0xff).toString(16).padStart(2, '0'))
    .join('')
    .padStart(8, '0')
    .slice(0, 8);
  return host + (processID & 0xffff).toString(16).padStart(4, '0') + randomBytes(11).toString('hex');
}

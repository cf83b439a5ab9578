import { randomBytes } from 'node:crypto';

/** The object id of every daemon's internal object (`ResolvePYROLOC`, `getRegistered`): Pyro.constants. */
export const INTERNAL_DAEMON_GUID = 'c0000000011000001000000010000001';

/** The name of the name server in its own namespace: Pyro.constants. */
export const NAMESERVER_NAME = ':Pyro.NameServer';

/** How long an object id may be that a daemon takes over; those that are made have 34 characters (Pyro 3: 32 or 34). */
const MAX_OBJECT_ID_LENGTH = 100;

const CONTROL_CHARACTER = /\p{Cc}/u;

/** True if an object may be served under this id: not too long, not empty, no control characters, not the daemon's own. */
export function isUsableObjectID(id: string): boolean {
  const hasUsualLength = id.length > 0 && id.length <= MAX_OBJECT_ID_LENGTH;
  return hasUsualLength && !CONTROL_CHARACTER.test(id) && id !== INTERNAL_DAEMON_GUID;
}

/**
 * Makes a new object id: 34 hex digits, as Pyro 3 makes them: IPv4 address (8), process id (4), then 22 from a
 * cryptographic source (Pyro 3 takes the time and 24 random bits, which can be guessed).
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

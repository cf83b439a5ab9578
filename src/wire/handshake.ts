import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { refusalText } from '../refusals.js';

/** How many bytes a challenge has, exactly. */
export const CHALLENGE_SIZE = 16;

/** What a client's first frame begins with; its token follows. */
export const CONNECT = Buffer.from('CONNECT');

/** The server's last word in a handshake: these bytes, in no frame. */
export const GRANTED = Buffer.from('GRANTED');

/** How many bytes `GRANTED` has, and `DENIED` with its digit too. */
export const VERDICT_SIZE = GRANTED.length;

/** Why a server refuses a connection: the digit behind `DENIED`. */
export const DeniedReason = { Unspecified: 0, ServerTooBusy: 1, HostBlocked: 2, Security: 3 } as const;
export type DeniedReason = (typeof DeniedReason)[keyof typeof DeniedReason];

/** Pyro's texts of the reasons: what a ConnectionDeniedError says. */
export const deniedReasons: readonly string[] = [
  refusalText('DENIED'),
  refusalText('DENIED_BUSY'),
  refusalText('DENIED_HOST'),
  refusalText('DENIED_SECURITY'),
];

/** The server's refusal: `DENIED` and a digit, in no frame. */
export function encodeDenial(reason: DeniedReason): Buffer {
  return Buffer.from(`DENIED${reason}`);
}

/** The text of a refusal's reason; undefined where these bytes are no refusal. */
export function decodeDenial(verdict: Uint8Array): string | undefined {
  const [, digit] = /^DENIED(.)$/s.exec(Buffer.from(verdict).toString('latin1')) ?? [];
  if (digit === undefined) return undefined;
  return deniedReasons.find((_text, reason) => String(reason) === digit) ?? refusalText('RESPONSE_INVALID');
}

/** Makes a challenge that no client has seen before. */
export function newChallenge(): Buffer {
  return randomBytes(CHALLENGE_SIZE);
}

/** What both sides keep of a passphrase: its raw MD5. It is as good as the passphrase itself. */
export function mungeIdentification(passphrase: string | Uint8Array): Buffer {
  return createHash('md5').update(passphrase).digest();
}

/**
 * Answers a challenge: HMAC-MD5 with the challenge as key.
 * @param identification the munged identification; empty where the client has none
 */
export function createAuthToken(identification: Uint8Array, challenge: Uint8Array): Buffer {
  return createHmac('md5', challenge).update(identification).digest();
}

/** True if the tokens are the same, in a time that does not tell where they differ. */
export function tokensEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

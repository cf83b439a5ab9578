import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { refusalText } from '../refusals.js';

/** The size of a challenge in bytes; no other size is valid. */
export const CHALLENGE_SIZE = 16;

/** The body of a client's first frame starts with this; the client's token follows. */
export const CONNECT = Buffer.from('CONNECT');

/** What the server sends at the end of a handshake to accept the client: these bytes alone, without a frame header. */
export const GRANTED = Buffer.from('GRANTED');

/** The size in bytes of the server's verdict: `GRANTED`, or `DENIED` and a digit. */
export const VERDICT_SIZE = GRANTED.length;

/** Why a server refuses a connection: the digit behind `DENIED`. */
export const DeniedReason = { Unspecified: 0, ServerTooBusy: 1, HostBlocked: 2, Security: 3 } as const;
export type DeniedReason = (typeof DeniedReason)[keyof typeof DeniedReason];

/** Pyro's texts for the reasons, by their digit. They are the text of a ConnectionDeniedError. */
export const deniedReasons: readonly string[] = [
  refusalText('DENIED'),
  refusalText('DENIED_BUSY'),
  refusalText('DENIED_HOST'),
  refusalText('DENIED_SECURITY'),
];

/** What the server sends to refuse a client: `DENIED` and a digit, without a frame header. */
export function encodeDenial(reason: DeniedReason): Buffer {
  return Buffer.from(`DENIED${reason}`);
}

/** The reason in a refusal, as text (`deniedReasons`); undefined where these bytes are no refusal. */
export function decodeDenial(verdict: Uint8Array): string | undefined {
  const [, digit] = /^DENIED(.)$/s.exec(Buffer.from(verdict).toString('latin1')) ?? [];
  if (digit === undefined) return undefined;
  return deniedReasons.find((_text, reason) => String(reason) === digit) ?? refusalText('RESPONSE_INVALID');
}

/** Makes a new random challenge (a nonce). */
export function newChallenge(): Buffer {
  return randomBytes(CHALLENGE_SIZE);
}

/**
 * The MD5 digest of a passphrase (16 bytes), which both sides keep instead of it: Pyro's `mungeIdent`. It has to be
 * kept as secret as the passphrase: who knows it can identify with it.
 */
export function mungeIdentification(passphrase: string | Uint8Array): Buffer {
  return createHash('md5').update(passphrase).digest();
}

/**
 * The token that answers a challenge: HMAC-MD5 of the identification, with the challenge as key (16 bytes).
 * @param identification the munged identification; empty where the client has none
 */
export function createAuthToken(identification: Uint8Array, challenge: Uint8Array): Buffer {
  return createHmac('md5', challenge).update(identification).digest();
}

/** Compares tokens in constant time, so that the time taken does not tell a client how much of its token is right. */
export function tokensEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

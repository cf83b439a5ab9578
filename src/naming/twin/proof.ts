/**
 * Mutual authentication of two pyro-ns servers by a shared passphrase, before anything is replicated: challenge and
 * response in both directions. Each side sends a nonce, and answers with an HMAC-SHA-256 over both nonces and both
 * identities.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { tokensEqual } from '../../wire/index.js';
import type { TwinRole } from './records.js';

/** The size of a nonce in bytes. It is sent as hexadecimal digits. */
const NONCE_SIZE = 32;
const NONCE = /^[0-9a-f]{64}$/;

/**
 * The side that opened the connection, or the one that answers on it. It is part of the HMAC, so that a proof can't be
 * reflected to its sender.
 */
export type ProofSide = 'caller' | 'answerer';

/** What a proof covers: the nonces make it valid for one handshake only, so it can't be replayed. */
export interface Exchange {
  readonly callerNonce: string;
  readonly answererNonce: string;
  readonly caller: { readonly instance: string; readonly role: TwinRole; readonly uri: string };
  readonly answerer: { readonly instance: string; readonly role: TwinRole };
}

export const newNonce = (): string => randomBytes(NONCE_SIZE).toString('hex');

export const isNonce = (value: unknown): value is string => typeof value === 'string' && NONCE.test(value);

/** The proof (HMAC) of one side, as hexadecimal digits. */
export function proofOf(passphrase: string, side: ProofSide, exchange: Exchange): string {
  return hmacOf(passphrase, side, exchange).toString('hex');
}

/** Verifies the proof of a side, in constant time. */
export function isProof(value: unknown, passphrase: string, side: ProofSide, exchange: Exchange): boolean {
  return typeof value === 'string' && tokensEqual(Buffer.from(value, 'hex'), hmacOf(passphrase, side, exchange));
}

function hmacOf(passphrase: string, side: ProofSide, exchange: Exchange): Buffer {
  const { callerNonce, answererNonce, caller, answerer } = exchange;
  // JSON delimits the parts, so that no two exchanges have the same text.
  const text = JSON.stringify([
    'pyro-ns twin',
    side,
    callerNonce,
    answererNonce,
    [caller.instance, caller.role, caller.uri],
    [answerer.instance, answerer.role],
  ]);
  return createHmac('sha256', passphrase).update(text).digest();
}

/**
 * The credentials in an introduction: at first the caller's nonce; in the second one, after our challenge, its proof.
 */
export interface Credentials {
  readonly nonce: unknown;
  readonly proof: unknown;
}

/** The answering side of the authentication: it decides which connections are the twin's. */
export class TwinAuthenticator {
  /** The nonces of connections whose proof has not arrived yet. */
  private readonly challenged = new WeakMap<object, Pick<Exchange, 'callerNonce' | 'answererNonce'>>();
  /** The authenticated connections, and the run of the twin that each belongs to. */
  private readonly admitted = new WeakMap<object, string>();

  /** @param passphrase undefined: no proof is required; then the twin is recognized only by its address */
  constructor(
    private readonly passphrase: string | undefined,
    private readonly own: Exchange['answerer'],
  ) {}

  /** True if the connection is authenticated, for this run of the twin. */
  isAdmitted(connection: object, instance: unknown): boolean {
    return this.admitted.get(connection) === instance && instance !== undefined;
  }

  /** True if the connection is authenticated, for any run of the twin. */
  isTwin(connection: object): boolean {
    return this.admitted.has(connection);
  }

  /**
   * Handles an introduction: admits the connection if its caller has proved that it has the passphrase.
   * @returns our challenge and proof if the caller's proof is still missing; undefined if the connection is admitted
   * @throws NamingError where the nonce or the proof is missing or wrong
   */
  admit(
    connection: object,
    caller: Exchange['caller'],
    credentials: Credentials,
  ): { nonce: string; proof: string } | undefined {
    const { passphrase } = this;
    if (passphrase !== undefined && !this.isAdmitted(connection, caller.instance)) {
      if (credentials.proof === undefined) return this.challenge(passphrase, connection, caller, credentials.nonce);
      this.verify(passphrase, connection, caller, credentials.proof);
    }
    this.admitted.set(connection, caller.instance);
    return undefined;
  }

  private challenge(
    passphrase: string,
    connection: object,
    caller: Exchange['caller'],
    callerNonce: unknown,
  ): { nonce: string; proof: string } {
    if (!isNonce(callerNonce)) throw new NamingError(refusalText('TWIN_WITHOUT_PROOF', 'the twin'));
    const nonces = { callerNonce, answererNonce: newNonce() };
    this.challenged.set(connection, nonces);
    const proof = proofOf(passphrase, 'answerer', { ...nonces, caller, answerer: this.own });
    return { nonce: nonces.answererNonce, proof };
  }

  private verify(passphrase: string, connection: object, caller: Exchange['caller'], proof: unknown): void {
    const nonces = this.challenged.get(connection);
    // A challenge is used once: there is one attempt for each.
    this.challenged.delete(connection);
    if (nonces && isProof(proof, passphrase, 'caller', { ...nonces, caller, answerer: this.own })) return;
    throw new NamingError(refusalText('TWIN_PASSPHRASE', 'the twin'));
  }
}

/**
 * Mutual authentication of two servers of ours: each proves to the other that it has the passphrase, before anything is
 * told or taken. It is a challenge in both directions, answered with an HMAC over both challenges.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import { tokensEqual } from '../../wire/index.js';
import type { TwinRole } from './records.js';

/** How many bytes a nonce has. It travels as hexadecimal digits. */
const NONCE_SIZE = 32;
const NONCE = /^[0-9a-f]{64}$/;

/** Who opened the connection, or who answers on it. The two sides' proofs differ, so none can be sent back to its maker. */
export type ProofSide = 'caller' | 'answerer';

/** What both sides know of one conversation: a proof holds for this one only. */
export interface Exchange {
  readonly callerNonce: string;
  readonly answererNonce: string;
  readonly caller: { readonly instance: string; readonly role: TwinRole; readonly uri: string };
  readonly answerer: { readonly instance: string; readonly role: TwinRole };
}

export const newNonce = (): string => randomBytes(NONCE_SIZE).toString('hex');

export const isNonce = (value: unknown): value is string => typeof value === 'string' && NONCE.test(value);

/** The proof of one side, in hexadecimal digits. */
export function proofOf(passphrase: string, side: ProofSide, exchange: Exchange): string {
  return hmacOf(passphrase, side, exchange).toString('hex');
}

/** True if it is the proof of that side. The time that this takes does not tell where it differs. */
export function isProof(value: unknown, passphrase: string, side: ProofSide, exchange: Exchange): boolean {
  return typeof value === 'string' && tokensEqual(Buffer.from(value, 'hex'), hmacOf(passphrase, side, exchange));
}

function hmacOf(passphrase: string, side: ProofSide, exchange: Exchange): Buffer {
  const { callerNonce, answererNonce, caller, answerer } = exchange;
  // JSON keeps the parts apart: no two exchanges have the same text.
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

/** What a caller sends of a proof: first its nonce, then, once it has seen ours, its proof. */
export interface Credentials {
  readonly nonce: unknown;
  readonly proof: unknown;
}

/** The answering side: knows which connections are the twin's. */
export class TwinAuthenticator {
  /** The nonces of connections whose proof is awaited. */
  private readonly challenged = new WeakMap<object, Pick<Exchange, 'callerNonce' | 'answererNonce'>>();
  /** Which run of the twin a connection belongs to. */
  private readonly admitted = new WeakMap<object, string>();

  /** @param passphrase without it there is nothing to prove: who may call is told by the address alone */
  constructor(
    private readonly passphrase: string | undefined,
    private readonly own: Exchange['answerer'],
  ) {}

  /** True if the connection is that of this run of the twin. */
  isAdmitted(connection: object, instance: unknown): boolean {
    return this.admitted.get(connection) === instance && instance !== undefined;
  }

  /** True if the connection is the twin's. */
  isTwin(connection: object): boolean {
    return this.admitted.has(connection);
  }

  /**
   * Admits a connection whose caller has proved itself.
   * @returns our own challenge and proof, where the caller's proof is still to come; undefined once it is admitted
   * @throws NamingError where there is no proof, or a false one
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
    // One attempt for each challenge.
    this.challenged.delete(connection);
    if (nonces && isProof(proof, passphrase, 'caller', { ...nonces, caller, answerer: this.own })) return;
    throw new NamingError(refusalText('TWIN_PASSPHRASE', 'the twin'));
  }
}

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isProof, newNonce, proofOf, TwinAuthenticator, type Exchange, type ProofSide } from './proof.js';

const PRIMARY = { instance: 'one', role: 'primary' as const };
const SECONDARY = { instance: 'two', role: 'secondary' as const, uri: 'PYRO://10.0.0.2:9091/x' };
const NO_PROOF = 'gives no proof that it has the passphrase';
const FALSE_PROOF = 'does not have our passphrase';

const text = fc.string({ maxLength: 4, unit: fc.constantFrom('a', 'b', '"', ',', '[') });
const role = fc.constantFrom('primary' as const, 'secondary' as const);
const exchange: fc.Arbitrary<Exchange> = fc.record({
  callerNonce: text,
  answererNonce: text,
  caller: fc.record({ instance: text, role, uri: text }),
  answerer: fc.record({ instance: text, role }),
});
const proven = fc.tuple(text, fc.constantFrom<ProofSide[]>('caller', 'answerer'), exchange);

test('a proof is good for its passphrase, its side and its exchange, and for no other', () => {
  fc.assert(
    fc.property(proven, proven, (one, other) => {
      const isSame = JSON.stringify(one) === JSON.stringify(other);
      expect(isProof(proofOf(...one), ...one)).toBe(true);
      expect(isProof(proofOf(...one), ...other)).toBe(isSame);
    }),
  );
});

test('neither side can send a proof back to its maker', () => {
  fc.assert(
    fc.property(text, exchange, (passphrase, given) => {
      expect(isProof(proofOf(passphrase, 'caller', given), passphrase, 'answerer', given)).toBe(false);
    }),
  );
});

test.each([undefined, null, 1, '', 'zz', '00'.repeat(31), '00'.repeat(32), []])('%j is no proof', (value) => {
  const nonces = { callerNonce: newNonce(), answererNonce: newNonce() };
  expect(isProof(value, 'secret', 'caller', { ...nonces, caller: SECONDARY, answerer: PRIMARY })).toBe(false);
});

/** The secondary, or who pretends to be it, calls the primary. */
class Caller {
  readonly nonce = newNonce();

  constructor(
    readonly authenticator: TwinAuthenticator,
    readonly connection: object = {},
  ) {}

  challenge(nonce: unknown = this.nonce): { nonce: string; proof: string } {
    const challenge = this.authenticator.admit(this.connection, SECONDARY, { nonce, proof: undefined });
    if (challenge === undefined) throw new Error('admitted without a proof');
    return challenge;
  }

  prove(proof: unknown, claim = SECONDARY): unknown {
    return this.authenticator.admit(this.connection, claim, { nonce: undefined, proof });
  }

  /** The proof of who has this passphrase. */
  proofFor(answererNonce: string, passphrase = 'secret', side: ProofSide = 'caller'): string {
    const nonces = { callerNonce: this.nonce, answererNonce };
    return proofOf(passphrase, side, { ...nonces, caller: SECONDARY, answerer: PRIMARY });
  }

  get isAdmitted(): boolean {
    return this.authenticator.isAdmitted(this.connection, SECONDARY.instance);
  }
}

const primary = (passphrase: string | undefined = 'secret') => new TwinAuthenticator(passphrase, PRIMARY);

describe('a caller', () => {
  test('that has the passphrase is admitted once it has proved it, and is proved to that we have it', () => {
    const caller = new Caller(primary());
    const { nonce, proof } = caller.challenge();
    expect(proof).toBe(caller.proofFor(nonce, 'secret', 'answerer'));
    expect(caller.isAdmitted).toBe(false);
    expect(caller.prove(caller.proofFor(nonce))).toBeUndefined();
    expect(caller.isAdmitted).toBe(true);
    // It may introduce itself again, to ask for all.
    expect(caller.prove(undefined)).toBeUndefined();
    expect(new Caller(caller.authenticator).isAdmitted).toBe(false);
  });

  test('of another run has to prove itself again, also over the same connection', () => {
    const caller = new Caller(primary());
    caller.prove(caller.proofFor(caller.challenge().nonce));
    expect(() => caller.prove(undefined, { ...SECONDARY, instance: 'three' })).toThrow(NO_PROOF);
    expect(caller.authenticator.isAdmitted(caller.connection, 'three')).toBe(false);
  });

  test.each<[string, (caller: Caller, challenge: { nonce: string; proof: string }) => unknown]>([
    ['has another passphrase', (caller, { nonce }) => caller.proofFor(nonce, 'guess')],
    ['sends our proof back', (_caller, { proof }) => proof],
    ['proves the other side', (caller, { nonce }) => caller.proofFor(nonce, 'secret', 'answerer')],
    ['answers its own challenge', (caller) => caller.proofFor(caller.nonce)],
    ['sends what is no proof', () => 5],
  ])('that %s is refused', (_what, forge) => {
    const caller = new Caller(primary());
    const forged = forge(caller, caller.challenge());
    expect(() => caller.prove(forged)).toThrow(FALSE_PROOF);
    expect(caller.isAdmitted).toBe(false);
  });

  test('that replays a proof it has seen is refused: each challenge is new, and good for one attempt', () => {
    const authenticator = primary();
    const honest = new Caller(authenticator);
    const seen = honest.proofFor(honest.challenge().nonce);
    honest.prove(seen);
    const thief = new Caller(authenticator);
    expect(() => thief.prove(seen)).toThrow(FALSE_PROOF);
    thief.challenge(honest.nonce);
    expect(() => thief.prove(seen)).toThrow(FALSE_PROOF);
    const { nonce } = thief.challenge();
    expect(() => thief.prove('guess')).toThrow(FALSE_PROOF);
    expect(() => thief.prove(thief.proofFor(nonce))).toThrow(FALSE_PROOF);
    expect(thief.isAdmitted).toBe(false);
  });

  test('that claims to be another than it has proved is refused', () => {
    for (const claim of [{ instance: 'three' }, { uri: 'PYRO://10.6.6.6:9091/x' }, { role: 'primary' }]) {
      const caller = new Caller(primary());
      const { nonce } = caller.challenge();
      const claimed: typeof SECONDARY = Object.assign({}, SECONDARY, claim);
      expect(() => caller.prove(caller.proofFor(nonce), claimed)).toThrow(FALSE_PROOF);
    }
  });

  test.each([undefined, null, '', 'ab', 'A'.repeat(64), 5])('of the challenge %j gets no proof of ours', (nonce) => {
    const caller = new Caller(primary());
    const admit = () => caller.authenticator.admit(caller.connection, SECONDARY, { nonce, proof: undefined });
    expect(admit).toThrow(NO_PROOF);
  });

  test('needs no proof where there is no passphrase', () => {
    const caller = new Caller(new TwinAuthenticator(undefined, PRIMARY));
    expect(caller.isAdmitted).toBe(false);
    expect(caller.prove(undefined)).toBeUndefined();
    expect([caller.isAdmitted, caller.authenticator.isTwin(caller.connection)]).toEqual([true, true]);
  });
});

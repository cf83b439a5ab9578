import { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { CHALLENGE_SIZE, createAuthToken, DeniedReason, mungeIdentification, ServerConnection } from '../wire/index.js';
import { BasicSSLValidator, DefaultConnValidator, type GuardedDaemon } from './validators.js';

/** Of a client that has shown no certificate. */
let connection: ServerConnection;

beforeEach(() => {
  connection = new ServerConnection(new Socket());
});

afterEach(() => {
  connection.destroy();
});

const daemonWith = (connectionCount: number, maxConnections: number, hostConnectionCount = 1): GuardedDaemon => ({
  connectionCount,
  maxConnections,
  hostConnectionCount,
  maxHostConnections: 5,
});
const daemon = daemonWith(1, 10);

describe('a host', () => {
  test.each([
    [9, undefined],
    [10, undefined],
    [11, DeniedReason.ServerTooBusy],
    [1000, DeniedReason.ServerTooBusy],
  ])('that makes it %d connections of 10 gets %p', (count, verdict) => {
    expect(new DefaultConnValidator().acceptHost(daemonWith(count, 10), connection)).toBe(verdict);
  });

  test.each([
    [5, undefined],
    [6, DeniedReason.ServerTooBusy],
  ])('that has %d connections of 5 itself gets %p', (count, verdict) => {
    expect(new DefaultConnValidator().acceptHost(daemonWith(8, 10, count), connection)).toBe(verdict);
  });
});

describe('an identification', () => {
  const challenge = Buffer.alloc(CHALLENGE_SIZE, 7);
  const token = (identification: string): Buffer => createAuthToken(mungeIdentification(identification), challenge);
  const validator = new DefaultConnValidator();

  test.each<[readonly string[] | null, Buffer, DeniedReason | undefined]>([
    [null, token('anything'), undefined],
    [null, Buffer.alloc(0), undefined],
    [['first', 'second', 'third'], token('first'), undefined],
    [['first', 'second', 'third'], token('second'), undefined],
    [['first', 'second', 'third'], token('third'), undefined],
    [['first', 'second', 'third'], token('fourth'), DeniedReason.Security],
    [['first'], token(''), DeniedReason.Security],
    [['first'], Buffer.alloc(0), DeniedReason.Security],
    [['first'], token('first').subarray(0, -1), DeniedReason.Security],
    [['first'], Buffer.concat([token('first'), Buffer.alloc(1)]), DeniedReason.Security],
    [[], token('first'), DeniedReason.Security],
  ])('of %j with the token %p gets %p', (allowed, given, verdict) => {
    validator.setAllowedIdentifications(allowed);
    expect(validator.acceptIdentification(daemon, connection, given, challenge)).toBe(verdict);
  });

  test('must answer the very challenge', () => {
    validator.setAllowedIdentifications(['first']);
    const other = Buffer.alloc(CHALLENGE_SIZE, 8);
    expect(validator.acceptIdentification(daemon, connection, token('first'), other)).toBe(DeniedReason.Security);
  });

  test('is compared with each that is allowed, whichever it is', () => {
    const made = jest.spyOn(validator, 'createAuthToken');
    validator.setAllowedIdentifications(['first', 'second', 'third']);
    void validator.acceptIdentification(daemon, connection, token('first'), challenge);
    expect(made).toHaveBeenCalledTimes(3);
  });

  test('is munged as the subclass does it', () => {
    class Plain extends DefaultConnValidator {
      override mungeIdent = (ident: string): Buffer => Buffer.from(ident);
    }
    const plain = new Plain();
    plain.setAllowedIdentifications(['first']);
    const answer = createAuthToken(Buffer.from('first'), challenge);
    expect(plain.acceptIdentification(daemon, connection, answer, challenge)).toBeUndefined();
    expect(plain.acceptIdentification(daemon, connection, token('first'), challenge)).toBe(DeniedReason.Security);
  });

  test('is asked for with another challenge each time', () => {
    const made = [1, 2].map(() => validator.createAuthChallenge(daemon, connection));
    expect(made.map(({ length }) => length)).toEqual([CHALLENGE_SIZE, CHALLENGE_SIZE]);
    expect(made[0]).not.toEqual(made[1]);
  });
});

describe('a daemon that speaks TLS', () => {
  class Asking extends BasicSSLValidator {
    readonly asked: unknown[] = [];

    override checkCertificate(certificate: Parameters<BasicSSLValidator['checkCertificate']>[0]) {
      this.asked.push(certificate);
      return DeniedReason.Unspecified;
    }
  }

  test('refuses who shows no certificate', async () => {
    expect(await new BasicSSLValidator().acceptHost(daemon, connection)).toBe(DeniedReason.Security);
  });

  test('is busy before it looks at certificates', async () => {
    const validator = new Asking();
    expect(await validator.acceptHost(daemonWith(11, 10), connection)).toBe(DeniedReason.ServerTooBusy);
    expect(validator.asked).toEqual([]);
    expect(await validator.acceptHost(daemonWith(10, 10), connection)).toBe(DeniedReason.Unspecified);
    expect(validator.asked).toEqual([undefined]);
  });
});

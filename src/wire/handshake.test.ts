import { describe, expect, test } from '@jest/globals';
import {
  CHALLENGE_SIZE,
  CONNECT,
  createAuthToken,
  decodeDenial,
  DeniedReason,
  deniedReasons,
  encodeDenial,
  GRANTED,
  mungeIdentification,
  newChallenge,
  tokensEqual,
  VERDICT_SIZE,
} from './handshake.js';

describe('the handshake', () => {
  // DefaultConnValidator of Pyro 3.16: mungeIdent('s3same'), createAuthToken(that or '', '0123456789abcdef').
  const challenge = Buffer.from('0123456789abcdef');

  test('munges and answers as Pyro 3.16 does', () => {
    const munged = mungeIdentification('s3same');
    expect(munged.toString('hex')).toBe('57ccf8d893ff5032f830681fe6b207a9');
    expect(createAuthToken(munged, challenge).toString('hex')).toBe('969c98041fec16f2ec1f3e2821473506');
    expect(createAuthToken(Buffer.alloc(0), challenge).toString('hex')).toBe('6a99a91ce03f8ccc5b824205818103dc');
  });

  test('compares tokens of any length', () => {
    const token = createAuthToken(Buffer.alloc(0), challenge);
    expect(tokensEqual(token, Buffer.from(token))).toBe(true);
    expect(tokensEqual(token, createAuthToken(challenge, challenge))).toBe(false);
    expect(tokensEqual(token, token.subarray(1))).toBe(false);
  });

  test('never gives the same challenge twice', () => {
    expect(newChallenge()).toHaveLength(CHALLENGE_SIZE);
    expect(newChallenge()).not.toEqual(newChallenge());
  });

  // deniedReasons of Pyro.core 3.16, and the digits behind DENIED.
  test.each([
    [DeniedReason.Unspecified, 'DENIED0', 'unspecified reason'],
    [DeniedReason.ServerTooBusy, 'DENIED1', 'server too busy'],
    [DeniedReason.HostBlocked, 'DENIED2', 'host blocked'],
    [DeniedReason.Security, 'DENIED3', 'security reasons'],
  ])('tells reason %d as Pyro does', (reason, verdict, text) => {
    expect(String(encodeDenial(reason))).toBe(verdict);
    expect(decodeDenial(Buffer.from(verdict))).toBe(text);
    expect(deniedReasons[reason]).toBe(text);
  });

  test('has four reasons, and words of seven bytes', () => {
    expect([Object.keys(DeniedReason), deniedReasons]).toEqual([
      ['Unspecified', 'ServerTooBusy', 'HostBlocked', 'Security'],
      ['unspecified reason', 'server too busy', 'host blocked', 'security reasons'],
    ]);
    expect([String(CONNECT), String(GRANTED), VERDICT_SIZE, CHALLENGE_SIZE]).toEqual(['CONNECT', 'GRANTED', 7, 16]);
  });

  test.each(['4', ' ', '\n', 'x', '\xff'])('knows a refusal whose last byte is no reason: %j', (last) => {
    expect(decodeDenial(Buffer.from(`DENIED${last}`, 'latin1'))).toBe('invalid response');
  });

  test('knows a refusal whose reason it does not know, and what is none', () => {
    expect(decodeDenial(Buffer.from('DENIED9'))).toBe('invalid response');
    expect(decodeDenial(Buffer.from('DENIED'))).toBeUndefined();
    expect(decodeDenial(Buffer.from('xDENIED1'))).toBeUndefined();
    expect(decodeDenial(Buffer.from('DENIED1x'))).toBeUndefined();
    expect(decodeDenial(Buffer.from('DENIED1'))).toBe('server too busy');
    expect(decodeDenial(Buffer.from('GRANTED'))).toBeUndefined();
  });
});

import crypto from 'node:crypto';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';

/** What was compared in constant time. */
const compared: string[][] = [];

jest.unstable_mockModule('node:crypto', () => ({
  ...crypto,
  timingSafeEqual: (one: Buffer, other: Buffer) => {
    compared.push([one.toString(), other.toString()]);
    return crypto.timingSafeEqual(one, other);
  },
}));

const { ConsoleGuard } = await import('./guard.js');
const { default: fastify } = await import('fastify');

const MINUTE = 60_000;

let now: number;

beforeEach(() => {
  now = 5000;
  compared.length = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
});

afterEach(() => {
  jest.restoreAllMocks();
});

describe('a ticket', () => {
  test.each([
    [0, true],
    [MINUTE, true],
    [MINUTE + 1, false],
    [10 * MINUTE, false],
  ])('%d ms old: it is good: %p', (age, isGood) => {
    const guard = new ConsoleGuard();
    const ticket = guard.issueTicket();
    now += age;
    expect(guard.redeem(ticket)).toBe(isGood ? guard.token : undefined);
  });

  test('is good once, and not before it is issued', () => {
    const guard = new ConsoleGuard();
    const ticket = guard.issueTicket();
    expect(guard.redeem(ticket)).toBe(guard.token);
    expect(guard.redeem(ticket)).toBeUndefined();
    const unissued = new ConsoleGuard();
    const text: unknown = Reflect.get(unissued, 'ticket');
    expect(unissued.redeem(String(text))).toBeUndefined();
  });

  test('stays good where another one was tried, and has its minute again when it is issued again', () => {
    const guard = new ConsoleGuard();
    const ticket = guard.issueTicket();
    expect(guard.redeem('wrong')).toBeUndefined();
    now += MINUTE + 1;
    expect(guard.issueTicket()).toBe(ticket);
    expect(guard.redeem(ticket)).toBe(guard.token);
  });

  test('and token are two secrets of 256 bits, new in each console', () => {
    const guards = [new ConsoleGuard(), new ConsoleGuard()];
    const secrets = guards.flatMap((guard) => [guard.token, guard.issueTicket()]);
    expect(new Set(secrets).size).toBe(4);
    for (const secret of secrets) expect(Buffer.from(secret, 'base64url')).toHaveLength(32);
  });
});

describe('secrets are compared in constant time', () => {
  test('the ticket', () => {
    const guard = new ConsoleGuard();
    const ticket = guard.issueTicket();
    const wrong = 'x'.repeat(ticket.length);
    expect(guard.redeem(wrong)).toBeUndefined();
    expect(guard.redeem(ticket)).toBe(guard.token);
    expect(compared).toEqual([
      [wrong, ticket],
      [ticket, ticket],
    ]);
  });

  test('the token', async () => {
    const guard = new ConsoleGuard();
    guard.listensOn(80);
    const server = fastify();
    guard.protect(server);
    server.get('/', () => 'ok');
    const get = async (authorization: string) => {
      const headers = { host: 'localhost:80', authorization };
      return (await server.inject({ url: '/', headers })).statusCode;
    };
    const right = `Bearer ${guard.token}`;
    const wrong = 'x'.repeat(right.length);
    expect([await get(wrong), await get(right), await get(`${right}x`)]).toEqual([401, 200, 401]);
    expect(compared).toEqual([
      [wrong, right],
      [right, right],
    ]);
    await server.close();
  });

  test('of a text of another length nothing is compared', () => {
    const guard = new ConsoleGuard();
    const ticket = guard.issueTicket();
    expect(guard.redeem(`${ticket}x`)).toBeUndefined();
    expect(guard.redeem('')).toBeUndefined();
    expect(compared).toEqual([]);
  });
});

describe('requests', () => {
  const FROM_ELSEWHERE = [403, 'pages from elsewhere may not use the console'] as const;

  test.each<[Record<string, string>, 'GET' | 'POST', readonly [number, string]]>([
    [{ host: 'localhost:81' }, 'GET', [403, 'this host name is not one of the console']],
    [{ host: 'evil.example:80' }, 'GET', [403, 'this host name is not one of the console']],
    [{ origin: 'http://evil.example' }, 'GET', FROM_ELSEWHERE],
    [{ origin: 'https://localhost:80' }, 'GET', FROM_ELSEWHERE],
    [{ 'sec-fetch-site': 'cross-site' }, 'POST', FROM_ELSEWHERE],
    [{ 'sec-fetch-site': 'same-site' }, 'POST', FROM_ELSEWHERE],
    [{ authorization: '' }, 'GET', [401, 'the token is missing or wrong: open the address that pyro-xnsc printed']],
    [{}, 'GET', [200, 'ok']],
    [{}, 'POST', [200, 'ok']],
    [{ host: '127.0.0.1:80', origin: 'http://127.0.0.1:80' }, 'POST', [200, 'ok']],
    [{ 'sec-fetch-site': 'cross-site' }, 'GET', [200, 'ok']],
    [{ 'sec-fetch-site': 'same-origin' }, 'POST', [200, 'ok']],
    [{ 'sec-fetch-site': 'none' }, 'POST', [200, 'ok']],
  ])('with %j by %s', async (headers, method, [status, message]) => {
    const guard = new ConsoleGuard();
    guard.listensOn(80);
    const server = fastify();
    guard.protect(server);
    server.route({ method: ['GET', 'POST'], url: '/', handler: () => ({ message: 'ok' }) });
    const all = { host: 'localhost:80', authorization: `Bearer ${guard.token}`, ...headers };
    const answer = await server.inject({ method, url: '/', headers: all });
    expect([answer.statusCode, answer.json()]).toEqual([
      status,
      status === 200 ? { message } : { error: 'RequestError', message },
    ]);
    expect(answer.headers).toMatchObject({
      'content-security-policy':
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; " +
        "trusted-types 'none'",
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
      'permissions-policy': 'camera=(), geolocation=(), microphone=(), usb=()',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
    });
    await server.close();
  });
});

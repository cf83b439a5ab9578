import { request } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { loadConfig, silentLog } from '../config/index.js';
import { NameServerStarter } from '../naming/index.js';
import { Console } from './console.js';

const config = loadConfig({ environment: {}, currentDirectory: '/' });

let pageDirectory: string;
let console: Console;

beforeAll(() => {
  pageDirectory = mkdtempSync(join(tmpdir(), 'pyro-console-'));
  writeFileSync(join(pageDirectory, 'index.html'), '<!doctype html>');
  writeFileSync(join(pageDirectory, 'secret'), 'not part of the page');
});
afterAll(() => {
  rmSync(pageDirectory, { recursive: true });
});
beforeEach(async () => {
  console = await Console.start({ config, pageDirectory });
});
afterEach(() => console.close());

interface Answer {
  readonly status: number | undefined;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

/** Sends a request with any headers, those that a browser would not let a page set too. */
function send(path: string, headers: Record<string, string>, body?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const all = body === undefined ? headers : { 'content-type': 'application/json', ...headers };
    const sent = request(new URL(path, console.origin), { method, headers: all }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode, headers: response.headers, body: text });
      });
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const token = (): string => console.address.split('#token=')[1] ?? '';
const bearer = (): Record<string, string> => ({ authorization: `Bearer ${token()}` });

describe('who may use it', () => {
  it('is the bearer of the token', async () => {
    expect(await send('/api/servers', bearer(), {})).toMatchObject({ status: 200, body: '{"servers":[]}' });
  });

  it.each([{}, { authorization: 'Bearer ' }, { authorization: 'Bearer wrong' }])(
    'is nobody with %j',
    async (headers) => {
      expect(await send('/api/servers', headers, {})).toMatchObject({ status: 401 });
    },
  );

  it.each(['/api//servers', '/api/servers/', '/api/servers?x', '/%61pi/servers', '/api/./servers'])(
    'is nobody without the token at %s',
    async (path) => {
      const { status } = await send(path, {}, {});
      expect(status).toBe(401);
    },
  );

  it('is no page of another host name: DNS rebinding', async () => {
    const { port } = new URL(console.origin);
    for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1', `127.0.0.1.evil.example:${port}`]) {
      expect(await send('/', { host })).toMatchObject({ status: 403 });
      expect(await send('/api/servers', { ...bearer(), host }, {})).toMatchObject({ status: 403 });
    }
    expect(await send('/', { host: `localhost:${port}` })).toMatchObject({ status: 200 });
  });

  it('is no page from elsewhere, even with the token', async () => {
    for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1:1', console.origin]) {
      expect(await send('/api/servers', { ...bearer(), origin }, {})).toMatchObject({ status: 403 });
    }
    expect(await send('/api/servers', { ...bearer(), 'sec-fetch-site': 'same-site' }, {})).toMatchObject({
      status: 403,
    });
    const origin = new URL(console.origin).origin;
    expect(await send('/api/servers', { ...bearer(), origin }, {})).toMatchObject({ status: 200 });
  });

  it('is the bearer of a ticket, once', async () => {
    const ticket = console.issueAddress().split('#ticket=')[1] ?? '';
    expect(await send('/api/token', {}, { ticket: 'wrong' })).toMatchObject({ status: 401 });
    expect(await send('/api/token', {}, { ticket })).toMatchObject({
      status: 200,
      body: JSON.stringify({ token: token() }),
    });
    expect(await send('/api/token', {}, { ticket })).toMatchObject({ status: 401 });
  });
});

describe('what it answers', () => {
  it('is a page that may load nothing from elsewhere', async () => {
    const { status, headers } = await send('/', {});
    expect(status).toBe(200);
    expect(headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self';/);
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
  });

  it.each(['/secret', '/../secret', '/%2e%2e/package.json', '/index.html'])('is no other file: %s', async (path) => {
    expect(await send(path, {})).toMatchObject({ status: 401 });
    expect(await send(path, bearer())).toMatchObject({ status: 404 });
  });

  it.each([
    ['/api/find', { port: 0 }],
    ['/api/find', { host: 5 }],
    ['/api/find', { host: 'x', extra: 1 }],
    ['/api/find', 'text'],
    ['/api/watch', { servers: { 1: {} } }],
    ['/api/servers/1/list', {}],
    ['/api/servers/1/flatlist', { filter: '', offset: 0, limit: 1_000_000 }],
  ])('says what is wrong with %s %j', async (path, body) => {
    const answer = await send(path, bearer(), body);
    expect(answer.status).toBe(400);
    expect(answer.body).toContain("the request's body");
  });

  it('names a server that it is not connected to', async () => {
    const answer = await send('/api/servers/7/ping', bearer(), {});
    expect(answer).toMatchObject({ status: 409 });
    expect(JSON.parse(answer.body)).toEqual({
      error: 'NamingError',
      code: 'CONSOLE_NOT_CONNECTED',
      message: 'not connected to this name server',
      about: '7',
    });
  });

  it('says why a URI is not registered', async () => {
    await using starter = new NameServerStarter({
      config: { ...config, PYRO_NS_URIFILE: join(pageDirectory, 'uri') },
      log: silentLog,
    });
    const { port } = await starter.start({ hostname: '127.0.0.1', nsport: 0, dontlookupother: true });
    await send('/api/find', bearer(), { host: '127.0.0.1', port });
    const uri = 'PYRO://no.such.host.invalid/lamp';
    const answer = await send('/api/servers/1/register', bearer(), { name: 'lamp', uri });
    expect(answer.body).toContain("the name server can't find the host no.such.host.invalid");
  });

  it('says that nobody listens', async () => {
    const answer = await send('/api/find', bearer(), { host: '127.0.0.1', port: 1, identification: 'swordfish' });
    expect(answer.status).toBe(502);
    expect(answer.body).not.toContain('swordfish');
  });
});

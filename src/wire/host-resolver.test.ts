import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HostLookupError, HostResolver, type LookupOptions } from './host-resolver.js';

const ADDRESS = '192.0.2.1';

let directory: string;
let hostsFile: string;
let now: number;
/** What DNS answers: an address, or a code of c-ares. It stays silent about other names. */
let answers: Map<string, string>;
/** The names that DNS was asked for, and the system; and those that DNS was no longer to be asked for. */
let asked: string[];
let askedOfSystem: string[];
let cancelled: string[];
/** What ends the system's look-ups, by name. */
let systemAnswers: Map<string, (addresses: readonly string[]) => void>;
let resolver: HostResolver;
/** Ends what is pending. */
let end: AbortController;

function fakeDNS() {
  const cancels: (() => void)[] = [];
  return {
    resolve4: (name: string) =>
      new Promise<string[]>((resolve, reject) => {
        asked.push(name);
        const fail = (code: string): void => {
          reject(Object.assign(new Error(code), { code }));
        };
        cancels.push(() => {
          cancelled.push(name);
          fail('ECANCELLED');
        });
        const answer = answers.get(name);
        if (answer?.startsWith('E') === true) fail(answer);
        else if (answer !== undefined) resolve([answer]);
      }),
    cancel: () => {
      for (const cancel of cancels) cancel();
    },
  };
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-ns-hosts-'));
  hostsFile = join(directory, 'hosts');
  writeFileSync(hostsFile, '127.0.0.1 localhost\n::1 six\n192.0.2.7\tSeven seven.example # 192.0.2.8 eight\n');
  end = new AbortController();
  now = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  answers = new Map();
  asked = [];
  askedOfSystem = [];
  cancelled = [];
  systemAnswers = new Map();
  resolver = new HostResolver({
    hostsFile,
    ownName: 'Here',
    createResolver: fakeDNS,
    systemLookup: (name) => {
      askedOfSystem.push(name);
      return new Promise((resolve) => systemAnswers.set(name, resolve));
    },
  });
});

afterEach(() => {
  end.abort(new Error('ended'));
  jest.restoreAllMocks();
  jest.useRealTimers();
  rmSync(directory, { recursive: true });
});

const find = (host: string, options?: LookupOptions): Promise<readonly string[]> => resolver.addressesOf(host, options);

/** Why a name has no address. */
const failureOf = (lookup: Promise<unknown>): Promise<string> =>
  lookup.then(
    () => 'found',
    (error: unknown) =>
      error instanceof HostLookupError ? error.code : error instanceof Error ? error.message : 'no error',
  );

/** Lets what is ready happen; the hosts file has been looked at then. */
async function settle(names: number): Promise<void> {
  while (asked.length < names) await new Promise(setImmediate);
}

describe('a host name', () => {
  test.each([
    ['127.0.0.1', ['127.0.0.1']],
    ['localhost', ['127.0.0.1']],
    ['LOCALHOST.', ['127.0.0.1']],
    ['a.localhost', ['127.0.0.1']],
    ['seven', ['192.0.2.7']],
    ['Seven.Example.', ['192.0.2.7']],
  ])('%s is known without being asked for', async (host, addresses) => {
    expect(await find(host)).toEqual(addresses);
    expect([asked, askedOfSystem]).toEqual([[], []]);
  });

  test.each(['::1', 'a.invalid', `${'a'.repeat(300)}.example`])('%s is none, without being asked for', async (host) => {
    expect(await failureOf(find(host))).toBe('UNKNOWN');
    expect([asked, askedOfSystem]).toEqual([[], []]);
  });

  test('is asked of DNS where the hosts file has no IPv4 address of it', async () => {
    for (const name of ['six', 'eight']) answers.set(name, ADDRESS);
    expect([await find('six'), await find('eight')]).toEqual([[ADDRESS], [ADDRESS]]);
  });

  test('is read from the hosts file again when that has changed', async () => {
    expect(await find('seven')).toEqual(['192.0.2.7']);
    writeFileSync(hostsFile, '192.0.2.9\tSeven seven.example # 192.0.2.8 eight\n192.0.2.10 seven\n');
    utimesSync(hostsFile, 1, 1);
    expect(await find('seven')).toEqual(['192.0.2.9', '192.0.2.10']);
    rmSync(hostsFile);
    answers.set('seven', ADDRESS);
    expect(await find('seven')).toEqual([ADDRESS]);
  });

  test('is not looked for in a hosts file that is too large', async () => {
    writeFileSync(hostsFile, `192.0.2.7 seven\n${'#'.repeat(0x100000)}\n`);
    answers.set('seven', ADDRESS);
    expect(await find('seven')).toEqual([ADDRESS]);
  });
});

describe('a name that DNS does not tell', () => {
  test.each(['ENOTFOUND', 'ENODATA', 'ECONNREFUSED'])('is asked of the system, after %s', async (code) => {
    answers.set('a.example', code);
    const found = find('a.example');
    await settle(1);
    while (askedOfSystem.length === 0) await new Promise(setImmediate);
    systemAnswers.get('a.example')?.([ADDRESS]);
    expect(await found).toEqual([ADDRESS]);
  });

  test.each(['printer.local', 'here'])('is asked of the system alone: %s', async (name) => {
    const found = find(name);
    while (askedOfSystem.length === 0) await new Promise(setImmediate);
    systemAnswers.get(name)?.([ADDRESS]);
    expect(await found).toEqual([ADDRESS]);
    expect(asked).toEqual([]);
  });

  test('is unknown where the system has no address either', async () => {
    const failure = failureOf(find('printer.local'));
    while (askedOfSystem.length === 0) await new Promise(setImmediate);
    systemAnswers.get('printer.local')?.([]);
    expect(await failure).toBe('UNKNOWN');
  });

  test('is not asked of the system where DNS or the domain does not answer', async () => {
    answers.set('a.example', 'ETIMEOUT').set('b.example', 'ESERVFAIL');
    expect(await failureOf(find('a.example'))).toBe('TIMEOUT');
    expect(await failureOf(find('b.example'))).toBe('UNKNOWN');
    expect(askedOfSystem).toEqual([]);
  });

  test('is asked of the system where DNS fails for a name without a dot', async () => {
    answers.set('short', 'ESERVFAIL');
    const found = find('short');
    while (askedOfSystem.length === 0) await new Promise(setImmediate);
    systemAnswers.get('short')?.([ADDRESS]);
    expect(await found).toEqual([ADDRESS]);
  });

  test('takes one of two threads; of one client, only one', async () => {
    const client = (address: string) => ({ client: { address, maxLookups: 100 } });
    const ends = [
      find('a1.local', client('a')),
      find('a2.local', client('a')),
      find('b1.local', client('b')),
      find('c1.local', client('c')),
      find('own.local'),
    ];
    while (askedOfSystem.length < 2) await new Promise(setImmediate);
    expect(askedOfSystem).toEqual(['a1.local', 'b1.local']);
    for (const name of ['b1.local', 'c1.local', 'own.local', 'a1.local', 'a2.local']) {
      while (!systemAnswers.has(name)) await new Promise(setImmediate);
      systemAnswers.get(name)?.([ADDRESS]);
    }
    expect(await Promise.all(ends)).toEqual(ends.map(() => [ADDRESS]));
    expect(askedOfSystem).toEqual(['a1.local', 'b1.local', 'c1.local', 'own.local', 'a2.local']);
  });
});

describe('a DNS that does not answer', () => {
  test('is given up after the timeout', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'performance'] });
    const failure = failureOf(find('a.example', { timeoutMs: 700 }));
    await settle(1);
    jest.advanceTimersByTime(699);
    expect(cancelled).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(await failure).toBe('TIMEOUT');
    expect(cancelled).toEqual(['a.example']);
  });

  test('is given up when the last one who waits does not want to know any more', async () => {
    const [one, other] = [new AbortController(), new AbortController()];
    const ends = [one, other].map(({ signal }) => failureOf(find('a.example', { signal })));
    await settle(1);
    one.abort(new Error('one'));
    expect(await ends[0]).toBe('one');
    expect(cancelled).toEqual([]);
    other.abort(new Error('other'));
    expect(await ends[1]).toBe('other');
    expect(cancelled).toEqual(['a.example']);
    // Who asks at that moment is not given up with them.
    answers.set('a.example', ADDRESS);
    expect(await find('a.example')).toEqual([ADDRESS]);
  });
});

describe('an answer', () => {
  test('is shared by all who wait for the same name', async () => {
    answers.set('a.example', ADDRESS);
    expect(await Promise.all([find('a.example'), find('A.example'), find('a.example.')])).toEqual([
      [ADDRESS],
      [ADDRESS],
      [ADDRESS],
    ]);
    expect(asked).toEqual(['a.example']);
  });

  test('is used again for some seconds', async () => {
    answers.set('a.example', ADDRESS);
    await find('a.example');
    now = 9999;
    await find('a.example');
    expect(asked).toHaveLength(1);
    now = 10_000;
    await find('a.example');
    expect(asked).toHaveLength(2);
  });

  test('is used again for a shorter time where it is a failure', async () => {
    answers.set('a.example', 'ETIMEOUT');
    expect(await failureOf(find('a.example'))).toBe('TIMEOUT');
    now = 2999;
    expect(await failureOf(find('a.example'))).toBe('TIMEOUT');
    expect(asked).toHaveLength(1);
    now = 3000;
    answers.set('a.example', ADDRESS);
    expect(await find('a.example')).toEqual([ADDRESS]);
  });

  test('is remembered of a thousand names', async () => {
    for (let count = 0; count <= 1000; count += 1) {
      answers.set(`a${count}.example`, ADDRESS);
      await find(`a${count}.example`);
    }
    await find('a1.example');
    expect(asked).toHaveLength(1001);
    await find('a0.example');
    expect(asked).toHaveLength(1002);
  });
});

describe('clients', () => {
  const of = (address: string, maxLookups = 8): LookupOptions => ({
    client: { address, maxLookups },
    signal: end.signal,
  });

  test('have a quarter of the limit each, and all of them no more than it', async () => {
    const lookUpTwo = async (address: string): Promise<void> => {
      for (const number of [1, 2]) {
        void failureOf(find(`${address}${number}.example`, of(address)));
        const before = asked.length;
        await settle(before + 1);
      }
    };
    for (const address of ['a', 'b', 'c']) await lookUpTwo(address);
    expect(await failureOf(find('a3.example', of('a')))).toBe('TOO_MANY_OF_CLIENT');
    await lookUpTwo('d');
    expect(await failureOf(find('e1.example', of('e')))).toBe('TOO_MANY');
    // This program's own names are not limited; nor are names that others wait for already, or that are known.
    answers.set('own.example', ADDRESS);
    expect(await find('own.example')).toEqual([ADDRESS]);
    expect(await find('own.example', of('a'))).toEqual([ADDRESS]);
    expect(await find('seven', of('a'))).toEqual(['192.0.2.7']);
  });

  test('have one at least', async () => {
    const first = failureOf(find('a.example', of('a', 1)));
    await settle(1);
    expect(await failureOf(find('b.example', of('a', 1)))).toBe('TOO_MANY');
    end.abort(new Error('ended'));
    expect(await first).toBe('ended');
    answers.set('c.example', ADDRESS);
    expect(await find('c.example', { client: { address: 'a', maxLookups: 1 } })).toEqual([ADDRESS]);
  });
});

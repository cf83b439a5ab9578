import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { loadConfig } from '../config/index.js';
import type { ServerChanges, ServerDescription } from './api.js';
import type { ServerLocation } from './session.js';

/** What becomes of each session: the ways that it is given, in their order, and what is done with it. */
const done: string[] = [];
/** Answers of name servers that are due; those that nobody holds up come at once. */
const held = new Map<string, (() => void)[]>();
/** What has changed at each server, by id. */
const changed = new Map<string, ServerChanges>();

/** Stands for a session: the host that it is found at is the name server's identity, however it is written. */
class FakeSession {
  constructor(
    readonly id: string,
    private location: ServerLocation,
  ) {}

  get description(): ServerDescription {
    const { host, port } = this.location;
    return { id: this.id, version: '1', address: `${host}:${port}`, uri: host.toLowerCase(), state: 'connected' };
  }

  async ping(): Promise<number> {
    const { host } = this.location;
    done.push(`ping ${this.id} at ${host}`);
    const waiting = held.get(host);
    if (waiting) await new Promise<void>((resolve) => waiting.push(resolve));
    if (host === 'nowhere') throw new Error('connection failed');
    return 1;
  }

  moveTo(location: ServerLocation): void {
    this.location = location;
  }

  changes(): Promise<ServerChanges | undefined> {
    return Promise.resolve(changed.get(this.id));
  }

  close(): Promise<void> {
    done.push(`close ${this.id}`);
    return Promise.resolve();
  }
}

jest.unstable_mockModule('./session.js', () => ({ NameServerSession: FakeSession }));
const { Sessions } = await import('./sessions.js');

const config = loadConfig({ environment: { PYRO_NS_PORT: '7000' }, currentDirectory: '/nowhere' });
const FULL = 'connected to 32 name servers already';
const known = { server: '1', groups: {}, entries: {} };

let sessions: InstanceType<typeof Sessions>;

beforeEach(() => {
  sessions = new Sessions(config);
  done.length = 0;
  held.clear();
  changed.clear();
});

afterEach(() => {
  jest.useRealTimers();
});

const find = (host: string): Promise<ServerDescription> => sessions.find({ host });

async function findMany(count: number): Promise<void> {
  for (let index = 1; index <= count; index += 1) await find(`host${index}`);
}

describe('a console is connected', () => {
  test('to 32 name servers at most; then a new one is not even asked', async () => {
    await findMany(32);
    done.length = 0;
    await expect(find('another')).rejects.toThrow(FULL);
    expect(done).toEqual([]);
    sessions.disconnect('7');
    expect(done).toEqual(['close 7']);
    expect(await find('another')).toMatchObject({ id: '33', address: 'another:7000' });
    expect(sessions.descriptions).toHaveLength(32);
  });

  test('to 32 at most where several are found at the same time, and keeps no connection to the others', async () => {
    await findMany(31);
    const late = ['late1', 'late2'];
    for (const host of late) held.set(host, []);
    const both = Promise.allSettled(late.map(find));
    while ([...held.values()].some((waiting) => waiting.length === 0)) await Promise.resolve();
    for (const waiting of held.values()) for (const answer of waiting) answer();
    const [one, other] = await both;
    expect(one).toMatchObject({ status: 'fulfilled', value: { id: '32' } });
    expect(other).toMatchObject({ status: 'rejected', reason: { message: FULL } });
    expect(done.filter((line) => line.startsWith('close'))).toEqual(['close 33']);
    expect(sessions.descriptions).toHaveLength(32);
  });

  test('once to each name server, by the way that worked last', async () => {
    await find('one');
    done.length = 0;
    expect(await find('ONE')).toMatchObject({ id: '1', address: 'ONE:7000' });
    expect(done).toEqual(['ping 2 at ONE', 'close 2', 'ping 1 at ONE']);
    expect(sessions.descriptions).toMatchObject([{ id: '1', address: 'ONE:7000' }]);
  });

  test('to none that does not answer', async () => {
    await expect(find('nowhere')).rejects.toThrow('connection failed');
    expect(sessions.descriptions).toEqual([]);
  });

  test('at the port that is given, else at the configured one', async () => {
    expect(await sessions.find({ host: 'one', port: 1234 })).toMatchObject({ address: 'one:1234' });
    expect(await find('two')).toMatchObject({ address: 'two:7000' });
  });

  test('no longer once it is disconnected, or closed', async () => {
    await findMany(3);
    done.length = 0;
    sessions.disconnect('2');
    expect(() => sessions.get('2')).toThrow('not connected to this name server');
    expect(() => {
      sessions.disconnect('2');
    }).toThrow('not connected to this name server');
    sessions.close();
    expect(done).toEqual(['close 2', 'close 1', 'close 3']);
    expect(sessions.descriptions).toEqual([]);
  });
});

describe('who watches', () => {
  let gone: AbortController;

  beforeEach(async () => {
    await findMany(2);
    jest.useFakeTimers();
    gone = new AbortController();
  });

  const watch = (...ids: string[]) =>
    sessions.watch({ servers: Object.fromEntries(ids.map((id) => [id, known])) }, gone.signal);

  const changesOf = (id: string): ServerChanges => ({
    server: sessions.get(id).description,
    groups: {},
    entries: {},
    flatlist: true,
  });

  /** True once it is answered. */
  async function isAnswered(answer: Promise<unknown>): Promise<boolean> {
    let answered = false;
    void answer.then(() => {
      answered = true;
    });
    await jest.advanceTimersByTimeAsync(0);
    return answered;
  }

  test('is told at once what has changed already, and of servers that are not connected any more', async () => {
    changed.set('1', changesOf('1'));
    expect(await watch('1', '2', '9')).toEqual({ servers: { 1: changesOf('1'), 9: null } });
  });

  test('is told within a second of what changes', async () => {
    const answer = watch('1', '2');
    expect(await isAnswered(answer)).toBe(false);
    changed.set('2', changesOf('2'));
    await jest.advanceTimersByTimeAsync(999);
    expect(await isAnswered(answer)).toBe(false);
    await jest.advanceTimersByTimeAsync(1);
    expect(await answer).toEqual({ servers: { 2: changesOf('2') } });
    expect(jest.getTimerCount()).toBe(0);
  });

  test('is told after 25 s that nothing has changed', async () => {
    const answer = watch('1');
    await jest.advanceTimersByTimeAsync(25_000);
    expect(await isAnswered(answer)).toBe(false);
    await jest.advanceTimersByTimeAsync(1000);
    expect(await answer).toEqual({ servers: {} });
    expect(jest.getTimerCount()).toBe(0);
  });

  test('and goes keeps nothing waiting', async () => {
    const answer = watch('1');
    await isAnswered(answer);
    gone.abort();
    expect(await answer).toEqual({ servers: {} });
    expect(jest.getTimerCount()).toBe(0);
    expect(await watch('1')).toEqual({ servers: {} });
  });
});

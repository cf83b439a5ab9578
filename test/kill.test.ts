import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { tuple } from '../src/pickle/index.js';
import type { PythonValue } from '../src/pickle/index.js';
import { NameServerProcess, ours } from './support/name-server-process.mjs';
import { ConnectionEnded, NameServerClient } from './support/name-server-client.js';

const WRITERS = 12;
const NAMES_PER_WRITER = 8;
const ROUNDS = 4;
const CHANGES_BEFORE_KILL = 300;
/** Long enough that no single write makes it whole by luck. */
const META_FILLER = 'm'.repeat(20_000);

/** What a name is: not registered (null), or its URI, and the number in its metadata. */
interface State {
  readonly uri: string | null;
  readonly meta: number | null;
}
const ABSENT: State = { uri: null, meta: null };

interface Change {
  readonly name: string;
  readonly method: string;
  readonly args: readonly PythonValue[];
  readonly after: State;
}

/** A client that changes names of its own, one after the other, and remembers what was acknowledged. */
class Writer {
  private readonly acknowledged = new Map<string, State>();
  /** The change that was sent, and not answered. */
  private underWay: Change | undefined;
  private changes = 0;

  constructor(private readonly number: number) {}

  get group(): string {
    return `:Kill${this.number}`;
  }

  get names(): string[] {
    return Array.from({ length: NAMES_PER_WRITER }, (_, index) => `${this.group}.name/${index}`);
  }

  /** Writes until the connection ends. */
  async writeTo(client: NameServerClient, onAcknowledged: () => void): Promise<void> {
    try {
      for (;;) {
        const change = this.nextChange();
        this.underWay = change;
        await client.call(change.method, change.name, ...change.args);
        this.settle(change.name, change.after);
        onAcknowledged();
      }
    } catch (error) {
      if (!(error instanceof ConnectionEnded)) throw error;
    }
  }

  /** What a name may be after the kill: as acknowledged, or as the change under way would make it. */
  possible(name: string): State[] {
    const before = this.acknowledged.get(name) ?? ABSENT;
    return this.underWay?.name === name ? [before, this.underWay.after] : [before];
  }

  settle(name: string, state: State): void {
    this.acknowledged.set(name, state);
    if (this.underWay?.name === name) this.underWay = undefined;
  }

  private nextChange(): Change {
    const number = (this.changes += 1);
    const name = `${this.group}.name/${number % NAMES_PER_WRITER}`;
    const { uri, meta } = this.acknowledged.get(name) ?? ABSENT;
    if (uri === null) {
      const newURI = `PYRO://127.0.0.1:7766/${this.number}-${number}`;
      return { name, method: 'register', args: [newURI], after: { uri: newURI, meta: null } };
    }
    if (meta === null) {
      return { name, method: 'setMeta', args: [tuple(number, META_FILLER)], after: { uri, meta: number } };
    }
    return { name, method: 'unregister', args: [], after: ABSENT };
  }
}

async function readState(client: NameServerClient, name: string): Promise<State> {
  const uri = await client.resolve(name);
  if (uri === undefined) return ABSENT;
  const meta = await client.call('getMeta', name);
  if (meta === null) return { uri, meta };
  const [number, filler] = typeof meta === 'object' && 'items' in meta ? meta.items : [];
  expect(filler).toBe(META_FILLER);
  return { uri, meta: typeof number === 'number' ? number : -1 };
}

describe('pyro-ns -d, killed in the middle of changes', () => {
  const writers = Array.from({ length: WRITERS }, (_, number) => new Writer(number));
  let server: NameServerProcess;
  let uri: string;

  beforeAll(async () => {
    server = await NameServerProcess.start(ours, { arguments: ['-d'] });
    ({ uri } = server);
    const client = await NameServerClient.connect(server);
    for (const { group } of writers) await client.call('createGroup', group);
    client.close();
  });
  afterAll(async () => {
    await server.dispose();
  });

  async function writeUntilKilled(): Promise<void> {
    let changes = 0;
    let kill: () => void = () => undefined;
    const time = new Promise<void>((resolve) => (kill = resolve));
    const writing = writers.map(async (writer) => {
      const client = await NameServerClient.connect(server);
      await writer.writeTo(client, () => {
        changes += 1;
        if (changes === CHANGES_BEFORE_KILL) kill();
      });
    });
    await Promise.race([time, Promise.all(writing)]);
    await server.stop('SIGKILL');
    await Promise.all(writing);
  }

  test.each(Array.from({ length: ROUNDS }, (_, round) => round + 1))(
    'has all that it acknowledged, nothing torn, and its URI: kill %i',
    async () => {
      await writeUntilKilled();
      await server.restart();
      expect(server.uri).toBe(uri);

      const client = await NameServerClient.connect(server);
      const registered = [':Pyro.NameServer'];
      for (const writer of writers) {
        for (const name of writer.names) {
          const state = await readState(client, name);
          expect(writer.possible(name)).toContainEqual(state);
          writer.settle(name, state);
          if (state.uri !== null) registered.push(name);
        }
      }
      expect([...(await client.flatlist()).keys()].sort()).toEqual(registered.sort());
      client.close();
    },
  );
});

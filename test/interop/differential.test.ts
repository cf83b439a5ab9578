import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EtcdCluster, lacksEtcd } from '../support/etcd-cluster.mjs';
import { NameServerProcess, ours, real } from '../support/name-server-process.mjs';
import { lacksPyro3 } from '../support/pyro3.js';
import { PythonProcess } from '../support/python-process.js';
import { operation } from './operations.js';
import type { Operation } from './operations.js';
import { comparable, failed, readOutcomes } from './outcomes.js';
import type { Outcome } from './outcomes.js';
import { absoluteName, changesServerItself, RULES } from './rules.js';
import type { Difference } from './rules.js';

// INTEROP_OPERATIONS=100000 INTEROP_SEED=7 npm run test:only -- test/interop/differential
const OPERATIONS = Number(process.env['INTEROP_OPERATIONS'] ?? 1500);
const SEED = Number(process.env['INTEROP_SEED'] ?? Date.now() % 1_000_000);
const SHOWN = 5;

const DATABASE = 'Pyro_NS_database';
const CLIENT_CLASSES = fileURLToPath(new URL('.', import.meta.url));
const UNDO: ReadonlyMap<string, string> = new Map([
  ['register', 'unregister'],
  ['createGroup', 'deleteGroup'],
]);

/** The real name server and ours, and a client that does the same to both. */
class Comparison {
  private refreshes = 0;

  private constructor(
    private readonly persistent: boolean,
    private readonly real: NameServerProcess,
    private readonly ours: NameServerProcess,
    private readonly driver: PythonProcess,
  ) {}

  /**
   * @param persistent whether the real server has a database
   * @param database the options that say where ours keeps its names
   */
  static async start(persistent: boolean, database: readonly string[]): Promise<Comparison> {
    // -k, so that `_shutdown` can be among the operations. The real server imports the classes of the metadata that it
    // is given.
    const realServer = await NameServerProcess.start(real(CLIENT_CLASSES), {
      arguments: persistent ? ['-k', '-d'] : ['-k'],
    });
    const ourServer = await NameServerProcess.start(ours, { arguments: ['-k', ...database] });
    const driver = PythonProcess.start(new URL('driver.py', import.meta.url), [realServer.uri, ourServer.uri]);
    return new Comparison(persistent, realServer, ourServer, driver);
  }

  async stop(): Promise<void> {
    await this.driver.end();
    await Promise.all([this.real.dispose(), this.ours.dispose()]);
  }

  /** @returns the difference that no rule explains */
  async perform(operation: Operation): Promise<Difference | undefined> {
    await this.refreshListings(operation);
    const [real, ours] = await this.ask(operation);
    this.expectNothingOfOurs(ours);
    const difference = this.difference(operation, real, ours);
    await this.removeLeftMetadata(operation, real);
    if (difference === undefined) return undefined;
    await this.undoAtReal(difference);
    return RULES.some((rule) => rule.explains(difference)) ? undefined : difference;
  }

  private async ask(operation: Operation): Promise<[Outcome, Outcome]> {
    const [real, ours] = readOutcomes(await this.driver.ask(operation));
    if (real === undefined || ours === undefined) throw new Error('an answer per server is expected');
    return [real, ours];
  }

  private async askReal(operation: Operation): Promise<Outcome> {
    const [outcome] = readOutcomes(await this.driver.ask({ ...operation, only: 0 }));
    if (outcome === undefined) throw new Error('an answer of the real server is expected');
    return outcome;
  }

  private difference(operation: Operation, real: Outcome, ours: Outcome): Difference | undefined {
    const realText = comparable(operation.method, real, this.real);
    const oursText = comparable(operation.method, ours, this.ours);
    if (realText === oursText) return undefined;
    return { operation, persistent: this.persistent, real, ours, realText, oursText };
  }

  private expectNothingOfOurs(outcome: Outcome): void {
    const text = JSON.stringify(outcome);
    for (const secret of [this.ours.storage, '.js:', 'node:', 'dist/', 'Errno', 'ENO']) {
      expect(text).not.toContain(secret);
    }
  }

  /** Where a name is in the real server's database. */
  private pathAtReal(operation: Operation): string | undefined {
    const parts = absoluteName(operation)?.slice(1).split('.');
    const files = parts?.map((part) => part.replaceAll('/', '\\2f').replaceAll(':', '\\3a'));
    return files && join(this.real.storage, DATABASE, ...files);
  }

  /** Facts, section 10: the real server's listings go stale, until their directories' times change by a second. */
  private async refreshListings({ method }: Operation): Promise<void> {
    if (!this.persistent || !['list', 'flatlist'].includes(method)) return;
    this.refreshes += 1;
    const database = join(this.real.storage, DATABASE);
    const entries = await readdir(database, { withFileTypes: true, recursive: true });
    const directories = entries
      .filter((entry) => entry.isDirectory())
      .map(({ parentPath, name }) => join(parentPath, name));
    await Promise.all([database, ...directories].map((path) => utimes(path, this.refreshes, this.refreshes)));
  }

  /** Facts, section 10: the real server leaves metadata, which a later registration would inherit. */
  private async removeLeftMetadata(operation: Operation, real: Outcome): Promise<void> {
    if (!this.persistent || failed(real) || !['unregister', 'deleteGroup'].includes(operation.method)) return;
    const path = this.pathAtReal(operation);
    if (path === undefined) return;
    await rm(`${path}.ns_meta`, { force: true }).catch((error: unknown) => {
      // A name may fit where its metadata doesn't.
      if (!String(error).includes('ENAMETOOLONG')) throw error;
    });
  }

  /** What only the real server took must not make the two differ from then on. */
  private async undoAtReal({ operation, real, ours }: Difference): Promise<void> {
    const method = UNDO.get(operation.method);
    const [name] = [...operation.args, ...Object.values(operation.keywords ?? {})];
    if (failed(real) || !failed(ours) || method === undefined || name === undefined) return;
    const undone = await this.askReal({ style: 'raw', method, args: [name] });
    if (failed(undone)) throw new Error(`can't undo: ${JSON.stringify(operation)}: ${JSON.stringify(undone)}`);
  }
}

const suite = lacksPyro3('that the real Pyro 3 name server and this one answer alike') ? describe.skip : describe;

/** @param start starts the servers that are compared */
function compare(start: () => Promise<Comparison>): void {
  let comparison: Comparison;
  beforeAll(async () => {
    comparison = await start();
  });
  afterAll(async () => {
    await comparison.stop();
  });

  test(
    `answer ${OPERATIONS} random operations alike (INTEROP_SEED=${SEED})`,
    async () => {
      const unexplained: string[] = [];
      const operations = operation.filter((one) => !changesServerItself(one));
      for (const [index, one] of fc.sample(operations, { numRuns: OPERATIONS, seed: SEED }).entries()) {
        const difference = await comparison.perform(one);
        if (difference === undefined) continue;
        const { realText, oursText } = difference;
        unexplained.push(`${index}: ${JSON.stringify(one)}\n  real: ${realText}\n  ours: ${oursText}`);
      }
      expect(unexplained.slice(0, SHOWN).join('\n')).toBe('');
    },
    20_000 + OPERATIONS * 20,
  );
}

suite('The real name server and ours, in memory', () => {
  compare(() => Comparison.start(false, []));
});

suite('The real name server and ours, with a database', () => {
  compare(() => Comparison.start(true, ['-d']));
});

const suiteWithEtcd = lacksEtcd('that the real Pyro 3 name server answers like this one with etcd')
  ? describe.skip
  : suite;

// Names may be as long in etcd as in memory.
suiteWithEtcd('The real name server in memory, and ours with etcd', () => {
  let cluster: EtcdCluster;
  beforeAll(async () => {
    cluster = await EtcdCluster.start();
  });
  afterAll(() => cluster.stop());

  compare(() => Comparison.start(false, ['-d', cluster.url('/pyro')]));
});

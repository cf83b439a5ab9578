import { isDeepStrictEqual } from 'node:util';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Name } from '../../names/index.js';
import {
  changesOf,
  keyOf,
  restartsOf,
  ROLES,
  Simulation,
  stepsOf,
  type SimulationOptions,
  type Step,
} from './pair.model.js';
import { isNewer, type NameRecord } from './records.js';

const OBJECTS = [':a', ':b', ':g.x', ':g.h.y'];
const GROUPS = [':g', ':g.h'];

/** The same steps each time. `scripts/campaigns/pair-model.mjs` looks further: so many runs, of other steps each time. */
const MORE_RUNS = Number(process.env['PAIR_RUNS'] ?? 0);
const RUNS = MORE_RUNS > 0 ? { numRuns: MORE_RUNS } : { numRuns: 40, seed: 14 };
if (MORE_RUNS > 0) jest.setTimeout(3_600_000);

let simulation: Simulation | undefined;

beforeEach(() => {
  jest.spyOn(Date, 'now').mockImplementation(() => simulation?.now() ?? 0);
});

afterEach(() => {
  jest.restoreAllMocks();
});

const options: fc.Arbitrary<SimulationOptions> = fc.record({
  difference: fc.constantFrom(0, -3000, 3000),
  queue: fc.constantFrom(1000, 2),
  identification: fc.constantFrom(undefined, 'secret'),
});

/** Runs the steps, then lets the two servers become equal. */
async function run(steps: readonly Step[], given: SimulationOptions): Promise<Simulation> {
  simulation = undefined;
  simulation = new Simulation(given);
  try {
    for (const step of steps) await simulation.take(step);
    await simulation.finish();
  } finally {
    await simulation.stop();
  }
  return simulation;
}

/**
 * What must be equal in the end. Where the last name of a group is removed at one server while the group is removed at the
 * other, the empty group may stay at one of them: it has nothing to lose.
 */
async function expectEqual({ servers }: Simulation): Promise<Record<string, unknown>> {
  const primary = withoutEmptyGroups(await servers.primary.contents());
  expect(withoutEmptyGroups(await servers.secondary.contents())).toEqual(primary);
  return primary;
}

function withoutEmptyGroups(contents: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const isEmptyGroup = ([, content]: [string, unknown]): boolean => isDeepStrictEqual(content, ['a group', null]);
  const filled = Object.entries(contents).filter((entry) => !isEmptyGroup(entry));
  return Object.fromEntries(
    Object.entries(contents).filter(
      (entry) => !isEmptyGroup(entry) || filled.some(([name]) => name.startsWith(`${entry[0]}.`)),
    ),
  );
}

const contentOf = (record: NameRecord | undefined): unknown =>
  record?.state && [record.state.uri?.toString() ?? 'a group', record.state.userMeta];

test('without restarts: both are equal, each name is what its newest change made it, and what lost is in a log', async () => {
  await fc.assert(
    fc.asyncProperty(stepsOf(changesOf(OBJECTS, GROUPS)), options, async (steps, given) => {
      const ended = await run(steps, given);
      const contents = await expectEqual(ended);
      for (const text of OBJECTS) {
        const newest = ended.newest(Name.parse(text));
        expect([text, contents[text]]).toEqual([text, contentOf(newest)]);
        expectLossIsLogged(ended, Name.parse(text), newest);
      }
    }),
    RUNS,
  );
});

/** True where who made the newest change had seen the other one, or the same content under that name. */
function isKnown({ made, knownAt }: Simulation, last: NameRecord, newest: NameRecord): boolean {
  const known = knownAt.get(keyOf(newest));
  const seen = made.filter((record) => record !== newest && record.name.equals(last.name) && known?.has(keyOf(record)));
  const latest = seen.reduce<NameRecord | undefined>(
    (one, record) => (one === undefined || isNewer(record.timestamp, one.timestamp) ? record : one),
    undefined,
  );
  return known?.has(keyOf(last)) === true || isDeepStrictEqual(contentOf(latest), contentOf(last));
}

/** Where each side changed a name without knowing of the other's change, a log names what lost. */
function expectLossIsLogged(ended: Simulation, name: Name, newest: NameRecord | undefined): void {
  if (newest === undefined) return;
  for (const role of ROLES) {
    const last = ended.newest(name, role);
    if (last?.state === undefined || role === newest.timestamp.role) continue;
    if (isKnown(ended, last, newest) || JSON.stringify(contentOf(last)) === JSON.stringify(contentOf(newest))) continue;
    const start = `${name.toString()} (${last.state.uri?.toString() ?? 'a group'}`;
    const isLogged = ended.logged.some((line) => line.includes(start) && line.includes(' is lost: '));
    expect([keyOf(last), keyOf(newest), isLogged]).toEqual([keyOf(last), keyOf(newest), true]);
  }
}

test('objects and groups of the same names: both are equal in the end', async () => {
  const changes = changesOf([':a', ':a.b', ':c'], [':a', ':a.b', ':c']);
  await fc.assert(
    fc.asyncProperty(stepsOf(changes), options, async (steps, given) => {
      await expectEqual(await run(steps, given));
    }),
    RUNS,
  );
});

describe('with restarts', () => {
  const changes = changesOf(OBJECTS, GROUPS);

  test('of one: both are equal, and nothing is lost of what the other one knew as the newest', async () => {
    const steps = stepsOf(changes, restartsOf(['secondary'], [true, false]));
    await fc.assert(
      fc.asyncProperty(steps, options, async (taken, given) => {
        const ended = await run(taken, given);
        const contents = await expectEqual(ended);
        const known = OBJECTS.map((text) => [text, ended.newest(Name.parse(text))] as const).filter(
          ([, newest]) => newest?.state !== undefined && ended.seen.primary.has(keyOf(newest)),
        );
        expect(known.map(([text]) => [text, contents[text]])).toEqual(
          known.map(([text, newest]) => [text, contentOf(newest)]),
        );
      }),
      RUNS,
    );
  });

  test('of both, each with its names: both are equal, and no name is lost that nobody removed', async () => {
    const steps = stepsOf(changes, restartsOf(ROLES, [true]));
    await fc.assert(
      fc.asyncProperty(steps, options, async (taken, given) => {
        const ended = await run(taken, given);
        const contents = await expectEqual(ended);
        const isRemoved = (name: Name): boolean =>
          ended.made.some((record) => record.state === undefined && name.isWithin(record.name));
        const kept = OBJECTS.map((text) => Name.parse(text)).filter(
          (name) => ended.newest(name) !== undefined && !isRemoved(name),
        );
        expect(Object.keys(contents)).toEqual(expect.arrayContaining(kept.map((name) => name.toString())));
      }),
      RUNS,
    );
  });

  test('of both, also without their names: both are equal', async () => {
    const steps = stepsOf(changes, restartsOf(ROLES, [true, false]));
    await fc.assert(
      fc.asyncProperty(steps, options, async (taken, given) => {
        await expectEqual(await run(taken, given));
      }),
      RUNS,
    );
  });
});

import { describe, expect, it } from '@jest/globals';
import { Name, PyroURI } from '../names/index.js';
import { MemoryNamespace } from './memory.js';
import { namespaceSuite } from './namespace.suite.js';

namespaceSuite('MemoryNamespace', () => {
  const namespace = new MemoryNamespace();
  return Promise.resolve({ namespace, dispose: () => namespace.close() });
});

describe('MemoryNamespace', () => {
  it('answers resolveNow', async () => {
    const namespace = new MemoryNamespace();
    const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1b2c3');
    await namespace.register(Name.parse(':object'), uri);
    expect(namespace.resolveNow(Name.parse(':object'))).toBe(uri);
  });

  it('holds a group of 100,000, and lets others run while all are listed, exported and counted', async () => {
    const namespace = new MemoryNamespace();
    const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1b2c3');
    await namespace.createGroup(Name.parse(':g'));
    for (let index = 0; index < 100_000; index += 1) await namespace.register(Name.parse(`:g.n${index}`), uri);
    /** How often others ran while this was done. */
    const turnsDuring = async (work: () => Promise<void>): Promise<number> => {
      let [isOver, turns] = [false, 0];
      const turn = (): void => {
        if (isOver) return;
        turns += 1;
        setImmediate(turn);
      };
      setImmediate(turn);
      await work();
      isOver = true;
      return turns;
    };
    let [listed, exported] = [0, 0];
    const ofList = await turnsDuring(async () => {
      for await (const batch of namespace.flatlist()) listed += batch.length;
    });
    const ofExport = await turnsDuring(async () => {
      for await (const { uri: found } of namespace.export()) if (found !== undefined) exported += 1;
    });
    const ofCount = await turnsDuring(async () => {
      expect(await namespace.count()).toEqual({ groups: 1, objects: 100_000 });
    });
    expect([listed, exported]).toEqual([100_000, 100_000]);
    expect([ofList, ofExport, ofCount]).toEqual([100, 100, 3]);
    expect(await namespace.list(Name.parse(':g'))).toHaveLength(100_000);
  });
});

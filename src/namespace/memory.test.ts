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

  it('holds a group of 100,000, and lets others run while all are listed', async () => {
    const namespace = new MemoryNamespace();
    const uri = PyroURI.parse('PYRO://127.0.0.1:7766/7f00000100a1b2c3');
    await namespace.createGroup(Name.parse(':g'));
    for (let index = 0; index < 100_000; index += 1) await namespace.register(Name.parse(`:g.n${index}`), uri);
    let turns = 0;
    const turning = setInterval(() => (turns += 1), 0);
    let count = 0;
    for await (const batch of namespace.flatlist()) count += batch.length;
    clearInterval(turning);
    expect(count).toBe(100_000);
    expect(turns).toBeGreaterThan(1);
    expect(await namespace.list(Name.parse(':g'))).toHaveLength(100_000);
  });
});

import { expect, test } from '@jest/globals';
import { config, startNameServer } from '../../test/console-fixture.js';
import { Sessions } from './sessions.js';

test('name servers that are found at the same time are told apart', async () => {
  await using first = await startNameServer();
  await using second = await startNameServer();
  const sessions = new Sessions(config);
  const found = await Promise.all([first, second].map(({ port }) => sessions.find({ host: '127.0.0.1', port })));
  expect(new Set(found.map(({ id }) => id)).size).toBe(2);
  expect(sessions.descriptions).toEqual(found);
  sessions.close();
});

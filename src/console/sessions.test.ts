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

test('a search leaves the settings as they are, also where it finds the second server of a pair', async () => {
  await using second = await startNameServer();
  const own = { ...config, PYRO_NS_HOSTNAME: '127.0.0.1', PYRO_NS_PORT: 1 };
  Object.assign(own, { PYRO_NS2_HOSTNAME: '127.0.0.1', PYRO_NS2_PORT: second.port });
  const before = { ...own };
  const sessions = new Sessions(own);
  expect(await sessions.find({})).toMatchObject({ address: second.address });
  expect(own).toEqual(before);
  sessions.close();
});

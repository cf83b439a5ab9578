import { expect, test } from '@jest/globals';
import { loadConfig, silentLog } from '../../config/index.js';
import { PyroError } from '../../errors.js';
import { TwinFinder } from './finder.js';

test('what a stranger answers can not command the terminal', async () => {
  const lines: string[] = [];
  const finder = new TwinFinder({
    config: loadConfig({ environment: {}, currentDirectory: '/' }),
    log: silentLog,
    print: (line) => lines.push(line),
    role: 'primary',
    protocol: 'PYRO',
    address: undefined,
    broadcast: () => Promise.reject(new PyroError('\x1b]0;owned\x07')),
  });
  await finder.locate('Locating twin NameServer.');
  expect(lines).toEqual(['Locating twin NameServer.', 'WARNING: Cannot find twin NS yet:  \\x1b]0;owned\\x07']);
});

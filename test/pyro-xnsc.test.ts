import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, it } from '@jest/globals';

const program = fileURLToPath(new URL('../dist/commands/pyro-xnsc.js', import.meta.url));

it('prints an address that lets its bearer in, and stops on a signal', async () => {
  const console = spawn(process.execPath, [program, '--no-open', '-h', '127.0.0.1', '-p', '1'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exit = once(console, 'exit');
  try {
    let address = '';
    for await (const line of createInterface(console.stdout)) {
      [, address = ''] = /^The console is at (.*)$/.exec(line) ?? [];
      break;
    }
    const [origin = '', token = ''] = address.split('#token=');
    const page = await fetch(origin);
    expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('<script type="module"')]);
    const reply = await fetch(`${origin}api/servers`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: '{}',
    });
    expect([reply.status, await reply.json()]).toEqual([200, { servers: [] }]);
  } finally {
    console.kill('SIGTERM');
  }
  expect(await exit).toEqual([0, null]);
});

it.each([
  ['-p', 'x'],
  ['--listen', '65536'],
  ['--unknown', ''],
])('refuses %s %s', (option, value) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, '--no-open', option, value], {
    encoding: 'utf8',
  });
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr).toMatch(/^pyro-xnsc: .*\nTry pyro-xnsc --help\n$/);
});

import { rmSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Writes a page that leads a browser to a secret address, and gives its path. Every user of the machine can see what a browser is
 * started with; this page only we can read. It is removed when the process ends.
 * @param address without characters that mean something in HTML
 * @throws the system's error
 */
export async function writeRedirectPage(address: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'pyro-console-'));
  process.once('exit', () => {
    rmSync(directory, { recursive: true, force: true });
  });
  const path = join(directory, 'console.html');
  await writeFile(path, pageOf(address), { mode: 0o600, flag: 'wx' });
  return path;
}

const pageOf = (address: string): string => `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="referrer" content="no-referrer">
    <meta http-equiv="refresh" content="0; url=${address}">
    <title>Pyro console</title>
  </head>
  <body><a href="${address}">The console</a></body>
</html>
`;

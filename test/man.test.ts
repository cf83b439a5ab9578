import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

const file = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const commands = ['pyro-genguid', 'pyro-ns', 'pyro-nsc', 'pyro-nssvc', 'pyro-xnsc'];

/** The options in a text, as they are written: `-h`, `--host`. */
const optionsIn = (text: string): string[] =>
  [...new Set(text.match(/(?<![\w-])(-[a-z12]|--[a-z][a-z-]*)(?![\w-])/g) ?? [])].sort();

/** A section of a man page, as plain text. */
function section(page: string, title: string): string {
  const [, text = ''] = page.split(new RegExp(`^\\.SH ${title}$`, 'm'));
  return (text.split(/^\.SH /m)[0] ?? '').replaceAll('\\-', '-').replaceAll(/\\f[BRIP]/g, '');
}

/** What stands at the beginning of each entry of a section. */
const entries = (page: string, title: string): string[] =>
  [...section(page, title).matchAll(/^\.TP\n(.*)$/gm)].map(([, entry = '']) => entry.replaceAll('"', ' '));

describe.each(commands)('the man page of %s', (name) => {
  const page = readFileSync(file(`man/${name}.1`), 'utf8');
  const { stdout: help } = spawnSync(process.execPath, [file(`dist/commands/${name}.js`), '--help'], {
    encoding: 'utf8',
  });

  test('has the options that the command has', () => {
    const [, listed = ''] = help.split(/^Options:$/m);
    const known = listed.split('\n').filter((line) => /^ {2,}-/.test(line));
    // What the columns begin with: descriptions may name options of others.
    const expected = known.flatMap((line) => optionsIn(line.split(/ {2,}(?=[A-Z])/)[0] ?? ''));
    // Not in the list of options, but in what is said of --open.
    const own = optionsIn(entries(page, 'OPTIONS').join('\n')).filter((option) => option !== '--no-open');
    expect(own).toEqual([...new Set(expected)].sort());
  });

  test('has the commands that it has', () => {
    const [, listed = ''] = /^Commands:\n([^]*?)\n\n/m.exec(help) ?? [];
    const expected = [...listed.matchAll(new RegExp(`^ {2}${name} ([a-z]+)`, 'gm'))].map(([, command]) => command);
    const own = entries(page, 'COMMANDS').map((entry) => entry.replace(/^\.BR? /, '').split(/ /)[0]);
    expect(own).toEqual(expected);
  });
});

test('the package has all man pages', () => {
  const pages = readdirSync(file('man')).map((page) => `man/${page}`);
  const manifest: unknown = JSON.parse(readFileSync(file('package.json'), 'utf8'));
  expect(manifest).toMatchObject({ man: pages.sort(), files: expect.arrayContaining(['man']) });
  expect(pages).toEqual(expect.arrayContaining(commands.map((name) => `man/${name}.1`)));
});

import { readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import { CONFIG_GROUPS, CONFIG_ITEMS, ITEM_NAMES } from './items.js';

it('has each item in one group', () => {
  expect(CONFIG_GROUPS.flatMap((group) => group.items)).toEqual(ITEM_NAMES);
});

it('agrees with docs/configuration.md', () => {
  const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
  const documented = page
    .split(/^## /m)
    .slice(1)
    .map((section) => ({
      title: section.slice(0, section.indexOf('\n')),
      rows: section
        .split('\n')
        .filter((line) => line.startsWith('| PYRO'))
        .map((line) =>
          line
            .split('|')
            .slice(1, -1)
            .map((cell) => cell.trim()),
        ),
    }))
    .filter(({ rows }) => rows.length > 0);
  const expected = CONFIG_GROUPS.map(({ title, items }) => ({
    title,
    rows: items.map((name) => {
      const { kind, defaultText, meaning } = CONFIG_ITEMS[name];
      return [name, kind.type, defaultText && `\`${defaultText}\``, meaning];
    }),
  }));
  expect(documented).toEqual(expected);
});

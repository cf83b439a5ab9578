// Builds the console's page into dist/console/page: one script, one style sheet, what they are made of and its licences.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = `${root}src/console/page/`;
const target = `${root}dist/console/page/`;

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: [`${source}main.tsx`, `${source}main.css`],
  outdir: target,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  metafile: true,
  legalComments: 'none',
  logLevel: 'warning',
});

mkdirSync(target, { recursive: true });
for (const file of ['index.html', 'icon.svg']) copyFileSync(source + file, target + file);

const packages = new Set();
for (const input of Object.keys(metafile.inputs)) {
  const [, name] = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input) ?? [];
  if (name !== undefined) packages.add(name);
}
const licences = [...packages].sort().map((name) => {
  const directory = `${root}node_modules/${name}/`;
  const file = readdirSync(directory).find((entry) => /^licen[cs]e/i.test(entry));
  if (file === undefined) throw new Error(`${name} has no licence file`);
  return `${name}\n\n${readFileSync(directory + file, 'utf8').trim()}\n`;
});
writeFileSync(`${target}licences.txt`, licences.join('\n---\n\n'));

/** What is shipped: the package that `npm pack` makes, and the image that the Dockerfile describes. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

const root = fileURLToPath(new URL('..', import.meta.url));
const inRoot = (path: string): string => join(root, path);
const run = promisify(execFile);

/** What a package file says of programs or dependencies, by name. */
function namesIn(packageFile: unknown, field: 'bin' | 'dependencies'): [name: string, value: unknown][] {
  const fields = new Map<string, unknown>(Object.entries(packageFile ?? {}));
  return Object.entries(fields.get(field) ?? {});
}

/** A program of somebody who uses the package: a daemon, a proxy, a name server and a pickle. */
const PROGRAM = `
const config = loadConfig({ environment: {}, currentDirectory: '/' });
const options = { config, log: silentLog };
const daemon = await Daemon.start({ ...options, host: '127.0.0.1', port: 0, norange: true });
const uri = await daemon.connect(new Thermometer());
const thermometer = getProxyForURI/*<Thermometer>*/(uri, options);
const degrees/*: number*/ = await thermometer.warm(2);
await thermometer._release();
await daemon.shutdown();
const then/*: Date | undefined*/ = toDate(loads(dumps(new Date(0))));
console.log(degrees, then?.getTime());
`;
const IMPORTS = `import { Daemon, dumps, getProxyForURI, loadConfig, loads, silentLog, toDate } from 'pyro-ns';\n`;
const CLASS = `class Thermometer { warm(by/*: number*/)/*: number*/ { return 20.5 + by; } }\n`;

describe('the package', () => {
  let project: string;
  let packageFile: unknown;

  beforeAll(async () => {
    project = await mkdtemp(join(tmpdir(), 'pyro-package-'));
    const modules = join(project, 'node_modules');
    await mkdir(join(modules, 'pyro-ns'), { recursive: true });
    // The tests run on what has been built.
    const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', project], {
      cwd: root,
    });
    await run('tar', ['-xzf', join(project, stdout.trim()), '--strip-components=1', '-C', join(modules, 'pyro-ns')]);
    packageFile = JSON.parse(await readFile(join(modules, 'pyro-ns/package.json'), 'utf8'));
    // Nothing but what it says it depends on, and what a project in TypeScript has anyway.
    for (const name of [...namesIn(packageFile, 'dependencies').map(([name]) => name), '@types/node']) {
      await mkdir(dirname(join(modules, name)), { recursive: true });
      await symlink(inRoot(`node_modules/${name}`), join(modules, name));
    }
    await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'a-project', type: 'module' }));
  });
  afterAll(() => rm(project, { recursive: true }));

  const node = (...args: string[]) => run(process.execPath, args, { cwd: project });

  it('works from JavaScript', async () => {
    await writeFile(join(project, 'main.js'), IMPORTS + CLASS + PROGRAM);
    expect(await node('main.js')).toEqual({ stdout: '22.5 0\n', stderr: '' });
  });

  it('works from CommonJS', async () => {
    await writeFile(join(project, 'main.cjs'), `console.log(typeof require('pyro-ns').getProxyForURI);`);
    expect(await node('main.cjs')).toEqual({ stdout: 'function\n', stderr: '' });
  });

  it('works from TypeScript, checked as strictly as can be, with its types', async () => {
    const typed = (IMPORTS + CLASS + PROGRAM).replaceAll(/\/\*(.*?)\*\//g, '$1');
    const wrong =
      "// @ts-expect-error: not a number\nexport const wrong = () => getProxyForURI<Thermometer>(uri).warm('2');\n";
    await writeFile(join(project, 'main.ts'), typed + wrong);
    await node(
      inRoot('node_modules/typescript/bin/tsc'),
      ...'--strict --target es2022 --module nodenext main.ts'.split(' '),
    );
    expect(await node('main.js')).toEqual({ stdout: '22.5 0\n', stderr: '' });
  }, 120_000);

  it('has all the programs', async () => {
    const answers = namesIn(packageFile, 'bin').map(async ([name, file]) => {
      const program = join(project, 'node_modules/pyro-ns', String(file));
      const [help, version] = await Promise.all([node(program, '--help'), node(program, '--version')]);
      expect({ name, stderr: help.stderr }).toEqual({ name, stderr: '' });
      expect(help.stdout).toContain(name.replace('wxnsc', 'xnsc'));
      expect(packageFile).toHaveProperty('version', version.stdout.trimEnd());
    });
    expect(answers).toHaveLength(6);
    await Promise.all(answers);
  });
});

describe('the image', () => {
  it('is built of all that the build needs', async () => {
    const image = await mkdtemp(join(tmpdir(), 'pyro-image-'));
    try {
      const dockerfile = await readFile(inRoot('Dockerfile'), 'utf8');
      const allowed = (await readFile(inRoot('.dockerignore'), 'utf8'))
        .split('\n')
        .filter((line) => line.startsWith('!'));
      const copies = Array.from(dockerfile.matchAll(/^COPY (?!--from)(.*) (\S+)$/gm), ([, from = '', to = '']) => ({
        from,
        to,
      }));
      for (const { from, to } of copies) {
        for (const source of from.split(' ')) {
          expect(allowed).toContain(`!${source}`);
          const isFile = to.endsWith('/');
          await cp(inRoot(source), join(image, isFile ? join(to, source.split('/').at(-1) ?? '') : to), {
            recursive: true,
            filter: (file) => !file.endsWith('.test.ts'),
          });
        }
      }
      await symlink(inRoot('node_modules'), join(image, 'node_modules'));
      const there = { cwd: image };
      const { stdout } = await run(
        process.execPath,
        ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--showConfig'],
        there,
      );
      expect(stdout).toContain('./src/commands/pyro-ns.ts');
      await run(process.execPath, ['scripts/build-console.mjs'], there);
      await expect(readFile(join(image, 'dist/console/page/main.js'), 'utf8')).resolves.toContain('api/');
    } finally {
      await rm(image, { recursive: true });
    }
  });
});

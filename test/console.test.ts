import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { Console } from '../src/console/index.js';
import { Name, PyroURI } from '../src/names/index.js';
import { PythonClass, PythonInstance, tuple, type PythonValue } from '../src/pickle/index.js';
import {
  config,
  connectPage,
  hasChromium,
  launchChromium,
  startNameServer,
  type TestServer,
} from './console-fixture.js';
import { ServerPair } from './support/pair.js';

const pageDirectory = fileURLToPath(new URL('../dist/console/page', import.meta.url));
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Screenshots for the documentation are taken where this is set. */
const pictures = process.env['CONSOLE_PICTURES'];

const describeInChromium = hasChromium ? describe : describe.skip;
if (!hasChromium) process.stderr.write('SKIPPED: the console in a browser, as there is no /usr/bin/chromium\n');

describeInChromium('the console in Chromium', () => {
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let server: TestServer;
  let console: Console;
  let problems: string[];

  const uri = (id: string): PyroURI => new PyroURI('PYRO', '127.0.0.1', server.port, id);
  const register = (name: string, id = 'an-object') => server.namespace.register(Name.parse(name), uri(id));
  const item = (name: string | RegExp) => page.getByRole('treeitem', { name });
  const line = (text: string | RegExp) => page.getByRole('log').getByText(text);
  const details = (name: string) => page.getByRole('complementary', { name: `Details of ${name}` });
  const command = async (name: string): Promise<void> => {
    await page.getByRole('button', { name: /^What to do with/ }).click();
    await page.getByRole('menuitem', { name }).click();
  };
  const tree = () => page.getByRole('tree');
  const picture = async (name: string): Promise<void> => {
    if (pictures !== undefined) await page.screenshot({ path: `${pictures}/${name}.png` });
  };
  const expectNoViolations = async (): Promise<void> => {
    // Colours that are on their way to others are not to be judged.
    await page.evaluate(
      'Promise.allSettled(document.getAnimations().filter((it) => it instanceof CSSTransition).map((it) => it.finished))',
    );
    await page.evaluate(axeSource);
    const found = await page.evaluate<{ id: string; nodes: { html: string }[] }[]>(
      'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ html }) => ({ html })) })))',
    );
    expect(found).toEqual([]);
  };

  beforeAll(async () => {
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser.close();
  });
  beforeEach(async () => {
    server = await startNameServer();
    console = await Console.start({ config, pageDirectory });
    context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce' });
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    page = await context.newPage();
    page.setDefaultTimeout(8000);
    problems = [];
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('dialog', (dialog) => problems.push(`dialog: ${dialog.message()}`));
    page.on('console', (message) => {
      if (message.text().includes('Content Security Policy')) problems.push(message.text());
    });
  });
  afterEach(async () => {
    await context.close();
    await console.close();
    await server[Symbol.asyncDispose]();
    expect(problems).toEqual([]);
  });

  /** Opens the page, connected to the server. */
  const open = async (): Promise<void> => {
    await console.connect({ host: '127.0.0.1', port: server.port });
    await page.goto(console.address);
    await tree().waitFor();
  };

  it('does all that the old tools do', async () => {
    await page.goto(console.issueAddress());
    await connectPage(page, server.address);
    await line(`Connected; URI PYRO://${server.address}/`).waitFor();
    expect(page.url()).toBe(console.origin);

    await command('Ping');
    await line(/Ping: up and running/).waitFor();

    await command('New group…');
    await page.getByRole('textbox', { name: 'Name' }).fill(':Robots');
    await page.getByRole('button', { name: 'Create group' }).click();
    await line('Created group :Robots').waitFor();

    await command('Register a name…');
    await page.getByRole('textbox', { name: 'Name' }).fill(':Robots.arm');
    await page.getByLabel('URI', { exact: true }).fill('PYRO://127.0.0.1:1/no-object');
    await page.getByRole('button', { name: 'Register', exact: true }).click();
    await details(':Robots.arm').getByText('Not running').waitFor();

    await page.getByRole('button', { name: 'Set metadata…' }).click();
    await page.getByText('JSON: lists').click();
    await page.getByRole('textbox', { name: 'Metadata' }).fill('{"hall": [3, null, "Süd"]}');
    await page.getByRole('button', { name: 'Set metadata', exact: true }).click();
    await details(':Robots.arm').getByText('Süd').waitFor();
    expect(await server.namespace.getMeta(Name.parse(':Robots.arm'))).toEqual(new Map([['hall', [3, null, 'Süd']]]));

    await command('Resolve a name…');
    await page.getByRole('textbox', { name: 'Name' }).fill(':Robots.leg');
    await page.getByRole('button', { name: 'Resolve', exact: true }).click();
    await page.getByRole('alert').getByText('name not found').waitFor();
    await page.getByRole('textbox', { name: 'Name' }).fill(':Robots.arm');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').getByText('PYRO://127.0.0.1:1/no-object').waitFor();
    await page.keyboard.press('Escape');

    await command('Resync with its twin…');
    await page.getByRole('button', { name: 'Resync', exact: true }).click();
    await page.getByRole('alert').getByText("NS is not running in 'primary' or 'secondary' mode").waitFor();
    await page.keyboard.press('Escape');

    await page.getByRole('button', { name: 'Remove…' }).click();
    await page.getByRole('button', { name: 'Remove 1 name' }).click();
    await line('Removed :Robots.arm').waitFor();
    await expect(server.namespace.resolve(Name.parse(':Robots.arm'))).rejects.toThrow('name not found');

    await page.getByRole('button', { name: 'List all' }).click();
    await page.getByRole('option', { name: /:Pyro\.NameServer/ }).waitFor();

    await command('Shut down…');
    await page.getByRole('button', { name: 'Shut down', exact: true }).click();
    await line('Asked to shut down: Will shut down shortly').waitFor();
    await line(/Connection to .* lost/).waitFor();
  });

  it('asks before a group goes, and says how much', async () => {
    await server.namespace.createGroup(Name.parse(':a'));
    await server.namespace.createGroup(Name.parse(':a.b'));
    await register(':a.b.one');
    await register(':a.b.two');
    await open();
    await item(/^a\b/).click();
    await page.getByRole('button', { name: 'Delete group…' }).click();
    await page.getByText('with it 2 names and 1 group').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await expect(server.namespace.list(Name.parse(':a.b'))).resolves.toHaveLength(2);
    await page.getByRole('button', { name: 'Delete group…' }).click();
    await page.getByRole('button', { name: 'Delete the group and 2 names and 1 group' }).click();
    await line('Deleted group :a, with 2 names and 1 group').waitFor();
    await item(/^a\b/).waitFor({ state: 'detached' });
  });

  it('shows a name in full, and whether its object answers', async () => {
    await server.namespace.createGroup(Name.parse(':Robots'));
    const own = await server.namespace.resolve(Name.parse(':Pyro.NameServer'));
    await server.namespace.register(Name.parse(':Robots.arm'), own);
    await register(':Robots.leg', 'gone');
    const cycle: PythonValue[] = ['round'];
    cycle.push(cycle);
    let bomb: PythonValue[] = [];
    for (let level = 0; level < 30; level++) bomb = [bomb, bomb];
    const state = new Map<PythonValue, PythonValue>([
      ['location', 'hall 3'],
      ['axes', 6],
      ['calibrated', tuple(0.5, 1.25, -3)],
      [
        'maker',
        new Map<PythonValue, PythonValue>([
          ['name', 'Ärmchen GmbH'],
          ['since', 1998],
        ]),
      ],
      ['note', '<script>alert(1)</script>'],
      ['cycle', cycle],
      ['bomb', bomb],
    ]);
    await server.namespace.setMeta(
      Name.parse(':Robots.arm'),
      new PythonInstance('newobj', new PythonClass('factory', 'Robot'), tuple(), state),
    );
    await open();
    await item(/^Robots\b/).click();
    await item(/^arm\b/).click();
    const arm = details(':Robots.arm');
    await arm.getByText('Answers').waitFor();
    await arm.getByText('factory.Robot').waitFor();
    await arm.getByText('<script>alert(1)</script>').waitFor();
    await arm.getByText('again').first().waitFor();
    await arm.getByRole('button', { name: 'Copy URI' }).click();
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe(own.toString());
    await expectNoViolations();
    await picture('console');
    await page.emulateMedia({ colorScheme: 'dark' });
    await expectNoViolations();
    await picture('console-dark');
    await item(/^leg\b/).click();
    await details(':Robots.leg').getByText('Gone', { exact: true }).waitFor();
    await page.setViewportSize({ width: 390, height: 800 });
    await expectNoViolations();
    await picture('console-phone');
    await page.getByRole('button', { name: 'Back to the names' }).click();
    await expectNoViolations();
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
  });

  it('shows what others change', async () => {
    await register(':Default.old');
    await open();
    await item(/^Default\b/).click();
    await item(/^old\b/).waitFor();
    await register(':Default.new');
    await item(/^new\b/).waitFor();
    await line('1 name appeared in :Default').waitFor();
    await item(/^new\b/).click();
    await server.namespace.setMeta(Name.parse(':Default.new'), 'changed elsewhere');
    await details(':Default.new').getByText('changed elsewhere').waitFor();
    await server.namespace.unregister(Name.parse(':Default.new'));
    await page.getByText('This name is gone.').waitFor();
    await item(/^new\b/).waitFor({ state: 'detached' });
    expect(await item(/^old\b/).isVisible()).toBe(true);
  });

  it('scrolls and filters a group of 100,000 names', async () => {
    await server.namespace.createGroup(Name.parse(':Sensors'));
    for (let index = 0; index < 100_000; index++) await register(`:Sensors.s${String(index).padStart(6, '0')}`);
    await open();
    await item(/^Sensors\b/).click();
    await page.getByText('100,000', { exact: true }).waitFor();
    await page.keyboard.press('Tab');
    await tree().focus();
    await page.keyboard.press('End');
    await item(/^s099999\b/).waitFor();
    expect(await page.getByRole('treeitem').count()).toBeLessThan(100);
    const usualFrame = await page.evaluate<number>(`new Promise((resolve) => {
      const list = document.querySelector('[role=tree]');
      let count = 0, before = performance.now();
      const lengths = [];
      const step = (now) => {
        lengths.push(now - before);
        before = now;
        list.scrollTop -= 20011;
        if (++count < 20) requestAnimationFrame(step);
        else resolve(lengths.sort((one, other) => one - other)[10]);
      };
      requestAnimationFrame(step);
    })`);
    expect(usualFrame).toBeLessThan(250);
    await page.keyboard.press('/');
    await page.keyboard.type('sensors 0777');
    await page.getByText('120 names', { exact: true }).waitFor({ timeout: 30_000 });
    await page.getByRole('option').first().click();
    await details(':Sensors.s000777').waitFor();
    await picture('console-filter');
  }, 90_000);

  it('outlives a server that dies and returns', async () => {
    await open();
    await server[Symbol.asyncDispose]();
    await line(/Connection to .* lost/).waitFor();
    const { port } = server;
    server = await startNameServer({ port });
    await register(':Default.after');
    await line(`${server.address} is back`).waitFor();
    await item(/^Default\b/).click();
    await item(/^after\b/).waitFor();
    expect(await page.getByRole('heading', { name: server.address }).isVisible()).toBe(true);
  });

  it('takes another identification where the first is wrong, and shows none', async () => {
    await using guarded = await startNameServer({ identification: 'swordfish' });
    const requests: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(console.address);
    await connectPage(page, guarded.address, 'wrong');
    await page.getByRole('alert').getByText('security reasons').waitFor();
    await expectNoViolations();
    await connectPage(page, guarded.address, 'swordfish');
    await tree().waitFor();
    await item(/^Pyro\b/).click();
    await item(/^NameServer\b/).click();
    await details(':Pyro.NameServer').getByText('Answers').waitFor();
    expect(await page.content()).not.toContain('swordfish');
    expect(requests.join('\n')).not.toContain('swordfish');
    expect(requests.join('\n')).not.toContain('token=');
  });

  it('finds a name server by broadcast', async () => {
    const listener = createSocket('udp4');
    const found = await server.namespace.resolve(Name.parse(':Pyro.NameServer'));
    listener.on('message', (question, { port, address }) => {
      if (question.toString() === 'location') listener.send(found.toString(), port, address);
    });
    listener.bind(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address();
    const settings = { ...config, PYRO_NS_BC_PORT: port, PYRO_NS2_BC_PORT: port };
    await using finder = await Console.start({ config: settings, pageDirectory });
    try {
      await page.goto(finder.address);
      await page.getByLabel('Broadcast address').fill('127.0.0.1');
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: server.address }).waitFor();
      await item(/^Pyro\b/).waitFor();
      expect(await item(/^Pyro\b/).isVisible()).toBe(true);
    } finally {
      listener.close();
    }
  });

  it('shows a pair side by side, and compares it', async () => {
    await using twin = await startNameServer();
    await register(':Default.both');
    await twin.namespace.register(Name.parse(':Default.both'), uri('an-object'));
    await register(':Default.lost');
    await open();
    await connectPage(page, twin.address);
    await expect(page.getByRole('tree').nth(1).waitFor()).resolves.toBeUndefined();
    await page.getByRole('button', { name: 'Compare' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Compare' }).click();
    await dialog.getByText('Not in step: 1 the same').waitFor();
    await dialog.getByText(':Default.lost').waitFor();
    await expectNoViolations();
    await picture('console-pair');
    await twin.namespace.register(Name.parse(':Default.lost'), uri('an-object'));
    await dialog.getByRole('button', { name: 'Compare' }).click();
    await dialog.getByText('In step: 2 the same').waitFor();
  });

  it('says how a pair is', async () => {
    const pair = await ServerPair.prepare();
    try {
      await pair.start('primary');
      await pair.start('secondary');
      await pair.connected();
      const [primary, secondary] = [pair.server('primary').port, pair.server('secondary').port];
      await open();
      await connectPage(page, `127.0.0.1:${primary}`);
      await page.getByRole('heading', { name: `127.0.0.1:${primary}` }).waitFor();
      await connectPage(page, `127.0.0.1:${secondary}`);
      await page.getByText(`primary, in step with 127.0.0.1:${secondary}`, { exact: true }).waitFor();
      await page.getByText(`secondary, in step with 127.0.0.1:${primary}`, { exact: true }).waitFor();
      await pair.server('secondary').stop('SIGKILL');
      await line(/^primary, has lost its twin/).waitFor();
      await line(`Connection to 127.0.0.1:${secondary} lost`).waitFor();
      await expectNoViolations();
      await pair.server('secondary').restart();
      await line(`primary, in step with 127.0.0.1:${secondary}`).waitFor();
      await line(`127.0.0.1:${secondary} is back`).waitFor();
    } finally {
      await pair.dispose();
    }
  });

  it('works by keyboard alone', async () => {
    await server.namespace.createGroup(Name.parse(':Robots'));
    await register(':Robots.arm');
    await page.goto(console.address);
    const keys = async (...pressed: string[]): Promise<void> => {
      for (const key of pressed) await page.keyboard.press(key);
    };
    await page.getByRole('dialog').waitFor();
    await page.getByRole('radio', { name: 'Find it by broadcast' }).focus();
    await keys('ArrowRight', 'Tab');
    await page.keyboard.type(server.address);
    await keys('Enter');
    await item(/^Robots\b/).waitFor();
    await tree().focus();
    await keys('/');
    await page.keyboard.type('robots');
    await page.getByRole('option', { name: /:Robots\.arm/ }).waitFor();
    await keys('ArrowDown');
    await page.locator('[role=listbox]:focus').waitFor();
    await keys('/', 'Escape');
    await tree().focus();
    await keys('r', 'ArrowRight');
    await item(/^arm\b/).waitFor();
    await keys('ArrowRight');
    await page.keyboard.press('Enter');
    await details(':Robots.arm').waitFor();
    await page.getByRole('button', { name: 'Remove…' }).focus();
    await keys('Enter');
    await page.getByText('Remove this name?').waitFor();
    await page.getByRole('button', { name: 'Remove 1 name' }).focus();
    let answer = (): void => undefined;
    const isAnswered = new Promise<void>((resolve) => (answer = resolve));
    await page.route('**/list', async (route) => {
      await isAnswered;
      await route.continue();
    });
    await keys('Enter');
    await line('Removed :Robots.arm').waitFor();
    // Nobody waits for the new listing, and focus isn't lost with the button that had it.
    await page.locator('[role=tree]:focus').waitFor();
    answer();
    await page.getByRole('button', { name: /^What to do with/ }).focus();
    // Typed faster than a page can draw.
    await Promise.all(['Enter', 'End', 'Home', 'Enter'].map((key) => page.keyboard.press(key)));
    await line(/Ping: up and running/).waitFor();
    await keys('Enter', 'Escape', 'Enter', 'Tab');
    await page.locator('[type=search]:focus').waitFor();
    await page.getByRole('menu').waitFor({ state: 'hidden' });
    await expect(server.namespace.resolve(Name.parse(':Robots.arm'))).rejects.toThrow('name not found');
  });

  it('shows names that look like markup as names', async () => {
    await register(':Default.<script>alert(1)</script>');
    await open();
    await item(/^Default\b/).click();
    await item(/^<script>alert\(1\)<\/script>/).click();
    await details(':Default.<script>alert(1)</script>').getByText('Gone', { exact: true }).waitFor();
    expect(await page.locator('script:not([src])').count()).toBe(0);
  });

  it('is closed to a page from elsewhere', async () => {
    await register(':Default.kept');
    await open();
    const elsewhere = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>elsewhere</title>');
    });
    await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
    try {
      const address = elsewhere.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      const attacker = await context.newPage();
      await attacker.goto(`http://127.0.0.1:${port}/`);
      const token = console.address.split('token=')[1] ?? '';
      // Even with the token a page from elsewhere gets nothing.
      const attack = `(async () => {
        const outcomes = [];
        for (const mode of ['cors', 'no-cors']) {
          outcomes.push(await fetch('${console.origin}api/servers/1/unregister', {
            method: 'POST', mode, headers: { authorization: 'Bearer ${token}', 'content-type': 'application/json' },
            body: JSON.stringify({ name: ':Default.kept' }),
          }).then((response) => response.type, (error) => error.name));
        }
        const frame = document.createElement('iframe');
        frame.src = '${console.origin}';
        const loaded = new Promise((resolve) => frame.addEventListener('load', resolve));
        document.body.append(frame);
        await loaded;
        return outcomes.concat(String(frame.contentDocument));
      })()`;
      expect(await attacker.evaluate(attack)).toEqual(['TypeError', 'TypeError', 'null']);
      await expect(server.namespace.resolve(Name.parse(':Default.kept'))).resolves.toBeDefined();
    } finally {
      elsewhere.close();
    }
  });
});

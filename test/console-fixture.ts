import { existsSync } from 'node:fs';
import { chromium, type Browser, type Page } from 'playwright-core';
import { loadConfig, silentLog } from '../src/config/index.js';
import { NameServer } from '../src/naming/index.js';
import { MemoryNamespace } from '../src/namespace/index.js';
import { NAMESERVER_NAME } from '../src/names/index.js';
import { Daemon } from '../src/rpc/index.js';

const CHROMIUM = '/usr/bin/chromium';

/** Keep a browser to itself: no calls home, no first run. */
const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export const hasChromium = existsSync(CHROMIUM);

export const launchChromium = (): Promise<Browser> => chromium.launch({ executablePath: CHROMIUM, args: QUIET });

export const config = loadConfig({ environment: {}, currentDirectory: '/' });

/** A name server in this process. */
export interface TestServer extends AsyncDisposable {
  readonly namespace: MemoryNamespace;
  readonly port: number;
  readonly address: string;
}

/** Starts a name server. */
export async function startNameServer({
  port = 0,
  identification,
  namespace = new MemoryNamespace(),
}: {
  readonly port?: number;
  readonly identification?: string;
  readonly namespace?: MemoryNamespace;
} = {}): Promise<TestServer> {
  const daemon = await Daemon.start({ config, log: silentLog, host: '127.0.0.1', port, norange: true });
  const nameServer = new NameServer(namespace, {
    config,
    log: silentLog,
    address: '127.0.0.1',
    className: 'NameServer',
    ignoreShutdown: false,
    onShutdown: () => setImmediate(() => void daemon.shutdown()),
  });
  await nameServer.createInitialGroups();
  daemon.useNameServer(nameServer);
  await daemon.connectPersistent(nameServer, NAMESERVER_NAME);
  if (identification !== undefined) daemon.setAllowedIdentifications([identification]);
  return {
    namespace,
    port: daemon.port,
    address: `127.0.0.1:${daemon.port}`,
    [Symbol.asyncDispose]: () => daemon.shutdown(),
  };
}

/** Calls the console's API, as its page does. */
export async function callApi(
  origin: string,
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly body: unknown }> {
  const response = await fetch(`${origin}api/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

/** Connects the page to a name server by its Connect dialog. */
export async function connectPage(page: Page, address: string, identification = ''): Promise<void> {
  const dialog = page.getByRole('dialog', { name: 'Connect to a name server' });
  if (!(await dialog.isVisible())) await page.getByRole('banner').getByRole('button', { name: 'Connect' }).click();
  await dialog.getByText('At this host').click();
  await dialog.getByLabel('Name server', { exact: true }).fill(address);
  await dialog.getByLabel('Identification').fill(identification);
  await dialog.getByRole('button', { name: 'Connect', exact: true }).click();
}

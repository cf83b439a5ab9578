/** The console's page: start-up and layout. */
import { render, type JSX } from 'preact';
import type { ServerDescription } from '../api.js';
import { ActivityLog } from './activity-log.js';
import { call, signIn } from './api-client.js';
import { addServer, dialog, failure, stores, textOf, watch } from './app-state.js';
import { Details } from './details.js';
import { Dialogs } from './dialogs.js';
import { Icon } from './icons.js';
import { ServerPane } from './server-pane.js';

const connect = (): void => {
  dialog.value = { kind: 'connect' };
};

function App(): JSX.Element {
  return (
    <div class="app">
      <header class="top">
        <img src="icon.svg" alt="" width="26" height="26" />
        <h1>Pyro name servers</h1>
        <span class="top-space" />
        {stores.value.length > 1 && (
          <button type="button" onClick={() => (dialog.value = { kind: 'compare' })}>
            <Icon name="compare" /> <span class="wide-only">Compare</span>
          </button>
        )}
        <button type="button" class="primary" onClick={connect}>
          <Icon name="plus" /> Connect
        </button>
      </header>
      {failure.value !== undefined && (
        <p class="banner" role="alert">
          {failure.value}
        </p>
      )}
      <main class="desk">{stores.value.length === 0 ? <Welcome /> : <Desk />}</main>
      <ActivityLog />
      <Dialogs />
    </div>
  );
}

function Desk(): JSX.Element {
  return (
    <>
      <div class="panes">
        {stores.value.map((store) => (
          <ServerPane key={store.id} store={store} />
        ))}
      </div>
      <Details />
    </>
  );
}

function Welcome(): JSX.Element {
  return (
    <div class="welcome">
      <img src="icon.svg" alt="" width="64" height="64" />
      <h2>Which name server?</h2>
      <p>Find one by broadcast in your network, or connect to a host and port. Several can stand side by side.</p>
      <button type="button" class="primary" onClick={connect}>
        <Icon name="plus" /> Connect to a name server
      </button>
    </div>
  );
}

/** Keyboard shortcut: `/` moves the focus to the filter, except within a text field. */
function focusFilter(event: KeyboardEvent): void {
  const target = event.target instanceof HTMLElement ? event.target : document.body;
  if (event.key !== '/' || target.matches('input, textarea, select') || dialog.value !== undefined) return;
  const pane = target.closest('.pane') ?? document;
  const filter = pane.querySelector<HTMLInputElement>('.filter input');
  if (filter === null) return;
  event.preventDefault();
  filter.focus();
}

async function start(): Promise<void> {
  try {
    await signIn();
    const { servers } = await call<{ readonly servers: readonly ServerDescription[] }>('servers');
    for (const server of servers) addServer(server);
    if (servers.length === 0) connect();
    watch();
  } catch (error) {
    failure.value = textOf(error);
  }
}

const root = document.getElementById('app');
if (root !== null) render(<App />, root);
document.addEventListener('keydown', focusFilter);
await start();

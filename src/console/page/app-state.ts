import { batch, computed, effect, signal } from '@preact/signals';
import type { EntryDescription, FindRequest, ObjectStatus, ServerDescription, WatchReply } from '../api.js';
import { call } from './api-client.js';
import { ServerStore } from './server-store.js';

/** The most lines of the log that are kept. */
const MAX_LOG_LINES = 500;

/** The delay before the console is called again after an error. */
const RETRY_DELAY_MS = 2000;

/** How often relative times, such as `2 minutes ago`, are updated. */
const CLOCK_INTERVAL_MS = 10_000;

/** A line of the activity log. */
export interface LogLine {
  readonly id: number;
  readonly time: Date;
  readonly server: string;
  readonly kind: 'done' | 'problem' | 'change';
  readonly text: string;
}

/** The name whose details are shown, and its server. */
export interface Selection {
  readonly store: ServerStore;
  readonly name: string;
}

/** The open dialog, and what it is about. */
export type DialogRequest =
  | { readonly kind: 'connect'; readonly denied?: FindRequest | undefined }
  | { readonly kind: 'register' | 'createGroup'; readonly store: ServerStore; readonly group: string }
  | { readonly kind: 'setMeta' | 'unregister' | 'deleteGroup'; readonly store: ServerStore; readonly name: string }
  | { readonly kind: 'resolve' | 'resync' | 'shutdown'; readonly store: ServerStore }
  | { readonly kind: 'compare' };

export const stores = signal<readonly ServerStore[]>([]);
export const selection = signal<Selection | undefined>(undefined);
export const entry = signal<EntryDescription | undefined>(undefined);
/** Why the selected entry can't be shown; undefined if it can. */
export const entryProblem = signal<string | undefined>(undefined);
export const objectStatus = signal<ObjectStatus | 'asking' | undefined>(undefined);
export const dialog = signal<DialogRequest | undefined>(undefined);
export const log = signal<readonly LogLine[]>([]);
/** Why the console can't be used any more: it has stopped, or refuses the token. */
export const failure = signal<string | undefined>(undefined);

/** The current time, for relative times. */
export const now = signal(Date.now());
setInterval(() => (now.value = Date.now()), CLOCK_INTERVAL_MS);

let lastLine = 0;

/** Adds a line to the activity log, which screen readers announce. */
export function logLine(server: string, text: string, kind: LogLine['kind'] = 'done'): void {
  const line = { id: ++lastLine, time: new Date(), server, kind, text };
  log.value = [...log.value, line].slice(-MAX_LOG_LINES);
}

/** Logs an error about a name server. */
export function logProblem(store: ServerStore, what: string, error: unknown): void {
  logLine(store.description.value.address, `${what}: ${textOf(error)}`, 'problem');
}

/** The text of an error. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Performs an action on a name server, and logs its outcome.
 * @param what describes the action, for the log line of an error
 * @param done makes the log line of a success
 * @throws the error of the action, which is logged too
 */
export async function perform<T>(
  store: ServerStore,
  what: string,
  action: () => Promise<T>,
  done: (result: T) => string,
): Promise<T> {
  try {
    const result = await action();
    logLine(store.description.value.address, done(result));
    return result;
  } catch (error) {
    logProblem(store, what, error);
    throw error;
  }
}

/** Adds a server that the console is connected to, and opens its root group. */
export function addServer(description: ServerDescription): ServerStore {
  const known = stores.value.find(({ id }) => id === description.id);
  if (known !== undefined) {
    known.description.value = description;
    return known;
  }
  const store = new ServerStore(description);
  stores.value = [...stores.value, store];
  store.open(':').catch((error: unknown) => {
    logLine(description.address, textOf(error), 'problem');
  });
  return store;
}

/** Finds a name server and connects to it. @throws ApiError */
export async function connect(request: FindRequest): Promise<void> {
  const where = request.host === undefined ? 'Find a name server by broadcast' : `Connect to ${request.host}`;
  try {
    const server = await call<ServerDescription>('find', request);
    addServer(server);
    logLine(server.address, `Connected; URI ${server.uri}`);
  } catch (error) {
    logLine('', `${where}: ${textOf(error)}`, 'problem');
    throw error;
  }
}

export async function disconnect(store: ServerStore): Promise<void> {
  await perform(
    store,
    'Disconnect',
    () => store.call('disconnect'),
    () => 'Disconnected',
  );
  dropServer(store);
}

/** Selects a name, and loads its details. */
export async function select(store: ServerStore, name: string): Promise<void> {
  batch(() => {
    selection.value = { store, name };
    if (entry.value?.name !== name) entry.value = undefined;
    entryProblem.value = undefined;
    objectStatus.value = undefined;
  });
  await loadEntry();
  if (entry.value?.uri !== undefined) await loadObjectStatus();
}

/** Loads the details of the selected name. */
export async function loadEntry(): Promise<void> {
  const selected = selection.value;
  if (selected === undefined) return;
  const answer = await selected.store.call<EntryDescription>('entry', { name: selected.name }).catch(textOf);
  if (selection.value !== selected) return;
  batch(() => {
    entry.value = typeof answer === 'string' ? undefined : answer;
    entryProblem.value = typeof answer === 'string' ? answer : undefined;
  });
}

/** Asks the daemon of the selected object whether it has the object. */
export async function loadObjectStatus(): Promise<void> {
  const selected = selection.value;
  if (selected === undefined) return;
  objectStatus.value = 'asking';
  const status = await selected.store.call<ObjectStatus>('status', { name: selected.name }).catch(() => undefined);
  if (selection.value === selected) objectStatus.value = status;
}

export function deselect(): void {
  selection.value = undefined;
  entry.value = undefined;
}

/** Moves the keyboard focus to a server's names if the focused element was removed. */
export function keepFocus(store: ServerStore): void {
  if (document.activeElement !== document.body) return;
  document.getElementById(`pane-${store.id}`)?.querySelector<HTMLElement>('.rows')?.focus();
}

function dropServer(store: ServerStore): void {
  batch(() => {
    stores.value = stores.value.filter((other) => other !== store);
    if (selection.value?.store === store) deselect();
  });
}

/** The request of the next long poll, as JSON, so that the effect only runs if it differs. */
const watched = computed(() => {
  const servers = stores.value.map((store): [string, object] => [
    store.id,
    store.watched(selection.value?.store === store ? entry.value : undefined),
  ]);
  return JSON.stringify({ servers: Object.fromEntries(servers) });
});

/** Keeps everything that is shown up to date, by long polling. */
export function watch(): void {
  effect(() => {
    const request = watched.value;
    const stop = new AbortController();
    if (stores.value.length > 0) void watchOnce(request, stop.signal);
    return () => {
      stop.abort();
    };
  });
}

async function watchOnce(request: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const reply = await call<WatchReply>('watch', request, signal);
      failure.value = undefined;
      apply(reply);
    } catch (error) {
      if (isAborted(signal)) return;
      failure.value = textOf(error);
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
    }
  }
}

const isAborted = (signal: AbortSignal): boolean => signal.aborted;

function apply({ servers }: WatchReply): void {
  batch(() => {
    for (const store of stores.value) {
      const changes = servers[store.id];
      if (changes === undefined) continue;
      if (changes === null) dropServer(store);
      else {
        store.apply(changes, (text, kind) => {
          logLine(store.description.value.address, text, kind);
        });
        applyEntries(store, changes.entries);
      }
    }
  });
}

function applyEntries(store: ServerStore, entries: Readonly<Record<string, EntryDescription | null>>): void {
  const selected = selection.value;
  const changed = selected?.store === store ? entries[selected.name] : undefined;
  if (changed === undefined) return;
  const isMoved = changed !== null && changed.uri?.text !== entry.value?.uri?.text;
  entry.value = changed ?? undefined;
  entryProblem.value = changed === null ? 'This name is gone.' : undefined;
  if (isMoved) void loadObjectStatus();
}

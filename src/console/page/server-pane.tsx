import type { JSX } from 'preact';
import { useRef } from 'preact/hooks';
import { dialog, disconnect, perform } from './app-state.js';
import { FlatView } from './flat-view.js';
import { Icon } from './icons.js';
import { pairText, type ServerStore } from './server-store.js';
import { TreeView } from './tree-view.js';
import { ROOT } from './tree-rows.js';

/** The pane of one name server: state, names, menu. */
export function ServerPane({ store }: { readonly store: ServerStore }): JSX.Element {
  const { address, uri, state, problem, pair } = store.description.value;
  const isTroubled = pair !== undefined && pair.state !== 'connected';
  const trouble = isTroubled ? 'troubled' : state;
  const condition = state === 'lost' ? `lost, trying again: ${problem ?? ''}` : pair ? pairText(pair) : 'connected';
  return (
    <section id={`pane-${store.id}`} class={`pane is-${trouble}`} aria-label={`Name server ${address}`}>
      <header class="pane-head">
        <span class={`lamp lamp-${trouble}`} aria-hidden="true" />
        <div class="pane-title">
          <h2>{address}</h2>
          <p title={`${condition}\n${uri}`}>{condition}</p>
        </div>
        <ServerMenu store={store} />
      </header>
      <div class="pane-tools">
        <Filter store={store} />
        <div class="segments" role="group" aria-label="How to show the names">
          <button
            type="button"
            aria-pressed={store.view.value === 'tree'}
            onClick={() => {
              store.setView('tree');
            }}
            title="Tree"
          >
            <Icon name="tree" />
            <span class="visually-hidden">Tree</span>
          </button>
          <button
            type="button"
            aria-pressed={store.view.value === 'names'}
            onClick={() => {
              store.setView('names');
            }}
            title="List all"
          >
            <Icon name="list" />
            <span class="visually-hidden">List all</span>
          </button>
        </div>
      </div>
      {store.isFlat ? <FlatView store={store} /> : <TreeView store={store} />}
      <div class="pane-foot" role="status">
        {store.isFlat
          ? store.total.value === undefined
            ? 'Listing…'
            : `${store.total.value.toLocaleString('en')} ${store.total.value === 1 ? 'name' : 'names'}`
          : state === 'lost'
            ? 'As it was when the connection was lost'
            : 'Live'}
      </div>
    </section>
  );
}

function Filter({ store }: { readonly store: ServerStore }): JSX.Element {
  return (
    <label class="filter">
      <Icon name="search" />
      <span class="visually-hidden">Filter names of {store.description.value.address}</span>
      <input
        type="search"
        placeholder="Filter names and URIs"
        autocomplete="off"
        spellcheck={false}
        value={store.filter.value}
        onInput={(event) => {
          store.setFilter(event.currentTarget.value);
        }}
        onKeyDown={(event) => {
          if (event.key === 'Escape') store.setFilter('');
          if (event.key !== 'ArrowDown' && event.key !== 'Enter') return;
          event.preventDefault();
          event.currentTarget.closest('.pane')?.querySelector<HTMLElement>('.rows')?.focus();
        }}
      />
    </label>
  );
}

interface Command {
  readonly text: string;
  readonly run: () => void;
  readonly isDanger?: boolean;
}

function commandsOf(store: ServerStore): readonly Command[] {
  const ask = (kind: 'resolve' | 'resync' | 'shutdown') => () => {
    dialog.value = { kind, store };
  };
  const ping = (): void => {
    const action = () => store.call<{ readonly milliseconds: number }>('ping');
    perform(store, 'Ping', action, ({ milliseconds }) => `Ping: up and running, ${milliseconds.toFixed(1)} ms`).catch(
      () => undefined,
    );
  };
  return [
    { text: 'Ping', run: ping },
    { text: 'Resolve a name…', run: ask('resolve') },
    { text: 'Register a name…', run: () => (dialog.value = { kind: 'register', store, group: ROOT }) },
    { text: 'New group…', run: () => (dialog.value = { kind: 'createGroup', store, group: ROOT }) },
    { text: 'Resync with its twin…', run: ask('resync') },
    { text: 'Disconnect', run: () => void disconnect(store) },
    { text: 'Shut down…', run: ask('shutdown'), isDanger: true },
  ];
}

/** A menu after the ARIA authoring practices: arrow keys move in it, Escape closes it. */
function ServerMenu({ store }: { readonly store: ServerStore }): JSX.Element {
  const menu = useRef<HTMLDivElement>(null);
  const id = `menu-${store.id}`;
  const onKeyDown = (event: KeyboardEvent): void => {
    // Focus returns to the button first, so that Tab moves on to the element after it.
    if (event.key === 'Tab') menu.current?.hidePopover();
    const items = [...(menu.current?.querySelectorAll('button') ?? [])];
    const index = items.findIndex((item) => item === document.activeElement);
    const steps: Readonly<Record<string, number>> = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: -1 };
    const next = steps[event.key];
    if (next === undefined) return;
    event.preventDefault();
    items.at(next % items.length)?.focus();
  };
  return (
    <div class="menu">
      <button
        type="button"
        class="icon-button"
        aria-label={`What to do with ${store.description.value.address}`}
        aria-haspopup="menu"
        popovertarget={id}
      >
        <Icon name="more" size={20} />
      </button>
      <div ref={menu} id={id} class="menu-items" popover="auto" role="menu" onKeyDown={onKeyDown}>
        {commandsOf(store).map(({ text, run, isDanger }, index) => (
          <button
            key={text}
            type="button"
            role="menuitem"
            tabIndex={-1}
            // With autofocus the browser moves the focus while it opens the menu; in the toggle event it would be too
            // late for the next key.
            autoFocus={index === 0}
            class={isDanger ? 'danger' : ''}
            onClick={() => {
              menu.current?.hidePopover();
              run();
            }}
          >
            {text}
          </button>
        ))}
      </div>
    </div>
  );
}

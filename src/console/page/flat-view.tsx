import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { dialog, select, selection } from './app-state.js';
import { Icon } from './icons.js';
import { PAGE_SIZE, type ServerStore } from './server-store.js';
import { moveBy, VirtualRows } from './virtual-rows.js';

const ROW_HEIGHT = 46;

/** The flat list: all names of a server, or those that match the filter, with their URIs. */
export function FlatView({ store }: { readonly store: ServerStore }): JSX.Element {
  const [active, setActive] = useState(0);
  const total = store.total.value ?? 0;
  const entryAt = (index: number) => store.pages.value.get(Math.floor(index / PAGE_SIZE))?.[index % PAGE_SIZE];
  const words = store.filter.value.toLowerCase().split(/\s+/).filter(Boolean);

  const onKeyDown = (event: KeyboardEvent, rowsInSight: number): void => {
    const moved = moveBy(event.key, active, total, rowsInSight);
    const entry = entryAt(active);
    if (moved !== undefined) setActive(moved);
    else if (entry !== undefined && (event.key === 'Enter' || event.key === ' ')) void select(store, entry.name);
    else if (entry !== undefined && event.key === 'Delete') {
      dialog.value = { kind: entry.uri === undefined ? 'deleteGroup' : 'unregister', store, name: entry.name };
    } else return;
    event.preventDefault();
  };

  if (store.total.value === 0) return <p class="empty">No name matches.</p>;
  return (
    <VirtualRows
      id={`names-${store.id}`}
      role="listbox"
      label={`Names of ${store.description.value.address}, flat`}
      count={total}
      rowHeight={ROW_HEIGHT}
      active={active < total ? active : total - 1}
      onKeyDown={onKeyDown}
      onRange={(first, last) => {
        store.loadPages(first, last);
      }}
      renderRow={(index, attributes) => {
        const entry = entryAt(index);
        const isSelected = selection.value?.store === store && selection.value.name === entry?.name;
        return (
          <div
            {...attributes}
            key={index}
            class={index === active ? 'row flat-row is-active' : 'row flat-row'}
            role="option"
            aria-selected={isSelected}
            aria-posinset={index + 1}
            aria-setsize={total}
            onClick={() => {
              setActive(index);
              if (entry !== undefined) void select(store, entry.name);
            }}
          >
            <Icon name={entry !== undefined && entry.uri === undefined ? 'group' : 'object'} />
            <span class="flat-text">
              <span class="part">{entry === undefined ? '…' : highlight(entry.name, words)}</span>
              <span class="uri">{entry?.uri === undefined ? '' : highlight(entry.uri, words)}</span>
            </span>
          </div>
        );
      }}
    />
  );
}

/** Highlights the words of a filter in a text. */
function highlight(text: string, words: readonly string[]): ComponentChildren {
  const lower = text.toLowerCase();
  const word = words.find((candidate) => lower.includes(candidate));
  if (word === undefined) return text;
  const start = lower.indexOf(word);
  const end = start + word.length;
  return (
    <>
      {text.slice(0, start)}
      <mark>{text.slice(start, end)}</mark>
      {highlight(text.slice(end), words)}
    </>
  );
}

import type { HTMLAttributes, JSX } from 'preact';
import { useRef } from 'preact/hooks';
import { dialog, select, selection, logProblem } from './app-state.js';
import { Icon } from './icons.js';
import type { ServerStore } from './server-store.js';
import { parentName, ROOT, type TreeRow } from './tree-rows.js';
import { moveBy, VirtualRows } from './virtual-rows.js';

const ROW_HEIGHT = 32;

/** Type-ahead: letters typed within this time make one search word. */
const TYPE_AHEAD_MS = 700;

/** The tree of a server's groups and objects; groups are loaded when they are opened. */
export function TreeView({ store }: { readonly store: ServerStore }): JSX.Element {
  const rows = store.rows.value;
  const active = rows.findIndex(({ name }) => name === store.active.value);
  const typed = useRef({ text: '', time: 0 });

  const onKeyDown = (event: KeyboardEvent, rowsInSight: number): void => {
    const row = rows[active];
    if (row === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const moved = moveBy(event.key, active, rows.length, rowsInSight) ?? typeAhead(event.key);
    if (moved !== undefined) store.active.value = rows[moved]?.name ?? ROOT;
    else if (!act(store, row, event.key)) return;
    event.preventDefault();
  };

  /** Type-ahead: moves to the next row that begins with the typed text. */
  const typeAhead = (key: string): number | undefined => {
    if (!/^[!-.0-~]$/.test(key) || key === '*') return undefined;
    const { text, time } = typed.current;
    const isGoingOn = performance.now() - time < TYPE_AHEAD_MS;
    const word = (isGoingOn ? text : '') + key.toLowerCase();
    typed.current = { text: word, time: performance.now() };
    const start = isGoingOn ? active : active + 1;
    const isMatch = (row: TreeRow | undefined): boolean => row?.part.toLowerCase().startsWith(word) ?? false;
    for (let step = 0; step < rows.length; step++) {
      const index = (start + step) % rows.length;
      if (isMatch(rows[index])) return index;
    }
    return active;
  };

  return (
    <VirtualRows
      id={`tree-${store.id}`}
      role="tree"
      label={`Names of ${store.description.value.address}`}
      count={rows.length}
      rowHeight={ROW_HEIGHT}
      active={active}
      onKeyDown={onKeyDown}
      renderRow={(index, attributes) => {
        const row = rows[index];
        return (
          row && <Row key={row.name} store={store} row={row} isActive={index === active} attributes={attributes} />
        );
      }}
    />
  );
}

interface RowProps {
  readonly store: ServerStore;
  readonly row: TreeRow;
  readonly isActive: boolean;
  readonly attributes: HTMLAttributes<HTMLDivElement>;
}

function Row({ store, row, isActive, attributes }: RowProps): JSX.Element {
  const { name, part, isGroup, isOpen, level, position, siblings, members } = row;
  const isSelected = selection.value?.store === store && selection.value.name === name;
  const classes = ['row', isActive && 'is-active', store.marked.value.has(name) && 'is-new'];
  return (
    <div
      {...attributes}
      class={classes.filter(Boolean).join(' ')}
      role="treeitem"
      aria-level={level}
      aria-posinset={position}
      aria-setsize={siblings}
      aria-expanded={isGroup ? isOpen : undefined}
      aria-selected={isSelected}
      onClick={() => {
        store.active.value = name;
        void select(store, name);
        if (isGroup && !isOpen) toggle(store, row);
      }}
    >
      <span class="indent" style={{ width: `${(level - 1) * 18}px` }} />
      <span
        class={isOpen ? 'twist is-open' : 'twist'}
        onClick={(event) => {
          event.stopPropagation();
          store.active.value = name;
          toggle(store, row);
        }}
      >
        {isGroup && <Icon name="chevron" />}
      </span>
      <Icon name={isGroup ? 'group' : 'object'} />
      <span class="part">{part === ROOT ? 'root' : part}</span>
      <span class="visually-hidden">, {isGroup ? 'group' : 'object'}</span>
      {members !== undefined && <span class="badge">{members.toLocaleString('en')}</span>}
    </div>
  );
}

function toggle(store: ServerStore, { name, isGroup, isOpen }: TreeRow): void {
  if (!isGroup) return;
  if (isOpen) {
    store.close(name);
    return;
  }
  store.open(name).catch((error: unknown) => {
    logProblem(store, `List ${name}`, error);
    store.close(name);
  });
}

/** Handles a key on a row. @returns false if the key has no meaning there */
function act(store: ServerStore, row: TreeRow, key: string): boolean {
  const { name, isGroup, isOpen } = row;
  switch (key) {
    case 'ArrowRight':
      if (isGroup && !isOpen) toggle(store, row);
      else if (row.members) store.active.value = store.rows.value[store.rows.value.indexOf(row) + 1]?.name ?? name;
      return true;
    case 'ArrowLeft':
      if (isOpen) store.close(name);
      else store.active.value = parentName(name);
      return true;
    case 'Enter':
    case ' ':
      void select(store, name);
      return true;
    case 'Delete':
      if (name !== ROOT) dialog.value = { kind: isGroup ? 'deleteGroup' : 'unregister', store, name };
      return true;
    default:
      return false;
  }
}

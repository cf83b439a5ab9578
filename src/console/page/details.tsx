import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { EntryDescription, URIParts } from '../api.js';
import { CopyButton } from './copy-button.js';
import {
  loadObjectStatus,
  deselect,
  dialog,
  entry,
  entryProblem,
  keepFocus,
  now,
  objectStatus,
  selection,
  type Selection,
} from './app-state.js';
import { Icon } from './icons.js';
import { PythonView } from './python-view.js';
import { lastPart, parentName, ROOT } from './tree-rows.js';

const STATUS_TEXTS = {
  answers: 'Answers',
  gone: 'Gone',
  closed: 'Not running',
  unreachable: 'Unreachable',
  denied: 'Refuses to say',
  unknown: 'Not known',
};

/** The details of the selected name. */
export function Details(): JSX.Element {
  const looked = selection.value;
  const back = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    if (looked === undefined) return;
    // On a small screen the details cover the names, and with them the focused element.
    if (back.current?.checkVisibility()) back.current.focus();
    return () => {
      keepFocus(looked.store);
    };
  }, [looked?.store]);
  if (looked === undefined) {
    return (
      <aside class="details is-empty" aria-label="Details">
        <p>Choose a name to see what is behind it.</p>
        <dl class="keys">
          <dt>
            <kbd>↑</kbd> <kbd>↓</kbd>
          </dt>
          <dd>move</dd>
          <dt>
            <kbd>→</kbd> <kbd>←</kbd>
          </dt>
          <dd>open, close</dd>
          <dt>
            <kbd>Enter</kbd>
          </dt>
          <dd>look at it</dd>
          <dt>
            <kbd>/</kbd>
          </dt>
          <dd>filter</dd>
          <dt>
            <kbd>Delete</kbd>
          </dt>
          <dd>remove</dd>
        </dl>
      </aside>
    );
  }
  const { name, store } = looked;
  return (
    <aside class="details" aria-label={`Details of ${name}`}>
      <header class="details-head">
        <button
          ref={back}
          type="button"
          class="icon-button details-back"
          aria-label="Back to the names"
          onClick={deselect}
        >
          <Icon name="back" />
        </button>
        <div class="details-title">
          <h2>{name === ROOT ? 'root' : lastPart(name)}</h2>
          <p class="path">
            {name} <span class="muted">at {store.description.value.address}</span>
          </p>
        </div>
        <CopyButton text={name} what="name" />
        <button type="button" class="icon-button details-close" aria-label="Close details" onClick={deselect}>
          <Icon name="close" />
        </button>
      </header>
      {entryProblem.value !== undefined && <p class="problem">{entryProblem.value}</p>}
      {entry.value !== undefined && <Entry found={entry.value} looked={looked} />}
    </aside>
  );
}

function Entry({ found, looked }: { readonly found: EntryDescription; readonly looked: Selection }): JSX.Element {
  const { type, since, owner, uri, metadata } = found;
  return (
    <div class="details-body">
      {uri !== undefined && <Uri uri={uri} />}
      <section aria-labelledby="facts">
        <h3 id="facts">Entry</h3>
        <dl class="facts">
          <dt>Kind</dt>
          <dd>{type}</dd>
          {since !== undefined && (
            <>
              <dt>Since</dt>
              <dd>
                <time dateTime={new Date(since * 1000).toISOString()}>{new Date(since * 1000).toLocaleString()}</time>{' '}
                <span class="muted ago">{ago(since, now.value)}</span>
              </dd>
            </>
          )}
          {owner !== undefined && (
            <>
              <dt>Owner</dt>
              <dd>
                <PythonView node={owner} />
              </dd>
            </>
          )}
        </dl>
      </section>
      <section aria-labelledby="metadata">
        <h3 id="metadata">Metadata</h3>
        {metadata.kind === 'scalar' && metadata.type === 'None' ? (
          <p class="muted">None set.</p>
        ) : (
          <div class="metadata">
            <PythonView node={metadata} />
          </div>
        )}
      </section>
      <Actions looked={looked} isGroup={type === 'group'} />
    </div>
  );
}

function Uri({ uri }: { readonly uri: URIParts }): JSX.Element {
  const status = objectStatus.value;
  const isAsking = status === 'asking';
  const kind = status === undefined || isAsking ? 'asking' : status.status;
  return (
    <section aria-labelledby="uri">
      <h3 id="uri">URI</h3>
      <div class="uri-line">
        <code>{uri.text}</code>
        <CopyButton text={uri.text} what="URI" />
      </div>
      <dl class="facts">
        <dt>Protocol</dt>
        <dd>{uri.protocol}</dd>
        <dt>Address</dt>
        <dd>{uri.address}</dd>
        <dt>Port</dt>
        <dd>{uri.port}</dd>
        <dt>Object ID</dt>
        <dd class="mono">{uri.objectID}</dd>
      </dl>
      <div class={`status status-${kind}`} role="status">
        <span class="status-dot" />
        <span class="status-text">
          <b>{status === undefined || isAsking ? 'Asking its daemon…' : STATUS_TEXTS[status.status]}</b>
          {status !== undefined && !isAsking && (
            <>
              {status.status === 'answers' && ` in ${status.milliseconds} ms`}
              <br />
              {status.explanation}
            </>
          )}
        </span>
        <button
          type="button"
          class="icon-button"
          aria-label="Ask again whether the object answers"
          onClick={() => void loadObjectStatus()}
        >
          <Icon name="refresh" />
        </button>
      </div>
    </section>
  );
}

function Actions({ looked, isGroup }: { readonly looked: Selection; readonly isGroup: boolean }): JSX.Element {
  const { store, name } = looked;
  const group = isGroup ? name : parentName(name);
  return (
    <div class="actions">
      <button
        type="button"
        title={`Register a name in ${group === ROOT ? 'the root' : group}`}
        onClick={() => (dialog.value = { kind: 'register', store, group })}
      >
        Register…
      </button>
      <button type="button" onClick={() => (dialog.value = { kind: 'createGroup', store, group })}>
        New group…
      </button>
      <button type="button" onClick={() => (dialog.value = { kind: 'setMeta', store, name })}>
        Set metadata…
      </button>
      {name !== ROOT && (
        <button
          type="button"
          class="danger"
          onClick={() => (dialog.value = { kind: isGroup ? 'deleteGroup' : 'unregister', store, name })}
        >
          {isGroup ? 'Delete group…' : 'Remove…'}
        </button>
      )}
    </div>
  );
}

const UNITS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ['day', 86400],
  ['hour', 3600],
  ['minute', 60],
];

function ago(since: number, milliseconds: number): string {
  const seconds = Math.min(since - milliseconds / 1000, 0);
  const format = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1];
  return format.format(Math.round(seconds / length), unit);
}

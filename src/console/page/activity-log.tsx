import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { CopyButton } from './copy-button.js';
import { log, type LogLine } from './app-state.js';
import { Icon } from './icons.js';

/** The activity log, newest line last. */
export function ActivityLog(): JSX.Element {
  const list = useRef<HTMLDivElement>(null);
  const lines = log.value;
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [lines]);
  return (
    <section class="log" aria-labelledby="log-title">
      <header>
        <h2 id="log-title">Log</h2>
        {lines.length > 0 && (
          <>
            <CopyButton text={lines.map(lineText).join('\n')} what="log" />
            <button
              type="button"
              class="icon-button"
              aria-label="Clear the log"
              title="Clear the log"
              onClick={() => (log.value = [])}
            >
              <Icon name="trash" />
            </button>
          </>
        )}
      </header>
      <div ref={list} class="log-lines" role="log" aria-label="What was done" tabIndex={0}>
        {lines.length === 0 && <p class="log-empty">What is done and what changes will be written here.</p>}
        {lines.map((line) => (
          <p key={line.id} class={`log-${line.kind}`}>
            <time dateTime={line.time.toISOString()}>{line.time.toLocaleTimeString()}</time>
            <span class="log-server">{line.server}</span>
            <span class="log-text">{line.text}</span>
          </p>
        ))}
      </div>
    </section>
  );
}

const lineText = ({ time, server, text }: LogLine): string => [time.toISOString(), server, text].join(' ');

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { Icon } from './icons.js';

/** How long the confirmation of a copy is shown. */
const CONFIRMATION_MS = 1500;

/** Copies a text to the clipboard. */
export function CopyButton({ text, what }: { readonly text: string; readonly what: string }): JSX.Element {
  const [isCopied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => {
      setCopied(false);
    }, CONFIRMATION_MS);
  };
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={isCopied ? `${what} copied` : `Copy ${what}`}
      title={`Copy ${what}`}
      onClick={() => void copy()}
    >
      <Icon name={isCopied ? 'check' : 'copy'} />
    </button>
  );
}

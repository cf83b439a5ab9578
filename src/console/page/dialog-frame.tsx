import type { ComponentChildren, JSX } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { dialog, keepFocus, textOf } from './app-state.js';
import { Icon } from './icons.js';

interface DialogFrameProps {
  readonly title: string;
  /** The label of the submit button. */
  readonly submit: string;
  readonly isDanger?: boolean;
  /** True if the dialog stays open after submit, and shows a result. */
  readonly isQuestion?: boolean;
  readonly isDisabled?: boolean;
  /** Submits the form. Then the dialog closes, unless this returns true. An error is shown in the dialog. */
  readonly onSubmit: (form: FormData) => Promise<boolean | undefined>;
  readonly children: ComponentChildren;
}

/** A modal dialog with a form. Escape closes it; then the focus returns to the element that had it before. */
export function DialogFrame(props: DialogFrameProps): JSX.Element {
  const { title, submit, isDanger, isQuestion, isDisabled, onSubmit, children } = props;
  const element = useRef<HTMLDialogElement>(null);
  const [problem, setProblem] = useState<string>();
  const [isBusy, setBusy] = useState(false);

  useLayoutEffect(() => {
    element.current?.showModal();
  }, []);

  const close = (): void => {
    element.current?.close();
  };
  const send = async (form: FormData): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      if ((await onSubmit(form)) !== true) close();
    } catch (error) {
      setProblem(textOf(error));
    } finally {
      setBusy(false);
    }
  };
  const onClose = (): void => {
    const request = dialog.value;
    dialog.value = undefined;
    // The element that had the focus may have been removed.
    if (request !== undefined && 'store' in request) keepFocus(request.store);
  };
  return (
    <dialog ref={element} class="dialog" aria-labelledby="dialog-title" onClose={onClose}>
      <form
        method="dialog"
        autocomplete="off"
        onSubmit={(event) => {
          event.preventDefault();
          void send(new FormData(event.currentTarget));
        }}
      >
        <header class="dialog-head">
          <h2 id="dialog-title">{title}</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick={close}>
            <Icon name="close" />
          </button>
        </header>
        <div class="dialog-body">{children}</div>
        {problem !== undefined && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <footer class="dialog-foot">
          {/* Where something goes away, that is not what the first Enter does. */}
          <button type="button" autoFocus={isDanger ?? false} onClick={close}>
            {isQuestion ? 'Close' : 'Cancel'}
          </button>
          <button type="submit" class={isDanger ? 'danger-solid' : 'primary'} disabled={isBusy || isDisabled}>
            {isBusy ? 'Working…' : submit}
          </button>
        </footer>
      </form>
    </dialog>
  );
}

interface FieldProps {
  readonly label: string;
  readonly name: string;
  readonly hint?: string;
  readonly value?: string;
  readonly isSecret?: boolean;
  readonly placeholder?: string;
  readonly isRequired?: boolean;
  readonly hasFocus?: boolean;
}

export function Field(props: FieldProps): JSX.Element {
  const { label, name, hint, value, isSecret, placeholder, isRequired, hasFocus } = props;
  const hintID = hint === undefined ? undefined : `${name}-hint`;
  const attributes = {
    id: `field-${name}`,
    name,
    defaultValue: value ?? '',
    placeholder: placeholder ?? '',
    required: isRequired ?? false,
    autoFocus: hasFocus ?? false,
    spellcheck: false,
    'aria-describedby': hintID,
  };
  return (
    <div class="field">
      <label for={`field-${name}`}>{label}</label>
      {isSecret ? (
        <input {...attributes} type="password" autocomplete="new-password" />
      ) : (
        <input {...attributes} type="text" autocomplete="off" />
      )}
      {hint !== undefined && (
        <p id={hintID} class="hint">
          {hint}
        </p>
      )}
    </div>
  );
}

/** The value of a text field. */
export function textIn(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === 'string' ? value.trim() : '';
}

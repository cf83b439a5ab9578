import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Comparison, Difference } from '../api.js';
import { call } from './api-client.js';
import { stores } from './app-state.js';
import { DialogFrame, textIn } from './dialog-frame.js';

/** Compares the names of two servers, which are equal for a pair. */
export function CompareDialog(): JSX.Element {
  const [comparison, setComparison] = useState<Comparison>();
  const [one, other] = stores.value;
  const submit = async (form: FormData): Promise<boolean> => {
    const request = { first: textIn(form, 'first'), second: textIn(form, 'second') };
    setComparison(await call<Comparison>('compare', request));
    return true;
  };
  return (
    <DialogFrame title="Compare two servers" submit="Compare" isQuestion onSubmit={submit}>
      <p class="hint">The two of a pair should hold the same names. Each one’s own entry does not count.</p>
      <div class="side-by-side">
        <Choice label="First" name="first" value={one?.id} />
        <Choice label="Second" name="second" value={other?.id} />
      </div>
      {comparison !== undefined && <Result comparison={comparison} />}
    </DialogFrame>
  );
}

function Choice({
  label,
  name,
  value,
}: {
  readonly label: string;
  readonly name: string;
  readonly value: string | undefined;
}): JSX.Element {
  return (
    <div class="field">
      <label for={`field-${name}`}>{label}</label>
      <select id={`field-${name}`} name={name} autoFocus={name === 'first'}>
        {stores.value.map(({ id, description }) => (
          <option key={id} value={id} selected={id === value}>
            {description.value.address}
          </option>
        ))}
      </select>
    </div>
  );
}

function Result({ comparison }: { readonly comparison: Comparison }): JSX.Element {
  const { same, onlyFirst, onlySecond, otherURI } = comparison;
  const isSame = onlyFirst.count + onlySecond.count + otherURI.count === 0;
  return (
    <div class="comparison" role="status">
      <p class={isSame ? 'verdict is-same' : 'verdict is-different'}>
        {isSame ? 'In step' : 'Not in step'}: {same.toLocaleString('en')} the same
      </p>
      <Differences title="Only on the first" difference={onlyFirst} />
      <Differences title="Only on the second" difference={onlySecond} />
      <Differences title="With another URI" difference={otherURI} />
    </div>
  );
}

function Differences({
  title,
  difference: { count, names },
}: {
  readonly title: string;
  readonly difference: Difference;
}): JSX.Element | null {
  if (count === 0) return null;
  const more = count - names.length;
  return (
    <details open={count <= 20}>
      <summary>
        {title} <span class="badge">{count.toLocaleString('en')}</span>
      </summary>
      <ul class="name-list">
        {names.map((name) => (
          <li key={name}>{name}</li>
        ))}
        {more > 0 && <li class="muted">and {more.toLocaleString('en')} more</li>}
      </ul>
    </details>
  );
}

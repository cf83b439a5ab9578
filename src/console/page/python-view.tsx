import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { PythonItem, PythonNode } from '../api.js';

/** Containers with more members than this are initially collapsed. */
const OPEN_SIZE = 30;

/** Containers nested deeper than this are initially collapsed. */
const OPEN_DEPTH = 3;

/** Shows a Python value as a tree. Text is always rendered as text, never as markup. */
export function PythonView({ node, depth = 0 }: { readonly node: PythonNode; readonly depth?: number }): JSX.Element {
  switch (node.kind) {
    case 'scalar':
      return <Scalar {...node} />;
    case 'again':
      return (
        <span class="python-again">
          the {node.type} <b>#{node.id}</b> again
        </span>
      );
    case 'omitted':
      return <span class="python-again">{node.type}, not shown: too much or too deep</span>;
    case 'container':
      return node.size === 0 ? (
        <span class="python-type">empty {node.type}</span>
      ) : (
        <Container node={node} depth={depth} />
      );
  }
}

type ScalarNode = Extract<PythonNode, { kind: 'scalar' }>;
type ContainerNode = Extract<PythonNode, { kind: 'container' }>;

function Scalar({ type, text, cut }: ScalarNode): JSX.Element {
  const isText = type === 'str' || type === 'unicode';
  const isObvious = ['str', 'None', 'bool', 'int', 'float'].includes(type);
  return (
    <span class={`python-${isText ? 'text' : 'scalar'}`}>
      {isText && text === '' ? <i>empty text</i> : text}
      {cut !== undefined && <span class="python-again"> … {cut.toLocaleString('en')} characters in all</span>}
      {!isObvious && <span class="python-type"> {type}</span>}
    </span>
  );
}

function Container({ node, depth }: { readonly node: ContainerNode; readonly depth: number }): JSX.Element {
  const { type, id, size, items } = node;
  const [isOpen, setOpen] = useState(depth < OPEN_DEPTH && size <= OPEN_SIZE);
  const omitted = size - items.length;
  return (
    <details
      class="python"
      open={isOpen}
      onToggle={(event) => {
        setOpen(event.currentTarget.open);
      }}
    >
      <summary>
        {type}{' '}
        <span class="python-type">
          {size === 1 ? '1 item' : `${size.toLocaleString('en')} items`} · #{id}
        </span>
      </summary>
      {isOpen && (
        <ul>
          {items.map((item, index) => (
            <Item key={index} item={item} depth={depth + 1} />
          ))}
          {omitted > 0 && <li class="python-again">and {omitted.toLocaleString('en')} more, not shown</li>}
        </ul>
      )}
    </details>
  );
}

function Item({ item: { key, value }, depth }: { readonly item: PythonItem; readonly depth: number }): JSX.Element {
  return (
    <li>
      {key !== undefined && (
        <span class="python-key">{typeof key === 'string' ? key : <PythonView node={key} depth={depth} />}</span>
      )}
      <PythonView node={value} depth={depth} />
    </li>
  );
}

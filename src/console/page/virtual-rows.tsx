import type { ComponentChildren, HTMLAttributes, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

/** Overscan: how many rows above and below the visible ones are rendered, so that scrolling shows no gaps. */
const OVERSCAN = 12;

interface VirtualRowsProps {
  readonly id: string;
  readonly role: 'tree' | 'listbox';
  readonly label: string;
  readonly count: number;
  /** The height of a row in pixels. */
  readonly rowHeight: number;
  /** The index of the row with the keyboard focus, which is scrolled into view; -1 for none. */
  readonly active: number;
  readonly renderRow: (index: number, attributes: HTMLAttributes<HTMLDivElement>) => ComponentChildren;
  readonly onKeyDown: (event: KeyboardEvent, rowsInSight: number) => void;
  /** Called with the range of rendered rows. */
  readonly onRange?: (first: number, last: number) => void;
}

/** A virtual list: only the visible rows are in the document. */
export function VirtualRows(props: VirtualRowsProps): JSX.Element {
  const { id, role, label, count, rowHeight, active, renderRow, onKeyDown, onRange } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const height = useHeight(scroller);
  const first = Math.max(Math.floor(top / rowHeight) - OVERSCAN, 0);
  const last = Math.min(Math.ceil((top + height) / rowHeight) + OVERSCAN, count) - 1;

  useLayoutEffect(() => {
    const element = scroller.current;
    if (element === null || active < 0) return;
    const place = active * rowHeight;
    if (place < element.scrollTop) element.scrollTop = place;
    else if (place + rowHeight > element.scrollTop + element.clientHeight) {
      element.scrollTop = place + rowHeight - element.clientHeight;
    }
  }, [active, height]);
  useEffect(() => {
    if (last >= first) onRange?.(first, last);
  });

  const rows = [];
  for (let index = first; index <= last; index++) {
    rows.push(
      renderRow(index, {
        id: `${id}-${index}`,
        style: { transform: `translateY(${index * rowHeight}px)`, height: `${rowHeight}px` },
      }),
    );
  }
  return (
    <div
      ref={scroller}
      class="rows"
      id={id}
      role={role}
      aria-label={label}
      tabIndex={0}
      aria-activedescendant={active >= first && active <= last ? `${id}-${active}` : undefined}
      onScroll={(event) => {
        setTop(event.currentTarget.scrollTop);
      }}
      onKeyDown={(event) => {
        onKeyDown(event, Math.max(Math.floor(height / rowHeight) - 1, 1));
      }}
    >
      <div class="rows-extent" role="none" style={{ height: `${count * rowHeight}px` }}>
        {rows}
      </div>
    </div>
  );
}

function useHeight(element: { readonly current: HTMLElement | null }): number {
  const [height, setHeight] = useState(600);
  useLayoutEffect(() => {
    if (element.current === null) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry !== undefined) setHeight(entry.contentRect.height);
    });
    observer.observe(element.current);
    return () => {
      observer.disconnect();
    };
  }, []);
  return height;
}

/** The index to which a key moves the focus in a list; undefined for other keys. */
export function moveBy(key: string, active: number, count: number, rowsInSight: number): number | undefined {
  const steps: Readonly<Record<string, number>> = {
    ArrowDown: 1,
    ArrowUp: -1,
    PageDown: rowsInSight,
    PageUp: -rowsInSight,
    Home: -Infinity,
    End: Infinity,
  };
  const step = steps[key];
  return step === undefined ? undefined : Math.min(Math.max(active + step, 0), count - 1);
}
